"""Samples of super-resolution: pairs of images with the noise and the noise level of a sample.

Shape letters: B batch, P planes, S side of a crop in pixels, s that of the small crop.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.arrays import Image
from astro_dist.engine.errors import ConfigError
from astro_dist.engine.seeds import stream
from astro_dist.enhance.superres_config import SuperresConfig
from astro_dist.models.super_levels import STEPS, gammas
from astro_dist.models.super_presets import SCALE, SUPER
from astro_dist.sky.stretch import stretch
from astro_dist.sky.symmetries import apply_symmetry
from astro_dist.store.picture_pairs import Pairs
from astro_dist.store.reader import StoreReader


class PairSamples(Protocol):
    """What gives pairs by the number of their sample."""

    def batch(self, first: int, count: int) -> Pairs:
        """Return samples ``first`` to ``first + count - 1``."""
        ...


@dataclass(frozen=True)
class SuperBatch:
    """A batch of samples; all arrays start with axis B.

    Attributes
    ----------
    small_BPss, large_BPSS
        The pairs, in network range.
    noise_BPSS
        Standard normal noise.
    gamma_B
        Noise level of each sample, in (0, 1).
    """

    small_BPss: Image
    large_BPSS: Image
    noise_BPSS: Image
    gamma_B: Image


class SuperSamples:
    """Pairs with the noise that they are trained with.

    Parameters
    ----------
    pairs
        The pairs.
    config
        Settings; ``preset`` decides whether a batch shares an interval of the schedule.
    key
        Seed, name of the training and split.
    """

    def __init__(self, pairs: PairSamples, config: SuperresConfig, key: tuple[int | str, ...]) -> None:
        self.pairs, self.key, self.batch_size = pairs, key, config.batch_size
        self.shared = SUPER[config.preset].shared_interval
        self.gamma_T1 = np.concatenate([[1.0], gammas()])

    def batch(self, first: int, count: int) -> SuperBatch:
        """Return samples ``first`` to ``first + count - 1``."""
        pairs, seed = self.pairs.batch(first, count), int(self.key[0])
        streams = [stream(seed, *self.key[1:], "noise", n) for n in range(first, first + count)]
        gamma_B = [self._level(n, rng) for n, rng in zip(range(first, first + count), streams, strict=True)]
        shape = pairs.large_BPSS.shape[1:]
        noise_BPSS = np.stack([rng.standard_normal(shape, np.float32) for rng in streams])
        return SuperBatch(pairs.small_BPss, pairs.large_BPSS, noise_BPSS, np.array(gamma_B, np.float32))

    def _level(self, n: int, rng: np.random.Generator) -> float:
        """Return the level of sample ``n``, uniform between neighbours of the schedule (SR3, section 2.4)."""
        number, place = rng.random(2)
        if self.shared:
            batch = stream(int(self.key[0]), *self.key[1:], "interval", n // self.batch_size)
            number = batch.random()
        t = 1 + int(number * STEPS)
        low, high = self.gamma_T1[t], self.gamma_T1[t - 1]
        # float32 rounds levels next to 1 up to 1, whose log SNR is endless.
        return float(min(low + (high - low) * place, 1 - 1e-6))


class MapPairs:
    """Pairs of crops of stretched cutouts; the small ones are means of 2 x 2 pixels of brightness.

    Parameters
    ----------
    reader
        Store of cutouts.
    config
        Crop size, and the fraction of crops that must show an object.
    key
        Seed and name of the training.
    split
        The split whose cutouts are used.

    Raises
    ------
    ConfigError
        The split is empty.
    """

    def __init__(
        self, reader: StoreReader, config: SuperresConfig, key: tuple[int | str, ...], split: str
    ) -> None:
        self.reader, self.config, self.key = reader, config, (*key, split)
        self.chosen, self.kind = reader.select(split), str(reader.attrs.get("stretch", "asinh"))
        if len(self.chosen) == 0:
            raise ConfigError(
                f"no usable cutout is in the {split} split of {len(reader)}; lower "
                "cutouts.validation_fraction and cutouts.test_fraction, or give maps with more sky"
            )

    def batch(self, first: int, count: int) -> Pairs:
        """Return samples ``first`` to ``first + count - 1``."""
        seed, *key = self.key
        streams = [stream(int(seed), *key, n) for n in range(first, first + count)]
        rows = [int(rng.choice(self.chosen)) for rng in streams]
        images, objects = (self.reader.read(name, rows) for name in ("image", "mask"))
        columns = self.reader.columns
        pairs = []
        for row, image, mask, rng in zip(rows, images, objects, streams, strict=True):
            snr = (image - columns["background_jy_beam"][row]) / columns["rms_jy_beam"][row]
            pairs.append(self._pair(np.nan_to_num(snr.astype(np.float32)), mask, rng))
        return Pairs(*(np.stack(side) for side in zip(*pairs, strict=True)))

    def _pair(self, snr_SS: Image, mask_SS: NDArray[Any], rng: np.random.Generator) -> tuple[Image, Image]:
        y, x = self._place(mask_SS, rng)
        side = self.config.crop_pix
        crop = apply_symmetry(snr_SS[y : y + side, x : x + side], int(rng.integers(8)))
        small = crop.reshape(side // SCALE, SCALE, side // SCALE, SCALE).mean((1, 3))
        first, second = (stretch(part, 0.0, 1.0, self.kind)[None] for part in (small, crop))
        return first, second

    def _place(self, mask_SS: NDArray[Any], rng: np.random.Generator) -> list[int]:
        """Return where a crop begins: anywhere, or for the biased fraction round a pixel of an object."""
        room, places = mask_SS.shape[0] - self.config.crop_pix, np.argwhere(mask_SS)
        anywhere = rng.integers(0, room + 1, 2).tolist()
        wanted, pick, *chances = rng.random(4)
        if wanted >= self.config.source_bias or len(places) == 0:
            return anywhere
        starts = []
        for centre, chance in zip(places[int(pick * len(places))], chances, strict=True):
            low, high = max(0, int(centre) - self.config.crop_pix + 1), min(room, int(centre))
            starts.append(low + int(chance * (high - low + 1)))
        return starts
