"""The choice of the windows to cut out of the maps: round sources or the rows of a catalogue, or as tiles.

The choice reads annotations, and pixels only where several maps hold the window of a catalogue's row, so that
a plan costs little.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.arrays import Integers
from astro_dist.engine.errors import ConfigError
from astro_dist.engine.work import Run
from astro_dist.sky.annotations import Annotations
from astro_dist.sky.classes import SourceClass
from astro_dist.sky.maps import SkyMap
from astro_dist.sky.windows import Window, tile_map
from astro_dist.store.centring import centre_windows, empty_windows, find_cut
from astro_dist.store.config import CutoutsConfig
from astro_dist.store.rows import RowWindows, place_catalogue


@dataclass(frozen=True, eq=False)
class ChosenWindows:
    """All windows of a run, sorted by map, row and column.

    Attributes
    ----------
    map_index, y0, x0
        The map of each window and its first row and column, shape (n,).
    size_pix
        Side of the windows.
    cuts_extended
        Whether each window cuts an extended source, shape (n,).
    oversized
        ``(map index, source)`` of each source larger than a window; its number is that of its first island.
    row
        Row of the catalogue that each window is centred on, shape (n,); -1 for a window of none.
    rows
        All rows of the catalogue, and why some have no window; None in other modes.
    """

    map_index: Integers
    y0: Integers
    x0: Integers
    size_pix: int
    cuts_extended: NDArray[np.bool_]
    oversized: list[tuple[int, int]]
    row: Integers
    rows: RowWindows | None = None

    def __len__(self) -> int:
        """Return the number of windows."""
        return len(self.y0)

    def window(self, i: int) -> tuple[int, Window]:
        """Return the map and the window of one cutout."""
        y0, x0 = int(self.y0[i]), int(self.x0[i])
        return int(self.map_index[i]), Window(y0, y0 + self.size_pix, x0, x0 + self.size_pix)


def choose_windows(run: Run, maps: Sequence[SkyMap], annotations: Annotations) -> ChosenWindows:
    """Choose all windows of a run.

    Raises
    ------
    ConfigError
        A map is smaller than a window, a beam is wider than a third of one, or there is no window.
    """
    config = run.section(CutoutsConfig)
    placed = place_catalogue(config, maps, look=True) if config.mode == "catalogue" else None
    check_maps(maps, config.size_pix)
    chosen = [np.zeros((0, 5), np.int64)]
    oversized: list[tuple[int, int]] = []
    for i, sky_map in enumerate(maps):
        sources = _sources_of(annotations, i)
        if sky_map.background_only:
            rows, large = _tiles(config.size_pix, sky_map, config.size_pix, sources)
        elif placed is not None:
            rows, large = _on_rows(config, placed, i, sources)
        elif config.mode == "tiles":
            rows, large = _tiles(config.size_pix, sky_map, config.stride_pix or config.size_pix, sources)
        else:
            rows, large = _centred(run, config, sky_map, sources)
        # By row, since `read_windows` reads each row of a map once only where first rows ascend.
        chosen.append(np.insert(rows[np.lexsort(rows[:, [3, 1, 0]].T)], 0, i, axis=1))
        oversized += [(i, int(number)) for number in large]
    table = np.concatenate(chosen)
    searched = [i for i, sky_map in enumerate(maps) if not sky_map.background_only]
    if not np.isin(table[:, 0], searched).any():
        raise ConfigError(
            "there is no compact or extended island that fits a window; lower annotate's thresholds, "
            "give maps with sources, or set cutouts.mode to tiles"
        )
    map_index, y0, x0, cuts, row = table.T
    return ChosenWindows(map_index, y0, x0, config.size_pix, cuts != 0, oversized, row, placed)


MAX_DIFFERENCE = 0.2
"""Largest relative difference of the beam's width in pixels between a background and maps of its survey."""
SIDES = ("y0", "y1", "x0", "x1")


@dataclass(frozen=True, eq=False)
class _Sources:
    """The compact and extended sources of a map.

    Attributes
    ----------
    number, box, is_extended
        Number, box (n, 4) and whether it is extended, of each source.
    parts
        (m, 8): box of each island of the extended sources, and box of its source.
    """

    number: Integers
    box: Integers
    is_extended: NDArray[np.bool_]
    parts: Integers

    def with_margin(self, shape: Sequence[int], margin: int) -> "_Sources":
        """Return the sources with all boxes grown, but not beyond the map."""
        grow, most = np.array([-margin, margin] * 2), np.repeat(shape, 2)
        box = np.clip(self.box + grow, 0, most)
        parts = np.clip(self.parts + np.tile(grow, 2), 0, np.tile(most, 2))
        return replace(self, box=box, parts=parts)


def _sources_of(annotations: Annotations, map_index: int) -> _Sources:
    sources, islands = (
        {name: table[name][annotations.here(table, map_index)] for name in (*SIDES, "class", "source")}
        for table in (annotations.sources, annotations.islands)
    )
    kept = sources["class"] >= SourceClass.COMPACT
    boxes, own = (np.column_stack([t[name].astype(np.int64) for name in SIDES]) for t in (sources, islands))
    row = np.searchsorted(sources["source"], islands["source"])
    extended = sources["class"] == SourceClass.EXTENDED
    parts = np.column_stack([own, boxes[row]])[extended[row]]
    return _Sources(sources["source"][kept], boxes[kept], extended[kept], parts)


