"""Emission wider than a few beams: found before the background is, so that it is neither sky nor noise.

The medians of blocks, a quarter of a mesh cell wide, hold no source that fills less than half a block. What
rises above the sky there is wide emission; the sky is what a surface of second order and medians over
`WINDOW` cells follow, found anew without the emission until nothing changes. Over few cells that surface
would follow the emission, and a plane through the lowest cells is the sky. Artefacts of imaging are about as
often negative as positive: emission beside negative blocks of its own strength is none.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import (
    binary_dilation,
    label,
    maximum,
    maximum_filter,
    median_filter,
    uniform_filter,
)

from astro_dist.engine.arrays import Columns, Image
from astro_dist.sky.mesh import Labels, Mesh, Wide
from astro_dist.sky.windows import Window

Flags = NDArray[np.bool_]
Values = NDArray[np.float64]
MOST_PARTS, LEAST_BEAMS, STEP = 4, 4.0, 2
"""Most blocks along a cell, their least side in beam widths, the step of the pixels that are looked at."""
MIN_FILLED = 1 / 3
COARSE = 9
"""Side, in cells, of the surroundings whose median is the noise over the grain."""
WINDOW, STRIDE = 25, 4
"""Side of the surroundings whose median is the sky, and the distance at which it is taken, cells."""
SCATTER = 5.0
"""Emission rises this many times the scatter of blocks above the sky, to which artefacts add."""
WIDE = 1 / 3
"""So much of its threshold has the median of 3 x 3 blocks, of which one bright source fills four at most."""
GROW = 2.0
"""It ends a block after means over about a cell are less than this many times their scatter above the sky."""
DEPTH = 0.8
"""Negative blocks, within a cell, of this part of the strength make it an artefact."""
MOST_COVERED = 0.9
"""Emission in more of the cells than this is sky: nothing is left to compare it with."""
LEAST_CELLS, BENT_CELLS = 12, 64
"""Cells that a plane needs, and a surface of second order, which over fewer would follow emission."""
LOWEST = 1 / 6
"""Least part of a map of fewer cells than `BENT_CELLS` that is sky: its lowest cells."""
CLIP_HIGH, CLIP_LOW = 2.5, 4.0
"""Cells so many times the scatter above or below the surface are left out of it: emission is above."""
ROUNDS = 4
NORMAL_MEDIAN = 0.6745
"""Half of normal values are nearer to their mean than this many times their scatter."""
TOUCH = np.ones((3, 3), np.bool_)


def blocks_per_cell(cell_pix: int, fwhm_pix: float) -> int:
    """Return how many blocks of at least `LEAST_BEAMS` fit along the side of a cell, at most `MOST_PARTS`."""
    return int(np.clip(cell_pix / (LEAST_BEAMS * fwhm_pix), 1, MOST_PARTS))


@dataclass(frozen=True, eq=False)
class Blocks:
    """What is measured of a map, or of some rows of its cells, beside background and rms.

    Attributes
    ----------
    medians
        Median of each block, Jy/beam; NaN where less than a third of it has data.
    grain
        Scatter of the differences of neighbouring pixels in each cell, Jy/beam, NaN = not measured: wide
        emission does not raise it, and it goes with the noise of a map as one factor.
    """

    medians: Image
    grain: Image

    @property
    def parts(self) -> int:
        """Blocks along the side of a cell."""
        return len(self.medians) // len(self.grain)

    @classmethod
    def join(cls, rows: Sequence["Blocks"]) -> "Blocks":
        """Return consecutive rows of cells as one."""
        return cls(np.concatenate([one.medians for one in rows]), np.concatenate([one.grain for one in rows]))

    def columns(self) -> Columns:
        """Return one value per cell and column, as many columns for any number of blocks in a cell."""
        inner = np.full((MOST_PARTS**2, self.grain.size), np.nan, np.float32)
        inner[: self.parts**2] = _by_cell(self.medians, self.parts).reshape(self.grain.size, -1).T
        return {f"block_{i}": values for i, values in enumerate(inner)} | {"grain": self.grain.ravel()}

    @classmethod
    def of_columns(cls, table: Columns, grid: tuple[int, int], parts: int) -> "Blocks":
        """Return what `columns` wrote of all cells of a map, row by row."""
        inner = np.stack([table[f"block_{i}"] for i in range(parts**2)], axis=-1)
        medians = inner.reshape(*grid, parts, parts).swapaxes(1, 2).reshape(grid[0] * parts, -1)
        return cls(medians, table["grain"].reshape(grid))


def measure_blocks(rows: Image, cell_pix: int, parts: int, fwhm_pix: float) -> Blocks:
    """Measure the blocks of one row of cells, ``parts`` along each side, in up to ``cell_pix`` full rows."""
    height, width = rows.shape
    n_cells, side = -(-width // cell_pix), max(1, cell_pix // (parts * STEP))
    # One pixel in four is looked at: neighbours within a beam say the same. All blocks have equally many.
    within = (np.arange(parts)[:, None] * cell_pix // parts + STEP * np.arange(side)).ravel()
    across = (np.arange(n_cells)[:, None] * cell_pix + within).ravel()
    padded = np.full((len(within), len(across)), np.nan, np.float32)
    seen, down = across[across < width], within[within < height]
    padded[: len(down), : len(seen)] = rows[down][:, seen]
    medians = _filled_median(padded.reshape(parts, side, -1, side).swapaxes(1, 2).reshape(parts, -1, side**2))
    return Blocks(medians, _grain(padded.reshape(parts, side, n_cells, parts, side), fwhm_pix)[None])


def _grain(pixels: Image, fwhm_pix: float) -> Image:
    """Return `Blocks.grain` of pixels ``(block row, pixel row, cell, block column, pixel column)``."""
    lag, n_cells = max(1, math.ceil(fwhm_pix / STEP)), pixels.shape[2]
    if pixels.shape[-1] <= 2 * lag:
        return np.full(n_cells, np.nan, np.float32)
    # A pixel and the mean of two a beam to either side: any slope cancels.
    step = pixels[..., lag:-lag] - (pixels[..., : -2 * lag] + pixels[..., 2 * lag :]) / 2
    return _filled_median(np.abs(step, out=step).transpose(2, 0, 1, 3, 4).reshape(n_cells, -1))


def _filled_median(values: Image) -> Image:
    """Return medians along the last axis, NaN where less than `MIN_FILLED` of the values are finite."""
    medians = np.median(values, axis=-1)
    # `np.median` is NaN where one value is; few are, so that the rest stays fast.
    hurt = np.isnan(medians)
    if hurt.any():
        filled = np.isfinite(values[hurt]).mean(axis=-1) >= MIN_FILLED
        medians[hurt] = np.where(filled, _median(values[hurt]), np.nan)
    return np.asarray(medians)


def find_wide(blocks: Blocks, rms: Image, sigma: float) -> tuple[Labels, Values] | None:
    """Return the number of the wide emission in each block, 0 for none, and the sky level in each cell.

    Parameters
    ----------
    rms
        Noise of the cells, finite; wide emission may have raised it.
    sigma
        Emission has a block so many times the noise above the sky.

    Returns
    -------
    tuple or None
        None where there is no wide emission, or hardly anything but.
    """
    medians, parts = blocks.medians, blocks.parts
    noise = np.kron(_noise(blocks.grain, rms), np.ones((parts, parts)))
    known = np.isfinite(medians)
    # No block can be that far above the sky where the highest is not that far above the lowest.
    if not known.any() or np.ptp(medians[known]) <= sigma * noise.min():
        return None
    for narrow in (True, False) if _is_narrow(medians, parts) else (False,):
        found = _find_rising(medians, noise, sigma, parts, narrow=narrow)
        if found.any():
            level = sky_level(np.where(found, np.nan, medians), parts, narrow=narrow)
            return label(found, TOUCH)[0].astype(np.int32), _by_cell(level, parts).mean(axis=-1)
    return None


def _find_rising(medians: Image, noise: Image, sigma: float, parts: int, *, narrow: bool) -> Flags:
    """Return the blocks of wide emission above a sky that is found anew until nothing changes."""
    found = np.zeros(medians.shape, np.bool_)
    for _ in range(ROUNDS):
        level = sky_level(np.where(found, np.nan, medians), parts, narrow=narrow)
        risen = _rising((medians - level) / noise, found, sigma, parts, narrow=narrow)
        # Where nothing would be left to compare with, the emission ends where it ended the round before.
        if np.array_equal(risen, found) or covered_cells(risen, parts).mean() > MOST_COVERED:
            break
        found = risen
    return found


def _is_narrow(medians: Image, parts: int) -> bool:
    """Return whether a map has so few cells that its sky is a plane."""
    return bool(LEAST_CELLS <= np.isfinite(_cells(_by_cell(medians, parts))).sum() < BENT_CELLS)


def _noise(grain: Image, rms: Image) -> Image:
    """Return the noise of cells, not raised by wide emission: their grain times a factor of the map."""
    factor = rms / np.where(grain > 0, grain, np.nan)
    if not np.isfinite(factor).any():
        return np.asarray(median_filter(rms, size=COARSE, mode="reflect"))
    factor = np.where(np.isfinite(factor), factor, np.nanmedian(factor))
    local = median_filter(rms / factor, size=3, mode="nearest")
    return np.asarray(local * median_filter(factor, size=COARSE, mode="reflect"))


def _rising(snr: Values, found: Flags, sigma: float, parts: int, *, narrow: bool) -> Flags:
    """Return the blocks of wide emission; ``found`` are those of the round before, which are no sky."""
    known, scatter = np.isfinite(snr), _scatter_below if narrow else _scatter
    sky, value = known & ~found, np.where(known, snr, 0)
    side = max(3, parts + 1 - parts % 2)
    filled = np.maximum(uniform_filter(known.astype(np.float64), side, mode="nearest"), 1 / side**2)
    mean = uniform_filter(value, side, mode="nearest") / filled
    least = max(sigma, SCATTER * scatter(value[sky]))
    seeds = (value > least) & (median_filter(value, 3, mode="nearest") > WIDE * least)
    if not seeds.any():
        return np.asarray(seeds)
    # Beside negative blocks what is fainter than half of them is as likely an artefact.
    beside = maximum_filter(-mean, 2 * parts + 1, mode="nearest")
    end = GROW * scatter(mean[sky])
    if narrow:
        # The emission reaches a block more than it is grown.
        tops = _by_cell(maximum_filter(np.where(known, mean, -np.inf), 3, mode="nearest"), parts).max(axis=-1)
        end = max(end, np.quantile(tops[np.isfinite(tops)], LOWEST, method="higher"))
    grown = known & (mean > np.maximum(end, beside / 2))
    numbers, count = label(seeds | grown, TOUCH)
    index = np.arange(count + 1)
    planes = value, seeds, maximum_filter(-value, 2 * parts + 1, mode="nearest")
    highest, seeded, deepest = (np.asarray(maximum(plane, numbers, index)) for plane in planes)
    keep = (index > 0) & (seeded > 0) & (deepest <= DEPTH * highest)
    return np.asarray(binary_dilation(keep[numbers], TOUCH))


def sky_level(blocks: Image, parts: int, *, narrow: bool) -> Values:
    """Return the sky in each block, from the blocks that are not NaN; that of a narrow map is a plane."""
    cells = _cells(_by_cell(blocks, parts))
    factors = _fit_surface(cells, narrow=narrow)
    if narrow:
        return _surface(factors, blocks.shape)
    rest = cells - _surface(factors, cells.shape)
    # Medians at every fourth cell, linear in between: the window is much wider.
    nodes = np.array(
        [
            [_median(rest[y, x].ravel()) for x in _surroundings(cells.shape[1])]
            for y in _surroundings(len(cells))
        ]
    )
    coarse = Mesh((blocks.shape[0], blocks.shape[1]), STRIDE * parts, *(2 * [np.nan_to_num(nodes)]))
    return _surface(factors, blocks.shape) + coarse.evaluate(Window.of_shape(coarse.shape))[0]


def _cells(values: NDArray[Any]) -> Values:
    """Return the median of each cell from its blocks, NaN where less than half of them are known."""
    return np.where(2 * np.isfinite(values).sum(axis=-1) >= values.shape[-1], _median(values), np.nan)


def covered_cells(found: Flags, parts: int) -> Flags:
    """Return which cells have a block of emission."""
    return np.asarray(_by_cell(found, parts).any(axis=-1))


def describe(blocks: Image, labels: Labels, mesh: Mesh, sigma: float) -> Wide:
    """Return the emission above a mesh.

    Where medians over a cell are ``sigma`` times the noise or more it is bright. Faint emission is followed
    no finer than medians over two cells do, so that what is narrower is not taken off itself.
    """
    parts = len(blocks) // len(mesh.rms)
    background, rms = Mesh(labels.shape, parts, mesh.background, mesh.rms).evaluate(
        Window.of_shape(labels.shape)
    )
    excess = np.where(np.isfinite(blocks), blocks - background, 0).astype(np.float32)
    fine, coarse = (median_filter(excess, n * parts + 1, mode="nearest") for n in (1, 2))
    faint = (labels > 0) & (fine < sigma * rms)
    return Wide(labels, excess, np.where(faint, np.minimum(fine, coarse), 0).astype(np.float32))


def _by_cell(blocks: NDArray[Any], parts: int) -> NDArray[Any]:
    """Return blocks as ``(rows, columns, blocks of the cell)``."""
    ny, nx = (n // parts for n in blocks.shape)
    return blocks.reshape(ny, parts, nx, parts).swapaxes(1, 2).reshape(ny, nx, parts**2)


def _surroundings(n: int) -> list[slice]:
    """Return the windows along an axis of ``n`` cells whose medians are the sky."""
    centres = range(STRIDE // 2, STRIDE * math.ceil(n / STRIDE), STRIDE)
    return [slice(max(0, c - WINDOW // 2), c + WINDOW // 2 + 1) for c in centres]


def _fit_surface(cells: Values, *, narrow: bool) -> Values:
    """Return the factors of a surface of second order, or of a plane, through the cells that are sky."""
    terms = _terms(cells.shape)
    factors: Values = np.zeros(6)
    known = np.isfinite(cells)
    use, n_terms = known, 3 if narrow else 6
    if known.sum() < LEAST_CELLS:
        factors[0] = np.median(cells[known]) if known.any() else 0.0
        return factors
    if narrow:
        # Most of the map may be emission: the lowest cells are those that it reaches last.
        use = known & (cells <= np.sort(cells[known])[max(LEAST_CELLS, known.sum() // 3) - 1])
    for _ in range(20):
        factors[:n_terms] = np.linalg.lstsq(terms[use][:, :n_terms], cells[use], rcond=None)[0]
        rest = np.where(known, cells - terms @ factors, np.inf)
        middle, scatter = np.median(rest[use]), _scatter(rest[use])
        new = (rest < middle + CLIP_HIGH * scatter) & (rest > middle - CLIP_LOW * scatter)
        if np.array_equal(new, use) or new.sum() < LEAST_CELLS:
            break
        use = new
    return factors


def _surface(factors: Values, shape: tuple[int, ...]) -> Values:
    return np.asarray(_terms(shape) @ factors)


def _terms(shape: tuple[int, ...]) -> Values:
    # The same position on the sky has the same numbers on grids of cells and of blocks.
    y, x = np.meshgrid(*((np.arange(n) + 0.5) / n - 0.5 for n in shape), indexing="ij")
    return np.stack([np.ones(shape), y, x, y * y, y * x, x * x], axis=-1)


def _scatter(values: Values) -> float:
    """Return the distance from the median to the point that one normal value in six is below.

    Emission lies above and moves it little.
    """
    if not values.size:
        return math.inf
    low, middle = np.percentile(values, [15.87, 50])
    return float(middle - low)


def _scatter_below(values: Values) -> float:
    """Return the scatter of values about 0 from those below it, where most of the others are emission."""
    below = values[values < 0]
    return float(np.median(-below) / NORMAL_MEDIAN) if below.size else math.inf


def _median(values: NDArray[Any]) -> NDArray[Any]:
    """Return medians along the last axis; NaN does not count, and is the median of nothing."""
    ordered, count = np.sort(values, axis=-1), np.isfinite(values).sum(axis=-1)
    # NaN is sorted to the end.
    low, high = np.maximum(count - 1, 0) // 2, np.minimum(count // 2, values.shape[-1] - 1)
    pairs = np.take_along_axis(ordered, np.stack([low, high], axis=-1), axis=-1)
    return np.asarray(pairs.mean(axis=-1))
