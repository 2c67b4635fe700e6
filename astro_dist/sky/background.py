"""The local background and noise of a map: robust estimates on a fixed grid of cells, linear in between.

A cell is measured from its own pixels only, and a pixel's background follows from the nodes round the pixel
only. Neither depends on the rows that a worker reads. The grid begins at pixel (0, 0) of the map.
"""

import math
import threading
import warnings
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from astropy.stats import SigmaClip
from astropy.utils.exceptions import AstropyUserWarning
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, median_filter

from astro_dist.engine.arrays import Image
from astro_dist.engine.errors import ConfigError
from astro_dist.sky.mesh import Mesh
from astro_dist.sky.wide import Blocks, covered_cells, describe, find_wide

Flags = NDArray[np.bool_]

MIN_FILLED = 1 / 3
MAD_TO_RMS = 1.482602218505602
"""The rms of normal noise over the median of its absolute deviations."""
SKEWED = 0.3
"""Where median and mean are so many standard deviations apart, the mode is no estimate (SExtractor)."""
LEAST_REACH = 4
"""Cells to either side that a cell on wide emission takes its background from, at least."""
FREE_PART = 0.25
"""Least part of the surroundings that is free of emission, for one odd cell moves a median of few."""
# Median and MAD: mean and standard deviation are moved by the sources that are to be clipped.
_WARNINGS = threading.Lock()
CLIP = SigmaClip(sigma=3.0, maxiters=10, cenfunc="median", stdfunc="mad_std")


def cell_size(shape: Sequence[int], fwhm_pix: float, beams: float, least_pix: int) -> int:
    """Return the side of a mesh cell: ``beams`` beam widths, at least ``least_pix``, at most the map."""
    return min(max(round(beams * fwhm_pix), least_pix), *(int(n) for n in shape))


def measure_cells(rows: Image, cell_pix: int) -> tuple[Image, Image]:
    """Measure one row of cells.

    Parameters
    ----------
    rows
        Up to ``cell_pix`` full rows of the map from the row's first one, Jy/beam, NaN = no data.

    Returns
    -------
    background, rms
        One value per cell, Jy/beam: the mode (2.5 median - 1.5 mean, as in SExtractor, Bertin & Arnouts
        1996) and the scaled median absolute deviation of the pixels that survive 3-sigma clipping. NaN
        where less than a third of the cell has data or all pixels are equal (padding).
    """
    height, width = rows.shape
    n_cells = math.ceil(width / cell_pix)
    # The last row and column of cells reach over the edge of the map; NaN there counts as no data.
    padded = np.full((cell_pix, n_cells * cell_pix), np.nan, np.float32)
    padded[:height, :width] = rows
    # (row, cell, column) to (cell, row, column): each cell becomes one line.
    cells = padded.reshape(cell_pix, n_cells, cell_pix).swapaxes(0, 1).reshape(n_cells, -1)
    background, rms = np.full((2, n_cells), np.nan, np.float32)
    usable = np.isfinite(cells).mean(axis=1) >= MIN_FILLED
    if usable.any():
        # One thread at a time: which warnings are shown is a setting of the whole process.
        with _WARNINGS, warnings.catch_warnings():
            # NaN means "no data" here; astropy would warn of it in every cell.
            warnings.simplefilter("ignore", AstropyUserWarning)
            clipped = CLIP(cells[usable], axis=1, masked=False)
        median = np.nanmedian(clipped, axis=1)
        background[usable] = _mode(clipped, median)
        # In place: the largest array of the stage is not needed again.
        deviation = np.abs(np.subtract(clipped, median[:, None], out=clipped), out=clipped)
        rms[usable] = np.nanmedian(deviation, axis=1) * MAD_TO_RMS
    # Not `rms <= 0`, which is false for NaN.
    empty = ~(rms > 0)
    background[empty], rms[empty] = np.nan, np.nan
    return background, rms


