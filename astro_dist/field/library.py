"""The library of shapes: every accepted object of the stamps, as the bands of a field read it.

``shapes.npy`` holds the pixels of all shapes one after the other (float32), ``objects.parquet`` where
each begins and what it is. Turned and multiplied by a placement's amplitude, a shape is what was added.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astro_dist.field.flux import stretch_shape
from astro_dist.field.objects import AcceptConfig, SkyObject, extract_objects
from astro_dist.field.truth import Table, read_parquet, write_parquet
from astro_dist.files import publish_file
from astro_dist.sky.beams import Beam, Pixel, apply_symmetry
from astro_dist.sky.classes import SourceClass
from astro_dist.store.reader import StoreReader
from astro_dist.work import check_stop

OBJECTS_FILE, SHAPES_FILE = "objects.parquet", "shapes.npy"
READ_STAMPS = 64


class Library:
    """The shapes in a folder, memory-mapped."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._pixels = np.asarray(np.load(folder / SHAPES_FILE, mmap_mode="r"))
        places = read_parquet(folder / OBJECTS_FILE, ("offset", "height", "width"))
        self._offset, self._height, self._width = places.values()

    @cached_property
    def table(self) -> Table:
        """Columns ``stamp instance class offset height width n_pix donor_snr iou``, a row per object."""
        return read_parquet(self.folder / OBJECTS_FILE)

    def __len__(self) -> int:
        return len(self._offset)

    def shape(self, number: int, turn: int = 0) -> NDArray[np.float32]:
        """Return the shape of an object (h, w), turned and flipped; not to be written to."""
        height, width = self._height[number], self._width[number]
        first = self._offset[number]
        pixels = self._pixels[first : first + height * width].reshape(height, width)
        return apply_symmetry(pixels, turn) if turn else pixels


def build_library(
    folder: Path,
    stamps: StoreReader,
    pixels: list[Pixel],
    accept: AcceptConfig,
    *,
    stretched: bool = False,
    tell: Callable[[int], None] = lambda done: None,
) -> Counter[str]:
    """Extract the objects of all stamps into a library, and return how many were rejected by reason.

    Parameters
    ----------
    pixels
        Of the map each stamp's donor comes from, in the order of the stamps.
    stretched
        Keep the stretched pixels of the object's own mask instead of the unit-peak shape.
    tell
        Is told the number of stamps done.
    """
    rows: list[tuple[Any, ...]] = []
    shapes: list[NDArray[np.float32]] = []
    rejected: Counter[str] = Counter()
    offset = 0
    for done, (image, rms, found, refused) in enumerate(_read_objects(stamps, pixels, accept), 1):
        tell(done)
        rejected += refused
        for item in found:
            shape = _stretched(item, image, rms) if stretched else item.shape
            shapes.append(shape.astype(np.float32).ravel())
            kind = int(item.source_class)
            n_pix = np.count_nonzero(shape)
            rows.append((item.stamp, item.instance, kind, offset, *shape.shape, n_pix, item.snr, item.iou))
            offset += shape.size
    names = ("stamp", "instance", "class", "offset", "height", "width", "n_pix", "donor_snr", "iou")
    types = ("i4", "i4", "u1", "i8", "i4", "i4", "i4", "f4", "f4")
    columns = zip(*rows, strict=True) if rows else [()] * len(names)
    table: Table = {n: np.array(v, t) for n, t, v in zip(names, types, columns, strict=True)}
    with publish_file(folder / SHAPES_FILE) as hidden, hidden.open("wb") as handle:
        np.save(handle, np.concatenate(shapes) if shapes else np.zeros(0, np.float32))
    write_parquet(folder / OBJECTS_FILE, table)
    return rejected


def choose_classes(accept: AcceptConfig, spurious: bool) -> AcceptConfig:
    """Return the settings of acceptance with spurious objects among the wanted classes, or not."""
    name = SourceClass.SPURIOUS.name.lower()
    sources = tuple(c for c in accept.classes if c != name)
    return accept.model_copy(update={"classes": (*sources, name) if spurious else sources})


def _read_objects(
    stamps: StoreReader, pixels: list[Pixel], accept: AcceptConfig
) -> Iterator[tuple[NDArray[np.float32], float, list[SkyObject], Counter[str]]]:
    columns = [stamps.columns[f"beam_{name}"].tolist() for name in ("major_arcsec", "minor_arcsec", "pa_deg")]
    beams = [Beam(*values) for values in zip(*columns, strict=True)]
    all_rms = stamps.columns["rms_jy_beam"].tolist()
    for start in range(0, len(stamps), READ_STAMPS):
        check_stop()
        numbers = range(start, min(start + READ_STAMPS, len(stamps)))
        batch = [stamps.read(name, list(numbers)) for name in ("image", "mask", "instances")]
        for stamp, image, mask, instances in zip(numbers, *batch, strict=True):
            rms, beam, pixel = all_rms[stamp], beams[stamp], pixels[stamp]
            found, refused = extract_objects(image, mask, instances, rms, beam, pixel, accept, stamp)
            yield image, rms, found, refused


def _stretched(item: SkyObject, image: NDArray[np.float32], rms_jy_beam: float) -> NDArray[np.float32]:
    return stretch_shape(image[item.box.slices], item.mask, rms_jy_beam)
