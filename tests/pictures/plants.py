"""Copies of pictures, of the kinds that are to be found: encoded, scaled, turned, flipped, cropped."""

import io

import numpy as np
from PIL import Image

KINDS = ("encoded", "scaled", "turned", "flipped", "cropped")
TURNS = (Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_270)
FLIPS = (Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.FLIP_TOP_BOTTOM)


def plant(image, kind, rng):
    """A copy of a picture, changed in one way."""
    if kind == "encoded":
        data = io.BytesIO()
        image.save(data, "JPEG", quality=int(rng.integers(30, 91)))
        return Image.open(data).convert("RGB")
    if kind == "scaled":
        ratio = rng.choice([0.5, 0.75, 1.5])
        return image.resize(tuple(int(ratio * side) for side in image.size), Image.Resampling.BICUBIC)
    if kind in ("turned", "flipped"):
        ways = TURNS if kind == "turned" else FLIPS
        return image.transpose(ways[rng.integers(len(ways))])
    width, height = (int(0.8 * side) for side in image.size)
    x, y = (
        int(rng.integers(side - part + 1)) for side, part in zip(image.size, (width, height), strict=True)
    )
    return image.crop((x, y, x + width, y + height))


def image_of(pixels):
    """A Pillow image of a stored picture (planes, s, s)."""
    return Image.fromarray(pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0)))
