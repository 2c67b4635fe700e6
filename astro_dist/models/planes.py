"""The conditions of one cutout, in NumPy: the same for training and for generation."""

import numpy as np
from numpy.typing import NDArray


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
