"""Windows centred on sources: each source whole, randomly off the centre, and in one window where possible.

The module is geometry on integer boxes ``(y0, y1, x0, x1)``, half-open as windows are. A window cuts a box
when it holds some pixels of the box but not all. A source of several islands has a row of eight numbers for
each island, the island's box and then that of the whole source: a window cuts it that meets the island and
does not hold the source. Windows are moved aside so that they cut no extended source.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.int64]
# Random positions tried for each empty window.
EMPTY_TRIES = 20


@dataclass(frozen=True, eq=False)
class Centred:
    """Origins of the windows of one map, and the sources that do not fit.

    Attributes
    ----------
    y0, x0
        First row and column of each window, shape (n,).
    cuts_extended
        Whether each window cuts an extended source, shape (n,).
    oversized
        Indices of the boxes that are larger than a window.
    """

    y0: NDArray[np.int64]
    x0: NDArray[np.int64]
    cuts_extended: NDArray[np.bool_]
    oversized: NDArray[np.int64]


class SortedBoxes:
    """Rows of boxes sorted by their first number, to find those in a rectangle fast."""

    def __init__(self, boxes: Boxes) -> None:
        self.boxes = boxes[np.argsort(boxes[:, 0], kind="stable")]
        self.tallest = int((boxes[:, 1] - boxes[:, 0]).max(initial=0))

    def meeting(self, y0: int, y1: int, x0: int, x1: int) -> Boxes:
        """Return the boxes that have pixels in the rectangle."""
        # A box that reaches into the rectangle begins at most the tallest height above it.
        rows = self.boxes[slice(*np.searchsorted(self.boxes[:, 0], [y0 - self.tallest, y1]))]
        return rows[(rows[:, 1] > y0) & (rows[:, 2] < x1) & (rows[:, 3] > x0)]


def find_cut(y0: NDArray[np.int64], x0: NDArray[np.int64], size_pix: int, boxes: Boxes) -> NDArray[np.bool_]:
    """Return which windows, given by their origins, cut any of the boxes; rows of four or eight numbers.

    The origins may have any shapes that broadcast with each other; the result has their common shape.
    """
    y0, x0 = y0[..., None], x0[..., None]
    b = boxes.T
    meets = (y0 < b[1]) & (y0 + size_pix > b[0]) & (x0 < b[3]) & (x0 + size_pix > b[2])
    # The last four: the box itself, or that of the source that it is part of.
    b = b[-4:]
    holds = (y0 <= b[0]) & (y0 + size_pix >= b[1]) & (x0 <= b[2]) & (x0 + size_pix >= b[3])
    return np.asarray(np.any(meets & ~holds, axis=-1))


def centre_windows(
    shape: Sequence[int],
    boxes: Boxes,
    is_extended: NDArray[np.bool_],
    size_pix: int,
    jitter_pix: int,
    rng: np.random.Generator,
    parts: Boxes | None = None,
) -> Centred:
    """Place windows so that every source that fits is whole in one of them.

    Each window is centred on its source but for a random shift of at most ``jitter_pix``. The shift is cut
    where the window would cut the source or leave the map. The window is then moved by the least distance
    that keeps it from cutting an extended source; where no position does, the window is marked. Extended
    sources come first. A source that is whole in the middle half of an earlier unmarked window gets no
    window of its own. Sources larger than a window get none and are listed.

    Parameters
    ----------
    shape
        ``(ny, nx)`` of the map, not below ``size_pix``.
    boxes, is_extended
        The sources, shapes (n, 4) and (n,).
    rng
        Draws one shift per source, whether or not the source gets a window.
    parts
        The islands of the extended sources, rows of eight numbers; by default these sources themselves.
    """
    jitter = rng.integers(-jitter_pix, jitter_pix, (len(boxes), 2), endpoint=True)
    height, width = boxes[:, 1] - boxes[:, 0], boxes[:, 3] - boxes[:, 2]
    oversized = np.maximum(height, width) > size_pix
    obstacles = SortedBoxes(boxes[is_extended] if parts is None else parts)
    covered = _Cores(size_pix)
    placed: list[tuple[int, int, bool]] = []
    for i in np.lexsort((np.arange(len(boxes)), ~is_extended)):
        box = boxes[i]
        if oversized[i] or covered.holds(box):
            continue
        y, x, cut = _place(shape, box, jitter[i], size_pix, obstacles)
        placed.append((y, x, cut))
        if not cut:
            covered.add(y, x)
    table = np.array(placed, np.int64).reshape(-1, 3)
    return Centred(table[:, 0], table[:, 1], table[:, 2] != 0, np.flatnonzero(oversized))


def empty_windows(
    shape: Sequence[int], boxes: Boxes, size_pix: int, count: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return origins (y0, x0), shape (n, 2), of up to ``count`` random windows that meet none of the boxes.

    The windows are fewer when 20 tries for each do not find ``count``.
    """
    occupied = SortedBoxes(boxes)
    highest = np.array(shape) - size_pix
    found: list[NDArray[np.int64]] = []
    for origin in rng.integers(0, highest, (EMPTY_TRIES * count, 2), endpoint=True):
        if len(found) == count:
            break
        y, x = origin.tolist()
        if not len(occupied.meeting(y, y + size_pix, x, x + size_pix)):
            found.append(origin)
    return np.array(found, np.int64).reshape(-1, 2)


