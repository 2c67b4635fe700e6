"""Noise of an interferometer: correlated by the beam, with a value at each pixel that no window changes.

The noise covers an unbounded plane. White normals belong to fixed cells of it and are filtered block
by block of a fixed grid, each with the same halo, so that a window's values never depend on its shape.
"""

import functools
import math

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from astro_dist.engine.seeds import stream
from astro_dist.sky.beams import Beam, Pixel
from astro_dist.sky.windows import Window

BLOCK = 512
"""Side of the blocks that are filtered at once, pix. Bands whose height is a multiple of it cost least."""
CELL_ROWS = 64
"""Height of a cell of white noise, pix: the halo of a block costs a cell above and below, not a block."""

# The noise of a naturally weighted map has the beam itself as its autocorrelation, so its filter is a
# Gaussian narrower than the beam by sqrt(2); unmodelled sidelobes and faint emission add power at long
# wavelengths. Mean power in bands .02/.08/.16/.25/.5 cycles/pix at a beam of 3 pix: 16.0/5.3/2.0/.18,
# measured in FIRST and SUMSS 15.2/5.0/2.0/.25; a map of white noise convolved with the beam 16.5/7.8/1.5/.03.
LONG_WAVE_SCALE = 4.0
# The wider Gaussian has fallen to exp(-4.5^2 / 2) = 4e-5 at the edge of the halo.
HALO_SIGMAS = 4.5


def beam_noise(
    window: Window, beam: Beam, pixel: Pixel, seed: int, key: tuple[int | str, ...]
) -> NDArray[np.float32]:
    """Return noise of zero mean and unit rms over a window of an unbounded plane.

    Parameters
    ----------
    window
        The pixels wanted; may lie anywhere, negative coordinates included.
    beam, pixel
        Beam and pixel set the correlation, see the comment on `LONG_WAVE_SCALE`.
    seed, key
        Seed and key name the plane: another key gives independent noise.

    Returns
    -------
    numpy.ndarray
        float32 (h, w), bit-equal wherever two windows overlap.
    """
    return filtered_noise(window, *_design_filter(beam, pixel), seed, key)


def filtered_noise(
    window: Window, halo: int, transfer: NDArray[np.float32], seed: int, key: tuple[int | str, ...]
) -> NDArray[np.float32]:
    """Return white noise of an unbounded plane times a transfer function, over a window.

    Parameters
    ----------
    window, seed, key
        As `beam_noise` takes them.
    halo
        Pixels round a block of `BLOCK` that are filtered with it.
    transfer
        (side, side // 2 + 1) real, ``side`` = `BLOCK` + 2 halo, by the wave numbers of `rfft2`.
    """
    noise = np.empty(window.shape, np.float32)
    columns = range(window.x0 // BLOCK, (window.x1 - 1) // BLOCK + 1)
    side = len(transfer)
    for by in range(window.y0 // BLOCK, (window.y1 - 1) // BLOCK + 1):
        top, left = by * BLOCK - halo, columns[0] * BLOCK - halo
        # One strip of white noise serves all blocks of a row: neighbours share the cells of their halos.
        white = _white(Window(top, top + side, left, left + len(columns) * BLOCK + side - BLOCK), seed, key)
        for i, bx in enumerate(columns):
            spectrum = scipy.fft.rfft2(white[:, i * BLOCK : i * BLOCK + side])
            spectrum *= transfer
            filtered = scipy.fft.irfft2(spectrum, s=(side, side), overwrite_x=True)
            block = Window(by * BLOCK, (by + 1) * BLOCK, bx * BLOCK, (bx + 1) * BLOCK)
            if part := block & window:
                noise[part.within(window)] = filtered[part.within(block.grown(halo))]
    return noise


@functools.lru_cache(maxsize=8)
def _design_filter(beam: Beam, pixel: Pixel) -> tuple[int, NDArray[np.float32]]:
    """Return the halo in pixels and the real transfer function of a block with its halo."""
    covariance = beam.covariance_pix(pixel)
    widest = LONG_WAVE_SCALE * math.sqrt(covariance.diagonal().max() / 2)
    side = scipy.fft.next_fast_len(BLOCK + 2 * math.ceil(HALO_SIGMAS * widest), real=True)
    # An even side leaves the same halo on both sides of a block.
    side += side % 2
    ky, kx = np.meshgrid(scipy.fft.fftfreq(side), scipy.fft.fftfreq(side), indexing="ij", sparse=True)
    square = covariance[0, 0] * ky**2 + 2 * covariance[0, 1] * ky * kx + covariance[1, 1] * kx**2
    # Fourier transforms of Gaussians of covariance C / 2 and of LONG_WAVE_SCALE^2 times that, equal at k = 0;
    # then unit rms by Parseval's theorem.
    transfer = np.exp(-(np.pi**2) * square) + np.exp(-((np.pi * LONG_WAVE_SCALE) ** 2) * square)
    # Over the whole plane, before it is cut to the half of kx that `rfft2` keeps.
    transfer /= np.sqrt(np.mean(transfer**2))
    return (side - BLOCK) // 2, transfer[:, : side // 2 + 1].astype(np.float32)


def _white(window: Window, seed: int, key: tuple[int | str, ...]) -> NDArray[np.float32]:
    """Return independent normals; each cell of the plane has its own stream."""
    white = np.empty(window.shape, np.float32)
    for cy in range(window.y0 // CELL_ROWS, (window.y1 - 1) // CELL_ROWS + 1):
        for cx in range(window.x0 // BLOCK, (window.x1 - 1) // BLOCK + 1):
            cell = Window(cy * CELL_ROWS, (cy + 1) * CELL_ROWS, cx * BLOCK, (cx + 1) * BLOCK)
            # A whole cell even where one row of it is wanted: a value belongs to its place in the cell.
            values = stream(seed, *key, cy, cx).standard_normal((CELL_ROWS, BLOCK), dtype=np.float32)
            if part := cell & window:
                white[part.within(window)] = values[part.within(cell)]
    return white
