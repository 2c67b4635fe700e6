"""The library of a field: the pixels of every object that may be placed, in files that the bands read.

An object is placed either as its model or as it was drawn; the library holds the one kind of pixels that is
placed. ``shapes.npy`` has the pixels of all objects one after the other (float32): points that sum to 1 of a
model, a shape of unit peak of a drawing. ``pieces.npy`` has for each of them the number of its component.
``objects.parquet`` has a row per object.
"""

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.arrays import Columns
from astro_dist.engine.files import publish_file
from astro_dist.engine.stopping import check_stop
from astro_dist.field.columns import COLUMNS, read_columns_file, write_columns_file
from astro_dist.field.config import AssembleConfig
from astro_dist.field.flux import stretch_shape
from astro_dist.field.object_files import (
    COLUMNS as SHARD_COLUMNS,
)
from astro_dist.field.object_files import (
    MODEL,
    MODEL_PREFIX,
    MOMENT_TYPES,
    PIECES,
    PIXEL_TYPES,
    SHAPE,
    ObjectPixels,
    flat,
    moment_columns,
)
from astro_dist.sky.classes import SourceClass
from astro_dist.sky.fits_tables import Column
from astro_dist.sky.symmetries import apply_symmetry
from astro_dist.sky.tables import read_table_file
from astro_dist.store.reader import StoreReader

OBJECTS_FILE, SHAPES_FILE, PIECES_FILE = "objects.parquet", "shapes.npy", "pieces.npy"
LIBRARY_FILES = (OBJECTS_FILE, SHAPES_FILE, PIECES_FILE)
READ_STAMPS = 64  # stamps in memory at once
ROW, COLUMN = "pos.cartesian.y;instr.det", "pos.cartesian.x;instr.det"
OBJECT_COLUMNS = {name: COLUMNS[name] for name in ("stamp", "instance", "donor_snr")} | {
    "class": Column("", "src.class", "1 spurious, 2 compact, 3 extended"),
    "drawn": Column("", "meta.code", "1: pixels as drawn, with the donor's beam; 0: a model without a beam"),
    "iou": Column("", "stat.value", "intersection over union of the drawing and its mask"),
    "beam_major_arcsec": Column("arcsec", "phys.angSize;instr.beam", "major width of the donor's beam"),
    "beam_minor_arcsec": Column("arcsec", "phys.angSize;instr.beam", "minor width of the donor's beam"),
    "beam_pa_deg": Column("deg", "pos.posAng;instr.beam", "angle of that beam, from +y to -x"),
    "dy_arcsec": Column("arcsec", "phys.angSize;instr.pixel", "pixel of the donor along y"),
    "dx_arcsec": Column("arcsec", "phys.angSize;instr.pixel", "pixel of the donor along x"),
    "residual": Column("", "stat.fit.residual", "largest difference of drawing and model over the peak"),
    "residual_snr": Column("", "stat.fit.residual", "the same over the noise of the donor"),
    "peak_snr": Column("", "stat.snr", "peak of the model through the donor's beam over the donor's noise"),
    "flux_snr": Column("", "stat.snr", "flux of the model over the donor's noise, in beams"),
    "height": Column("pix", "phys.size", "rows of its pixels"),
    "width": Column("pix", "phys.size", "columns of its pixels"),
    "y0": Column("pix", ROW, "row in its stamp of the first of its pixels"),
    "x0": Column("pix", COLUMN, "column in its stamp of the first of its pixels"),
    "core_y": Column("pix", ROW, "row in its stamp of its brightest point"),
    "core_x": Column("pix", COLUMN, "column in its stamp of its brightest point"),
    "spread_yy": Column("pix2", "stat.variance;pos.cartesian.y", "widening of a point along y"),
    "spread_yx": Column("pix2", "stat.covariance;pos.cartesian", "mixed widening of a point"),
    "spread_xx": Column("pix2", "stat.variance;pos.cartesian.x", "widening of a point along x"),
    "sum": Column("", "phot.flux", "sum of its pixels"),
    "y": Column("pix", ROW, "row of the centroid, from the first of its pixels"),
    "x": Column("pix", COLUMN, "column of the centroid, from the first of its pixels"),
    "yy": Column("pix2", "stat.variance;pos.cartesian.y", "second moment of its pixels along y"),
    "xx": Column("pix2", "stat.variance;pos.cartesian.x", "second moment of its pixels along x"),
    "yx": Column("pix2", "stat.covariance;pos.cartesian", "mixed second moment of its pixels"),
    "peak": Column("", "phot.flux;stat.max", "brightest of its pixels"),
    "peak_y": Column("pix", ROW, "row of that pixel, from the first of its pixels"),
    "peak_x": Column("pix", COLUMN, "column of that pixel, from the first of its pixels"),
    "n_pix": Column("pix", "phys.area", "pixels other than 0"),
    "n_components": COLUMNS["n_components"],
    "offset": Column("", "meta.id", "place of its first pixel in shapes.npy and pieces.npy"),
}
"""Every column of ``objects.parquet``."""
Pieces = NDArray[np.uint8]


