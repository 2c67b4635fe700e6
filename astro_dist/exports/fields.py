"""A window of a field as images of its own, with the place of its pixels on the sky."""

import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

from astro_dist.engine.errors import ConfigError
from astro_dist.engine.ledger import Ledger
from astro_dist.exports.pieces import Piece
from astro_dist.exports.sheets import write_picture
from astro_dist.exports.target import Target
from astro_dist.sky.config import MapsConfig
from astro_dist.sky.fits_arrays import map_image
from astro_dist.sky.fits_file import BandedImage, publish_image
from astro_dist.sky.maps import SkyMap
from astro_dist.sky.proposal import measure_rms
from astro_dist.sky.windows import Window

LAYERS = ("map", "mask", "instances")
MOST_PIX = 4096
"""The largest side of a picture; that of a whole field is `overview.png`."""
_WINDOW = re.compile(r"(\d+):(\d+),(\d+):(\d+)")


def export_window(root: Path, target: Target, text: str, forms: Collection[str]) -> None:
    """Write map, mask and instances of a window of a field as FITS, no pixel changed, or as one picture.

    Parameters
    ----------
    text
        ``ROW:ROW,COLUMN:COLUMN``, counted from 0, the second of each not included.
    forms
        ``fits``, ``png``.

    Raises
    ------
    ConfigError
        The run has no field yet, or the window is none of it, or too large for a picture.
    """
    if (published := Ledger(root).published("assemble")) is None:
        raise ConfigError(f"{root} has no field yet; run `astro-dist run` to the stage assemble first")
    product = root / published.product
    window = _parse(text, map_image(product / "map.fits")[0].shape)
    if "png" in forms and max(window.shape) > MOST_PIX:
        raise ConfigError(
            f"--window {text}: a picture of it has at most {MOST_PIX} pixels a side; take a smaller one, or "
            "look at overview.png"
        )
    name, cut = f"field-{text.replace(':', '-').replace(',', '_')}", dict[str, Any]()
    target.total = len(LAYERS)
    for layer in target.watch(LAYERS):
        pixels, header = map_image(product / f"{layer}.fits")
        cut[layer] = pixels[window.slices]
        header["CRPIX1"] -= window.x0
        header["CRPIX2"] -= window.y0
        header.add_history(f"window {text} of field/{layer}.fits, rows and columns from 0")
        path = target.folder / f"{name}-{layer}.fits"
        if "fits" in forms and not target.skips([path], 0):
            image = BandedImage(header, window.shape, pixels.dtype.newbyteorder("="))
            publish_image(path, image, cut[layer])
    if "png" in forms:
        whole = SkyMap.open(product / "map.fits", MapsConfig(), verify=False)
        image, mask, instances = (cut[layer] for layer in LAYERS)
        rms = measure_rms(image)
        # A field without noise has its brightness in the picture.
        piece = Piece(
            name, 0, image, mask, instances, rms if rms > 0 else 1.0, 0.0, whole.beam, whole.pixel, None, None
        )
        write_picture(target.folder, piece)


def _parse(text: str, shape: tuple[int, ...]) -> Window:
    found = _WINDOW.fullmatch(text)
    if found is None:
        raise ConfigError(f"--window {text}: write ROW:ROW,COLUMN:COLUMN, as 1000:1512,2000:2512")
    y0, y1, x0, x1 = map(int, found.groups())
    if not (y0 < y1 <= shape[0] and x0 < x1 <= shape[1]):
        raise ConfigError(f"--window {text}: the field has {shape[0]} rows and {shape[1]} columns, from 0")
    return Window(y0, y1, x0, x1)
