"""What stamp i is drawn for: whose mask, turned how, before whose sky; a function of i and of nothing else.

Donors are cutouts with at least one object that would itself be accepted as far as its mask, brightness
and place go. Half of the work of acceptance is thus done before anything is drawn.

Shape letters: B batch, S side of a stamp in pixels.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from astro_dist.errors import ConfigError
from astro_dist.field.objects import AcceptConfig, reach_pix
from astro_dist.models.conditions import background_planes, paint_peaks
from astro_dist.sky.beams import Beam, Pixel, apply_symmetry, symmetries
from astro_dist.sky.classes import SourceClass
from astro_dist.sky.stretch import stretch
from astro_dist.store.reader import StoreReader

READ_AT_ONCE = 256
Image = NDArray[np.float32]
Stream = Callable[..., np.random.Generator]
_symmetries = lru_cache(symmetries)


@dataclass(frozen=True)
class Choice:
    """Positions in the store of cutouts, and an element of the symmetries of a square."""

    donor: int
    background_donor: int
    symmetry: int


@dataclass(frozen=True, eq=False)
class Donors:
    """The cutouts of some splits that may give masks, and all that may give backgrounds.

    Attributes
    ----------
    extended, compact
        Positions of cutouts with a usable extended source, and of the others with a usable one.
    backgrounds
        Positions of all good cutouts of those splits.
    """

    extended: NDArray[np.int64]
    compact: NDArray[np.int64]
    backgrounds: NDArray[np.int64]

    def choose(self, reader: StoreReader, extended_fraction: float, stream: Stream, stamp: int) -> Choice:
        """Draw mask donor, background donor, and a turn that keeps the donor's beam and pixels.

        The two kinds of donor alternate evenly, and each kind is gone through in a random order, then in
        another: no mask comes back before all others have been used.
        """
        share = extended_fraction if len(self.compact) else 1.0
        share = share if len(self.extended) else 0.0
        # Among the stamps before this one, so many had an extended donor.
        before, after = math.floor(stamp * share), math.floor((stamp + 1) * share)
        kind, pool, rank = (
            ("extended", self.extended, before)
            if after > before
            else ("compact", self.compact, stamp - before)
        )
        lap, place = divmod(rank, len(pool))
        donor = int(stream("donors", kind, lap).permutation(pool)[place])
        rng = stream("conditions", stamp)
        background_donor = int(rng.choice(self.backgrounds))
        return Choice(donor, background_donor, int(rng.choice(_symmetries(*sky_of(reader, donor)))))


@dataclass(frozen=True, eq=False)
class Conditions:
    """The conditions of a batch of stamps.

    Attributes
    ----------
    mask_BSS, instances_BSS
        uint8 and uint16, turned.
    peak_BSS
        float32, every object's brightest pixel in network range.
    background_B2SS
        float32, see `astro_dist.models.conditions.background_planes`.
    rms_jy_beam_B
        float32, noise of the mask's donor.
    """

    mask_BSS: NDArray[np.uint8]
    instances_BSS: NDArray[np.uint16]
    peak_BSS: Image
    background_B2SS: Image
    rms_jy_beam_B: Image


def sky_of(reader: StoreReader, index: int) -> tuple[Beam, Pixel]:
    """Return beam and pixel of a cutout."""
    names = ("beam_major_arcsec", "beam_minor_arcsec", "beam_pa_deg")
    beam = Beam(*(float(reader.columns[name][index]) for name in names))
    return beam, Pixel(*reader.attrs["maps"][int(reader.columns["map"][index])]["pixel_arcsec"])


def find_donors(reader: StoreReader, accept: AcceptConfig, splits: Sequence[str] = ("train",)) -> Donors:
    """Look through the good cutouts of some splits.

    Raises
    ------
    ConfigError
        When none has a usable object.
    """
    candidates = np.concatenate([reader.select(split) for split in splits])
    starts = range(0, len(candidates), READ_AT_ONCE)
    parts = [candidates[start : start + READ_AT_ONCE] for start in starts]
    best = np.array([value for part in parts for value in _best_classes(reader, part, accept)])
    if not best.any():
        raise ConfigError(
            f"none of the {len(candidates)} cutouts of the {' and '.join(splits)} split holds a whole "
            f"{' or '.join(accept.classes)} source of at least {accept.min_snr:g} sigma; "
            "lower generate.accept.min_snr, or give maps with more sources"
        )
    is_extended = best == SourceClass.EXTENDED
    return Donors(candidates[is_extended], candidates[(best > 0) & ~is_extended], candidates)


def read_conditions(reader: StoreReader, choices: Sequence[Choice]) -> Conditions:
    """Read and turn the conditions of a batch."""
    donors = [choice.donor for choice in choices]
    skies = [choice.background_donor for choice in choices]
    turns = [choice.symmetry for choice in choices]
    mask, instances = (_turned(reader.read(name, donors), turns) for name in ("mask", "instances"))
    u = _turned(_network_range(reader, donors), turns)
    sky_u, sky_mask = _network_range(reader, skies), reader.read("mask", skies)
    return Conditions(
        mask_BSS=mask,
        instances_BSS=instances,
        peak_BSS=np.stack([paint_peaks(*pair) for pair in zip(np.nan_to_num(u), instances, strict=True)]),
        background_B2SS=np.stack(
            [background_planes(a, m, np.isfinite(a)) for a, m in zip(sky_u, sky_mask, strict=True)]
        ),
        rms_jy_beam_B=reader.columns["rms_jy_beam"][donors].astype(np.float32),
    )


def _best_classes(reader: StoreReader, indices: NDArray[np.int64], accept: AcceptConfig) -> list[int]:
    """Return for each cutout the highest wanted class among its usable objects, 0 when it has none."""
    names = ("background_jy_beam", "rms_jy_beam")
    background, rms = (reader.columns[name][indices][:, None, None] for name in names)
    snr = (reader.read("image", indices) - background) / rms
    mask, instances = (reader.read(name, indices) for name in ("mask", "instances"))
    return [
        max(_usable_classes(snr[i], mask[i], instances[i], sky_of(reader, int(index)), accept), default=0)
        for i, index in enumerate(indices)
    ]


def _usable_classes(
    snr: Image,
    mask: NDArray[np.uint8],
    instances: NDArray[np.uint16],
    sky: tuple[Beam, Pixel],
    accept: AcceptConfig,
) -> Iterator[int]:
    """Yield the classes of the wanted objects that are bright enough and whole, footprint included."""
    margins = reach_pix(*sky, accept)
    for number, box in enumerate(ndimage.find_objects(instances.astype(np.int32)), start=1):
        if box is None:
            continue
        inside = instances[box] == number
        source_class = int(mask[box][inside].max())
        whole = all(
            s.start > margin and s.stop + margin < side
            for s, margin, side in zip(box, margins, snr.shape, strict=True)
        )
        if whole and source_class in accept.wanted and snr[box][inside].max() >= accept.min_snr:
            yield source_class


def _network_range(reader: StoreReader, indices: Sequence[int]) -> Image:
    """Return cutouts as the network sees them, NaN kept."""
    names = ("background_jy_beam", "rms_jy_beam")
    background, rms = (reader.columns[name][indices][:, None, None] for name in names)
    return stretch(reader.read("image", indices), background, rms, str(reader.attrs["stretch"]))


def _turned(stack: NDArray[Any], turns: Sequence[int]) -> NDArray[Any]:
    return np.stack([apply_symmetry(plane, k) for plane, k in zip(stack, turns, strict=True)])
