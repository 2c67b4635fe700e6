"""The local background and noise of a map: robust estimates on a fixed grid of cells, linear in between.

A cell is measured from its own pixels only, and a pixel's background follows from the nodes round the pixel
only. Neither depends on the rows that a worker reads. The grid begins at pixel (0, 0) of the map.
"""

import math
import warnings
from collections.abc import Sequence

import numpy as np
from astropy.stats import SigmaClip
from astropy.utils.exceptions import AstropyUserWarning
from numpy.typing import NDArray
from scipy.ndimage import binary_propagation, distance_transform_edt, median_filter

from astro_dist.engine.arrays import Image
from astro_dist.engine.errors import ConfigError
from astro_dist.sky.mesh import Mesh

MIN_FILLED = 1 / 3
COARSE = 9
"""Side, in cells, of the surroundings that a cell is compared with."""
RIM = 0.5
"""Cells beside emission belong to it where background or rms is so many times the noise too high."""
FREE_PART = 0.25
"""Least part of the surroundings that is free of emission, for one odd cell moves a median of few."""
# Median and MAD: mean and standard deviation are moved by the sources that are to be clipped.
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
    # Imported here and not above: photutils is slow to import, and every worker of every stage imports this
    # module.
    from photutils.background import MADStdBackgroundRMS, SExtractorBackground

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
        with warnings.catch_warnings():
            # NaN means "no data" here; astropy would warn of it in every cell.
            warnings.simplefilter("ignore", AstropyUserWarning)
            clipped = CLIP(cells[usable], axis=1, masked=False)
        # Clipped above: left to itself photutils would clip once more.
        background[usable] = SExtractorBackground(sigma_clip=None)(clipped, axis=1)
        rms[usable] = MADStdBackgroundRMS(sigma_clip=None)(clipped, axis=1)
    # Not `rms <= 0`, which is false for NaN.
    empty = ~(rms > 0)
    background[empty], rms[empty] = np.nan, np.nan
    return background, rms


def build_mesh(
    shape: tuple[int, int],
    cell_pix: int,
    background: Image,
    rms: Image,
    name: str,
    structure_sigma: float = 0,
) -> Mesh:
    """Fill the empty cells of a map from the nearest measured ones and smooth over 3 x 3 cells.

    The median over neighbours keeps one bright or crowded cell from raising its own threshold.

    Parameters
    ----------
    background, rms
        ``(rows, columns)`` from `measure_cells`, NaN = not measured.
    name
        Name of the map, for the error message.
    structure_sigma
        See `cover_structure`; 0 covers nothing.

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
    # `measure_cells` leaves both planes empty in the same cells, so that one search serves both. Cells are
    # filled before smoothing, because a median over NaN means nothing.
    nearest = tuple(distance_transform_edt(empty, return_distances=False, return_indices=True))
    smooth = [median_filter(nodes[nearest], size=3, mode="nearest") for nodes in (background, rms)]
    if structure_sigma:
        smooth = list(cover_structure(smooth[0], smooth[1], structure_sigma))
    return Mesh(shape, cell_pix, smooth[0], smooth[1])


def cover_structure(background: Image, rms: Image, sigma: float) -> tuple[Image, Image]:
    """Give the cells that lie on emission larger than a cell the background and rms of their surroundings.

    A cell is on emission where its background is ``sigma`` times the noise above that of its surroundings,
    the medians over `COARSE` x `COARSE` cells; noise alone raises no background. Cells beside such ones
    belong to it down to `RIM` times the noise, in background or in rms. Without such cells both planes stay
    as they are, bit for bit. Emission that fills most of its surroundings is sky as before.
    """
    # No cell can be a seed where even the highest is not that far above the lowest: most maps end here.
    if np.ptp(background) <= sigma * rms.min():
        return background, rms
    low, noise = (median_filter(nodes, size=COARSE, mode="reflect") for nodes in (background, rms))
    seeds = background - low > sigma * noise
    if not seeds.any():
        return background, rms
    rim = (background - low > RIM * noise) | (rms > (1 + RIM) * noise)
    covered = binary_propagation(seeds, mask=rim | seeds, structure=np.ones((3, 3)))
    if covered.all():
        return background, rms
    result = background.copy(), rms.copy()
    for y, x in np.argwhere(covered).tolist():
        near = _surroundings(covered, y, x)
        for new, old in zip(result, (background, rms), strict=True):
            new[y, x] = np.median(old[near][~covered[near]])
    return result


def _surroundings(covered: NDArray[np.bool_], y: int, x: int) -> tuple[slice, slice]:
    """Return the cells round one, as many as hold `FREE_PART` of cells that are not covered, or all."""
    for reach in range(COARSE // 2, max(covered.shape)):
        near = slice(max(0, y - reach), y + reach + 1), slice(max(0, x - reach), x + reach + 1)
        if (~covered[near]).mean() >= FREE_PART:
            return near
    return slice(None), slice(None)
