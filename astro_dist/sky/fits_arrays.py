"""Plain FITS images and tables as numpy and astropy have them, for those who read products from Python."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.table import Table as Table
from astropy.wcs import WCS as WCS
from numpy.typing import NDArray

from astro_dist.engine.errors import ConfigError
from astro_dist.engine.files import publish_file


def map_image(path: Path) -> tuple[NDArray[Any], fits.Header]:
    """Return the pixels of a plain image, mapped into memory and read when they are used, and its header.

    Raises
    ------
    ConfigError
        The file is missing, or its first HDU holds no plain image.
    """
    try:
        with fits.open(path, memmap=True, do_not_scale_image_data=True) as hdus:
            hdu = hdus[0]
            header, offset = hdu.header.copy(), hdu.fileinfo()["datLoc"]
            shape, dtype = hdu.shape, np.dtype(fits.BITPIX2DTYPE[header["BITPIX"]]).newbyteorder(">")
    except (OSError, KeyError) as error:
        raise ConfigError(f"{path}: no FITS image that can be read ({error})") from None
    if not shape:
        raise ConfigError(f"{path}: its first HDU holds no image")
    # Not that of astropy, which keeps the file open and cannot be sent to another process.
    return np.memmap(path, dtype, "r", offset, shape), header


def wcs_of(header: fits.Header) -> WCS:
    """Return the celestial WCS of a header."""
    return WCS(header).celestial


def wcs_of_cards(cards: Mapping[str, Any]) -> WCS:
    """Return the celestial WCS of cards as stores keep them (`astro_dist.sky.coordinates.wcs_cards`)."""
    return WCS(fits.Header(list(cards.items()))).celestial


def cards_of(text: str, names: Iterable[str]) -> dict[str, tuple[Any, str]]:
    """Return those of some cards that a header, given as text, has with a value: ``(value, comment)``."""
    header = fits.Header.fromstring(text)
    there = [name for name in names if str(header.get(name, "")).strip()]
    return {name: (header[name], header.comments[name]) for name in there}


def cut_wcs(wcs: WCS, y0: int, x0: int) -> WCS:
    """Return the WCS of a window of an image from its first row and column, counted from 0."""
    cut = wcs.deepcopy()
    # Reference pixels alone: the sky position of every pixel is the same number as in the whole image.
    cut.wcs.crpix = [cut.wcs.crpix[0] - x0, cut.wcs.crpix[1] - y0]
    cut.wcs.set()
    return cut


def read_table(path: Path) -> Table:
    """Return the first table of a FITS file, with units and descriptions; texts are text and no bytes.

    Raises
    ------
    ConfigError
        The file is missing, or holds no table.
    """
    try:
        table = Table.read(path, format="fits", hdu=1)
        header = fits.getheader(path, 1)
    except (OSError, ValueError, IndexError) as error:
        raise ConfigError(f"{path}: no FITS table that can be read ({error})") from None
    for number in range(1, header["TFIELDS"] + 1):
        table[header[f"TTYPE{number}"]].description = header.get(f"TCOMM{number}")
    table.convert_bytestring_to_unicode()
    return table


def write_text_table(path: Path, table: Table, form: str) -> None:
    """Write a table as ``csv``, or as ``ecsv``, which keeps units and descriptions."""
    with publish_file(path) as hidden:
        table.write(hidden, format=f"ascii.{form}", overwrite=True)
