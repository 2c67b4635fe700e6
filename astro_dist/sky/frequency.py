"""The frequency of a map, from whichever card of its header gives it."""

import contextlib
import math
import re
from collections.abc import Iterator, Sequence

from astropy import units as u
from astropy.io import fits

# Radio telescopes receive between these; a number outside is in another unit than the header says.
LOWEST_HZ, HIGHEST_HZ = 1e6, 1e13
CARDS = ("RESTFRQ", "RESTFREQ", "FREQ", "OBSFREQ", "CENTFREQ", "FREQUENC")
MOST_AXES = 9
_TEXT = re.compile(r"\s*([-+]?[\d.]+(?:[eEdD][-+]?\d+)?)\s*([kMG]?[hH][zZ])?\s*")
_HERTZ = {"hz": 1.0, "hertz": 1.0, "khz": 1e3, "mhz": 1e6, "ghz": 1e9, "thz": 1e12}
# AIPS adds the frame (FREQ-LSR, VELO-HEL); Obit's SPECLNMF holds the broad-band image in its first plane.
_AXIS = re.compile(r"(FREQ|SPECLNMF|SPECLOGF|VELO|VRAD|VOPT|FELO|ZOPT|BETA|WAVE|AWAV)", re.IGNORECASE)
_METRES = {"m": 1.0, "cm": 1e-2, "mm": 1e-3, "um": 1e-6, "nm": 1e-9, "angstrom": 1e-10}
_METRES_PER_S = {"m/s": 1.0, "km/s": 1e3, "ms-1": 1.0, "kms-1": 1e3}


def find_frequency_hz(header: fits.Header, plane: Sequence[int] = ()) -> float | None:
    """Return the frequency of a plane of a map in Hz, None where the header does not give it.

    A spectral axis comes before the cards RESTFRQ, RESTFREQ, FREQ and OBSFREQ. Axes of velocity or wavelength
    are converted, those of velocity with the rest frequency.

    Parameters
    ----------
    plane
        Index of the plane along the third and further axes, from 0; further axes are at their first plane.
    """
    found = (value for value in (*_axes_hz(header, plane), *_cards_hz(header)) if value is not None)
    return next((float(value) for value in found if LOWEST_HZ <= value <= HIGHEST_HZ), None)


def _cards_hz(header: fits.Header) -> Iterator[float | None]:
    for key in CARDS:
        value = header.get(key)
        if isinstance(value, str):
            match = _TEXT.fullmatch(value)
            number = match and float(match[1].upper().replace("D", "E"))
            value = number * _HERTZ[(match[2] or "Hz").lower()] if match and number else None
        elif isinstance(value, int | float) and not isinstance(value, bool):
            # FITS says Hz; a unit in the comment, in brackets, overrules.
            unit = re.match(r"\s*\[([kMG]?Hz)\]", header.comments[key], re.IGNORECASE)
            value = float(value) * _HERTZ[unit[1].lower()] if unit else float(value)
        else:
            value = None
        yield value


def _axes_hz(header: fits.Header, plane: Sequence[int]) -> Iterator[float | None]:
    stated = (*_cards_hz(header), _rest_wave_hz(header))
    rest_hz = next((v for v in stated if v and LOWEST_HZ <= v <= HIGHEST_HZ), None)
    for axis in range(1, MOST_AXES + 1):
        match = _AXIS.match(str(header.get(f"CTYPE{axis}", "")).strip())
        if match is None:
            continue
        # A garbled card gives no frequency; another card may.
        with contextlib.suppress(ValueError, TypeError, KeyError, ArithmeticError):
            index = plane[axis - 3] if 0 <= axis - 3 < len(plane) else 0
            yield _to_hz(match[1].upper(), axis_value(header, axis, index), header, axis, rest_hz)


def _rest_wave_hz(header: fits.Header) -> float | None:
    """Return the rest frequency from the rest wavelength in m, which optical velocities may have instead."""
    metres = header.get("RESTWAV")
    is_length = isinstance(metres, int | float) and not isinstance(metres, bool) and metres > 0
    return float((metres * u.m).to_value(u.Hz, u.spectral())) if is_length else None


def axis_value(header: fits.Header, axis: int, index: int) -> float:
    """Return the world value of a pixel, counted from 0, along an axis that stands alone, in CUNIT."""
    # FITS has CDELT ignored beside CD and multiplied by PC, into which astropy moves the whole step.
    step = float(header.get(f"CD{axis}_{axis}", 0.0)) or (
        float(header.get(f"CDELT{axis}", 1.0)) * float(header.get(f"PC{axis}_{axis}", 1.0))
    )
    # FITS counts pixels from 1, and CRPIX may lie anywhere outside the map. A header without CRPIX means the
    # one pixel there is, although the standard's default is 0.
    place = index + 1 - float(header.get(f"CRPIX{axis}", 1.0))
    value = float(header.get(f"CRVAL{axis}", 0.0)) + place * step
    if not math.isfinite(value):
        raise ValueError
    return value


def _to_hz(kind: str, value: float, header: fits.Header, axis: int, rest_hz: float | None) -> float | None:
    unit = re.sub(r"[\s.^]", "", str(header.get(f"CUNIT{axis}", "")).lower())
    if kind.startswith(("FREQ", "SPECL")):
        return value * _HERTZ[unit or "hz"]
    if kind in ("WAVE", "AWAV"):
        return float((value * _METRES[unit or "m"] * u.m).to_value(u.Hz, u.spectral()))
    if rest_hz is None:
        return None
    if kind == "ZOPT":
        return rest_hz / (1 + value)
    if kind == "BETA":
        return rest_hz * math.sqrt((1 - value) / (1 + value))
    # VELREF above 256 stands for the radio convention (AIPS memo 27), below for the optical one.
    velref = header.get("VELREF", 0)
    optical = kind in ("VOPT", "FELO") or (kind == "VELO" and isinstance(velref, int) and 0 < velref < 256)
    convention = u.doppler_optical if optical else u.doppler_radio
    speed = value * _METRES_PER_S[unit or "m/s"] * u.m / u.s
    return float(speed.to_value(u.Hz, convention(rest_hz * u.Hz)))
