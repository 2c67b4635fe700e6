"""A window of a field as images of its own, with the place of its pixels on the sky."""

import re
from pathlib import Path

from astro_dist.engine.errors import ConfigError
from astro_dist.engine.ledger import Ledger
from astro_dist.sky.fits_arrays import map_image
from astro_dist.sky.fits_file import BandedImage, publish_image
from astro_dist.sky.windows import Window

LAYERS = ("map", "mask", "instances")
_WINDOW = re.compile(r"(\d+):(\d+),(\d+):(\d+)")


def export_window(root: Path, folder: Path, text: str) -> None:
    """Write map, mask and instances of a window of a field; no pixel is changed.

    Parameters
    ----------
    text
        ``ROW:ROW,COLUMN:COLUMN``, counted from 0, the second of each not included.

    Raises
    ------
    ConfigError
        The run has no field yet, or the window is none of it.
    """
    if (published := Ledger(root).published("assemble")) is None:
        raise ConfigError(f"{root} has no field yet; run `astro-dist run` to the stage assemble first")
    product = root / published.product
    window = _parse(text, map_image(product / "map.fits")[0].shape)
    for name in LAYERS:
        pixels, header = map_image(product / f"{name}.fits")
        header["CRPIX1"] -= window.x0
        header["CRPIX2"] -= window.y0
        header.add_history(f"window {text} of field/{name}.fits, rows and columns from 0")
        image = BandedImage(header, window.shape, pixels.dtype.newbyteorder("="))
        place = text.replace(":", "-").replace(",", "_")
        publish_image(folder / f"field-{place}-{name}.fits", image, pixels[window.slices])


def _parse(text: str, shape: tuple[int, ...]) -> Window:
    found = _WINDOW.fullmatch(text)
    if found is None:
        raise ConfigError(f"--window {text}: write ROW:ROW,COLUMN:COLUMN, as 1000:1512,2000:2512")
    y0, y1, x0, x1 = map(int, found.groups())
    if not (y0 < y1 <= shape[0] and x0 < x1 <= shape[1]):
        raise ConfigError(f"--window {text}: the field has {shape[0]} rows and {shape[1]} columns, from 0")
    return Window(y0, y1, x0, x1)
