"""Background and rms of a map between the centres of its cells.

This module needs numpy alone: a worker that only reads annotations starts without importing the estimators.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.arrays import Image
from astro_dist.sky.windows import Window

Labels = NDArray[np.int32]
Weights = tuple[NDArray[np.intp], NDArray[np.intp], Image]
Between = Callable[[Image, Weights, Weights], Image]


@dataclass(frozen=True, eq=False)
class Wide:
    """Emission wider than a few beams that is neither sky nor, as a whole, an island.

    All planes are on a grid of blocks, an equal number of them along each side of a cell.

    Attributes
    ----------
    labels
        Number of the emission in each block, from 1; 0 is sky.
    excess
        Median of a block above the background, Jy/beam float32; 0 where nothing is known.
    level
        What of it counts as background where islands are looked for, Jy/beam float32: faint emission, so that
        islands on it are found above it. Bright emission has 0 and is an island.
    """

    labels: Labels
    excess: Image
    level: Image

    def planes(self) -> Image:
        """Return all of it as one array ``(3, rows, columns)`` float32."""
        return np.stack([self.labels.astype(np.float32), self.excess, self.level])

    @classmethod
    def of_planes(cls, planes: Image) -> "Wide":
        """Return what `planes` made an array of."""
        return cls(planes[0].astype(np.int32), planes[1], planes[2])

    @classmethod
    def of_level(cls, level: Image) -> "Wide":
        """Return emission of which only its part in the background is known."""
        return cls(np.zeros(level.shape, np.int32), np.zeros_like(level), level)


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
    wide
        Emission that was kept out of ``background`` and ``rms``, None where there is none.
    """

    shape: tuple[int, int]
    cell_pix: int
    background: Image
    rms: Image
    wide: Wide | None = field(default=None, kw_only=True)

    def evaluate(self, window: Window) -> tuple[Image, Image]:
        """Return ``(background, rms)`` of the pixels of a window inside the map, Jy/beam.

        Both are linear along each axis between the centres of cells and constant outside the outermost
        centres. The background has the ``level`` of wide emission in it. The value of a pixel is the same bit
        for bit in every window that holds the pixel.
        """
        y, x = np.arange(window.y0, window.y1), np.arange(window.x0, window.x1)
        return self._evaluate(_between_grid, y, x)

    def evaluate_at(self, y: NDArray[np.integer], x: NDArray[np.integer]) -> tuple[Image, Image]:
        """Return ``(background, rms)`` of single pixels, the same bit for bit as `evaluate` gives."""
        return self._evaluate(_between_pairs, y, x)

    def _evaluate(
        self, between: Between, y: NDArray[np.integer], x: NDArray[np.integer]
    ) -> tuple[Image, Image]:
        n_rows, n_columns = self.rms.shape
        rows, columns = _weights(y, self.cell_pix, n_rows), _weights(x, self.cell_pix, n_columns)
        background, rms = between(self.background, rows, columns), between(self.rms, rows, columns)
        if self.wide is not None:
            level = self.wide.level
            side = self.cell_pix * n_rows / len(level)
            rows, columns = _weights(y, side, len(level)), _weights(x, side, level.shape[1])
            background += between(level, rows, columns)
        return background, rms

    @cached_property
    def median_rms(self) -> float:
        """Median rms over all cells, Jy/beam."""
        return float(np.median(self.rms))


def _weights(pixel: NDArray[np.integer], side: float, n_cells: int) -> Weights:
    """Return, for positions along one axis, the two nodes beside each and the weight of the second."""
    # In units of cells from the centre of the first; a map one cell wide has that node alone.
    position = np.clip((pixel + 0.5) / side - 0.5, 0, n_cells - 1)
    # The last centre is the end of the last interval and not the start of one beyond the grid.
    low = np.minimum(position.astype(np.intp), max(n_cells - 2, 0))
    # float32, as the nodes: a float64 weight would double the planes that `evaluate` makes.
    return low, np.minimum(low + 1, n_cells - 1), (position - low).astype(np.float32)


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
