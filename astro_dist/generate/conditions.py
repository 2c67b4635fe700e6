"""The donors of stamp i: the cutouts of its mask and of its background, and a turn, as a function of i alone.

A mask donor is a cutout with at least one object whose mask, brightness and place would be accepted. Half of
the work of acceptance is thus done before a stamp is drawn.

Shape letters: B batch, S side of a stamp in pixels.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from astro_dist.engine.arrays import Image
from astro_dist.engine.errors import ConfigError
from astro_dist.field.config import AcceptConfig
from astro_dist.field.objects import reach_pix
from astro_dist.generate.config import MasksConfig
from astro_dist.sky.beams import Beam, Pixel
from astro_dist.sky.classes import SourceClass
from astro_dist.sky.symmetries import symmetries
from astro_dist.store.reader import StoreReader, group_by_survey

READ_AT_ONCE = 256
"""Cutouts read at once, which bounds the memory."""
ALIKE = 8
"""Number of objects of nearest size, on either side, from which the brightness of a drawn mask is chosen."""
HIGHEST_FIRST = (SourceClass.EXTENDED, SourceClass.COMPACT, SourceClass.SPURIOUS)
"""The classes by which cutouts are pooled; a cutout belongs to the first that it has."""
Stream = Callable[..., np.random.Generator]
# A survey has few beams, and `choose` runs once per stamp.
_symmetries = lru_cache(symmetries)


@dataclass(frozen=True)
class Choice:
    """The donors of one stamp, and its turn.

    Attributes
    ----------
    donor, background_donor
        Positions in the store of cutouts.
    symmetry
        Number of an element of the symmetries of a square, see `astro_dist.sky.symmetries.apply_symmetry`.
    """

    donor: int
    background_donor: int
    symmetry: int


@dataclass(frozen=True, eq=False)
class Donors:
    """The cutouts of some splits that can give a mask, and those that can give a background.

    Attributes
    ----------
    pools
        Positions of cutouts, by the highest class among their usable objects.
    backgrounds
        For each good cutout of those splits, the positions of all of its survey.
    objects
        Class, number of pixels and peak over the noise of every usable object, shape (n, 3).
    """

    pools: Mapping[str, NDArray[np.int64]]
    backgrounds: Mapping[int, NDArray[np.int64]]
    objects: NDArray[np.float64]

    def choose(self, reader: StoreReader, weights: Mapping[str, float], stream: Stream, stamp: int) -> Choice:
        """Draw the two donors, and a turn under which beam and pixels of the mask's donor stay the same."""
        # The order of the donors is common to all stamps; all other draws are from the stamp's own stream.
        donor = deal(self.pools, weights, partial(stream, "donors"), stamp)
        # The background first, then the turn: this order of draws fixes the bytes.
        rng = stream("conditions", stamp)
        background_donor = int(rng.choice(self.backgrounds[donor]))
        return Choice(donor, background_donor, int(rng.choice(_symmetries(*sky_of(reader, donor)))))

    def draw_snr(self, source_class: int, size: int, rng: np.random.Generator) -> float:
        """Draw the peak over the noise of an object, from the objects of its class and nearest in size.

        A class without objects takes the objects of all classes.
        """
        alike = self.objects[self.objects[:, 0] == source_class]
        alike = alike if len(alike) else self.objects
        # Stable, so that objects of equal size stay in the order of the store on every machine.
        alike = alike[np.argsort(alike[:, 1], kind="stable")]
        # From place - 8 to place + 7: eight smaller objects, and eight of this size or larger.
        place = int(np.searchsorted(alike[:, 1], size)) + int(rng.integers(-ALIKE, ALIKE))
        return float(alike[min(max(place, 0), len(alike) - 1), 2])


