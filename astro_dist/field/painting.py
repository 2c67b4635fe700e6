"""Adding placed objects to a window of a field; the value of a pixel does not depend on the window."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.arrays import Columns
from astro_dist.field.layers import INSTANCES, MAP, MASK
from astro_dist.field.measures import Measure
from astro_dist.sky.classes import SourceClass
from astro_dist.sky.windows import Window

BOX_COLUMNS = ("y0", "x0", "height", "width")
Edges = NDArray[np.int64]
Patch = NDArray[np.float32]
Drawn = Callable[[int], tuple[Patch, Measure]]
"""Function of a row's place in the table: what it adds to its box, and its measures."""


@dataclass(frozen=True, eq=False)
class Painted:
    """The images of a window, and what was painted.

    Attributes
    ----------
    layers
        The three images by file name. Mask and instances take the pixels in which the added brightness of a
        detectable object reaches its level; spurious objects have no number. Objects that are not detectable
        have the negative of their number in instances, and only where no other is.
    measures
        Measures of every row of the table that reaches into the window, by its place in the table.
    cores
        Numbers of pixels of the window, and rows of the table, of all pixels of detectable sources.
    """

    layers: dict[str, NDArray[Any]]
    measures: dict[int, Measure]
    cores: tuple[NDArray[np.int64], NDArray[np.int64]]


def add_objects(image: NDArray[np.float32], window: Window, table: Columns, drawn: Drawn) -> Painted:
    """Add the part of every placement that lies in a window, in order, and paint mask and instances.

    Parameters
    ----------
    image
        The background of the window, Jy/beam; changed in place.
    table
        Columns `BOX_COLUMNS`, ``id`` and ``class`` of placements.
    """
    mask, instances = np.zeros(window.shape, np.uint8), np.zeros(window.shape, np.int32)
    here, inner, outer = clip_boxes(table, window)
    measures, pixels, owners = {}, [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for row, (y0, y1, x0, x1), (v0, v1, u0, u1) in zip(
        here.tolist(), inner.tolist(), outer.tolist(), strict=True
    ):
        whole, facts = drawn(row)
        measures[row] = facts
        added = whole[v0:v1, u0:u1]
        core = added >= facts["level_jy_beam"]
        # Always in the order of placing: a sum of float32 depends on the order of its terms.
        image[y0:y1, x0:x1] += added
        number, kind = int(table["id"][row]), int(table["class"][row])
        spurious = kind == SourceClass.SPURIOUS
        below = instances[y0:y1, x0:x1]
        if facts["detectable"]:
            mask[y0:y1, x0:x1][core] = kind
            below[core] = 0 if spurious else number
        elif not spurious:
            below[core & (below <= 0) & (mask[y0:y1, x0:x1] == 0)] = -number
        if facts["detectable"] and not spurious:
            rows, columns = np.nonzero(core)
            pixels.append((rows + y0) * window.width + columns + x0)
            owners.append(np.full(len(pixels[-1]), row))
    layers: dict[str, NDArray[Any]] = {MAP: image, MASK: mask, INSTANCES: instances}
    return Painted(layers, measures, (np.concatenate(pixels), np.concatenate(owners)))


def clip_boxes(placements: Columns, window: Window) -> tuple[NDArray[np.intp], Edges, Edges]:
    """Return the boxes that reach into a window, and the part of each inside.

    This is `Window.__and__` for all boxes at once, because about 1,000 of the 30,000 boxes of a field reach
    into a band.

    Returns
    -------
    here
        Rows of the table, ascending.
    inner, outer
        Shape (n, 4): first and last + 1 row and column of the part, counted from the window's first
        pixel and from the box's.
    """
    y0, x0, height, width = (placements[name].astype(np.int64) for name in BOX_COLUMNS)
    top, bottom = np.maximum(y0, window.y0), np.minimum(y0 + height, window.y1)
    left, right = np.maximum(x0, window.x0), np.minimum(x0 + width, window.x1)
    here = np.flatnonzero((top < bottom) & (left < right))
    part = np.stack([top, bottom, left, right], axis=1)[here]
    box = np.stack([y0, y0, x0, x0], axis=1)[here]
    return here, part - [window.y0, window.y0, window.x0, window.x0], part - box
