"""The footprints of placements: the pixels that count as covered when places are found.

A footprint of a model holds its points at their places in the field, and every pixel within `REACH_BEAMS`
beam widths of one, along each axis; there the beam has fallen to 0.2 % of its peak. It needs no rendering. A
footprint of a drawing holds its pixels other than 0 (`Footprint.of`).
"""

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from astro_dist.field.layout import Footprint
from astro_dist.field.rendering import REACH_SIGMAS

REACH_BEAMS = 1.5
Float = NDArray[np.float64]


def reach_of(moments_pix: tuple[float, float]) -> tuple[float, float]:
    """Return the reach along y and x round a point with these second moments (yy, xx), in pixels."""
    widths = (math.sqrt(8 * math.log(2) * moment) for moment in moments_pix)
    y, x = (REACH_BEAMS * width for width in widths)
    return y, x


def of_point(reach: tuple[float, float]) -> Footprint:
    """Return the footprint of a point or of a small Gaussian, whose anchor is its middle."""
    # Rounded up, so that a field of many sizes has few footprints.
    return _ellipse(math.ceil(reach[0] * 4) / 4, math.ceil(reach[1] * 4) / 4)


@lru_cache(maxsize=4096)
def _ellipse(y_reach: float, x_reach: float) -> Footprint:
    zero = np.zeros(1)
    return of_points(zero, zero, (y_reach, x_reach), (0.0, 0.0))


def of_points(y: Float, x: Float, reach: tuple[float, float], core: tuple[float, float]) -> Footprint:
    """Return the footprint of points at these steps (y, x) from their anchor, in pixels.

    Parameters
    ----------
    reach
        Reach round a point along y and x.
    core
        The brightest point, as a step from the anchor.
    """
    rows, columns = (np.floor(v + 0.5).astype(np.int64) for v in (y, x))
    my, mx = (math.ceil(r) for r in reach)
    # The core may lie between points; it belongs to the footprint as well.
    core_row, core_column = _nearest(*core)
    top, left = min(rows.min(), core_row) - my, min(columns.min(), core_column) - mx
    shape = (max(rows.max(), core_row) + my + 1 - top, max(columns.max(), core_column) + mx + 1 - left)
    away = np.ones(shape, bool)
    away[rows - top, columns - left] = False
    away[core_row - top, core_column - left] = False
    distance = ndimage.distance_transform_edt(away, sampling=(1 / reach[0], 1 / reach[1]))
    inside = (distance <= 1).view(np.uint8)
    # A patch reaches further than a footprint by so much, and one pixel for the part of a pixel.
    further = REACH_SIGMAS / (REACH_BEAMS * math.sqrt(8 * math.log(2))) - 1
    margin = (math.ceil(further * reach[0]) + 1, math.ceil(further * reach[1]) + 1)
    return Footprint(inside, (core_row - int(top), core_column - int(left)), (-int(top), -int(left)), margin)


def _nearest(y: float, x: float) -> tuple[int, int]:
    return math.floor(y + 0.5), math.floor(x + 0.5)