def deal(
    pools: Mapping[str, NDArray[np.int64]], weights: Mapping[str, float], stream: Stream, stamp: int
) -> int:
    """Return the member of some pools that belongs to a stamp.

    The pools alternate evenly, in proportion to their weights. Each pool is used in laps, every lap in a new
    random order, so no member comes back before all others have been used. An empty pool leaves its share to
    the others.
    """
    kinds = [kind for kind in pools if len(pools[kind]) and weights.get(kind, 0) > 0]
    # `rank` counts the earlier stamps that went to no pool before the current one of the loop.
    rank, left = stamp, sum(weights[kind] for kind in kinds)
    for kind in kinds:
        # Exactly 1 for the last pool: with the rounding errors of `left` a stamp could miss every pool.
        share = weights[kind] / left if kind != kinds[-1] else 1.0
        # `before` is the number of earlier stamps that went to this pool, `after` the same with this stamp
        # included: the pool takes the stamp if the two differ.
        before, after = math.floor(rank * share), math.floor((rank + 1) * share)
        if after > before:
            lap, place = divmod(before, len(pools[kind]))
            # Permuted anew for every stamp: a lap kept in memory would be state, which other workers lack.
            return int(stream(kind, lap).permutation(pools[kind])[place])
        rank, left = rank - before, left - weights[kind]
    raise AssertionError("some pool has members and a weight")


def sky_of(reader: StoreReader, index: int) -> tuple[Beam, Pixel]:
    """Return beam and pixel of a cutout."""
    names = ("beam_major_arcsec", "beam_minor_arcsec", "beam_pa_deg")
    beam = Beam(*(float(reader.columns[name][index]) for name in names))
    return beam, Pixel(*reader.attrs["maps"][int(reader.columns["source_map"][index])]["pixel_arcsec"])


def find_donors(
    reader: StoreReader,
    accept: AcceptConfig,
    splits: Sequence[str] = ("train",),
    weights: Mapping[str, float] = MasksConfig().weights,
) -> Donors:
    """Find the donors among the good cutouts of some splits.

    Raises
    ------
    ConfigError
        No cutout has a usable object of a class with a weight above 0.
    """
    wanted = [name for name in accept.with_spurious().classes if weights.get(name, 0) > 0]
    candidates = np.concatenate([reader.select(split) for split in splits])
    starts = range(0, len(candidates), READ_AT_ONCE)
    parts = [candidates[start : start + READ_AT_ONCE] for start in starts]
    found = [usable for part in parts for usable in _usable_objects(reader, part, accept)]
    # A cutout without a usable object gets 0, the background, and is in no pool.
    best = np.array([max((row[0] for row in rows), default=0) for rows in found])
    pools = {c.name.lower(): candidates[best == c] for c in HIGHEST_FIRST}
    if not any(len(pools[name]) for name in wanted):
        raise ConfigError(
            f"none of the {len(candidates)} cutouts of the {' and '.join(splits)} split holds a whole "
            f"{' or '.join(wanted)} source of at least {accept.min_snr:g} sigma; "
            "lower generate.accept.min_snr, or give maps with more sources"
        )
    objects = np.array([row for rows in found for row in rows], np.float64).reshape(-1, 3)
    skies = group_by_survey(reader.attrs, reader.columns, candidates, splits)
    return Donors({name: pools[name] for name in pools if name in wanted}, skies, objects)


def _usable_objects(
    reader: StoreReader, indices: NDArray[np.int64], accept: AcceptConfig
) -> list[list[tuple[int, int, float]]]:
    """Return class, number of pixels and peak over the noise of the usable objects of each cutout."""
    names = ("background_jy_beam", "rms_jy_beam")
    background, rms = (reader.columns[name][indices][:, None, None] for name in names)
    snr = (reader.read("image", indices) - background) / rms
    mask, instances = (reader.read(name, indices) for name in ("mask", "instances"))
    return [
        list(_examine(snr[i], mask[i], instances[i], sky_of(reader, int(index)), accept.with_spurious()))
        for i, index in enumerate(indices)
    ]


def _examine(
    snr: Image,
    mask: NDArray[np.uint8],
    instances: NDArray[np.uint16],
    sky: tuple[Beam, Pixel],
    accept: AcceptConfig,
) -> Iterator[tuple[int, int, float]]:
    """Yield class, number of pixels and peak of the objects that are bright enough and whole.

    An object is whole if the stamp holds its footprint, which reaches beyond its mask.
    """
    margins = reach_pix(*sky, accept)
    for number, box in enumerate(ndimage.find_objects(instances.astype(np.int32)), start=1):
        # `find_objects` gives None for a number without pixels.
        if box is None or not all(
            s.start > margin and s.stop + margin < side
            for s, margin, side in zip(box, margins, snr.shape, strict=True)
        ):
            continue
        inside = instances[box] == number
        source_class, peak = int(mask[box][inside].max()), float(snr[box][inside].max())
        if source_class in accept.wanted and peak >= accept.min_snr:
            yield source_class, int(inside.sum()), peak
