"""FITS binary tables as this system writes them: equal byte for byte when made again, checksums included.

Units, UCDs and meanings of columns are written where astropy, STILTS and TOPCAT read them: in the cards
TUNIT, TUCD and TCOMM.
"""

import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from astro_dist import __version__
from astro_dist.engine.files import publish_file
from astro_dist.sky.fits_file import CHECK_COMMENT, add_history

# FITS tables have no unsigned integers of 2 or 4 bytes: the next larger signed type (J, K) holds them.
COLUMN_FORMATS = {
    **{"b1": "L", "u1": "B", "i2": "I", "i4": "J", "i8": "K", "f4": "E", "f8": "D"},
    **{"u2": "J", "u4": "K"},
}


# A card has 80 characters, of which name and a value of up to 20 take 33 with the slash.
COMMENT_WIDTH = 47


@dataclass(frozen=True)
class Column:
    """Unit as FITS writes it (empty where there is none), UCD of the IVOA and meaning of a column."""

    unit: str
    ucd: str
    meaning: str


def write_table(
    path: Path,
    columns: Mapping[str, NDArray[Any]],
    about: Mapping[str, Column],
    *,
    name: str,
    cards: Mapping[str, Any] | None = None,
    history: Iterable[str] = (),
) -> None:
    """Publish a FITS binary table with checksums, equal byte for byte when made again.

    Parameters
    ----------
    columns
        One-dimensional arrays of one length: bool, integers, floats or text.
    about
        The description of every column, and of any others.
    name
        EXTNAME of the table.
    """
    table = fits.BinTableHDU.from_columns([_column(key, v, about[key].unit) for key, v in columns.items()])
    table.name = name
    for number, key in enumerate(columns, 1):
        # The comment is for those who look at the header; it may be cut short.
        short = textwrap.shorten(about[key].meaning, COMMENT_WIDTH, placeholder="...")
        table.header.comments[f"TTYPE{number}"] = short
        table.header[f"TUCD{number}"] = about[key].ucd
        table.header[f"TCOMM{number}"] = about[key].meaning
    table.header.update(cards or {})
    table.header["ORIGIN"] = f"astro_dist {__version__}"
    add_history(table.header, history)
    hdus = fits.HDUList([fits.PrimaryHDU(), table])
    for hdu in hdus:
        hdu.add_checksum(when=CHECK_COMMENT)
    with publish_file(path) as hidden:
        hdus.writeto(hidden)


def _column(name: str, values: NDArray[Any], unit: str) -> fits.Column:
    if values.dtype.kind == "U":
        # FITS has ASCII only; names of the user's maps may have more.
        text = np.strings.encode(values, "ascii", "backslashreplace")
        return fits.Column(name, f"{max(1, values.dtype.itemsize // 4, text.dtype.itemsize)}A", array=text)
    return fits.Column(name, COLUMN_FORMATS[values.dtype.str[1:]], unit or None, array=values)