class Library:
    """The library in a folder, memory-mapped: a band reads only the objects that reach into it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # `asarray` drops the class memmap, because each slice of a memmap runs Python code of numpy.
        self._pixels, self._pieces = (
            np.asarray(np.load(folder / name, mmap_mode="r")) for name in (SHAPES_FILE, PIECES_FILE)
        )
        places = read_columns_file(folder / OBJECTS_FILE, ("offset", "height", "width"))
        self._offset, self._height, self._width = places.values()

    @cached_property
    def table(self) -> Columns:
        """A row per object, with the columns `OBJECT_COLUMNS`."""
        return read_columns_file(self.folder / OBJECTS_FILE)

    def __len__(self) -> int:
        return len(self._offset)

    def pixels(self, number: int, turn: int = 0) -> ObjectPixels:
        """Return the pixels of an object (h, w), turned and flipped; not to be written to."""
        return self._cut(self._pixels, number, turn)

    def pieces(self, number: int, turn: int = 0) -> Pieces:
        """Return the component of each pixel, counted from 1 in the order of their fluxes, shape (h, w)."""
        return self._cut(self._pieces, number, turn)

    def _cut(self, flattened: NDArray[Any], number: int, turn: int) -> NDArray[Any]:
        height, width = self._height[number], self._width[number]
        first = self._offset[number]
        pixels = flattened[first : first + height * width].reshape(height, width)
        return apply_symmetry(pixels, turn) if turn else pixels


def build_library(
    folder: Path, parts: Sequence[Path], config: AssembleConfig, stamps: StoreReader | None = None
) -> int:
    """Gather the objects of all shards into a library, and return their number.

    Parameters
    ----------
    parts
        The files of `write_objects`, in the order of the shards.
    config
        Says which objects are placed as drawn, and whether spurious ones are.
    stamps
        The store of stamps for mode ``radiff_stretched``: the library then holds the stretched pixels of each
        object's own mask instead of its shape.
    """
    table, lists = _gather(parts)
    if not config.spurious:
        table, lists = _keep(table, lists, table["class"] != SourceClass.SPURIOUS)
    drawn = config.as_drawn(table["class"])
    images, pieces = lists[SHAPE], _pieces_of(table, lists[PIECES], drawn)
    if stamps is not None:
        images = list(_stretched_shapes(stamps, table))
        # Other pixels, so other moments: the boxes stay, the columns of moments are replaced.
        table |= moment_columns(images)
    images = [
        shape if kind else model for kind, shape, model in zip(drawn, images, lists[MODEL], strict=True)
    ]
    table = _chosen(table, drawn)
    images = [image.reshape(size) for image, size in zip(images, _sizes(table), strict=True)]
    pieces = [_numbered(owner, image) for owner, image in zip(pieces, images, strict=True)]
    areas = table["height"].astype(np.int64) * table["width"]
    table |= {
        "drawn": drawn.astype(np.uint8),
        "n_components": np.array([int(owner.max()) for owner in pieces], np.int32),
        "offset": np.cumsum(areas) - areas,
    }
    for name, arrays, kind in ((SHAPES_FILE, images, "f4"), (PIECES_FILE, pieces, "u1")):
        # An open handle, because given a path np.save would append .npy to the hidden name.
        with publish_file(folder / name) as hidden, hidden.open("wb") as handle:
            np.save(handle, flat(arrays, kind))
    write_columns_file(folder / OBJECTS_FILE, {n: table[n] for n in OBJECT_COLUMNS}, OBJECT_COLUMNS)
    return len(images)


Lists = dict[str, list[NDArray[Any]]]


def _gather(parts: Sequence[Path]) -> tuple[Columns, Lists]:
    ragged = (SHAPE, MODEL, PIECES)
    tables = [read_table_file(path, (*SHARD_COLUMNS, *ragged)) for path in parts]
    table = {name: np.concatenate([part[name].to_numpy() for part in tables]) for name in SHARD_COLUMNS}
    lists: Lists = {name: [] for name in ragged}
    for name in ragged:
        for chunk in (chunk for part in tables for chunk in part[name].chunks):
            values, offsets = chunk.values.to_numpy(), chunk.offsets.to_numpy()
            lists[name] += np.split(values, offsets[1:-1]) if len(chunk) else []
    return table, lists


def _keep(table: Columns, lists: Lists, kept: NDArray[np.bool_]) -> tuple[Columns, Lists]:
    chosen = np.flatnonzero(kept).tolist()
    some = {name: [arrays[i] for i in chosen] for name, arrays in lists.items()}
    return {name: values[kept] for name, values in table.items()}, some


def _chosen(table: Columns, drawn: NDArray[np.bool_]) -> Columns:
    """Return the table with the columns of the pixels that are placed, without the prefix of a model's."""
    names = [*PIXEL_TYPES, *MOMENT_TYPES]
    both = {name: np.where(drawn, table[name], table[MODEL_PREFIX + name]) for name in names}
    return {name: values for name, values in table.items() if not name.startswith(MODEL_PREFIX)} | both