class _Cores:
    """The middle halves of accepted windows, in a grid of cells as large as one of them."""

    def __init__(self, size_pix: int) -> None:
        self.side, self.margin = size_pix // 2, size_pix // 4
        self.cells: dict[tuple[int, int], list[tuple[int, int]]] = {}

    def add(self, y0: int, x0: int) -> None:
        y, x = y0 + self.margin, x0 + self.margin
        self.cells.setdefault((y // self.side, x // self.side), []).append((y, x))

    def holds(self, box: Boxes) -> bool:
        y0, y1, x0, x1 = box.tolist()
        # A core that holds the box's first pixel begins in the cell of that pixel or in the one before.
        cells = [(y0 // self.side - i, x0 // self.side - j) for i in (0, 1) for j in (0, 1)]
        cores = (core for cell in cells for core in self.cells.get(cell, ()))
        return any(y <= y0 and y1 <= y + self.side and x <= x0 and x1 <= x + self.side for y, x in cores)


def _place(
    shape: Sequence[int], box: Boxes, jitter: NDArray[np.int64], size_pix: int, obstacles: SortedBoxes
) -> tuple[int, int, bool]:
    first, last = box[[0, 2]], box[[1, 3]]
    # From `low` to `high` a window holds the whole island and stays in the map.
    low = np.maximum(0, last - size_pix)
    high = np.minimum(first, np.array(shape) - size_pix)
    wanted = np.clip((first + last - size_pix) // 2 + jitter, low, high)
    reach = high + size_pix
    # All that a window at any of these origins can meet, looked up once for every candidate.
    near = obstacles.meeting(int(low[0]), int(reach[0]), int(low[1]), int(reach[1]))
    if not find_cut(wanted[0], wanted[1], size_pix, near):
        return int(wanted[0]), int(wanted[1]), False
    # Each coordinate of the nearest free position is the wanted one or touches an edge of an obstacle.
    ys, xs = (
        _candidates(int(wanted[axis]), int(low[axis]), int(high[axis]), _edges(near, axis), size_pix)
        for axis in (0, 1)
    )
    free = ~find_cut(ys[:, None], xs[None, :], size_pix, near)
    if not free.any():
        return int(wanted[0]), int(wanted[1]), True
    # Squares of whole numbers are exact, and of equally near positions `argmin` takes the first.
    distance = (ys[:, None] - wanted[0]) ** 2 + (xs[None, :] - wanted[1]) ** 2
    row, column = np.unravel_index(np.where(free, distance, np.iinfo(np.int64).max).argmin(), free.shape)
    return int(ys[row]), int(xs[column]), False


def _edges(boxes: Boxes, axis: int) -> Boxes:
    return boxes.reshape(len(boxes), -1, 2, 2)[:, :, axis]


def _candidates(wanted: int, low: int, high: int, edges: Boxes, size_pix: int) -> NDArray[np.int64]:
    """Return the wanted origin along one axis, and those at which a window just holds or misses a box."""
    positions = np.concatenate([[wanted], edges.ravel(), edges.ravel() - size_pix])
    return np.unique(positions[(positions >= low) & (positions <= high)])
