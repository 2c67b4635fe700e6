"""The header of an image whose pixels are halved: the same sky at the same positions.

Pixel x of the input becomes 2 (x - 0.5) + 0.5, counted from 1 as FITS does: in every coordinate system that
the header has, in the plate solution of the Digitized Sky Survey, in the physical pixels of IRAF, and in the
sections of an image. Cards that name the size of a pixel are halved. All others stay as they are.
"""

import math
import re
from collections.abc import Iterable, Iterator

from astropy.io import fits

from astro_dist.engine.errors import ConfigError
from astro_dist.sky.fits_file import add_history

STRUCTURE = re.compile(
    r"SIMPLE|XTENSION|BITPIX|NAXIS\d*|PCOUNT|GCOUNT|GROUPS|EXTEND|INHERIT|BSCALE|BZERO|BLANK|CHECKSUM|DATASUM|"
    r"ZHECKSUM|ZDATASUM|DATAMIN|DATAMAX"
)
"""Cards about the coding of the numbers, which the writer of the new file states itself."""
COORDINATES = re.compile(
    r"(CTYPE|CRVAL|CRPIX|CDELT|CUNIT|CROTA|CNAME|CRDER|CSYER)\d[A-Z]?|(PC|CD)\d\d?_\d\d?[A-Z]?|(PC|CD)\d{6}|"
    r"P[VS]\d_\d+[A-Z]?|PROJP\d+|(LONPOLE|LATPOLE|RADESYS|EQUINOX|WCSAXES|WCSNAME)[A-Z]?|RADECSYS|EPOCH|"
    r"[AB]P?_(ORDER|DMAX|\d_\d)|(CPDIS|CQDIS|D2IMDIS|DP|DQ|D2IMERR)\d.*|AXISCORR|LT[VM]\d.*|"
    r"AMD[XY]\d+|CNPIX\d|[XY]PIXELSZ|PPO\d|PLT(RA[HMS]|DEC(SN|[DMS]))|(DATA|TRIM|BIAS)SEC"
)
"""Cards that say where the pixels lie."""
_LOOKUP = re.compile(r"(CPDIS|CQDIS|D2IMDIS|D2IM|AXISCORR|DP|DQ|D2IMERR)\d*")
_SYSTEM = re.compile(r"(?:(?:CTYPE|CRPIX|CRVAL|CDELT)[12]|(?:PC|CD)[12]_[12])([A-Z]?)")
_REFERENCE = re.compile(r"CRPIX[12][A-Z]?")
_STEP = re.compile(r"CDELT[12][A-Z]?|CD\d_[12][A-Z]?|CD00\d00[12]")
_SIZE = re.compile(r"PIXSCALE|PIXSCAL[12]|SECPIX[12]?|[XY]PIXSZ|[XY]PIXELSZ")
_CROSSED = re.compile(r"PC(?:00)?(\d)_?(?:00)?(\d)[A-Z]?")
_BENT = r"PV1_(?:[5-9]|\d\d){0}|PV2_\d+{0}"
_POLYNOMIAL = re.compile(r"([AB]P?)_(\d)_(\d)")
_PHYSICAL, _ORIGIN = re.compile(r"LTM\d_[12]"), re.compile(r"LTV[12]")
_FURTHER = re.compile(
    r"(CTYPE|CRVAL|CRPIX|CDELT|CUNIT|CROTA|CNAME|CRDER|CSYER)[3-9][A-Z]?|(PC|CD)(\d_[3-9]|[3-9]_\d)[A-Z]?|"
    r"(PC|CD)(00[3-9]\d{3}|\d{3}00[3-9])|P[VS][3-9]_\d+[A-Z]?|WCSAXES[A-Z]?"
)
_PLATE = re.compile(r"AMD[XY]\d+")
_SECTION, _SPAN = re.compile(r"(DATA|TRIM|BIAS)SEC"), re.compile(r"(\d+)\s*:\s*(\d+)")


def double_header(header: fits.Header, history: Iterable[str] = ()) -> fits.Header:
    """Return the header of an image with twice the pixels along its first two axes.

    Parameters
    ----------
    header
        Of the input; not changed. Cards about the coding of its numbers are left out.
    history
        Lines added to HISTORY.

    Raises
    ------
    ConfigError
        As `refuse_unscalable`.
    """
    found = fits.Header([card for card in header.copy().cards if not STRUCTURE.fullmatch(card.keyword)])
    refuse_unscalable(found)
    for key in list(dict.fromkeys(found)):
        if _is_scaled(key):
            for _ in range(found.count(key) - 1):
                found.remove(key)
            found[key] = _number(found[key])
    _state_defaults(found)
    bent = [letter for letter in _systems(found) if _bends_before_steps(found, letter)]
    for key in list(dict.fromkeys(found)):
        if (factor := _factor(key, bent)) is not None:
            found[key] = found[key] * factor
        elif _REFERENCE.fullmatch(key):
            found[key] = 2 * (found[key] - 0.5) + 0.5
        elif _ORIGIN.fullmatch(key):
            found[key] = 2 * found[key] - 0.5
        elif _SIZE.fullmatch(key) and isinstance(found[key], int | float):
            # Some programs write words there, which say nothing that could be halved.
            found[key] = 0.5 * found[key]
        elif _SECTION.fullmatch(key):
            found[key] = _SPAN.sub(_double_span, str(found[key]))
    add_history(found, history)
    return found


