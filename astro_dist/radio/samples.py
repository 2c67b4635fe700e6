"""Training samples that belong to an index: crop, turn, conditions and noise of sample n.

``TrainingData.batch(first, count)`` reads a store of cutouts in one batch per array and returns the arrays
that both objectives need. Sample n is a function of ``(seed, stage, split, n)`` and the store. A resumed
training therefore sees the same samples, and ranks share a batch without communication.

Shape letters: B batch, S side of a crop in pixels, C h w latent.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.arrays import Image
from astro_dist.engine.errors import ConfigError
from astro_dist.engine.seeds import stream
from astro_dist.models.planes import background_planes, paint_peaks, source_taper
from astro_dist.models.presets import LATENT_FACTOR
from astro_dist.sky.beams import Beam, Pixel
from astro_dist.sky.stretch import stretch
from astro_dist.sky.symmetries import apply_symmetry, symmetries
from astro_dist.store.facts import describe_cutouts
from astro_dist.store.reader import group_by_survey
from astro_dist.train.config import TrainingConfig

GOLDEN_RATIO = 0.6180339887498949
"""Fractional part of the golden ratio, (sqrt(5) - 1) / 2."""
KEPT_BYTES = 10**9
"""Memory for prepared cutouts; preparing a cutout costs as much as training a small network on it."""
BYTES_PER_PIXEL = 10
"""Memory of a prepared cutout: snr and u of 4 bytes each, mask and valid of 1 byte each."""


class Reader(Protocol):
    """The part of `astro_dist.store.reader.StoreReader` that samples need."""

    attrs: dict[str, Any]
    columns: dict[str, NDArray[Any]]

    def read(self, array: str, indices: Sequence[int] | NDArray[np.integer]) -> NDArray[Any]:
        """Return the images of one array at ``indices``."""
        ...

    def select(self, split: str) -> NDArray[np.int64]:
        """Return the positions of the good cutouts of a split."""
        ...


@dataclass(frozen=True)
class Batch:
    """A batch of samples; all arrays start with axis B.

    Attributes
    ----------
    full_BSS, source_BSS
        The crop in network range: with its noise, and with zero brightness outside a taper of its objects.
    mask_BSS, peak_BSS, background_B2SS
        The conditions of the crop, see `astro_dist.models.conditions`.
    noise_BChw, time_B
        Standard normal noise and a number in [0, 1), evenly spread over consecutive samples.
    facts_BF
        Beam, noise and survey, see `astro_dist.store.facts`.
    chance_B4
        Uniform numbers in [0, 1) that decide which conditions of a sample are dropped.
    whole_BSS, origin_B4
        Only with ``cache_latents``: the whole cutout of the target, turned as the crop; and for each sample
        the index of the cutout, the turn, and row and column of the crop in the latent of the turned cutout.
    """

    full_BSS: Image
    source_BSS: Image
    mask_BSS: NDArray[np.uint8]
    peak_BSS: Image
    background_B2SS: Image
    noise_BChw: Image
    facts_BF: Image
    time_B: Image
    chance_B4: Image
    whole_BSS: Image | None = None
    origin_B4: NDArray[np.int64] | None = None


class Cutout:
    """One prepared cutout: its image, and its objects as lists of pixels, computed on first use.

    Attributes
    ----------
    snr, u
        The image (H, W) in units of the noise, 0 where there are no data; and in network range.
    mask, valid
        Class per pixel, and whether a pixel has data (H, W); ``valid`` is a view of one number where all
        have.
    places
        Positions of object pixels in the flat mask.
    symmetries
        Turns and flips that keep the beam.
    """

    def __init__(
        self,
        snr: Image,
        mask: NDArray[np.uint8],
        instances: NDArray[np.uint16],
        beam: tuple[float, tuple[int, ...]],
        kind: str,
    ) -> None:
        valid = np.isfinite(snr)
        self.valid = np.broadcast_to(np.True_, snr.shape) if valid.all() else valid
        # 0 in units of the noise is the local background: pixels without data look like empty sky.
        self.snr, self.kind = np.where(valid, snr, np.float32(0.0)), kind
        self.u, self.mask = stretch(self.snr, 0.0, 1.0, kind), mask
        self.fwhm_pix, self.symmetries = beam
        # Objects cover little of a cutout, so that a list of their pixels takes less memory than a plane.
        self.places = np.flatnonzero(instances).astype(np.int32)
        self._numbers = instances.flat[self.places]

    @property
    def instances(self) -> NDArray[np.uint16]:
        """Object per pixel, 0 = none (H, W)."""
        instances = np.zeros(self.mask.shape, np.uint16)
        instances.flat[self.places] = self._numbers
        return instances

    def paint(self) -> tuple[Image, Image]:
        """Return the image under a taper of its objects, in network range, and their peaks, each (H, W)."""
        near, source, peak = self._near
        planes = np.zeros((2, *self.mask.shape), np.float32)
        planes[0] = stretch(0.0, 0.0, 1.0, self.kind)
        planes[0].flat[near], planes[1].flat[near] = source, peak
        return planes[0], planes[1]

    @functools.cached_property
    def _near(self) -> tuple[NDArray[np.int32], Image, Image]:
        """Positions of the pixels under the taper, and the values of both planes of `paint` there."""
        taper = source_taper(self.mask, self.fwhm_pix)
        near = np.flatnonzero(taper).astype(np.int32)
        source = stretch(self.snr.flat[near] * taper.flat[near], 0.0, 1.0, self.kind)
        return near, source, paint_peaks(self.u, self.instances).flat[near]


_symmetries = functools.lru_cache(symmetries)
"""Cached, because all cutouts of a map have one beam."""


class CutoutSamples:
    """The cutouts of one split of a store, kept in memory, and random crops of them; a base class of samples.

    Parameters
    ----------
    reader : Reader
        An open store of cutouts.
    config : TrainingConfig
        Crop size, and fraction of crops that must show an object.
    key : tuple
        Seed and name of the training; the random stream of a sample is that of key, split and index.

    Raises
    ------
    ConfigError
        When the split is empty or the crops are larger than the cutouts.
    """

    step_pix = 1
    """Crops begin at multiples of this many pixels."""

    def __init__(
        self,
        reader: Reader,
        config: TrainingConfig,
        key: tuple[int | str, ...],
        split: str = "train",
    ) -> None:
        self.reader, self.config, self.key = reader, config, (*key, split)
        self.chosen = reader.select(split)
        self.kind = str(reader.attrs.get("stretch", "asinh"))
        size_pix = int(reader.attrs["size_pix"])
        self.kept: dict[int, Cutout] = {}
        self.room = KEPT_BYTES // (BYTES_PER_PIXEL * size_pix**2)
        if config.crop_pix > size_pix:
            raise ConfigError(
                f"crop_pix {config.crop_pix} is larger than the cutouts of {size_pix} pixels; make it smaller"
            )
        if len(self.chosen) == 0:
            held_out = "lower cutouts.validation_fraction and cutouts.test_fraction"
            remedy = held_out if split == "train" else f"raise cutouts.{split}_fraction"
            raise ConfigError(
                f"no usable cutout is in the {split} split of {len(reader.columns['split'])}; {remedy}, "
                "or give maps with more sky"
            )
        self.facts = describe_cutouts(reader.attrs, reader.columns)

    def __getstate__(self) -> dict[str, Any]:
        # A reader process fills its own cache; sending this one would cost up to `KEPT_BYTES`.
        return {**self.__dict__, "kept": {}}

    def streams(self, first: int, count: int) -> list[np.random.Generator]:
        """Return the random generators of some samples; each depends on the number of its sample only."""
        seed, *key = self.key
        return [stream(int(seed), *key, n) for n in range(first, first + count)]

    def _place_crop(self, rng: np.random.Generator) -> tuple[slice, slice]:
        room = int(self.reader.attrs["size_pix"]) - self.config.crop_pix
        y, x = (int(v) for v in rng.integers(0, room + 1, 2))
        return self._settle(y), self._settle(x)

    def _settle(self, start: int) -> slice:
        """Return the rows or columns of a crop that begins at ``start``, rounded down to `step_pix`."""
        start -= start % self.step_pix
        return slice(start, start + self.config.crop_pix)

    def _choose_crop(self, cutout: Cutout, rng: np.random.Generator) -> tuple[slice, slice]:
        """Place the crop anywhere, or, for the biased fraction, so that it holds one random object pixel."""
        anywhere = self._place_crop(rng)
        wanted, pick = rng.random(), rng.random()
        places, shape = cutout.places, cutout.mask.shape
        if wanted >= self.config.source_bias or len(places) == 0:
            return anywhere
        side = self.config.crop_pix
        centre = np.unravel_index(places[int(pick * len(places))], shape)
        starts = []
        for position, size, chance in zip(centre, shape, rng.random(2), strict=True):
            low, high = max(0, int(position) - side + 1), min(size - side, int(position))
            starts.append(low + int(chance * (high - low + 1)))
        return self._settle(starts[0]), self._settle(starts[1])

    def _read(self, indices: list[int]) -> dict[int, Cutout]:
        """Return cutouts by their index; the cutouts read last are kept, as many as fit into `KEPT_BYTES`."""
        # Each cutout once, and in the order of the store.
        unique = sorted(set(indices))
        if missing := [i for i in unique if i not in self.kept]:
            image, mask, instances = (
                self.reader.read(name, missing) for name in ("image", "mask", "instances")
            )
            for k, i in enumerate(missing):
                self.kept[i] = self._cutout(i, image[k], mask[k], instances[k])
        found = {i: self.kept[i] for i in unique}
        # After `found` is made, because one batch may need more cutouts than are kept.
        for i in [*self.kept][: max(0, len(self.kept) - self.room)]:
            del self.kept[i]
        return found

    def _cutout(
        self, index: int, image: Image, mask: NDArray[np.uint8], instances: NDArray[np.uint16]
    ) -> Cutout:
        columns = self.reader.columns
        snr = (image - columns["background_jy_beam"][index]) / columns["rms_jy_beam"][index]
        pixel = Pixel(*self.reader.attrs["maps"][int(columns["source_map"][index])]["pixel_arcsec"])
        names = ("beam_major_arcsec", "beam_minor_arcsec", "beam_pa_deg")
        beam = Beam(*(float(columns[name][index]) for name in names))
        shape = (beam.fwhm_pix(pixel), _symmetries(beam, pixel))
        return Cutout(snr.astype(np.float32), mask, instances, shape, self.kind)


class TrainingData(CutoutSamples):
    """Samples for the generator's two networks.

    Parameters
    ----------
    latent_channels : int
        Number of channels C of the noise.
    own_background : float
        Fraction of the backgrounds that are the crop's own sky.
    """

    def __init__(
        self,
        reader: Reader,
        config: TrainingConfig,
        key: tuple[int | str, ...],
        latent_channels: int,
        split: str = "train",
        own_background: float = 0.5,
    ) -> None:
        super().__init__(reader, config, key, split)
        self.latent_channels, self.own_background = latent_channels, own_background
        # Only the diffusion model has this setting; the autoencoder's samples are of this class too.
        self.step_pix = LATENT_FACTOR if getattr(config, "cache_latents", False) else 1
        self.peers = group_by_survey(reader.attrs, reader.columns, self.chosen, (split,))

    def batch(self, first: int, count: int) -> Batch:
        """Return samples ``first`` to ``first + count - 1``."""
        streams = self.streams(first, count)
        own = [int(rng.choice(self.chosen)) for rng in streams]
        # Drawn for every sample, also where the own sky is taken: the later numbers of a stream then do not
        # depend on `own_background`.
        other = [int(rng.choice(self.peers[i])) for i, rng in zip(own, streams, strict=True)]
        donors = [
            a if rng.random() < self.own_background else b
            for a, b, rng in zip(own, other, streams, strict=True)
        ]
        cutouts = self._read([*own, *donors])
        rows = [
            self._sample(cutouts[i], cutouts[j], i == j, rng)
            for i, j, rng in zip(own, donors, streams, strict=True)
        ]
        full, source, mask, peak, sky, noise, chance, origin_B3 = (
            np.stack(column) for column in zip(*rows, strict=True)
        )
        # The sequence n * golden ratio modulo 1 spreads any run of samples more evenly than random times.
        time_B = (np.arange(first + 1, first + count + 1) * GOLDEN_RATIO % 1.0).astype(np.float32)
        batch = Batch(full, source, mask, peak, sky, noise, self.facts[own], time_B, chance)
        if not self.step_pix > 1:
            return batch
        whole = [
            self._turn_whole(cutouts[i], int(turn)) for i, turn in zip(own, origin_B3[:, 0], strict=True)
        ]
        return replace(batch, whole_BSS=np.stack(whole), origin_B4=np.column_stack([own, origin_B3]))

    def _turn_whole(self, cutout: Cutout, turn: int) -> Image:
        target = getattr(self.config, "target", "stamp")
        return apply_symmetry(cutout.u if target == "stamp" else cutout.paint()[0], turn)

    def _find_origin(self, crop: tuple[slice, slice], turn: int) -> tuple[int, int, int]:
        """Return the turn, and row and column of a crop in the latent of the turned cutout."""
        side = int(self.reader.attrs["size_pix"]) // LATENT_FACTOR
        # The crop is marked and turned with the same function as the image, so that no sign can be wrong.
        inside = np.zeros((side, side), np.bool_)
        inside[tuple(slice(s.start // LATENT_FACTOR, s.stop // LATENT_FACTOR) for s in crop)] = True
        y, x = np.argwhere(apply_symmetry(inside, turn))[0]
        return turn, int(y), int(x)

    def _sample(self, own: Cutout, donor: Cutout, same: bool, rng: np.random.Generator) -> tuple[Any, ...]:
        side = self.config.crop_pix
        # The order of the draws below fixes the samples of every seed; a new draw belongs at the end.
        crop = self._choose_crop(own, rng)
        source, peaks = own.paint()
        planes = np.stack([own.u[crop], source[crop], peaks[crop]])
        # The crop's own sky must lie under the crop. Another sky may lie anywhere and has turns of its own.
        elsewhere = crop if same else self._place_crop(rng)
        turn = int(rng.choice(own.symmetries))
        other_turn = turn if same else int(rng.choice(donor.symmetries))
        planes = apply_symmetry(planes, turn)
        mask = apply_symmetry(own.mask[crop], turn)
        latent = side // LATENT_FACTOR
        noise = rng.standard_normal((self.latent_channels, latent, latent), np.float32)
        sky = background_planes(donor.u[elsewhere], donor.mask[elsewhere], donor.valid[elsewhere])
        background = apply_symmetry(sky, other_turn)
        origin = self._find_origin(crop, turn)
        return planes[0], planes[1], mask, planes[2], background, noise, rng.random(4, np.float32), origin
