"""Pictures in arrays (P, S, S) and as Pillow's images, and what Pillow does to all planes of one.

Arrays of a user become pictures by `to_planes`, and what is made of them goes back by `like`.

Shape letters: P planes, S side in pixels; H W and h w those of pictures that are not square.
"""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from astro_dist.engine.arrays import Image as Planes
from astro_dist.engine.errors import DataError

BICUBIC, LANCZOS = Image.Resampling.BICUBIC, Image.Resampling.LANCZOS
Kernel = Image.Resampling
ROUNDING = 1e-4
"""How far a number may lie beyond 0 and 1 by the roundings of what was computed before."""


def to_image(picture_PSS: NDArray[np.uint8]) -> Image.Image:
    """Return a picture of 1 or 3 planes as a grey or colour image."""
    return Image.fromarray(picture_PSS[0] if len(picture_PSS) == 1 else picture_PSS.transpose(1, 2, 0))


def from_image(image: Image.Image) -> NDArray[np.uint8]:
    """Return a grey or colour image (mode L or RGB) as a picture."""
    pixels = np.asarray(image)
    return np.ascontiguousarray(pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1))


def to_planes(array: NDArray[Any], bounded: bool = True) -> NDArray[Any]:
    """Return an array of a user as a picture (P, h, w): uint8 as it is, others float32 from 0 to 1.

    Parameters
    ----------
    array
        uint8, uint16 from 0 to 65535, or float from 0 to 1; (h, w), (h, w, 3) or (P, h, w), P 1 or 3.
    bounded
        False takes floats of any size, as in a stretched map.

    Raises
    ------
    DataError
        The array has another type or shape, or numbers beyond.
    """
    planes = array[None] if array.ndim == 2 else array.transpose(2, 0, 1) if _planes_last(array) else array
    if planes.ndim != 3 or len(planes) not in (1, 3) or planes.size == 0:
        raise DataError(
            f"an array of shape {array.shape} is no picture; give (h, w), (h, w, 3), or planes first, "
            "(1, h, w) or (3, h, w)"
        )
    if array.dtype == np.uint8:
        return np.ascontiguousarray(planes)
    if array.dtype == np.uint16:
        return planes.astype(np.float32) / np.float32(65535)
    if array.dtype.kind != "f":
        raise DataError(
            f"an array of the type {array.dtype} is no picture; give uint8, uint16 from 0 to 65535, or float "
            "from 0 to 1"
        )
    with np.errstate(over="ignore"):
        unit = planes.astype(np.float32)
    low, high = unit.min(), unit.max()
    if not np.isfinite((low, high)).all():
        raise DataError("an array with NaN or infinite numbers is no picture; replace them")
    if bounded and not -ROUNDING <= low <= high <= 1 + ROUNDING:
        raise DataError(
            f"an array with numbers from {low:g} to {high:g} is no picture; give float from 0 to 1, or uint8"
        )
    return np.clip(unit, 0, 1) if bounded else unit


def unit_planes(picture_PHW: NDArray[Any]) -> Planes:
    """Return a picture, uint8 or float from 0 to 1, as float32 from 0 to 1."""
    white = np.float32(255 if picture_PHW.dtype == np.uint8 else 1)
    unit: Planes = picture_PHW.astype(np.float32) / white
    return unit


def like(made_PHW: NDArray[Any], array: NDArray[Any]) -> NDArray[Any]:
    """Return what was made of an array that `to_planes` took, with its type and its order of axes.

    Parameters
    ----------
    made_PHW
        Float from 0 to 1, or of the type of the array; three planes of a grey (h, w) become (H, W, 3).
    """
    if array.dtype.kind == "u" and made_PHW.dtype != array.dtype:
        made_PHW = np.rint(np.iinfo(array.dtype).max * np.clip(made_PHW, 0, 1))
    made = made_PHW.astype(array.dtype)
    if array.ndim == 2 and len(made) == 1:
        return made[0]
    return np.ascontiguousarray(made.transpose(1, 2, 0) if array.ndim == 2 or _planes_last(array) else made)


def _planes_last(array: NDArray[Any]) -> bool:
    return array.ndim == 3 and array.shape[-1] in (1, 3) and array.shape[0] not in (1, 3)


def through_images(picture_PSS: NDArray[Any], change: Callable[[Image.Image], Image.Image]) -> NDArray[Any]:
    """Return a picture, uint8 or float32, with a change of Pillow's; float planes are changed one by one."""
    if picture_PSS.dtype == np.uint8:
        return from_image(change(to_image(picture_PSS)))
    planes = (Image.fromarray(np.ascontiguousarray(plane, np.float32)) for plane in picture_PSS)
    return np.stack([np.asarray(change(plane)) for plane in planes])


def resize(picture_PSS: NDArray[Any], side_pix: int, kernel: Kernel = BICUBIC) -> NDArray[Any]:
    """Return a picture of another side, of the same type; uint8 is rounded as Pillow does."""
    return through_images(picture_PSS, lambda image: image.resize((side_pix, side_pix), kernel))


def png_bytes(image: Image.Image, about: str = "") -> bytes:
    """Return the bytes of an image as a PNG file, which hold no date; ``about`` is its description."""
    file, text = io.BytesIO(), PngInfo()
    if about:
        text.add_text("Description", about)
    # The level is stated, because the default of another Pillow would give other bytes.
    image.save(file, "PNG", compress_level=6, pnginfo=text)
    return file.getvalue()