def drop_axes(header: fits.Header) -> fits.Header:
    """Return a header without the cards of the third and further axes, for an image of the sky alone."""
    return fits.Header([card for card in header.cards if not _FURTHER.fullmatch(card.keyword)])


def _systems(header: fits.Header) -> list[str]:
    """Return the letters of the coordinate systems; that of the first one is empty."""
    return sorted({match[1] for key in header if (match := _SYSTEM.fullmatch(key))})


def _bends_before_steps(header: fits.Header, letter: str) -> bool:
    """Return whether the polynomial of TPV is one of the pixels turned by PC, before CDELT scales them.

    So wcslib has it, also for TAN with such terms; a matrix CD has the scale in it. What PC gives then stays.
    """
    kind, bends = str(header.get(f"CTYPE1{letter}", "")).upper(), re.compile(_BENT.format(letter))
    bent = kind.endswith("-TPV") or (kind.endswith("-TAN") and any(map(bends.fullmatch, header)))
    return bent and not _has_matrix(header, letter)


def _has_matrix(header: fits.Header, letter: str) -> bool:
    old = "" if letter else r"|CD\d{6}"
    return any(re.fullmatch(rf"CD\d_\d{letter}{old}", key) for key in header)


def _factor(key: str, bent: Iterable[str] = ()) -> float | None:
    """Return what the value of a card is multiplied by; None for one that is not."""
    if match := re.fullmatch(r"(CDELT|PC)[12](?:_[12])?([A-Z]?)", key):
        in_matrix = match[2] in bent
        return 0.5 if in_matrix == (match[1] == "PC") else None
    if _STEP.fullmatch(key):
        return 0.5
    if _PHYSICAL.fullmatch(key) or re.fullmatch(r"CNPIX\d|[AB]P?_DMAX", key):
        return 2.0
    if match := _POLYNOMIAL.fullmatch(key):
        # SIP (Shupe et al. 2005): f(u, v) in pixels; with u' = 2u it is 2 f(u'/2, v'/2).
        return float(2.0 ** (1 - int(match[2]) - int(match[3])))
    return None


def _is_scaled(key: str) -> bool:
    return _factor(key) is not None or bool(
        _REFERENCE.fullmatch(key) or _ORIGIN.fullmatch(key) or re.fullmatch(r"PC[12]_[12][A-Z]?", key)
    )


def _number(value: object) -> float:
    """Return the value of a card as a number, NaN where it is none; some writers put numbers into quotes."""
    if isinstance(value, bool):
        return math.nan
    try:
        return value if isinstance(value, int | float) else float(str(value))
    except ValueError:
        return math.nan


def _double_span(match: re.Match[str]) -> str:
    ends = [int(match[1]), int(match[2])]
    return ":".join(str(2 * end if end == max(ends) else 2 * end - 1) for end in ends)


def _state_defaults(header: fits.Header) -> None:
    """Write the cards that are missing and whose defaults would no longer be those of the input."""
    for letter in _systems(header):
        bent = _bends_before_steps(header, letter)
        for axis in "12":
            header.setdefault(f"CRPIX{axis}{letter}", 0.0)
            if bent or not _has_matrix(header, letter):
                header.setdefault(f"CDELT{axis}{letter}", 1.0)
            if bent:
                header.setdefault(f"PC{axis}_{axis}{letter}", 1.0)
                # It is 0, and FITS has no CROTA beside PC.
                header.remove(f"CROTA{axis}{letter}", ignore_missing=True)
    if any(_PHYSICAL.fullmatch(key) or _ORIGIN.fullmatch(key) for key in header):
        for axis in "12":
            header.setdefault(f"LTV{axis}", 0.0)
            header.setdefault(f"LTM{axis}_{axis}", 1.0)
    if any(map(_PLATE.fullmatch, header)):
        for axis in "12":
            header.setdefault(f"CNPIX{axis}", 0)


def refuse_unscalable(header: fits.Header) -> None:
    """Refuse coordinates that `double_header` cannot scale.

    Raises
    ------
    ConfigError
        They hold a distortion by tables, a rotation between an axis of the sky and another one, something
        that is no number, or a card twice and not alike.
    """
    if (fault := next(_faults(header), None)) is not None:
        raise ConfigError(fault)


def _faults(header: fits.Header) -> Iterator[str]:
    for key in dict.fromkeys(header):
        kind = str(header[key]).upper() if key.startswith("CTYPE") else ""
        if _LOOKUP.fullmatch(key) or kind.endswith("-TAB") or (kind.endswith("-LOG") and key[5:6] in "12"):
            yield (
                f"its coordinates hold a distortion ({key}) that cannot be scaled to other pixels; resample "
                "the image to a plain projection first (reproject, SWarp)"
            )
        if _is_scaled(key):
            value = header[key]
            if not math.isfinite(_number(value)):
                yield f"its {key} is {str(value)[:40]!r}, which is no number; mend this card"
            for i in range(1, header.count(key)):
                if _number(header[key, i]) != _number(value):
                    yield f"its header has {key} twice and not alike; take one out"
        if key == "CROTA2" and header[key] and _bends_before_steps(header, ""):
            yield "its distortion (TPV) and CROTA2 cannot be scaled together; write a matrix CD"
        match = _CROSSED.fullmatch(key)
        if match and (int(match[1]) > 2) != (int(match[2]) > 2) and header[key]:
            yield (
                f"its {key} turns an axis of the sky into another one; write a plane with coordinates of the "
                "sky alone"
            )
