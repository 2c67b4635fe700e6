"""The islands of a map after an expert's corrections: what was not changed keeps its row, bit for bit.

An object is unchanged when a source that was found has exactly its pixels and its class. All others are
measured from the map as the expert drew them; ``rule`` and ``joined_by`` say ``expert``. A changed object
keeps the number of the source that it shares most pixels with, a new one has a number above all others, so
that numbers in notes stay true. An expert may draw pixels below any threshold; those without data fall away.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.arrays import Columns
from astro_dist.engine.errors import ConfigError
from astro_dist.sky.catalogue import measure, measure_wide
from astro_dist.sky.finder import MapIslands, measure_sources
from astro_dist.sky.islands import Islands, Pixels, count_peaks, find_cuts, in_beams, join_islands
from astro_dist.sky.labels import Labels
from astro_dist.sky.maps import SkyMap
from astro_dist.sky.mesh import Mesh
from astro_dist.sky.windows import Window

EXPERT = "expert"
Index = NDArray[np.intp]


@dataclass(frozen=True)
class Changes:
    """How many objects of a map an expert left, changed, added and removed."""

    unchanged: int = 0
    changed: int = 0
    added: int = 0
    removed: int = 0

    def __add__(self, other: "Changes") -> "Changes":
        return Changes(*(a + b for a, b in zip(vars(self).values(), vars(other).values(), strict=True)))


def apply_edits(
    found: MapIslands, labels: Labels, sky_map: SkyMap, seed: float, merge: float
) -> tuple[MapIslands, Changes]:
    """Return the islands and sources of a map as an expert left them.

    Parameters
    ----------
    labels
        All objects of the map, on its pixels; a source that is not among them was removed.
    seed, merge
        The snr of a peak and of the pixels of the islands that were found.

    Raises
    ------
    ConfigError
        An object lies where there are no data, or its pixels sum to no flux.
    """
    same, heirs = _compare(found, labels)
    new = np.flatnonzero(~np.isin(np.arange(len(labels.classes)), list(same)))
    kept = np.isin(found.sources["source"], list(same.values()))
    changes = Changes(len(same), len(heirs), len(new) - len(heirs), int((~kept).sum()) - len(heirs))
    if not len(new) and kept.all():
        return found, changes
    columns = _choose(found.columns, np.isin(found.columns["source"], found.sources["source"][kept]))
    islands = found.islands[np.isin(found.columns["source"], columns["source"])]
    sources = _choose(found.sources, kept)
    if len(new):
        drawn, added, own = _draw(found, labels, new, heirs, sky_map, (seed, merge))
        joined = {name: _append(values, added[name]) for name, values in columns.items()}
        order = np.argsort(joined["island"])
        columns = _choose(joined, order)
        islands = _reordered([islands, drawn], order)
        together = {name: _append(values, own[name]) for name, values in sources.items()}
        sources = _choose(together, np.argsort(together["source"]))
    mesh = found.mesh
    wide = {} if mesh.wide is None else measure_wide(mesh, mesh.wide, sky_map, columns)
    return MapIslands(mesh, islands, columns, sources, wide), changes


def _compare(found: MapIslands, labels: Labels) -> tuple[dict[int, int], dict[int, int]]:
    """Return the source that each unchanged object is, and the source whose number a changed one keeps."""
    width = labels.shape[1]
    pixels, numbers = found.islands.pixels, found.columns["source"][found.islands.owner]
    ours, theirs = (part.y.astype(np.int64) * width + part.x for part in (pixels, labels))
    _, first, second = np.intersect1d(ours, theirs, assume_unique=True, return_indices=True)
    pairs, count = np.unique(
        np.stack([labels.owner[second], numbers[first]]).astype(np.int64), axis=1, return_counts=True
    )
    owner, source = pairs
    row = np.searchsorted(found.sources["source"], source)
    whole = (count == labels.sizes[owner]) & (count == found.sources["n_pix"][row])
    alike = whole & (labels.classes[owner] == found.sources["class"][row])
    same = dict(zip(owner[alike].tolist(), source[alike].tolist(), strict=True))
    heirs: dict[int, int] = {}
    taken = set(same.values())
    # From the largest common part on; of equal ones the first object.
    for place in np.argsort(-count, kind="stable").tolist():
        one, number = int(owner[place]), int(source[place])
        if one not in same and one not in heirs and number not in taken:
            heirs[one] = number
            taken.add(number)
    return same, heirs


def _draw(
    found: MapIslands,
    labels: Labels,
    new: Index,
    heirs: dict[int, int],
    sky_map: SkyMap,
    thresholds: tuple[float, float],
) -> tuple[Islands, Columns, Columns]:
    """Return the islands of an expert's objects, their catalogue, and that of the objects as sources."""
    seed, merge = thresholds
    parts, island, source, kinds = [], list[int](), list[int](), dict[int, int]()
    last = int(found.columns["island"].max(initial=0))
    for owner, pixels in _pixels_of(labels, new, sky_map, found.mesh):
        pieces = join_islands(pixels, -np.inf, 0)
        fresh = list(range(last + 1, last + 1 + len(pieces)))
        # The first piece has the object's own number, as the first island of a source has.
        numbers = [heirs[owner], *fresh[:-1]] if owner in heirs else fresh
        last = max(last, *numbers)
        parts.append(pieces)
        island += numbers
        source += [numbers[0]] * len(numbers)
        kinds[numbers[0]] = int(labels.classes[owner])
    islands = _reordered(parts, np.arange(len(island)))
    classes = np.array([kinds[number] for number in source], np.uint8)
    columns = measure(islands, classes, found.mesh, sky_map, merge)
    points = in_beams(islands.pixels.y, islands.pixels.x, sky_map.beam, sky_map.pixel)
    several = np.bincount(source)[source] > 1
    columns |= {
        "island": np.array(island, np.int32),
        "class": classes,
        "rule": np.full(len(island), EXPERT),
        "n_peaks": count_peaks(islands, seed, points),
        "source": np.array(source, np.int32),
        "joined_by": np.where(several, EXPERT, ""),
        "flags": islands.cut,
    }
    sources = measure_sources(islands, columns, found.mesh, sky_map, merge)
    kind = np.array([kinds[number] for number in sources["source"].tolist()], np.uint8)
    return islands, columns, sources | {"class": kind, "rule": np.full(len(kind), EXPERT)}


