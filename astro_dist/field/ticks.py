"""Round numbers for the axes of a picture: sky coordinates along an edge, and brightness on a colour bar."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from astro_dist.sky.maps import SkyMap

MOST_TICKS = 7
SAMPLES = 257
# Steps along an axis in seconds of angle (declination) or of time (right ascension), up to 10 degrees.
BELOW_A_MINUTE = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30)
DEC_STEPS = (*BELOW_A_MINUTE, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 18000, 36000)
RA_STEPS = (*BELOW_A_MINUTE, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 10800)
ARCSEC_PER_SECOND = 15
Ticks = list[tuple[float, str]]


def edge_ticks(sky_map: SkyMap) -> tuple[Ticks, Ticks]:
    """Return where round right ascensions cross the lowest row of a map, and declinations its first column.

    Returns
    -------
    ra, dec
        Lists of a pixel coordinate (x for right ascension, y for declination) and a label. ICRS, whatever the
        frame of the map is. Empty where an edge is off the sky.
    """
    ny, nx = sky_map.shape
    x, y = np.linspace(-0.5, nx - 0.5, SAMPLES), np.linspace(-0.5, ny - 0.5, SAMPLES)
    ra = sky_map.sky_of(np.full(SAMPLES, -0.5), x)[0]
    dec = sky_map.sky_of(y, np.full(SAMPLES, -0.5))[1]
    # Unwrapped, so that no step of 360 degrees is taken for a crossing.
    hours = np.unwrap(np.nan_to_num(ra), period=360) * 3600 / ARCSEC_PER_SECOND
    hours[~np.isfinite(ra)] = np.nan
    return (
        [(place, _say_ra(value, step)) for place, value, step in _crossings(x, hours, RA_STEPS)],
        [(place, _say_dec(value, step)) for place, value, step in _crossings(y, dec * 3600, DEC_STEPS)],
    )


def _crossings(
    places: NDArray[np.float64], values: NDArray[np.float64], steps: Sequence[float]
) -> list[tuple[float, float, float]]:
    """Return the places where the values pass multiples of a step, with the value and the step."""
    finite = np.isfinite(values)
    if finite.sum() < 2:
        return []
    low, high = float(values[finite].min()), float(values[finite].max())
    step = next((s for s in steps if (high - low) / s <= MOST_TICKS), steps[-1])
    found = []
    for number in range(math.ceil(low / step), math.floor(high / step) + 1):
        beyond = values - number * step
        passed = np.flatnonzero(beyond[:-1] * beyond[1:] <= 0)
        if len(passed):
            i = int(passed[0])
            width = float(beyond[i] - beyond[i + 1])
            share = float(beyond[i]) / width if width else 0.0
            found.append((float(places[i] + share * (places[i + 1] - places[i])), number * step, step))
    return found


def _say_ra(seconds: float, step: float) -> str:
    hours, minutes, rest = _split(seconds % 86400, step)
    text = f"{hours:02d}h{minutes:02d}m"
    return text if step >= 60 else f"{text}{_say_rest(rest, step)}s"


def _say_dec(arcsec: float, step: float) -> str:
    degrees, minutes, rest = _split(abs(arcsec), step)
    text = f"{'-' if arcsec < 0 else '+'}{degrees:02d}\N{DEGREE SIGN}{minutes:02d}'"
    return text if step >= 60 else f'{text}{_say_rest(rest, step)}"'


def _split(seconds: float, step: float) -> tuple[int, int, float]:
    """Return whole units, minutes and seconds; rounded to the step first, so that 59.99... becomes 60."""
    tenths = round(seconds * 10) if step < 1 else round(seconds) * 10
    return tenths // 36000, tenths // 600 % 60, tenths % 600 / 10


def _say_rest(seconds: float, step: float) -> str:
    return f"{seconds:04.1f}" if step < 1 else f"{seconds:02.0f}"


def round_levels(low: float, high: float) -> list[float]:
    """Return 0 and the numbers 1, 2 and 5 times powers of ten of both signs between two limits, ascending."""
    top = max(abs(low), abs(high))
    first = math.floor(math.log10(top)) - 4 if top > 0 else 0
    # Decimal text, because 5 * 10.0**-5 is not the float nearest to 0.00005.
    steps = [float(f"{m}e{e}") for e in range(first, first + 6) for m in (1, 2, 5)]
    return sorted(v for v in (0.0, *steps, *(-s for s in steps)) if low <= v <= high)