def _mode(cells: Image, median: Image) -> Image:
    """Return the mode of each line as SExtractor estimates it, or the median where the mean is far off."""
    mean, scatter = np.nanmean(cells, axis=1), np.nanstd(cells, axis=1)
    skewed = np.abs(mean - median) >= SKEWED * scatter
    return np.asarray(np.where(skewed, median, 2.5 * median - 1.5 * mean))


def build_mesh(
    shape: tuple[int, int],
    cell_pix: int,
    background: Image,
    rms: Image,
    name: str,
    blocks: Blocks | None = None,
    structure_sigma: float = 0,
    *,
    given: bool = False,
) -> Mesh:
    """Fill the empty cells of a map from the nearest measured ones and smooth over 3 x 3 cells.

    The median over neighbours keeps one bright or crowded cell from raising its own threshold.

    Parameters
    ----------
    background, rms
        ``(rows, columns)`` from `measure_cells`, NaN = not measured.
    name
        Name of the map, for the error message.
    blocks
        The blocks of the map: cells on the emission that `wide.find_wide` finds in them, with
        ``structure_sigma``, take the background of their surroundings, and the rms too unless the noise is
        ``given``. Without blocks there is no such emission.

    Raises
    ------
    ConfigError
        When no cell could be measured.
    """
    empty = np.isnan(rms)
    if empty.all():
        raise ConfigError(
            f"the map {name!r} has too few usable pixels (in every cell of {cell_pix} x {cell_pix} fewer "
            "than a third are finite, or nearly all are equal); leave it out or give another"
        )
    filled = _fill([background, rms], empty)
    found = None if blocks is None else find_wide(blocks, filled[1], structure_sigma)
    if found is not None and blocks is not None:
        labels, sky = found
        covered = covered_cells(labels > 0, blocks.parts)
        if not (empty | covered).all():
            known = filled[1] if given else None
            filled = _cover(_fill([background, rms], empty | covered), covered, sky, blocks.grain)
            mesh = Mesh(shape, cell_pix, *_smooth([filled[0], filled[1] if known is None else known]))
            return replace(mesh, wide=describe(blocks.medians, labels, mesh, structure_sigma))
    return Mesh(shape, cell_pix, *_smooth(filled))


def _fill(planes: list[Image], empty: Flags) -> list[Image]:
    # One search serves both planes. Cells are filled before smoothing: a median over NaN means nothing.
    nearest = tuple(distance_transform_edt(empty, return_distances=False, return_indices=True))
    return [nodes[nearest] for nodes in planes]


def _smooth(planes: list[Image]) -> list[Image]:
    return [median_filter(nodes, size=3, mode="nearest") for nodes in planes]


def _cover(planes: list[Image], covered: Flags, sky: NDArray[np.float64], grain: Image) -> list[Image]:
    """Give covered cells the background of their surroundings, which follows ``sky``, and a noise of theirs.

    The noise is as many times the grain of the cell, see `Blocks`, as it is in the surroundings.
    """
    background, rms = (nodes.copy() for nodes in planes)
    # A factor of NaN where no grain is measured: there the noise is that of the surroundings.
    rest, factor = background - sky, rms / np.where(grain > 0, grain, np.nan)
    for y, x in np.argwhere(covered).tolist():
        near = _surroundings(covered, y, x)
        free, factors = ~covered[near], factor[near][~covered[near]]
        background[y, x] = sky[y, x] + np.median(rest[near][free])
        rms[y, x] = np.median(planes[1][near][free])
        beside = grain[max(0, y - 2) : y + 3, max(0, x - 2) : x + 3]
        if np.isfinite(beside).any() and np.isfinite(factors).any():
            rms[y, x] = np.nanmedian(beside) * np.nanmedian(factors)
    return [background, rms]


def _surroundings(covered: Flags, y: int, x: int) -> tuple[slice, slice]:
    """Return the cells round one, as many as hold `FREE_PART` of cells that are not covered, or all."""
    for reach in range(LEAST_REACH, max(covered.shape)):
        near = slice(max(0, y - reach), y + reach + 1), slice(max(0, x - reach), x + reach + 1)
        if (~covered[near]).mean() >= FREE_PART:
            return near
    return slice(None), slice(None)
