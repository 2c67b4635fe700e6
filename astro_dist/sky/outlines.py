"""The outline of an object's pixels as one polygon, exact: filled again it has the same pixels.

Corners lie between pixels, half a pixel from every centre, so that a program that rounds them by less than
that changes nothing. Pieces and holes are joined to one closed line by strokes of no width along the rows
and columns: the even-odd rule, by which `fill.fill_polygon` and region programs fill, crosses them twice.
"""

import numpy as np
from numpy.typing import NDArray

Corners = list[tuple[int, int]]


def trace_outline(y: NDArray[np.integer], x: NDArray[np.integer]) -> NDArray[np.float64]:
    """Return the corners (n, 2), as (y, x), of a polygon round some pixels.

    Parameters
    ----------
    y, x
        The pixels, each once, at least one, in any order; they need not touch.
    """
    first, *others = _loops(_edges(y, x))
    y0, x0 = first[0]
    path = list(first)
    for loop in others:
        # Along the column, then along the row, round the loop, and the same way back.
        y1, x1 = loop[0]
        path += [(y0, x0), (y1, x0), *loop, (y1, x1), (y1, x0)]
    # Corner (0, 0) of the grid is half a pixel before the centre of pixel (0, 0).
    return np.array(path, np.float64) - 0.5


def _edges(y: NDArray[np.integer], x: NDArray[np.integer]) -> dict[tuple[int, int], Corners]:
    """Return the ends of the sides between a pixel of the object and another, by their beginnings."""
    y0, x0 = int(y.min()) - 1, int(x.min()) - 1
    inside = np.zeros((int(y.max()) - y0 + 2, int(x.max()) - x0 + 2), np.bool_)
    inside[y - y0, x - x0] = True
    sides: dict[tuple[int, int], Corners] = {}
    # For each direction: the neighbour beyond the side, and the side's two corners, from the pixel's first.
    for (dy, dx), begin, end in (
        ((-1, 0), (0, 0), (0, 1)),
        ((0, 1), (0, 1), (1, 1)),
        ((1, 0), (1, 1), (1, 0)),
        ((0, -1), (1, 0), (0, 0)),
    ):
        rows, columns = np.nonzero(inside & ~np.roll(inside, (-dy, -dx), (0, 1)))
        for row, column in zip((rows + y0).tolist(), (columns + x0).tolist(), strict=True):
            start = row + begin[0], column + begin[1]
            sides.setdefault(start, []).append((row + end[0], column + end[1]))
    return sides


def _loops(sides: dict[tuple[int, int], Corners]) -> list[Corners]:
    """Return closed lines made of all sides, with the corners alone where they turn."""
    loops = []
    for start in sorted(sides):
        while start in sides:
            here, loop = start, [start]
            while (here := _leave(sides, here)) != start:
                loop.append(here)
            around = zip([loop[-1], *loop], loop, [*loop[1:], start], strict=False)
            loops.append([b for a, b, c in around if not (a[0] == b[0] == c[0] or a[1] == b[1] == c[1])])
    return loops


def _leave(sides: dict[tuple[int, int], Corners], corner: tuple[int, int]) -> tuple[int, int]:
    """Take a side away that begins at a corner, and return its end."""
    ends = sides[corner]
    end = ends.pop()
    if not ends:
        del sides[corner]
    return end
