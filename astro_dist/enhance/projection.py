"""Doubling that keeps fluxes: bicubic enlargement, and the projection onto images with given 2 x 2 means.

Shape letters: P planes, h w pixels of the input, H W = 2h 2w new pixels.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from astro_dist.engine.arrays import AnyImage, Floats

BICUBIC_REACH_PIX, FILL_REACH_PIX = 2, 2
_A = -0.5
"""Keys 1981, eq. 4; Pillow's choice as well."""


def enlarge_bicubic(image_Phw: AnyImage) -> Floats:
    """Return an image with twice the pixels, float64; at the edges the kernel is cut and scaled to 1.

    A new pixel depends on `BICUBIC_REACH_PIX` pixels of the input round its own.
    """
    rows = _double(np.asarray(image_Phw, np.float64).swapaxes(-1, -2))
    return _double(rows.swapaxes(-1, -2))


def _double(lines: Floats) -> Floats:
    """Double the last axis."""
    n = lines.shape[-1]
    padded = np.pad(lines, [(0, 0)] * (lines.ndim - 1) + [(2, 2)])
    inside = np.pad(np.ones(n), 2)
    doubled = np.empty((*lines.shape[:-1], 2 * n))
    # The new pixels lie a quarter of a pixel left and right of the old one's centre.
    for side, offset in ((0, -0.25), (1, 0.25)):
        total, weight = np.zeros(lines.shape), np.zeros(n)
        for tap in range(-2, 3):
            factor = _kernel(abs(tap - offset))
            part = slice(2 + tap, 2 + tap + n)
            total += factor * padded[..., part]
            weight += factor * inside[part]
        doubled[..., side::2] = total / weight
    return doubled


def _kernel(x: float) -> float:
    if x < 1:
        return (_A + 2) * x**3 - (_A + 3) * x**2 + 1
    return _A * (x**3 - 5 * x**2 + 8 * x - 4) if x < 2 else 0.0


def halve_mean(image_PHW: AnyImage) -> Floats:
    """Return the means of 2 x 2 pixels, float64."""
    planes, height, width = image_PHW.shape
    blocks = np.asarray(image_PHW, np.float64).reshape(planes, height // 2, 2, width // 2, 2)
    return np.asarray(blocks.mean((2, 4)))


def repeat_twice(image_Phw: NDArray[Any]) -> NDArray[Any]:
    """Return an image in which each pixel is 2 x 2 equal ones."""
    return image_Phw.repeat(2, -2).repeat(2, -1)


def project(large_PHW: AnyImage, image_Phw: AnyImage) -> Floats:
    """Return the image nearest to a doubled one whose 2 x 2 means are the input, float64.

    Each block gets what its mean lacks, which is the least change in the squares. Where the input is NaN all
    four new pixels are.
    """
    return np.asarray(large_PHW + repeat_twice(np.asarray(image_Phw, np.float64) - halve_mean(large_PHW)))


def fill_blanks(image_Phw: AnyImage, instead_Phw: AnyImage) -> Floats:
    """Return an image without NaN: means of what is known of 5 x 5 pixels, ``instead`` where nothing is."""
    image = np.array(image_Phw, np.float64)
    blank = np.isnan(image)
    if not blank.any():
        return image
    image[blank] = 0
    size = (1, 2 * FILL_REACH_PIX + 1, 2 * FILL_REACH_PIX + 1)
    # Not `uniform_filter`: its running sums leave rounding of pixels far away.
    ones = np.ones(size)
    total = ndimage.convolve(image, ones, mode="constant")
    known = ndimage.convolve((~blank).astype(np.float64), ones, mode="constant")
    return np.where(blank, np.where(known > 0.5, total / np.maximum(known, 1), instead_Phw), image)
