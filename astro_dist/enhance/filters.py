"""The bilateral filter of images between 0 and 1."""

import numpy as np

from astro_dist.engine.arrays import Image
from astro_dist.enhance.opencv import opencv


def filter_bilateral(image_PHW: Image, diameter_pix: int, brightness: float, radius_pix: float) -> Image:
    """Return an image (1 or 3 planes) filtered; see `FilterConfig` for the numbers.

    Unlike pixels are told by the sum of the differences of all planes (Tomasi & Manduchi 1998 in the form of
    OpenCV), so that ``brightness`` counts once for each plane.
    """
    planes = len(image_PHW)
    last = np.ascontiguousarray(image_PHW.transpose(1, 2, 0), np.float32)
    found = opencv().bilateralFilter(last, diameter_pix, planes * brightness, radius_pix)
    return np.ascontiguousarray(found.reshape(*last.shape).transpose(2, 0, 1))
