"""What makes small pictures of large ones, so that a network can learn the way back.

``bicubic`` is Pillow's bicubic reduction, with which super-resolution is commonly measured. ``real`` adds
what pictures of the web have gone through: blur, other kernels, noise, and JPEG. All of it is drawn from the
stream that the caller gives, so that a small picture is a function of its index.

Shape letters: P planes, S side in pixels.
"""

import io
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from astro_dist.engine.pixels import from_network, to_network
from astro_dist.pictures.images import BICUBIC, Kernel, from_image, resize, to_image

DegradationName = Literal["bicubic", "real"]
HalfName = Literal["bicubic", "mean"]
REDUCTIONS = (BICUBIC, Kernel.BILINEAR, Kernel.BOX)
"""Kernels of reduction of ``real``."""
BLUR_PIX = (0.2, 1.2)
"""Least and greatest blur of ``real``: standard deviation in pixels of the small picture."""
NOISE = (0.0, 0.04)
"""Least and greatest noise of ``real``: standard deviation in units of the range from black to white."""
JPEG_QUALITY = (40, 95)


def degrade(
    picture_PSS: NDArray[Any], scale: int, kind: DegradationName, rng: np.random.Generator
) -> NDArray[Any]:
    """Return a picture reduced by ``scale``, of the same type.

    Parameters
    ----------
    picture_PSS
        (P, S, S), uint8, or float32 from -1 to 1; S is a multiple of ``scale``.
    kind
        ``bicubic`` draws no number.
    rng
        The stream of this picture.
    """
    side_pix = picture_PSS.shape[-1] // scale
    if kind == "bicubic":
        return resize(picture_PSS, side_pix)
    sigma_pix = scale * rng.uniform(*BLUR_PIX)
    kernel = REDUCTIONS[rng.integers(len(REDUCTIONS))]
    # Floating point up to the end: a faint sky would be lost by rounding between the steps.
    blurred = _blur(to_network(picture_PSS), sigma_pix)
    small = resize(blurred, side_pix, kernel)
    # Twice the amplitude, since the network range is 2.
    noisy = small + 2 * rng.uniform(*NOISE) * rng.standard_normal(small.shape, np.float32)
    quality = int(rng.integers(*JPEG_QUALITY, endpoint=True))
    if picture_PSS.dtype != np.uint8:
        # Maps of one float plane are no JPEG files anywhere.
        return from_network(noisy, "float32")
    return _through_jpeg(from_network(noisy, "uint8"), quality)


def halve(picture_PSS: NDArray[Any], kind: HalfName) -> NDArray[Any]:
    """Return a picture of half the side and of the same type, which no random number changes.

    ``bicubic`` is Pillow's reduction, and ``mean`` that of 2 x 2 pixels; uint8 is rounded.
    """
    if kind == "bicubic":
        return resize(picture_PSS, picture_PSS.shape[-1] // 2)
    planes, height, width = picture_PSS.shape
    mean = picture_PSS.reshape(planes, height // 2, 2, width // 2, 2).mean((2, 4), np.float64)
    return (np.rint(mean) if picture_PSS.dtype == np.uint8 else mean).astype(picture_PSS.dtype)


def _blur(picture_PSS: NDArray[np.float32], sigma_pix: float) -> NDArray[np.float32]:
    """Return a picture blurred by a Gaussian, reflected at the borders."""
    blurred: NDArray[np.float32] = gaussian_filter(picture_PSS, (0, sigma_pix, sigma_pix), mode="reflect")
    return blurred


def _through_jpeg(picture_PSS: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """Return a picture after it has been written as JPEG."""
    file = io.BytesIO()
    to_image(picture_PSS).save(file, "JPEG", quality=quality)
    with Image.open(io.BytesIO(file.getvalue())) as image:
        return from_image(image)
