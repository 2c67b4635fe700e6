"""The table of the layout: the object, place, turn and brightness of every placement.

The table is drawn once, from the seed and the library. It holds no measure of pixels: those come from the
bands (`astro_dist.field.measures`), and both together make ``placements.parquet``.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.arrays import Columns
from astro_dist.engine.errors import ConfigError
from astro_dist.engine.stopping import check_stop
from astro_dist.field import layout
from astro_dist.field.background import Background
from astro_dist.field.catalogue import MOST_NAMED
from astro_dist.field.choosing import Surroundings, choose_sources
from astro_dist.field.config import AssembleConfig
from astro_dist.field.footprints import of_point, of_points, reach_of
from astro_dist.field.library import Library
from astro_dist.field.patches import SPREAD, Patches, turn_of, turned_boxes
from astro_dist.field.sources import Integers, Sources, Stream, choose_spurious
from astro_dist.sky.maps import SkyMap
from astro_dist.sky.symmetries import symmetries
from astro_dist.sky.user_files import read_plane


def draw_layout(
    field: SkyMap, background: Background, library: Library, config: AssembleConfig, stream: Stream
) -> tuple[Columns, int]:
    """Draw all placements of a field.

    Parameters
    ----------
    field
        The map of the field, for its shape, WCS, beam and pixel.
    stream
        The run's ``(*key) -> Generator``.

    Returns
    -------
    table
        One row per placement in the order of placing, sources first and spurious ones after them, each
        group from the largest footprint down, with the columns of `astro_dist.field.columns.LAYOUT_COLUMNS`.
        ``id`` counts from 1, in no order.
    covered
        Sum of the pixels of all footprints.

    Raises
    ------
    ConfigError
        When the library holds too few objects, the catalogue too few rows, or the field too little room.
    """
    drawn = _Draw(field, background, library, config, stream)
    n = len(drawn.sources)
    table = drawn.place(n)
    if table is None:
        _refuse(drawn, n)
    return table, drawn.covered


RMS_SAMPLES = 33


class _Draw:
    """The random draws of a field, as functions of its number of sources.

    Every method draws from streams of its own, so that it returns the same values whenever it is called.
    """

    def __init__(
        self, field: SkyMap, background: Background, library: Library, config: AssembleConfig, stream: Stream
    ) -> None:
        self.field, self.background, self.library = field, background, library
        self.config, self.stream = config, stream
        self.sources = choose_sources(field, library, config, self._surroundings, stream)
        self.turns = np.array(symmetries(field.beam, field.pixel) if config.turns else (0,))
        self.density = read_plane(Path(config.density)) if config.density else None
        self.placed = self.covered = 0

    def _surroundings(self) -> Surroundings:
        """Return the median of the local noise on a grid of pixels, and the open part of the field."""
        ground = np.zeros(self.field.shape, np.uint8)
        self.background.close(ground)
        closed = np.count_nonzero(ground == layout.CLOSED) / ground.size
        y, x = (np.linspace(0, n - 1, RMS_SAMPLES).astype(np.int64) for n in self.field.shape)
        rows, columns = np.meshgrid(y, x, indexing="ij")
        rms = float(np.nanmedian(self.background.rms_at(rows.ravel(), columns.ravel())))
        return Surroundings(rms, 1 - closed)

    def place(self, n: int) -> Columns | None:
        """Return the table of the first ``n`` sources, or None when one has no place.

        Sets `placed` and `covered`: the number of placements that found a place, and of pixels they cover.
        """
        check_stop()
        table, places = self._rows(n)
        patches = Patches(table, self.library, self.field, self.config.anchor)
        # New for every call, because `most_that_fit` places other numbers of objects on the same field.
        ground = np.zeros(self.field.shape, np.uint8)
        self.background.close(ground)
        anchors: list[tuple[int, int]] = []
        self.covered = 0
        # A generator: footprints are made one at a time, not all at once.
        footprints = self._footprints(table, patches, anchors)
        candidates = self._candidates(n, places)
        first = layout.place(footprints, ground, candidates, self.config.max_overlap)
        self.placed = len(first)
        if len(first) < len(anchors) or not len(first):
            return None
        self._settle(table, patches, places, first + np.array(anchors))
        return table

    def rows_on_blanks(self) -> list[int]:
        """Return the catalogue rows, from 0, that reach onto blank pixels where all else is free."""
        n = len(self.sources)
        table, places = self._rows(n)
        patches = Patches(table, self.library, self.field, self.config.anchor)
        ground = np.zeros(self.field.shape, np.uint8)
        self.background.close(ground)
        candidates, rows = self._candidates(n, places), []
        for number, footprint in enumerate(self._footprints(table, patches, [])):
            # Free places leave no trace on the ground, so that each can be tried by itself.
            spots = candidates(number, footprint)
            found = layout.place(iter([footprint]), ground, lambda *_, spots=spots: spots, 1)
            if table["catalogue_row"][number] >= 0 and not len(found):
                rows.append(int(table["catalogue_row"][number]))
        return sorted(rows)

    def _rows(self, n: int) -> tuple[Columns, NDArray[np.float64]]:
        """Return the table without places, in the order of placing, and given places (NaN where none)."""
        real = self.sources
        some = Sources(**{name: values[:n] for name, values in vars(real).items()})
        groups, first = [], 0
        for group in (some, choose_spurious(self.library, self.config, self.stream, some)):
            slots = np.arange(len(group)) + first
            # A stable sort, so that objects of one size keep their drawn order.
            order = np.argsort(-self._size_of(group), kind="stable")
            groups.append(self._columns(group, order, slots[order]))
            first += len(group)
        table = {name: np.concatenate([g[name] for g in groups]) for name in groups[0]}
        table["id"] = self._numbers(n, first)[table.pop("slot")]
        places = np.stack([table.pop("given_y"), table.pop("given_x")], axis=1)
        return table, places

    def _numbers(self, n: int, count: int) -> NDArray[np.int32]:
        """Return the id of each slot, 1 to n for sources in random order, so that it says nothing."""
        sources = self.stream("assemble", "ids").permutation(n)
        return np.concatenate([sources, np.arange(n, count)]).astype(np.int32) + np.int32(1)

    def _size_of(self, group: Sources) -> NDArray[np.float64]:
        """Return the pixels of each object, 0 for a source that is none: these come last."""
        if not len(self.library):
            return np.zeros(len(group))
        sizes = self.library.table["n_pix"][np.maximum(group.objects, 0)] * group.size_factor**2
        return np.where(group.objects < 0, group.spread_pix.sum(axis=1) / 1e6, sizes)

    def _columns(self, group: Sources, order: Integers, slots: Integers) -> Columns:
        objects = group.objects[order]
        known = objects >= 0
        columns: Columns = {"object": objects.astype(np.int32), "class": group.kinds[order]}
        for name, unknown in (("stamp", -1), ("instance", 0), ("donor_snr", np.nan), ("drawn", 0)):
            values = self.library.table[name]
            columns[name] = np.full(len(objects), unknown, values.dtype)
            columns[name][known] = values[objects[known]]
        turn, flip = self._turns(columns["drawn"] != 0, known, slots)
        given = np.isfinite(group.turn_deg[order])
        spread = {name: group.spread_pix[order, i] for i, name in enumerate(SPREAD)}
        return columns | {
            "turn_deg": np.where(given, group.turn_deg[order], turn),
            "flip": np.where(given, 0, flip).astype(np.uint8),
            "size_factor": group.size_factor[order],
            **spread,
            "k": group.k[order],
            "flux_given_jy": group.flux_jy[order],
            "spectral_index": group.spectral_index[order].astype(np.float32),
            "catalogue_row": group.rows[order],
            "given_y": group.places[order, 0],
            "given_x": group.places[order, 1],
            "slot": slots,
        }

    def _turns(
        self, drawn: NDArray[np.bool_], known: NDArray[np.bool_], slots: Integers
    ) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
        """Return turn and flip: any of a model, one that keeps beam and pixel of a drawing."""
        if not len(slots):
            return np.zeros(0), np.zeros(0, np.uint8)
        # Two uniform numbers per slot: `integers` may reject draws, which would shift those of later slots.
        share, side = self.stream("assemble", "turns").random((int(slots.max()) + 1, 2))[slots].T
        quarters, mirrored = turn_of(self.turns[(share * len(self.turns)).astype(np.int64)])
        free = known & self.config.turns
        turn = np.where(drawn, quarters, np.where(free, 360 * share, 0))
        return turn, np.where(drawn, mirrored, free & (side < 0.5)).astype(np.uint8)

    def _footprints(
        self, table: Columns, patches: Patches, anchors: list[tuple[int, int]]
    ) -> Iterator[layout.Footprint]:
        """Yield the footprint of every placement, and note where its anchor lies in it."""
        spots, *_ = self._drawn_places(table)
        wide = patches.widened()
        for row in range(len(table["id"])):
            if table["drawn"][row]:
                spot = np.floor(spots[row] + 0.5).astype(int).tolist()
                footprint = layout.Footprint.of(patches.drawing(row), (spot[0], spot[1]))
            elif patches.own[row]:
                footprint = of_point(reach_of(wide[row]))
            else:
                footprint = of_points(*patches.points(row), reach_of(wide[row]), patches.core(row))
            self.covered += int(np.count_nonzero(footprint.pixels))
            anchors.append(footprint.anchor)
            yield footprint

    def _drawn_places(self, table: Columns) -> tuple[NDArray[np.float64], Integers, Integers]:
        """Return anchor, height and width of drawings in their boxes, turned; zeros for models."""
        n, drawn = len(table["id"]), np.flatnonzero(table["drawn"])
        spots, height, width = np.zeros((n, 2)), np.zeros(n, np.int64), np.zeros(n, np.int64)
        objects = table["object"][drawn]
        unit = {name: values[objects] for name, values in self.library.table.items()}
        boxes = turned_boxes(unit, symmetries_of(table, drawn))
        y, x = ("peak_y", "peak_x") if self.config.anchor == "core" else ("y", "x")
        spots[drawn] = np.stack([boxes[y], boxes[x]], axis=1)
        height[drawn], width[drawn] = boxes["height"], boxes["width"]
        return spots, height, width

    def _candidates(self, n: int, places: NDArray[np.float64]) -> layout.Candidates:
        rng, shape = self.stream("assemble", "places"), self.field.shape
        beyond = self.config.max_overlap == 1
        if self.density is not None:
            anywhere = layout.by_density(shape, self.density, rng, beyond=beyond)
        else:
            anywhere = layout.uniform(shape, rng, beyond=beyond)
        known = np.asarray(np.isfinite(places).all(axis=1))
        spots = np.floor(np.nan_to_num(places) + 0.5).astype(np.int64)
        given = layout.fixed(shape, spots, beyond=beyond)
        return lambda number, footprint: (given if known[number] else anywhere)(number, footprint)

    def _settle(
        self, table: Columns, patches: Patches, places: NDArray[np.float64], cells: layout.Places
    ) -> None:
        """Add the exact anchors, the boxes and the local noise, given the pixels of the anchors."""
        n, drawn = len(table["id"]), table["drawn"].astype(bool)
        # A drawing lies on whole pixels; a model anywhere in the pixel that was found for it.
        within = self.stream("assemble", "subpixel").random((n, 2)) - 0.5
        exact = np.where(np.isfinite(places), places, cells + within)
        spots, height, width = self._drawn_places(table)
        first = cells - np.floor(spots + 0.5).astype(np.int64)
        exact = np.where(drawn[:, None], first + spots, exact)
        table["y_anchor_pix"], table["x_anchor_pix"] = exact.T
        boxes = patches.boxes()
        boxes[drawn] = np.stack([*first.T, height, width], axis=1)[drawn]
        table |= dict(zip(("y0", "x0", "height", "width"), boxes.T.astype(np.int32), strict=True))
        inside = np.clip(cells, 0, np.array(self.field.shape) - 1)
        table["sigma_jy_beam"] = self.background.rms_at(*inside.T)


def symmetries_of(table: Columns, rows: Integers) -> Integers:
    """Return the symmetries of a square that the turns of drawings are."""
    quarter = np.rint(table["turn_deg"][rows] / 90).astype(np.int64)
    return np.where(table["flip"][rows] != 0, 4 + quarter % 4, -quarter % 4)


def _refuse(drawn: _Draw, n: int) -> NoReturn:
    """Raise `ConfigError` with the catalogue row that has no room, or the number of objects that fit."""
    config = drawn.config
    table, places = drawn._rows(n)
    if config.max_overlap == 1 and (rows := drawn.rows_on_blanks()):
        named = ", ".join(str(row + 1) for row in rows[:MOST_NAMED])
        raise ConfigError(
            f"{config.flux.catalogue}: {len(rows)} of {n} sources reach onto blank pixels: row {named}"
            f"{', ...' if len(rows) > MOST_NAMED else ''}; leave these rows out"
        )
    if drawn.placed < n and np.isfinite(places[drawn.placed]).all():
        raise ConfigError(
            f"{config.flux.catalogue}: the object of row {table['catalogue_row'][drawn.placed] + 1} overlaps "
            "one placed before it, or reaches beyond the field or onto blank pixels; raise "
            "assemble.max_overlap or leave the row out"
        )
    # `m > 0`: no object at all has no table.
    fit = layout.most_that_fit(lambda m: m > 0 and drawn.place(m) is not None, n)
    ny, nx = drawn.field.shape
    raise ConfigError(
        f"assemble.objects: {n} do not fit in the {ny} x {nx} field without more overlap than "
        f"assemble.max_overlap {config.max_overlap:g}; {fit} do: lower assemble.objects to {fit}, "
        "or enlarge assemble.shape"
    )
