"""Images without celestial coordinates that users hand over: planes read by windows, and labels of classes.

A `Labels` keeps only the pixels that carry a label, so that the label image of a whole survey fits in memory.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from astro_dist.engine.errors import ConfigError
from astro_dist.sky.class_words import ClassWords, label_text
from astro_dist.sky.classes import CLASS_NAMES, SourceClass
from astro_dist.sky.fits_reader import Layout, explained, find_image, read_exact, read_pixels
from astro_dist.sky.islands import touching
from astro_dist.sky.map_image import find_plane
from astro_dist.sky.marks import PACKED_PIX, SAMPLED_PIX, hidden_fills, judge_fill
from astro_dist.sky.nodata import Scan, blank_fills, blank_zeros, refuse_absurd
from astro_dist.sky.windows import Window, bands

BAND_ROWS = 512
# By BITPIX: the first whole number whose neighbours are not all among the floating-point numbers.
MOST_OF_FLOATS = {-32: 1 << 24, -64: 1 << 53}


@dataclass(frozen=True)
class Plane:
    """A two-dimensional image in a FITS file, whatever its unit.

    Attributes
    ----------
    path
        The file.
    layout
        Place and coding of the pixels in the file.
    """

    path: Path
    layout: Layout

    @classmethod
    def open(cls, path: Path, least_pix: int) -> "Plane":
        """Describe the first image of a file.

        Raises
        ------
        ConfigError
            The file is missing, not a FITS image, a cube, or has fewer than ``least_pix`` rows or columns.
        """
        if not path.is_file():
            raise ConfigError(f"there is no image {path}")
        with explained(path, ConfigError):
            _, layout = find_image(path)
            if max(layout.axes[:-2], default=1) > 1:
                raise ConfigError(f"an image of two axes is needed, this one has {len(layout.axes)}")
            _check_size(layout, least_pix)
        return cls(path, layout)

    @classmethod
    def open_sky(
        cls,
        path: Path,
        least_pix: int,
        hdu: int | str | None = None,
        plane: int | Sequence[int] | None = None,
        blank: float | None = None,
    ) -> "Plane":
        """Describe the image of a file that would be the map, see `map_image.find_plane`.

        Parameters
        ----------
        blank
            A value that means no data.

        Raises
        ------
        ConfigError
            See `open`; also when several maps, or planes of a cube, are there and none is chosen.
        """
        if not path.is_file():
            raise ConfigError(f"there is no image {path}")
        with explained(path, ConfigError):
            try:
                _, layout = find_plane(path, hdu, plane)
            except ConfigError as error:
                raise ConfigError(re.sub(r"\bmaps\.(hdu|plane)\b", r"generate.read.\1", str(error))) from None
            _check_size(layout, least_pix)
        return cls(path, layout if blank is None else replace(layout, marks=(*layout.marks, blank)))

    @property
    def shape(self) -> tuple[int, int]:
        """``(ny, nx)``."""
        return self.layout.axes[-2], self.layout.axes[-1]

    def read(self, window: Window) -> NDArray[np.float32]:
        """Return the pixels of a window inside the image, float32, NaN where there are no data."""
        return read_pixels(self.path, self.layout, window)

    def read_labels(self, window: Window) -> NDArray[np.int64] | NDArray[np.float64]:
        """Return the labels of a window, exact as in the file, 0 where there are no data."""
        values = read_exact(self.path, self.layout, window)
        if values.dtype != np.int64:
            # Infinities stay: they are labels that have no class.
            np.nan_to_num(values, copy=False, posinf=np.inf, neginf=-np.inf)
        return values

    def read_numbers(self, window: Window) -> NDArray[np.int64]:
        """Return the numbers of objects of a window, int64, 0 where there are no data.

        Raises
        ------
        ConfigError
            Numbers are not whole, or so large that floating-point numbers of the file's size merge some.
        """
        values = self.read_labels(window)
        most = MOST_OF_FLOATS.get(self.layout.bitpix, np.inf)
        if values.dtype != np.int64 and not (np.abs(values) < most).all():
            raise ConfigError(
                f"{self.path} holds numbers of objects from {most:.0f} on as floating-point numbers of "
                f"{-self.layout.bitpix} bits, which cannot tell all apart; write it with whole numbers"
            )
        if (values != np.floor(values)).any():
            raise ConfigError(f"{self.path} holds numbers of objects that are negative or not whole")
        return values.astype(np.int64)

    def has_data(self) -> bool:
        """Return whether two finite pixels of one band differ; stops at the first band where they do."""
        for window in bands(self.shape, BAND_ROWS):
            pixels = self.read(window)
            known = pixels[np.isfinite(pixels)]
            if len(known) and known.min() < known.max():
                return True
        return False

    def read_sky(self, window: Window) -> NDArray[np.float32]:
        """Return the pixels of a window of an image of the sky, NaN where there are no data, see `nodata`.

        The beam is not known, so that a region of one value needs 17 pixels to hold no data.
        """
        scan, whole = Scan(), Window.of_shape(self.shape)
        image = read_pixels(self.path, self.layout, window, scan.look)
        if scan.beyond:
            with explained(self.path, ConfigError):
                refuse_absurd(image)
        if scan.zero:
            blank_zeros(image, window, whole, self.read, 0.0)
        is_fill = partial(_judge_once, self, judge_fill)
        hidden = _judge_once(self, hidden_fills, PACKED_PIX if self.layout.compressed else SAMPLED_PIX)
        blank_fills(image, scan.ends(image, 1.0), window, whole, self.read, 0.0, is_fill, hidden)
        return image


@lru_cache(maxsize=16)
def _judge_once(plane: Plane, judge: Callable[..., Any], *value: float) -> Any:
    """Judge the whole image once per process, since that reads it."""
    return judge(*value, Window.of_shape(plane.shape), plane.read)


def _check_size(layout: Layout, least_pix: int) -> None:
    if min(layout.axes[-2:]) < least_pix:
        ny, nx = layout.axes[-2:]
        raise ConfigError(
            f"{ny} x {nx} pixels, but a stamp has {least_pix} x {least_pix}; give a larger image"
        )


@dataclass(frozen=True, eq=False)
class Labels:
    """The labelled pixels of an image in raster order, and the objects of these pixels.

    Attributes
    ----------
    shape
        ``(ny, nx)`` of the image.
    y, x
        int32, the labelled pixels.
    class_of_pixel
        uint8, `SourceClass`.
    owner
        The object of each pixel, counted from 0.
    boxes
        ``(n, 4)``: y0, y1, x0, x1 of each object.
    classes, sizes
        Highest class and number of pixels of each object.
    frames
        ``(m, 4)``: y0, y1, x0, x1 of the images that lie in this one, one above the other; usually one.
    """

    shape: tuple[int, int]
    y: NDArray[np.int32]
    x: NDArray[np.int32]
    class_of_pixel: NDArray[np.uint8]
    owner: NDArray[np.intp]
    boxes: NDArray[np.int64]
    classes: NDArray[np.uint8]
    sizes: NDArray[np.intp]
    frames: NDArray[np.int64]

    @classmethod
    def read(cls, mask: Plane, instances: Plane | None = None, words: ClassWords | None = None) -> "Labels":
        """Read an image of class numbers and, where given, an image of object numbers.

        Labelled pixels without an object number are connected, by sides or corners and within a class, to
        objects of their own.

        Raises
        ------
        ConfigError
            The images differ in shape, the mask holds other values than class numbers, or the instances
            other values than whole numbers from 0.
        """
        if instances is not None and instances.shape != mask.shape:
            sizes = " and ".join(f"{ny} x {nx}" for ny, nx in (mask.shape, instances.shape))
            raise ConfigError(f"{mask.path} and {instances.path} differ in shape ({sizes} pixels)")
        words = words or ClassWords()
        parts = [_read_band(mask, instances, window, words) for window in bands(mask.shape, BAND_ROWS)]
        y, x, class_of_pixel, number = (np.concatenate(column) for column in zip(*parts, strict=True))
        whole = np.array([[0, mask.shape[0], 0, mask.shape[1]]], np.int64)
        return cls.of_pixels(mask.shape, y, x, class_of_pixel, number, whole)

    @classmethod
    def of_pixels(
        cls,
        shape: tuple[int, int],
        y: NDArray[np.int32],
        x: NDArray[np.int32],
        class_of_pixel: NDArray[np.uint8],
        number: NDArray[np.int64],
        frames: NDArray[np.int64],
    ) -> "Labels":
        """Return the objects of labelled pixels in raster order; 0 in ``number`` is to be connected."""
        owner = _join(y, x, class_of_pixel, number)
        n = int(owner.max(initial=-1)) + 1
        # `ufunc.at` and not `reduceat`: the pixels of an object need not follow each other.
        # Minima start above every pixel, maxima at 0.
        boxes = np.empty((n, 4), np.int64)
        for column, values in ((0, y), (2, x)):
            boxes[:, column], boxes[:, column + 1] = np.iinfo(np.int64).max, 0
            np.minimum.at(boxes[:, column], owner, values)
            np.maximum.at(boxes[:, column + 1], owner, values + 1)
        classes = np.zeros(n, np.uint8)
        np.maximum.at(classes, owner, class_of_pixel)
        return cls(
            shape, y, x, class_of_pixel, owner, boxes, classes, np.bincount(owner, minlength=n), frames
        )

    def corners(self, size_pix: int) -> NDArray[np.int64]:
        """Return the first row and column of a square window for each object, shape (n, 2).

        Each object is as near to the middle of its window as the edges of its image allow.
        """
        middle = (self.boxes[:, [0, 2]] + self.boxes[:, [1, 3]] - size_pix) // 2
        # The images are stacked along the rows: an object belongs to the image whose rows hold its first row.
        own = self.frames[np.searchsorted(self.frames[:, 0], self.boxes[:, 0], side="right") - 1]
        return np.asarray(np.clip(middle, own[:, [0, 2]], own[:, [1, 3]] - size_pix))

    def paint(self, window: Window) -> tuple[NDArray[np.uint8], NDArray[np.uint16], NDArray[np.intp]]:
        """Return the classes of a window's pixels, their objects, and the index of each of these objects.

        Objects are numbered from 1 in the window; the index counts all objects of the image from 0.
        """
        # Bounds of the column's own type: for any other type numpy converts the whole column first.
        rows = slice(*np.searchsorted(self.y, np.array([window.y0, window.y1], np.int32)))
        inside = np.flatnonzero((self.x[rows] >= window.x0) & (self.x[rows] < window.x1)) + rows.start
        place = self.y[inside] - window.y0, self.x[inside] - window.x0
        mask, numbers = np.zeros(window.shape, np.uint8), np.zeros(window.shape, np.uint16)
        items, local = np.unique(self.owner[inside], return_inverse=True)
        mask[place], numbers[place] = self.class_of_pixel[inside], local + 1
        return mask, numbers, items


def _read_band(
    mask: Plane, instances: Plane | None, window: Window, words: ClassWords
) -> tuple[NDArray[Any], ...]:
    # NaN, no data, counts as background.
    values = mask.read_labels(window)
    kinds = np.zeros(values.shape, np.uint8)
    # Zero apart: nearly all pixels are, and unique values are found by sorting.
    for label in (*((0,) if (values == 0).any() else ()), *np.unique(values[values != 0]).tolist()):
        if (kind := words.of_number(label)) is None:
            names = ", ".join(f"{number} {name}" for number, name in enumerate(CLASS_NAMES))
            known = f"{words.setting} names {', '.join(words.given)}" if words.given else f"known are {names}"
            text = label_text(label)
            remedy = words.explain(text, "compact")
            raise ConfigError(f"{mask.path} holds the label {text}; {known}: {remedy}")
        if kind is not SourceClass.BACKGROUND:
            kinds[values == label] = kind
    y, x = np.nonzero(kinds)
    number = np.zeros(len(y), np.int64)
    if instances is not None:
        number = instances.read_numbers(window)[y, x]
        if (number < 0).any():
            raise ConfigError(f"{instances.path} holds numbers of objects that are negative or not whole")
    return (y + window.y0).astype(np.int32), x.astype(np.int32), kinds[y, x], number


def _join(
    y: NDArray[np.int32], x: NDArray[np.int32], class_of_pixel: NDArray[np.uint8], number: NDArray[np.int64]
) -> NDArray[np.intp]:
    """Return the object of each pixel, counted from 0 in the order of their first pixels."""
    n = len(y)
    a, b = touching(y, x)
    # Only pixels without a number are joined: a number from the user may hold pieces that do not touch.
    alike = (class_of_pixel[a] == class_of_pixel[b]) & (number[a] == 0) & (number[b] == 0)
    graph = coo_matrix((np.ones(alike.sum(), np.bool_), (a[alike], b[alike])), shape=(n, n))
    piece = connected_components(graph, directed=False)[1] if n else np.zeros(0, np.intp)
    # Numbers of the user are positive and those of joined pieces negative, so that none are mixed up.
    key = np.where(number > 0, number, -1 - piece)
    _, first, inverse = np.unique(key, return_index=True, return_inverse=True)
    # `argsort` twice gives ranks: objects are numbered by their first pixels and not by their keys.
    return np.asarray(np.argsort(np.argsort(first))[inverse])
