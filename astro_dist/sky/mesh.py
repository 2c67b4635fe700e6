"""Background and rms of a map between the centres of its cells.

This module needs numpy alone: a worker that only reads annotations starts without importing the estimators.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.arrays import Image
from astro_dist.sky.windows import Window

Weights = tuple[NDArray[np.intp], NDArray[np.intp], Image]


@dataclass(frozen=True, eq=False)
class Mesh:
    """Background and rms of a map at the centres of square cells.

    Attributes
    ----------
    shape
        ``(ny, nx)`` of the map.
    cell_pix
        Side of a cell.
    background, rms
        ``(rows, columns)`` float32, Jy/beam, finite; rms is positive.
    """

    shape: tuple[int, int]
    cell_pix: int
    background: Image
    rms: Image

    def evaluate(self, window: Window) -> tuple[Image, Image]:
        """Return ``(background, rms)`` of the pixels of a window inside the map, Jy/beam.

        Both are linear along each axis between the centres of cells and constant outside the outermost
        centres. The value of a pixel is the same bit for bit in every window that holds the pixel.
        """
        y, x = np.arange(window.y0, window.y1), np.arange(window.x0, window.x1)
        rows, columns = self._weights(y, 0), self._weights(x, 1)
        return _between_grid(self.background, rows, columns), _between_grid(self.rms, rows, columns)

    def evaluate_at(self, y: NDArray[np.integer], x: NDArray[np.integer]) -> tuple[Image, Image]:
        """Return ``(background, rms)`` of single pixels, the same bit for bit as `evaluate` gives."""
        rows, columns = self._weights(y, 0), self._weights(x, 1)
        return _between_pairs(self.background, rows, columns), _between_pairs(self.rms, rows, columns)

    def _weights(self, pixel: NDArray[np.integer], axis: int) -> Weights:
        """Return, for positions along one axis, the two nodes beside each and the weight of the second."""
        n_cells = self.rms.shape[axis]
        # In units of cells from the centre of the first; a map one cell wide has that node alone.
        position = np.clip((pixel + 0.5) / self.cell_pix - 0.5, 0, n_cells - 1)
        # The last centre is the end of the last interval and not the start of one beyond the grid.
        low = np.minimum(position.astype(np.intp), max(n_cells - 2, 0))
        # float32, as the nodes: a float64 weight would double the planes that `evaluate` makes.
        return low, np.minimum(low + 1, n_cells - 1), (position - low).astype(np.float32)

    @cached_property
    def median_rms(self) -> float:
        """Median rms over all cells, Jy/beam."""
        return float(np.median(self.rms))


# Both functions do the same operations in the same order, rows first, and so agree bit for bit.
def _between_grid(nodes: Image, rows: Weights, columns: Weights) -> Image:
    low, high, weight = rows
    lines = nodes[low] + weight[:, None] * (nodes[high] - nodes[low])
    low, high, weight = columns
    left = lines[:, low]
    return np.asarray(left + weight * (lines[:, high] - left))


def _between_pairs(nodes: Image, rows: Weights, columns: Weights) -> Image:
    low, high, weight = rows
    left, right = (nodes[low, x] + weight * (nodes[high, x] - nodes[low, x]) for x in columns[:2])
    return np.asarray(left + columns[2] * (right - left))
