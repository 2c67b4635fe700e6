"""Pixels inside polygons and ellipses: those whose centres are inside, or the nearest one where none is."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.errors import ConfigError

Floats = NDArray[np.float64]
MOST_CROSSINGS = 50_000_000
"""Most crossings of the edges of a polygon with rows of pixels."""
MOST_PIXELS = 1 << 28
"""Most pixels of one shape, and of all objects together."""


@dataclass(frozen=True)
class Spots:
    """The pixels of one object, int32, in raster order."""

    y: NDArray[np.int32]
    x: NDArray[np.int32]

    @classmethod
    def of(cls, inside: NDArray[np.bool_], y0: int, x0: int) -> "Spots":
        """Return the pixels that are set in an array whose first pixel is (y0, x0)."""
        y, x = np.nonzero(inside)
        return cls((y + y0).astype(np.int32), (x + x0).astype(np.int32))


def fill_polygon(y: Floats, x: Floats, shape: tuple[int, int]) -> Spots:
    """Return the pixels in a closed polygon, by the even-odd rule, inside an image.

    Parameters
    ----------
    y, x
        Its corners; the centre of the first pixel is (0, 0).
    shape
        ``(ny, nx)``.
    """
    y0, y1, x0, x1 = _box(y, x, shape)
    if y1 <= y0 or x1 <= x0:
        return _nearest(float(y.mean()), float(x.mean()), shape)
    ya, xa, yb, xb = y, x, np.roll(y, -1), np.roll(x, -1)
    # Rows whose centres lie on [low, high): a corner on a row counts for one of its two edges.
    low, high = np.minimum(ya, yb), np.maximum(ya, yb)
    first = np.clip(np.ceil(low), y0, y1).astype(np.int64)
    counts = np.maximum(np.clip(np.ceil(high), y0, y1).astype(np.int64) - first, 0)
    total = int(counts.sum())
    if total > MOST_CROSSINGS:
        raise ConfigError(f"a polygon of {len(y)} corners over {y1 - y0} rows is too large to fill")
    edge = np.repeat(np.arange(len(y)), counts)
    row = first[edge] + np.arange(total) - np.repeat(np.cumsum(counts) - counts, counts)
    at = xa[edge] + (row - ya[edge]) * (xb - xa)[edge] / (yb - ya)[edge]
    # Every crossing changes the side of all pixels to its right.
    column = np.clip(np.ceil(at), x0, x1).astype(np.int64) - x0
    changes = np.bincount((row - y0) * (x1 - x0 + 1) + column, minlength=(y1 - y0) * (x1 - x0 + 1))
    inside = np.cumsum(changes.reshape(y1 - y0, -1), axis=1)[:, :-1] % 2 == 1
    return Spots.of(inside, y0, x0) if inside.any() else _nearest(float(y.mean()), float(x.mean()), shape)


def fill_ellipse(centre: tuple[float, float], axes: Floats, shape: tuple[int, int]) -> Spots:
    """Return the pixels in an ellipse inside an image.

    Parameters
    ----------
    axes
        Shape (2, 2): half axes as columns, (y, x) in pixels.
    """
    reach = np.hypot(axes[:, 0], axes[:, 1])
    y, x = (np.array([middle - r, middle + r]) for middle, r in zip(centre, reach, strict=True))
    y0, y1, x0, x1 = _box(y, x, shape)
    if y1 <= y0 or x1 <= x0 or abs(np.linalg.det(axes)) < 1e-12:
        return _nearest(*centre, shape)
    dy, dx = np.arange(y0, y1)[:, None] - centre[0], np.arange(x0, x1)[None] - centre[1]
    inverse = np.linalg.inv(axes)
    square = sum((inverse[i, 0] * dy + inverse[i, 1] * dx) ** 2 for i in (0, 1))
    inside = np.asarray(square <= 1)
    return Spots.of(inside, y0, x0) if inside.any() else _nearest(*centre, shape)


def _box(y: Floats, x: Floats, shape: tuple[int, int]) -> tuple[int, int, int, int]:
    if not (np.isfinite(y).all() and np.isfinite(x).all()):
        raise ConfigError("a corner has no place on the map")
    # Clipped as floating-point numbers: far outside they are no integers.
    y0, y1 = (int(v) for v in np.clip([np.ceil(y.min()), np.floor(y.max()) + 1], 0, shape[0]))
    x0, x1 = (int(v) for v in np.clip([np.ceil(x.min()), np.floor(x.max()) + 1], 0, shape[1]))
    if (y1 - y0) * (x1 - x0) > MOST_PIXELS:
        raise ConfigError(f"an object of {y1 - y0} x {x1 - x0} pixels is too large")
    return y0, y1, x0, x1


def _nearest(y: float, x: float, shape: tuple[int, int]) -> Spots:
    """Return the pixel nearest to a place, none where the place is outside the image."""
    row, column = np.floor(y + 0.5), np.floor(x + 0.5)
    if not (0 <= row < shape[0] and 0 <= column < shape[1]):
        return Spots(np.zeros(0, np.int32), np.zeros(0, np.int32))
    return Spots(np.array([row], np.int32), np.array([column], np.int32))
