"""Colours of 16 bits, of which Pillow keeps the upper 8.

Each picture is read twice: as it is, and with the two bytes of its numbers swapped, which gives the lower 8.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from astro_dist.engine.errors import DataError

SWAPPED = {"16B": "16L", "16L": "16B", "16N": "16B" if sys.byteorder == "little" else "16L"}
"""How Pillow calls numbers with the larger byte first, last, or as on this machine: the other order."""
BITS, PLANES_LIE, AFTER = 258, 284, 2
"""Tags of a TIFF: bits of each number, and whether planes lie side by side (1) or one after the other (2)."""


def has_deep_colours(image: Image.Image) -> bool:
    """Return whether the colours of a picture that is not read yet have more than 8 bits."""
    return image.mode in ("RGB", "RGBA", "CMYK") and any(_is_deep(tile) for tile in _tiles(image))


def refuse_apart(image: Image.Image, name: str) -> None:
    """Refuse a TIFF of 16 bits with planes one after the other: Pillow takes half of each for the whole."""
    if _lies_apart(image) and any(len(_raw(tile)) == 1 for tile in _tiles(image)):
        raise DataError(
            f"{name}: a TIFF of 16 bits with its colours one after the other; save it with them side by side"
        )


def read_deep(path: Path, formats: tuple[str, ...], name: str) -> NDArray[np.float32]:
    """Return the colours of a picture, (3, H, W) from 0 to 1, upright, with alpha over black.

    Raises
    ------
    DataError
        The numbers lie in a way of which Pillow reads 8 bits alone.
    """
    upper, lower = Image.open(path, formats=formats), Image.open(path, formats=formats)
    with upper, lower:
        if _lies_apart(lower) or not all(_layout(tile) in ("RGB", "RGBA") for tile in _tiles(lower)):
            raise DataError(
                f"{name}: colours of 16 bits in a way that is read with 8 alone; save it as PNG or TIFF with "
                "RGB side by side, or set pictures.dtype to uint8"
            )
        lower.tile = [_swap(tile) for tile in _tiles(lower)]
        # In three steps, so that no more than two copies of 16 bits are there at once.
        values = np.asarray(ImageOps.exif_transpose(upper)).astype(np.uint16)
        values <<= 8
        values |= np.asarray(ImageOps.exif_transpose(lower))
    unit = values.astype(np.float32) / np.float32(65535)
    return np.moveaxis(unit[..., :3] * unit[..., 3:] if unit.shape[2] == 4 else unit, 2, 0)


def _lies_apart(image: Image.Image) -> bool:
    tags = getattr(image, "tag_v2", {})
    return tags.get(PLANES_LIE) == AFTER and bool(np.max(tags.get(BITS, 8)) > 8)


def _tiles(image: Image.Image) -> list[Any]:
    return list(getattr(image, "tile", ()))


def _raw(tile: Any) -> str:
    """Return how numbers lie in a part of a file, such as RGB;16B."""
    arguments = tile[3]
    return str(arguments if isinstance(arguments, str) else (arguments or ("",))[0])


def _is_deep(tile: Any) -> bool:
    # A PPM has its greatest value in the header instead.
    return ";16" in _raw(tile) or (tile[0].startswith("ppm") and tile[3][1] > 255)


def _layout(tile: Any) -> str:
    planes, _, order = _raw(tile).partition(";")
    return planes if order in SWAPPED else ""


def _swap(tile: Any) -> Any:
    codec, extents, offset, arguments = tile
    planes, _, order = _raw(tile).partition(";")
    raw = f"{planes};{SWAPPED[order]}"
    return type(tile)(codec, extents, offset, raw if isinstance(arguments, str) else (raw, *arguments[1:]))
