"""OpenCV, imported when it is used: matching of templates, and inpainting.

Shape letters: P planes, H W pixels.
"""

import importlib.util
from functools import cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.arrays import Image
from astro_dist.engine.errors import ConfigError

LEAST_SPAN = 1e-30
RANGE = 65535.0
"""Range that floating-point planes are brought to: OpenCV's smallest gradients are those of whole numbers."""
InpaintName = Literal["telea", "ns"]


def require_opencv() -> None:
    """Refuse settings that need OpenCV where it is not installed; imports nothing."""
    if importlib.util.find_spec("cv2") is None:
        raise ConfigError("templates and inpainting need OpenCV: pip install 'astro_dist[enhance]'")


@cache
def opencv() -> Any:
    """Return OpenCV, with one thread and without kernels of a GPU: results then depend on the input alone."""
    require_opencv()
    import cv2

    cv2.setNumThreads(1)
    cv2.ocl.setUseOpenCL(False)
    return cv2


def correlate(image_HW: Image, template_hw: Image) -> Image:
    """Return the normalised correlation (H, W) of a template with every place; 0 where it hangs over.

    Places without any contrast correlate with nothing.
    """
    (height, width), (h, w) = image_HW.shape, template_hw.shape
    found = np.zeros((height, width), np.float32)
    if h > height or w > width:
        return found
    cv2 = opencv()
    inner = cv2.matchTemplate(np.ascontiguousarray(image_HW), template_hw, cv2.TM_CCOEFF_NORMED)
    inner[~np.isfinite(inner) | (np.abs(inner) > 1.001)] = 0
    found[h // 2 : h // 2 + height - h + 1, w // 2 : w // 2 + width - w + 1] = inner
    return found


def inpaint(
    picture_PHW: NDArray[Any], mask_HW: NDArray[np.bool_], radius_pix: float, method: InpaintName
) -> NDArray[Any]:
    """Return a picture whose masked pixels continue those round them; the bits of all others stay.

    Parameters
    ----------
    picture_PHW
        uint8, or float32.
    mask_HW
        The pixels to replace. Where it is the whole picture, nothing is left to continue: it stays.
    radius_pix
        Distance over which pixels are looked at.
    method
        Telea 2004, or the Navier-Stokes equations (Bertalmio et al. 2001).
    """
    if not mask_HW.any() or mask_HW.all():
        return picture_PHW.copy()
    cv2 = opencv()
    how = cv2.INPAINT_TELEA if method == "telea" else cv2.INPAINT_NS
    holes = mask_HW.astype(np.uint8)
    low, span = 0.0, 1.0
    if picture_PHW.dtype != np.uint8:
        known = picture_PHW[:, ~mask_HW]
        low, span = float(known.min()), max(float(np.ptp(known)), LEAST_SPAN) / RANGE
    filled = [
        cv2.inpaint(_scale(plane, low, span), holes, radius_pix, how) * span + low for plane in picture_PHW
    ]
    return np.where(mask_HW, np.stack(filled).astype(picture_PHW.dtype), picture_PHW)


def _scale(plane_HW: NDArray[Any], low: float, span: float) -> NDArray[Any]:
    if plane_HW.dtype == np.uint8:
        return np.ascontiguousarray(plane_HW)
    return np.ascontiguousarray((plane_HW - low) / span, np.float32)
