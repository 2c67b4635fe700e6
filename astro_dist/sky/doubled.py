"""The header of an image whose pixels are halved: the same sky at the same positions.

Pixel x of the input becomes 2 (x - 0.5) + 0.5, counted from 1 as FITS does, in every coordinate system that
the header has. Cards that say nothing about pixels stay as they are.
"""

import re
from collections.abc import Iterable

from astropy.io import fits

from astro_dist.engine.errors import ConfigError
from astro_dist.sky.fits_file import add_history

STRUCTURE = re.compile(
    r"SIMPLE|XTENSION|BITPIX|NAXIS\d*|PCOUNT|GCOUNT|GROUPS|EXTEND|INHERIT|BSCALE|BZERO|BLANK|CHECKSUM|DATASUM|"
    r"ZHECKSUM|ZDATASUM|DATAMIN|DATAMAX"
)
"""Cards about the coding of the numbers, which the writer of the new file states itself."""
_LOOKUP = re.compile(r"(CPDIS|CQDIS|D2IMDIS|D2IM|AXISCORR|DP|DQ|D2IMERR)\d*")
_REFERENCE = re.compile(r"CRPIX[12][A-Z]?")
_STEP = re.compile(r"CDELT[12][A-Z]?|CD\d_[12][A-Z]?|CD00\d00[12]")
_CROSSED = re.compile(r"PC(?:00)?(\d)_?(?:00)?(\d)[A-Z]?")
_BENT = re.compile(r"PV1_(?:[5-9]|\d\d)|PV2_\d+")
_POLYNOMIAL = re.compile(r"([AB]P?)_(\d)_(\d)")
_PHYSICAL = re.compile(r"LTM[12]_[12]|LTM[12]")


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
        Its coordinates hold a distortion by tables, which cannot be scaled, or a rotation between an axis of
        the sky and another one.
    """
    found = fits.Header([card for card in header.copy().cards if not STRUCTURE.fullmatch(card.keyword)])
    refuse_tables(found)
    bent = _bends_before_steps(found)
    if bent:
        for card, default in (("CDELT1", 1.0), ("CDELT2", 1.0), ("PC1_1", 1.0), ("PC2_2", 1.0)):
            found.setdefault(card, default)
    for key in list(dict.fromkeys(found)):
        factor = _factor(key, bent)
        if factor is not None and isinstance(found[key], int | float):
            found[key] = found[key] * factor
        elif _REFERENCE.fullmatch(key):
            found[key] = 2 * (found[key] - 0.5) + 0.5
        elif re.fullmatch("LTV[12]", key):
            found[key] = 2 * found[key] - 0.5
    _state_defaults(found)
    add_history(found, history)
    return found


def _bends_before_steps(header: fits.Header) -> bool:
    """Return whether the polynomial of TPV is one of the pixels turned by PC, before CDELT scales them.

    So wcslib has it, also for TAN with such terms; a matrix CD has the scale in it. What PC gives then stays.
    """
    kind, words = str(header.get("CTYPE1", "")).upper(), list(header)
    bent = kind.endswith("-TPV") or (kind.endswith("-TAN") and any(_BENT.fullmatch(key) for key in words))
    return bent and not any(re.fullmatch(r"CD\d_\d", key) for key in words)


def _factor(key: str, bent: bool = False) -> float | None:
    """Return what the value of a card is multiplied by; None for one that stays."""
    if bent and re.fullmatch(r"(CDELT|PC[12]_)[12]", key):
        return 0.5 if key.startswith("PC") else None
    if _STEP.fullmatch(key):
        return 0.5
    if _PHYSICAL.fullmatch(key):
        return 2.0
    if match := _POLYNOMIAL.fullmatch(key):
        # SIP (Shupe et al. 2005): f(u, v) in pixels; with u' = 2u it is 2 f(u'/2, v'/2).
        return float(2.0 ** (1 - int(match[2]) - int(match[3])))
    return 2.0 if re.fullmatch("[AB]P?_DMAX", key) else None


def _state_defaults(header: fits.Header) -> None:
    """Write the cards whose defaults in pixels are no longer those of the input."""
    systems = {key[5:] for key in header if re.fullmatch(r"[12][A-Z]?", key[5:]) and key[:5] == "CTYPE"}
    for end in systems:
        axis, letter = end[0], end[1:]
        if f"CRPIX{end}" not in header:
            header[f"CRPIX{end}"] = -0.5
        matrix = any(re.fullmatch(rf"CD\d_\d{letter}", key) for key in header)
        if f"CDELT{end}" not in header and not matrix:
            header[f"CDELT{axis}{letter}"] = 0.5


def refuse_tables(header: fits.Header) -> None:
    """Raise `ConfigError` for coordinates that `double_header` cannot scale, or that are no numbers."""
    for key in header:
        kind = str(header[key]).upper() if key.startswith("CTYPE") else ""
        if _LOOKUP.fullmatch(key) or kind.endswith(("-TAB", "-LOG")):
            raise ConfigError(
                f"its coordinates hold a distortion by tables ({key}), which cannot be scaled to other "
                "pixels; resample it to a plain projection first (reproject, SWarp)"
            )
        scaled = _REFERENCE.fullmatch(key) or _factor(key) is not None
        if scaled and not isinstance(header[key], int | float):
            raise ConfigError(f"its {key} is {str(header[key])[:40]!r}, which is no number; mend this card")
        if key == "CROTA2" and header[key] and _bends_before_steps(header):
            raise ConfigError("its distortion (TPV) and CROTA2 cannot be scaled together; write a matrix CD")
        match = _CROSSED.fullmatch(key)
        if match and (int(match[1]) > 2) != (int(match[2]) > 2) and header[key]:
            raise ConfigError(
                f"its {key} turns an axis of the sky into another one; write a plane with coordinates of the "
                "sky alone"
            )
