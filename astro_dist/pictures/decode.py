"""One picture file through Pillow: bounded before it is decoded, turned as its EXIF says, made square.

What cannot be read raises `DataError`, so that the picture is quarantined by its name; nothing else of a file
of the user's can stop a run.
"""

import contextlib
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from astro_dist.engine.errors import ConfigError, DataError
from astro_dist.engine.foreign import check_regular
from astro_dist.engine.pixels import to_network
from astro_dist.pictures.config import PicturesConfig
from astro_dist.pictures.deep import has_deep_colours, read_deep, refuse_apart
from astro_dist.pictures.transforms import LUMA

# MPO, of cameras with two lenses, is opened as JPEG; Pillow refuses its name here.
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM")
"""Formats that are read; others of Pillow's start programs (EPS) or are no pictures of this kind."""
Made = TypeVar("Made")
Decoded = Image.Image | NDArray[np.float32]
"""A picture in mode L, RGB or F (grey from 0 to 1), or deep colours (3, H, W) from 0 to 1."""
MOST_AREA_PIX, MOST_BYTES = 1 << 27, 1 << 30
"""Most pixels of a picture, a fourth of a gigabyte in colour, and most bytes of its file."""
FAULTS = (OSError, ValueError, SyntaxError, TypeError, KeyError, IndexError, EOFError, OverflowError)
"""What Pillow raises on damaged files."""


def read_picture(path: Path, name: str, config: PicturesConfig) -> NDArray[Any]:
    """Return a picture as the store holds it, (planes, size_pix, size_pix), uint8 or float32 from -1 to 1.

    Raises
    ------
    DataError
        The file is no picture, is damaged or is too large; the message begins with ``name``.
    """
    deep = config.dtype == "float32"
    return _reading(path, name, config.largest_pix, lambda image: make_square(image, config), deep)


def read_image(path: Path, name: str) -> Image.Image:
    """Return a picture as it is, upright, in mode L or RGB; raises as `read_picture`."""
    return _reading(path, name, MOST_AREA_PIX, lambda image: image)


def take_image(image: Image.Image, name: str = "the picture") -> Image.Image:
    """Return an image of Pillow's as `read_image` returns that of a file of its mode; raises as that does."""
    with _one_error(name):
        return _load(image, name)


def count_bits(path: Path) -> int:
    """Return 16 for a picture whose numbers have more than 8 bits, else 8; 8 where it cannot be read."""
    with contextlib.suppress(*FAULTS, Image.DecompressionBombError), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check_regular(path)
        with Image.open(path, formats=FORMATS) as image:
            return 16 if image.mode[:1] in "IF" or has_deep_colours(image) else 8
    return 8


def _reading(
    path: Path, name: str, largest_pix: int, make: Callable[[Any], Made], deep: bool = False
) -> Made:
    """Return what ``make`` makes of a picture in mode L or RGB; all faults of the file are `DataError`.

    A ``deep`` picture of more than 8 bits stays as it is: grey in mode F from 0 to 1, colours as an array.
    """
    with _one_error(name):
        check_regular(path)
        if path.stat().st_size > MOST_BYTES:
            raise DataError(f"{name}: a file of more than {MOST_BYTES >> 20} MB")
        with Image.open(path, formats=FORMATS) as image:
            _check_size(name, image.size, largest_pix)
            if deep and has_deep_colours(image):
                refuse_apart(image, name)
                return make(read_deep(path, FORMATS, name))
            return make(_load(image, name, deep))


@contextlib.contextmanager
def _one_error(name: str) -> Iterator[None]:
    """Turn all faults of a picture into `DataError`, and say nothing of what is none of its pixels."""
    try:
        # What a picture holds beside its pixels, such as half an EXIF block, is no fault of the pixels.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except ConfigError as error:
        raise DataError(f"{name}: {error}") from None
    except Image.DecompressionBombError:
        raise DataError(f"{name}: more than {MOST_AREA_PIX >> 20} million pixels") from None
    except UnidentifiedImageError:
        raise DataError(f"{name}: no picture in a format that is read ({', '.join(FORMATS)})") from None
    except (*FAULTS, struct.error, zlib.error) as error:
        reason = " ".join(str(error).split())[:100] or type(error).__name__
        raise DataError(f"{name}: a damaged picture ({reason})") from None


