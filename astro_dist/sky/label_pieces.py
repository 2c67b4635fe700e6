"""Objects on images of their own: what readers of masks give, before they become one `Labels`."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.errors import ConfigError
from astro_dist.sky.classes import SourceClass
from astro_dist.sky.fill import MOST_PIXELS, Spots
from astro_dist.sky.labels import Labels


@dataclass(frozen=True)
class Piece:
    """One object: its pixels and its class."""

    spots: Spots
    source_class: SourceClass


@dataclass(frozen=True)
class Frame:
    """One image of a user's masks: ``(ny, nx)``, its objects, and its name where the file has one."""

    shape: tuple[int, int]
    pieces: tuple[Piece, ...]
    name: str = ""


def join_frames(frames: Sequence[Frame], least_pix: int) -> Labels:
    """Return the objects of all images as one label image, in which the images lie one above the other.

    Where objects overlap, the smaller one is in front, as in a field; objects of the background are left out.

    Parameters
    ----------
    least_pix
        Least side of an image; smaller ones are surrounded by background.

    Raises
    ------
    ConfigError
        The objects have too many pixels.
    """
    heights = [max(frame.shape[0], least_pix) for frame in frames]
    starts = np.concatenate([[0], np.cumsum(heights)]).astype(np.int64)
    widths = [max(frame.shape[1], least_pix) for frame in frames]
    if starts[-1] > np.iinfo(np.int32).max:
        raise ConfigError(f"{len(frames)} images are together higher than can be numbered; give fewer")
    places = np.array(
        [(y0, y0 + h, 0, w) for y0, h, w in zip(starts, heights, widths, strict=False)], np.int64
    ).reshape(-1, 4)
    objects = [
        (piece, int(start))
        for frame, start in zip(frames, starts, strict=False)
        for piece in frame.pieces
        if piece.source_class is not SourceClass.BACKGROUND
    ]
    if sum(len(piece.spots.y) for piece, _ in objects) > MOST_PIXELS:
        raise ConfigError(f"its objects have more than {MOST_PIXELS} pixels together; give fewer")
    y, x, kind, number = _stack(objects)
    return Labels.of_pixels((int(starts[-1]), max(widths, default=0)), y, x, kind, number, places)


def _stack(
    objects: Sequence[tuple[Piece, int]],
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.uint8], NDArray[np.int64]]:
    """Return y, x, class and number of the pixels of all objects in raster order, each pixel once."""
    sizes = np.array([len(piece.spots.y) for piece, _ in objects], np.int64)
    none = np.zeros(0, np.int32)
    y = np.concatenate([none, *(piece.spots.y + np.int32(start) for piece, start in objects)])
    x = np.concatenate([none, *(piece.spots.x for piece, _ in objects)])
    number = np.repeat(np.arange(1, len(objects) + 1, dtype=np.int64), sizes)
    kinds = np.array([int(piece.source_class) for piece, _ in objects], np.uint8)
    # By place, and of one place the smallest object first; then every pixel is taken once.
    order = np.lexsort((np.repeat(sizes, sizes), x, y))
    y, x, number = y[order], x[order], number[order]
    first = np.ones(len(y), np.bool_)
    first[1:] = (y[1:] != y[:-1]) | (x[1:] != x[:-1])
    number = number[first]
    return y[first], x[first], kinds[number - 1], number
