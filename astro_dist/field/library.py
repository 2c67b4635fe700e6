"""The library of shapes: every accepted object of the stamps, in files that the bands of a field read.

A task that draws a shard of stamps writes its accepted objects beside that shard, one file per shard;
`assemble` gathers them. ``shapes.npy`` holds the pixels of all shapes one after the other (float32).
``objects.parquet`` has a row per object: the offset of its pixels, its class and source, and its moments. The
pixels that a placement adds are its shape, turned and multiplied by its amplitude.
"""

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from astro_dist.engine.arrays import Columns
from astro_dist.engine.files import publish_file, sha256_file
from astro_dist.engine.stopping import check_stop
from astro_dist.field.flux import stretch_shape
from astro_dist.field.objects import SkyObject
from astro_dist.field.truth import COLUMNS, moments_of, read_columns_file, write_columns_file
from astro_dist.sky.classes import SourceClass
from astro_dist.sky.fits_tables import Column
from astro_dist.sky.symmetries import apply_symmetry
from astro_dist.sky.tables import read_table_file, write_table_file
from astro_dist.store.reader import StoreReader

OBJECTS_FILE, SHAPES_FILE = "objects.parquet", "shapes.npy"
PIXELS = "shape_pixels"
READ_STAMPS = 64  # stamps in memory at once
TYPES = {
    "stamp": "i4",
    "instance": "i4",
    "class": "u1",
    "stamp_y0": "i4",
    "stamp_x0": "i4",
    "height": "i4",
    "width": "i4",
    "donor_snr": "f4",
    "iou": "f4",
}
ROW, COLUMN = "pos.cartesian.y;instr.det", "pos.cartesian.x;instr.det"
OBJECT_COLUMNS = {name: COLUMNS[name] for name in ("stamp", "instance", "height", "width", "donor_snr")} | {
    "class": Column("", "src.class", "1 spurious, 2 compact, 3 extended"),
    "stamp_y0": Column("pix", f"{ROW};stat.min", "first row of the object's box in its stamp"),
    "stamp_x0": Column("pix", f"{COLUMN};stat.min", "first column of the box in the stamp"),
    "iou": Column("", "stat.value", "intersection over union of the object and its mask"),
    "sum": Column("", "phot.flux", "sum of the shape, whose peak is 1"),
    "y": Column("pix", ROW, "row of the centroid in the box, the first is 0"),
    "x": Column("pix", COLUMN, "column of the centroid in the box, the first is 0"),
    "yy": Column("pix2", "stat.variance;pos.cartesian.y", "second moment along y"),
    "xx": Column("pix2", "stat.variance;pos.cartesian.x", "second moment along x"),
    "yx": Column("pix2", "stat.covariance;pos.cartesian", "mixed second moment"),
    "peak": Column("", "phot.flux;stat.max", "brightest pixel of the shape"),
    "peak_y": Column("pix", ROW, "row of the brightest pixel in the box"),
    "peak_x": Column("pix", COLUMN, "column of the brightest pixel in the box"),
    "n_pix": Column("pix", "phys.area", "pixels of the shape other than 0"),
    "offset": Column("", "meta.id", "place of the shape's first pixel in shapes.npy"),
}
"""Every column of ``objects.parquet``."""
MOMENT_TYPES = dict.fromkeys(("sum", "y", "x", "yy", "xx", "yx"), "f8") | {
    "peak": "f4",
    "peak_y": "i4",
    "peak_x": "i4",
    "n_pix": "i4",
}
ObjectPixels = NDArray[np.float32]
"""Pixels of one shape, (h, w), or of many one after the other, (n,)."""