def _beam_pix(sky_map: SkyMap) -> float:
    # The longest axis over the finer side: an upper limit whatever the beam's angle.
    return sky_map.beam.major_arcsec / min(sky_map.pixel.dy_arcsec, sky_map.pixel.dx_arcsec)


def check_map(sky_map: SkyMap, size_pix: int) -> None:
    """Refuse a map that is smaller than a window, or whose beam is wider than a third of one."""
    ny, nx = sky_map.shape
    if min(ny, nx) < size_pix:
        raise ConfigError(
            f"the map {sky_map.name!r} has {ny} x {nx} pixels, fewer than a window of "
            f"{size_pix} x {size_pix}; take it out of maps.files or lower cutouts.size_pix"
        )
    if (beam_pix := _beam_pix(sky_map)) > size_pix / 3:
        raise ConfigError(
            f"the beam of the map {sky_map.name!r} is {beam_pix:.1f} pixels wide, more than a third of a "
            f"window of {size_pix}; raise cutouts.size_pix or take the map out of maps.files"
        )


def check_maps(maps: Sequence[SkyMap], size_pix: int) -> None:
    """Refuse a map that `check_map` refuses, or one of backgrounds whose beam is none of its survey's."""
    for sky_map in maps:
        check_map(sky_map, size_pix)
        own = [one for one in maps if one.survey == sky_map.survey and not one.background_only]
        widths = [one.beam.fwhm_pix(one.pixel) for one in own]
        width = sky_map.beam.fwhm_pix(sky_map.pixel)
        if not any(abs(width - one) <= MAX_DIFFERENCE * one for one in widths):
            raise ConfigError(
                f"the map {sky_map.name!r} has a beam of {width:.2f} pixels and cannot be a background of "
                f"{sky_map.survey}, whose maps have {min(widths):.2f} to {max(widths):.2f}; take it out"
            )


Rows = tuple[Integers, Integers]


def _tiles(size_pix: int, sky_map: SkyMap, stride_pix: int, sources: _Sources) -> Rows:
    """Return rows (y0, x0, cuts, -1) of the tiles of a map, and the numbers of oversized sources."""
    tiles = tile_map(sky_map.shape, size_pix, stride_pix)
    y0, x0 = np.array([(tile.y0, tile.x0) for tile in tiles], np.int64).T
    return _marked(y0, x0, np.full(len(tiles), -1), size_pix, sources)


def _on_rows(config: CutoutsConfig, placed: RowWindows, map_index: int, sources: _Sources) -> Rows:
    """Return rows (y0, x0, cuts, row of the catalogue) of the windows on a map, and oversized sources."""
    own = np.flatnonzero(placed.map_index == map_index)
    own = own[np.argsort(placed.y0[own], kind="stable")]
    return _marked(placed.y0[own], placed.x0[own], own, config.size_pix, sources)


def _marked(y0: Integers, x0: Integers, row: Integers, size_pix: int, sources: _Sources) -> Rows:
    """Return windows, whose first rows ascend, marked where they cut extended sources."""
    box, cut = sources.box, np.zeros(len(y0), np.bool_)
    # Sorted by row, so that only windows near the island's rows are compared with it.
    for one in sources.parts:
        near = slice(*np.searchsorted(y0, [one[0] - size_pix, one[1]]))
        cut[near] |= find_cut(y0[near], x0[near], size_pix, one[None])
    large = np.maximum(box[:, 1] - box[:, 0], box[:, 3] - box[:, 2]) > size_pix
    return np.column_stack([y0, x0, cut, row]), sources.number[large]


def _centred(run: Run, config: CutoutsConfig, sky_map: SkyMap, sources: _Sources) -> Rows:
    """Return rows and oversized sources, as `_tiles`, of windows round sources and of some without any.

    A source counts as whole with a beam's width round it, since its faint rim belongs to the source.
    """
    size_pix, wide = config.size_pix, sources.with_margin(sky_map.shape, math.ceil(_beam_pix(sky_map)))
    # Named by the map and not by its number: a map added to a run moves no window of another.
    rng = run.stream("cutouts", "centre", sky_map.name)
    found = centre_windows(
        sky_map.shape, wide.box, wide.is_extended, size_pix, config.jitter_pix, rng, wide.parts
    )
    rng = run.stream("cutouts", "empty", sky_map.name)
    # `empty_fraction` is a share of all windows, `share` the ratio to those round sources.
    share = config.empty_fraction / (1 - config.empty_fraction)
    # Rounded up or down by chance: rounding to the nearest would give none to maps of few islands.
    count = math.floor(share * len(found.y0) + rng.random())
    empty = empty_windows(sky_map.shape, wide.box, size_pix, count, rng)
    centred = np.column_stack([found.y0, found.x0, found.cuts_extended])
    rows = np.concatenate([centred, np.insert(empty, 2, 0, axis=1)])
    return np.insert(rows, 3, -1, axis=1), sources.number[found.oversized]
