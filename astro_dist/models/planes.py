"""The conditions of one cutout, in NumPy: the same for training and for generation."""

import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from astro_dist.engine.arrays import Image


def paint_peaks(u: NDArray[np.float32], instances: NDArray[np.integer]) -> NDArray[np.float32]:
    """Paint each instance with its own brightest pixel.

    Parameters
    ----------
    u : 2-D float32
        The image in network range; NaN must have been replaced.
    instances : 2-D int
        Object per pixel, 0 = none.

    Returns
    -------
    2-D float32, 0 outside all instances. Within one, 0 would mean "brightness not given".
    """
    inside = instances > 0
    peaks = np.zeros(int(instances.max(initial=0)) + 1, np.float32)
    np.maximum.at(peaks, instances[inside], u[inside])
    return peaks[instances]


def background_planes(
    u: NDArray[np.float32], mask: NDArray[np.uint8], valid: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Return (2, H, W) float32: ``u`` with objects and unusable pixels 0, and 1 where it is usable."""
    usable = valid & (mask == 0)
    return np.stack([np.where(usable, u, 0.0), usable]).astype(np.float32)


def source_taper(mask: NDArray[np.uint8], fwhm_pix: float) -> Image:
    """Return weights (H, W) that are 1 on objects and fall as a cosine to 0 one beam outside them.

    An isophote cuts off the wings of a faint source; within half a beam of the mask they keep more
    than half of their weight, beyond a beam nothing is left of the noise.
    """
    weights = np.zeros(mask.shape, np.float32)
    if not mask.any():
        return weights
    beam_pix = max(fwhm_pix, 1.0)
    reach_pix = math.ceil(1.25 * beam_pix)
    box = tuple(
        slice(max(0, side.start - reach_pix), side.stop + reach_pix)
        for side in ndimage.find_objects((mask > 0).view(np.uint8))[0]
    )
    distance_pix = ndimage.distance_transform_edt(mask[box] == 0)
    weights[box] = 0.5 + 0.5 * np.cos(np.pi * np.clip(distance_pix / beam_pix - 0.25, 0.0, 1.0))
    return weights