def _load(image: Image.Image, name: str, deep: bool = False) -> Image.Image:
    refuse_apart(image, name)
    upright = _plain(image, name, deep)
    # Pillow decodes when it must; a damaged file has to be found here.
    upright.load()
    return upright


def make_square(image: Decoded, config: PicturesConfig) -> NDArray[Any]:
    """Return a picture, as it was decoded, as the store holds it."""
    if isinstance(image, np.ndarray):
        grey = config.planes == 1
        colours = np.einsum("p,phw->hw", LUMA.astype(np.float32), image)[None] if grey else image
        return _to_range(np.stack([_fit(Image.fromarray(one), config) for one in colours]), config.planes)
    if image.mode != "F":
        image = image.convert("L" if config.planes == 1 else "RGB")
    pixels = _fit(image, config)
    planes = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    if image.mode == "F":
        return _to_range(planes, config.planes)
    planes = np.ascontiguousarray(planes)
    return to_network(planes) if config.dtype == "float32" else planes


def _fit(image: Image.Image, config: PicturesConfig) -> NDArray[Any]:
    size = (config.size_pix, config.size_pix)
    if config.fit == "crop":
        image = ImageOps.fit(image, size, Image.Resampling.LANCZOS)
    elif config.fit == "pad":
        image = ImageOps.pad(image, size, Image.Resampling.LANCZOS)
    else:
        image = image.resize(size, Image.Resampling.LANCZOS)
    return np.asarray(image)


def _to_range(unit_PHW: NDArray[Any], planes: int) -> NDArray[np.float32]:
    """Return planes from 0 to 1 as float32 from -1 to 1; Lanczos may leave the range."""
    times = planes // len(unit_PHW)
    return np.repeat(2 * np.clip(unit_PHW, 0, 1) - 1, times, 0).astype(np.float32)


def resize_plane(values: NDArray[np.float32], size_pix: int) -> NDArray[np.float32]:
    """Return a square plane of numbers at another size, float32; a smaller one is a weighted mean."""
    size = (size_pix, size_pix)
    return np.asarray(Image.fromarray(values).resize(size, Image.Resampling.BILINEAR), np.float32)


def _check_size(name: str, size: tuple[int, int], largest_pix: int) -> None:
    width, height = size
    if max(size) > largest_pix or width * height > MOST_AREA_PIX:
        raise DataError(f"{name}: {width} x {height} pixels; scale it down, or raise pictures.largest_pix")


def _plain(image: Image.Image, name: str, deep: bool) -> Image.Image:
    """Return the image in mode L or RGB: upright, without alpha (over black), with 8 bits unless ``deep``."""
    upright = ImageOps.exif_transpose(image)
    if image.mode.startswith("I") or image.mode == "F":
        unit = _unit_range(np.asarray(upright), image, name)
        return Image.fromarray(unit.astype(np.float32) if deep else np.rint(255 * unit).astype(np.uint8))
    image = upright
    if image.has_transparency_data:
        image = image.convert("RGBA")
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        return Image.alpha_composite(black, image).convert("RGB")
    return image if image.mode in ("L", "RGB") else image.convert("L" if image.mode == "1" else "RGB")


def _unit_range(values: NDArray[Any], image: Image.Image, name: str) -> NDArray[np.float64]:
    """Return the grey values of 16-bit and float pictures from 0 to 1; ``image`` is that of the file."""
    if (clear := image.info.get("transparency")) is not None:
        values = np.where(values == clear, 0, values)
    # A grey PNG of 16 bits has the mode I in some versions of Pillow.
    if image.mode.startswith("I;16") or image.format in ("PNG", "PPM"):
        scaled = values.astype(np.float64) / 65535
    elif image.mode == "F" and np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1:
        scaled = values.astype(np.float64)
    else:
        raise DataError(f"{name}: numbers of no known range (mode {image.mode}); save it with 8 or 16 bits")
    return np.clip(scaled, 0, 1)
