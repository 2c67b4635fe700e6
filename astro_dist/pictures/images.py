"""Pictures in arrays (P, S, S) and as Pillow's images, and what Pillow does to all planes of one.

Shape letters: P planes, S side in pixels.
"""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

BICUBIC, LANCZOS = Image.Resampling.BICUBIC, Image.Resampling.LANCZOS
Kernel = Image.Resampling


def to_image(picture_PSS: NDArray[np.uint8]) -> Image.Image:
    """Return a picture of 1 or 3 planes as a grey or colour image."""
    return Image.fromarray(picture_PSS[0] if len(picture_PSS) == 1 else picture_PSS.transpose(1, 2, 0))


def from_image(image: Image.Image) -> NDArray[np.uint8]:
    """Return a grey or colour image (mode L or RGB) as a picture."""
    pixels = np.asarray(image)
    return np.ascontiguousarray(pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1))


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