class Library:
    """The library in a folder, memory-mapped: a band reads only the shapes that reach into it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # `asarray` drops the class memmap, because each slice of a memmap runs Python code of numpy.
        self._pixels = np.asarray(np.load(folder / SHAPES_FILE, mmap_mode="r"))
        places = read_columns_file(folder / OBJECTS_FILE, ("offset", "height", "width"))
        self._offset, self._height, self._width = places.values()

    @cached_property
    def table(self) -> Columns:
        """A row per object: the columns of `TYPES`, the moments of `MOMENT_TYPES`, and ``offset``."""
        return read_columns_file(self.folder / OBJECTS_FILE)

    def __len__(self) -> int:
        return len(self._offset)

    def shape(self, number: int, turn: int = 0) -> ObjectPixels:
        """Return the shape of an object (h, w), turned and flipped; not to be written to."""
        height, width = self._height[number], self._width[number]
        first = self._offset[number]
        pixels = self._pixels[first : first + height * width].reshape(height, width)
        return apply_symmetry(pixels, turn) if turn else pixels


def write_objects(path: Path, objects: Sequence[SkyObject]) -> str:
    """Publish objects with their pixels as one parquet file, and return its sha256."""
    rows = [
        (o.stamp, o.instance, int(o.source_class), o.box.y0, o.box.x0, *o.shape.shape, o.snr, o.iou)
        for o in objects
    ]
    # Without rows `zip` yields no columns at all, and an empty shard needs its typed columns too.
    columns = zip(*rows, strict=True) if rows else [()] * len(TYPES)
    table = {n: np.array(v, t) for (n, t), v in zip(TYPES.items(), columns, strict=True)}
    shapes = [o.shape for o in objects]
    table |= _moments(shapes)
    # The offsets of an arrow list are 32-bit; the objects of a shard have far fewer than 2^31 pixels.
    offsets = np.cumsum([0, *(shape.size for shape in shapes)]).astype(np.int32)
    ragged = pa.ListArray.from_arrays(offsets, _flat(shapes))
    # A dictionary of float pixels costs time and saves nothing.
    write_table_file(path, pa.table({**table, PIXELS: ragged}), compression="zstd", use_dictionary=False)
    return sha256_file(path)


def build_library(
    folder: Path, parts: Sequence[Path], *, spurious: bool = False, stretched: StoreReader | None = None
) -> int:
    """Gather the objects of all shards into a library, and return their number.

    Parameters
    ----------
    parts
        The files of `write_objects`, in the order of the shards.
    spurious
        Whether to keep the spurious objects.
    stretched
        The store of stamps for mode ``radiff_stretched``: the library then holds the stretched pixels of each
        object's own mask instead of its unit-peak shape. None for unit-peak shapes.
    """
    table, pixels = _gather(parts)
    if not spurious:
        table, pixels = _keep(table, pixels, table["class"] != SourceClass.SPURIOUS)
    if stretched is not None:
        shapes = list(_stretched_shapes(stretched, table))
        # Other shapes, so other moments: the boxes stay, the columns of moments are replaced.
        table, pixels = table | _moments(shapes), _flat(shapes)
    sizes = _sizes(table)
    # An open handle, because given a path np.save would append .npy to the hidden name.
    with publish_file(folder / SHAPES_FILE) as hidden, hidden.open("wb") as handle:
        np.save(handle, pixels)
    write_columns_file(folder / OBJECTS_FILE, table | {"offset": np.cumsum(sizes) - sizes}, OBJECT_COLUMNS)
    return len(sizes)


def _gather(parts: Sequence[Path]) -> tuple[Columns, ObjectPixels]:
    tables = [read_table_file(path) for path in parts]
    columns = [name for name in tables[0].column_names if name != PIXELS]
    table = {name: np.concatenate([part[name].to_numpy() for part in tables]) for name in columns}
    chunks = [chunk.flatten().to_numpy() for part in tables for chunk in part[PIXELS].chunks]
    return table, np.concatenate(chunks) if chunks else np.zeros(0, np.float32)


def _keep(table: Columns, pixels: ObjectPixels, kept: NDArray[np.bool_]) -> tuple[Columns, ObjectPixels]:
    if kept.all():
        return table, pixels
    inside = np.repeat(kept, _sizes(table))
    return {name: values[kept] for name, values in table.items()}, pixels[inside]


def _sizes(table: Columns) -> NDArray[np.int64]:
    return table["height"].astype(np.int64) * table["width"]


def _moments(shapes: Sequence[ObjectPixels]) -> Columns:
    rows = [moments_of(shape) for shape in shapes]
    return {name: np.array([row[name] for row in rows], kind) for name, kind in MOMENT_TYPES.items()}


def _flat(shapes: Sequence[ObjectPixels]) -> ObjectPixels:
    # The empty array comes first, because numpy refuses to concatenate nothing.
    return np.concatenate([np.zeros(0, np.float32), *(shape.ravel() for shape in shapes)])


def _stretched_shapes(stamps: StoreReader, table: Columns) -> Iterator[ObjectPixels]:
    """Yield each object's stretched pixels in its box, 0 outside its own mask."""
    rms = stamps.columns["rms_jy_beam"]
    boxes = np.stack([table[name] for name in ("stamp_y0", "stamp_x0", "height", "width")], axis=1)
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
