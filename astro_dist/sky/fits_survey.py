"""What a FITS file of several HDUs holds, seen from their headers alone."""

import gzip
import re
import zlib
from pathlib import Path

from astro_dist.engine.errors import ConfigError
from astro_dist.engine.foreign import check_regular
from astro_dist.sky.fits_headers import (
    IMAGE_FOLDER,
    Hdu,
    Wanted,
    check_cards,
    check_fits_into,
    holds_image,
    is_gzip,
    iterate_cards,
    open_bounded,
    walk_hdus,
)

_BEAM = re.compile(r"BM(AJ|IN)|BPA|beam|restoration|convol|smooth", re.IGNORECASE)
MOST_BEAM_LINES, LONGEST_LINE = 200, 1000
# Right ascension and declination, and longitude and latitude of any frame: RA, DEC, GLON, GLAT and so on.
_CELESTIAL = re.compile(r"(RA|DEC|[A-Z]LON|[A-Z]LAT|[A-Z]{2}L[NT])(-|$)")


def holds_sky(hdu: Hdu) -> bool:
    """Return whether an HDU holds an image with celestial axes."""
    if not holds_image(hdu):
        return False
    ctypes = [hdu.card(f"CTYPE{i + 1}").upper() for i in range(len(hdu.image_axes))]
    return sum(_CELESTIAL.match(ctype) is not None for ctype in ctypes) == 2


def survey_hdus(path: Path, enough: Wanted | None = None, wanted: Wanted = holds_image) -> list[Hdu]:
    """Return the HDUs of a FITS file as far as their headers can be read.

    Parameters
    ----------
    enough
        Where the file is packed with gzip, which unpacks all that lies before a header, the HDU after which
        no further one is looked for.
    wanted
        What the file is read for.

    Raises
    ------
    ConfigError
        As `read_hdus`; not for an HDU behind the first wanted one, where the walk ends.
    """
    hdus: list[Hdu] = []
    try:
        check_regular(path, IMAGE_FOLDER)
        packed = is_gzip(path)
        with open_bounded(path) as (handle, limit):
            for hdu in walk_hdus(handle, limit, None, False):
                hdus.append(hdu)
                if packed and enough is not None and enough(hdu):
                    break
    except (ConfigError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        if any(map(wanted, hdus)):
            return hdus
        if isinstance(error, ConfigError):
            raise
        raise ConfigError("its packed bytes break off or are damaged; fetch it again") from None
    return hdus


def check_chosen(path: Path, hdus: list[Hdu], chosen: Hdu, *, whole: bool = False) -> None:
    """Refuse a chosen HDU that is cut short or has too many cards.

    Parameters
    ----------
    hdus
        All HDUs; astropy parses those up to the chosen one where that one is compressed or read ``whole``.
    """
    check_fits_into(path, chosen, whole)
    parsed = whole or chosen.is_compressed
    # The first header is parsed as well for what the chosen one inherits from it.
    before = [hdu for hdu in hdus if hdu.index < chosen.index and (parsed or not hdu.index)]
    check_cards([*before, chosen], parsed)


def beam_lines(hdu: Hdu) -> list[str]:
    """Return the last lines of HISTORY that may hold a beam, each with the line after it.

    A line that fills its card goes on in the next one, where writers cut it, if need be within a number.
    """
    lines: list[str] = []
    goes_on = False
    for card in iterate_cards(hdu.header):
        if card[:8] != b"HISTORY ":
            goes_on = False
            continue
        text = card[8:].decode("latin-1")
        if goes_on and len(lines[-1]) < LONGEST_LINE:
            lines[-1] += text.rstrip()
        else:
            lines.append(text.rstrip())
        goes_on = len(text) == 72 and not text.endswith(" ")
    names_beam = [_BEAM.search(line) is not None for line in lines]
    found = [line.strip() for i, line in enumerate(lines) if any(names_beam[max(0, i - 1) : i + 1])]
    return found[-MOST_BEAM_LINES:]
