"""Positions as hours, minutes and seconds, or degrees, minutes and seconds: in one text or in columns."""

import re
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.errors import ConfigError

Floats = NDArray[np.float64]
LONGEST = 40
_FIRST = r"\s*([+-]?)\s*(\d{1,3}(?:\.\d*)?)\s*"
_ANGLE = re.compile(
    _FIRST + r"(?:[:hd\u00b0\s]\s*(\d{1,2}(?:\.\d*)?)\s*(?:[:m'\u2032\s]\s*(\d{1,2}(?:\.\d*)?)\s*)?)?"
    r"[s\"\u2033m'\u2032hd\u00b0]?\s*",
    re.IGNORECASE,
)
_DEGREES = re.compile("[d\u00b0]", re.IGNORECASE)
GAPS = frozenset({"", "--", "-", "null", "none", "nan", "n/a", "na", "masked", '""'})
DEGREES = ("deg", "degree", "degrees", "d:m:s", "dms")
PARTS: dict[str, dict[str, tuple[str, ...]]] = {
    "ra_deg": {"ra_deg h": ("rah",), "ra_deg m": ("ram",), "ra_deg s": ("ras",)},
    "dec_deg": {
        "dec_deg -": ("de-", "design", "decsign", "de_sign"),
        "dec_deg d": ("ded", "decd"),
        "dec_deg m": ("dem", "decm"),
        "dec_deg s": ("des", "decs"),
    },
}
"""The columns of machine-readable tables of CDS and AAS that make one position, by names of their own."""
SIGN = "dec_deg -"
FIRST_PARTS = ("ra_deg h", "dec_deg d")


def parse_angles(ours: str, texts: NDArray[np.object_], unit: str | None) -> Floats:
    """Return angles in degrees from texts such as ``12:34:56.7``, ``12 34 56.7`` and ``12h34m56.7s``.

    A right ascension of two or three parts is in hours, unless it is written with a degree sign or the unit
    is one of degrees. One number alone is in degrees. Gaps are NaN.

    Raises
    ------
    ConfigError
        A text is no angle, minutes or seconds are above 60, or hours above 24.
    """
    by_hours = ours == "ra_deg" and (unit or "").lower() not in DEGREES
    return np.array([_parse(ours, str(text), by_hours, n) for n, text in enumerate(texts, 1)], np.float64)


def _parse(ours: str, text: str, by_hours: bool, row: int) -> float:
    if text.strip().lower() in GAPS:
        return float("nan")
    text = text.strip()
    # The time that the pattern takes grows faster than the length of a run of blanks.
    found = _ANGLE.fullmatch(text.replace("\u2212", "-")) if len(text) <= LONGEST else None
    if found is None:
        return _number(ours, text, row)
    first, *rest = [float(part) for part in found.groups()[1:] if part is not None]
    is_hours = by_hours and (bool(rest) or "h" in text.lower()) and not _DEGREES.search(text)
    if any(part > 60 for part in rest) or (is_hours and first > 24):
        raise ConfigError(f"{ours} is {text[:30]!r} in row {row}, which is no angle; mend it or its unit")
    degrees = sum(part / 60**power for power, part in enumerate([first, *rest])) * (15 if is_hours else 1)
    return -degrees if found[1] == "-" else degrees


def _number(ours: str, text: str, row: int) -> float:
    try:
        return float(text)
    except ValueError:
        raise ConfigError(f"{ours} is {text[:30]!r} in row {row}, which is no angle; mend it") from None


def join_parts(values: Mapping[str, NDArray[np.generic]]) -> dict[str, Floats]:
    """Return right ascension and declination, degrees, of columns of `PARTS`, as far as they are there."""
    found = {}
    for ours, parts in PARTS.items():
        numbers = [np.asarray(values[part], np.float64) for part in parts if part in values and part != SIGN]
        if numbers:
            for part in numbers[1:]:
                if (off := (part < 0) | (part > 60)).any():
                    raise ConfigError(f"{ours} has {part[off][0]:g} minutes or seconds in a row; mend it")
            # The sign of -0 degrees is that of a float.
            minus = np.signbit(numbers[0])
            if SIGN in values and ours == "dec_deg":
                minus |= np.array([str(text).strip() in ("-", "\u2212") for text in values[SIGN]])
            # Seconds or minutes that a coarse position leaves out are none.
            degrees = np.abs(numbers[0]) + sum(
                np.nan_to_num(part) / 60**power for power, part in enumerate(numbers[1:], 1)
            )
            found[ours] = np.where(minus, -degrees, degrees) * (15 if ours == "ra_deg" else 1)
    return found
