"""Peaks of an image, such as stars, and how many of them another version of it has lost."""

import numpy as np
from scipy import ndimage

from astro_dist.engine.arrays import AnyImage, Floats, Integers

SMOOTH_PIX = 6.0
"""What is wider than this, such as the light of a galaxy, is the ground that peaks stand on."""
NEAR_PIX, LEFT = 2, 0.5
"""A peak is lost where, within so many pixels, less than this share of its height is left."""
LEAST_NOISE = 1 / 255
"""Least noise of an image from 0 to 1: a step of 8 bits."""


def rise(grey_HW: AnyImage) -> Floats:
    """Return an image less its smooth part."""
    grey = np.asarray(grey_HW, np.float64)
    return np.asarray(grey - ndimage.gaussian_filter(grey, SMOOTH_PIX))


def find_peaks(grey_HW: AnyImage, sigma: float = 5.0, least_noise: float = LEAST_NOISE) -> Integers:
    """Return row and column (n, 2) of the pixels above all neighbours and ``sigma`` times the noise.

    The noise is 1.4826 times the median distance of the image less its smooth part from its median.
    """
    height = rise(grey_HW)
    noise = 1.4826 * float(np.median(np.abs(height - np.median(height))))
    top = ndimage.maximum_filter(height, 2 * NEAR_PIX + 1)
    return np.argwhere((height == top) & (height > sigma * max(noise, least_noise)))


def count_lost(peaks: Integers, true_HW: AnyImage, made_HW: AnyImage) -> int:
    """Return how many peaks of the true image have less than half of their height in another one."""
    if not len(peaks):
        return 0
    was = rise(true_HW)[tuple(peaks.T)]
    near = ndimage.maximum_filter(rise(made_HW), 2 * NEAR_PIX + 1)[tuple(peaks.T)]
    return int((near < LEFT * was).sum())
