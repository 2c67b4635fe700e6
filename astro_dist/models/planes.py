"""The conditions of one cutout, in NumPy. Training and generation call the same functions."""

import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from astro_dist.engine.arrays import Image


def paint_peaks(u: NDArray[np.float32], instances: NDArray[np.integer]) -> NDArray[np.float32]:
    """Paint each piece of each instance with its own brightest pixel.

    The pieces of an instance do not touch: they are the islands of one source, whose lobes differ in
    brightness.

    Parameters
    ----------
    u : 2-D float32
        The image in network range, without NaN.
    instances : 2-D int
        Object per pixel, 0 = none.

    Returns
    -------
    2-D float32, 0 outside all instances. A 0 within a piece means "brightness not given".
    """
    inside = instances > 0
    pieces, count = ndimage.label(inside, np.ones((3, 3)))
    # A peak is taken per pair of piece and instance: instances that touch lie in one piece of the plane, and
    # one instance may have several pieces.
    most = int(instances.max(initial=0)) + 1
    numbers = pieces * most + instances
    # Maxima begin at 0, so an object without a positive pixel gets 0, as if no brightness were given.
    peaks = np.zeros((count + 1) * most, np.float32)
    np.maximum.at(peaks, numbers[inside], u[inside])
    painted: Image = np.where(inside, peaks[numbers], np.float32(0))
    return painted


def background_planes(
    u: NDArray[np.float32], mask: NDArray[np.uint8], valid: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Return the background planes (2, H, W) float32 of an image in network range.

    The first plane is ``u`` with 0 on objects and unusable pixels. The second plane is 1 where ``u`` was kept
    and 0 elsewhere.
    """
    usable = valid & (mask == 0)
    return np.stack([np.where(usable, u, 0.0), usable]).astype(np.float32)


def source_taper(mask: NDArray[np.uint8], fwhm_pix: float) -> Image:
    """Return weights (H, W) float32 that are 1 on objects and fall to 0 outside them.

    The weight is 1 up to a quarter of a beam outside the mask and falls as half a cosine to 0 at 1.25 beams.
    An isophote cuts off the wings of a faint source: within half a beam of the mask the wings keep more than
    half of their weight. Beyond 1.25 beams no noise is left.
    """
    weights = np.zeros(mask.shape, np.float32)
    if not mask.any():
        return weights
    # Below 0.8 pixels even the pixel next to the mask, at a distance of 1, would have the weight 0.
    beam_pix = max(fwhm_pix, 1.0)
    reach_pix = math.ceil(1.25 * beam_pix)
    # The distance transform is the costly part, so only pixels within reach of an object are computed.
    box = tuple(
        slice(max(0, side.start - reach_pix), side.stop + reach_pix)
        for side in ndimage.find_objects((mask > 0).view(np.uint8))[0]
    )
    # The box holds every object, so distances inside it are those in the whole image.
    distance_pix = ndimage.distance_transform_edt(mask[box] == 0)
    weights[box] = 0.5 + 0.5 * np.cos(np.pi * np.clip(distance_pix / beam_pix - 0.25, 0.0, 1.0))
    return weights