def _sizes(table: Columns) -> list[tuple[int, int]]:
    return list(zip(table["height"].tolist(), table["width"].tolist(), strict=True))


def _pieces_of(table: Columns, pieces: list[Pieces], drawn: NDArray[np.bool_]) -> list[Pieces]:
    """Return the nearest piece of the mask for each pixel that is placed, shape (h, w)."""
    found = []
    for row, (owner, as_drawn) in enumerate(zip(pieces, drawn.tolist(), strict=True)):
        prefix = "" if as_drawn else MODEL_PREFIX
        height, width = int(table[prefix + "height"][row]), int(table[prefix + "width"][row])
        if not owner.size:
            found.append(np.ones((height, width), np.uint8))
            continue
        box = owner.reshape(int(table["height"][row]), int(table["width"][row]))
        # Both grids are pixels of the stamp; a point beyond the box belongs to the piece at its border.
        lines = [
            np.clip(np.arange(n) + round(float(table[prefix + first][row] - table[first][row])), 0, m - 1)
            for n, m, first in ((height, box.shape[0], "y0"), (width, box.shape[1], "x0"))
        ]
        found.append(box[np.ix_(*lines)])
    return found


def _numbered(owner: Pieces, image: ObjectPixels) -> Pieces:
    """Return the pieces numbered from 1 in the order of their fluxes, without those that have no pixel."""
    numbers, inverse = np.unique(owner, return_inverse=True)
    flux = np.bincount(inverse.ravel(), image.ravel().astype(np.float64))
    # Stable: of equal ones the first piece in raster order stays first.
    order = np.argsort(-flux, kind="stable")
    rank = np.empty(len(numbers), np.uint8)
    rank[order] = np.arange(1, len(numbers) + 1)
    return rank[inverse].reshape(image.shape)


def _stretched_shapes(stamps: StoreReader, table: Columns) -> Iterator[ObjectPixels]:
    """Yield each object's stretched pixels in its box, 0 outside its own mask."""
    rms = stamps.columns["rms_jy_beam"]
    boxes = np.stack([table[name] for name in ("y0", "x0", "height", "width")], axis=1).astype(np.int64)
    for start in range(0, len(boxes), READ_STAMPS):
        check_stop()
        rows = range(start, min(start + READ_STAMPS, len(boxes)))
        numbers = table["stamp"][rows.start : rows.stop].tolist()
        images, instances = (stamps.read(name, numbers) for name in ("image", "instances"))
        for row, image, numbered in zip(rows, images, instances, strict=True):
            y0, x0, height, width = boxes[row].tolist()
            box = (slice(y0, y0 + height), slice(x0, x0 + width))
            inside = numbered[box] == table["instance"][row]
            yield stretch_shape(image[box], inside, float(rms[table["stamp"][row]]))