def _pixels_of(labels: Labels, new: Index, sky_map: SkyMap, mesh: Mesh) -> Iterator[tuple[int, Pixels]]:
    """Yield some objects of an expert with their pixels in raster order, with the values a finder has."""
    order = np.argsort(labels.owner, kind="stable")
    starts = np.searchsorted(labels.owner[order], new)
    for owner, start in zip(new.tolist(), starts.tolist(), strict=True):
        own = order[start : start + int(labels.sizes[owner])]
        y, x = labels.y[own], labels.x[own]
        window = Window(int(y.min()), int(y.max()) + 1, int(x.min()), int(x.max()) + 1).grown(1)
        around = window & Window.of_shape(sky_map.shape)
        assert around is not None
        image = sky_map.read(around)
        background, rms = mesh.evaluate_at(y, x)
        value = image[y - around.y0, x - around.x0] - background
        pixels = Pixels(y, x, value, value / rms)
        pixels = pixels[np.isfinite(pixels.snr)]
        total = float(pixels.value_jy_beam.sum(dtype=np.float64))
        if total <= 0:
            what = f"sums to {total:.3g} Jy/beam above the background" if len(pixels) else "has no data"
            raise ConfigError(
                f"annotate.expert: the object of {len(y)} pixels at row {y[0]}, column {x[0]} of "
                f"{sky_map.name} {what}; take it out, or draw it where the map is brighter"
            )
        yield owner, replace(pixels, cut=find_cuts(image, around, sky_map.shape, pixels))


def _choose(table: Columns, rows: NDArray[np.generic]) -> Columns:
    return {name: values[rows] for name, values in table.items()}


def _append(values: NDArray[np.generic], more: NDArray[np.generic]) -> NDArray[np.generic]:
    # The type of a column must not depend on what an expert drew.
    return np.concatenate([values, more.astype(values.dtype)])


def _reordered(parts: list[Islands], order: Index) -> Islands:
    """Return the islands of several sets as one, in a given order."""
    sizes = np.concatenate([part.sizes for part in parts])
    before = np.cumsum(sizes) - sizes
    sizes, before = sizes[order], before[order]
    starts = np.cumsum(sizes) - sizes
    index = np.repeat(before - starts, sizes) + np.arange(int(sizes.sum()))
    pixels = Pixels.join([part.pixels for part in parts])[index]
    return Islands(pixels, starts, np.concatenate([part.is_peak for part in parts])[index])
