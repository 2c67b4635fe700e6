"""The counts of radio sources at 1.4 GHz: a published table, and a curve through it to draw fluxes from.

The table is the compilation of de Zotti et al. 2010 (A&ARv 18, 1). The curve is a chain of power laws, so
that numbers of sources and fluxes drawn from them have closed forms. The angular sizes of sources follow the
law of Windhorst et al. 1990 (ASP Conf. 10, 389).
"""

import itertools
import math
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from astro_dist.engine.arrays import Floats

COUNTS_HZ = 1.4e9
TABLE = Path(__file__).with_name("counts_1400mhz.txt")
# The least-squares fit to the points of `published` that are `fitted`, weighted by their errors, but none
# below 5 %; the test of this module repeats it. Between knots the curve is straight in both logarithms.
KNOTS = (
    *((-4.25, 0.505), (-4.00, 0.663), (-3.75, 0.655), (-3.50, 0.661), (-3.25, 0.751), (-3.00, 0.827)),
    *((-2.75, 1.036), (-2.50, 1.181), (-2.25, 1.408), (-2.00, 1.621), (-1.75, 1.828), (-1.50, 2.022)),
    *((-1.25, 2.191), (-1.00, 2.366), (-0.75, 2.478), (-0.50, 2.531), (-0.25, 2.625), (0.00, 2.614)),
    *((0.25, 2.557), (0.50, 2.419), (0.75, 2.241), (1.36, 2.160)),
)
"""log10 of the flux in Jy, log10 of S^2.5 dN/dS in Jy^1.5/sr; the outer slopes go on beyond both ends."""
MEDIAN_ARCSEC, MEDIAN_SLOPE, TAIL = 2.0, 0.30, 0.62


@dataclass(frozen=True)
class Published:
    """The points of the published table, all at 1.4 GHz.

    Attributes
    ----------
    flux_jy, counts, above, below
        Flux density, S^2.5 dN/dS in Jy^1.5/sr, and its positive and negative errors; shape (n,).
    survey
        Short name of the survey of each point.
    """

    flux_jy: "Floats"
    counts: "Floats"
    above: "Floats"
    below: "Floats"
    survey: tuple[str, ...]

    @property
    def fitted(self) -> "NDArray[np.bool_]":
        """Whether a point belongs to those that the curve is fitted to.

        Left out are points outside `KNOTS`, those of FIRST (wi97) below 3 mJy, where they fall more and more
        below every deeper survey, and those of se08A, two to four times below all others at any flux.
        """
        import numpy as np

        log_jy, survey = np.log10(self.flux_jy).round(6), np.array(self.survey)
        inside = (log_jy >= KNOTS[0][0]) & (log_jy <= KNOTS[-1][0])
        return np.asarray(inside & (survey != "se08A") & ~((survey == "wi97") & (log_jy < -2.5)))


def published() -> Published:
    """Read the published table."""
    import numpy as np

    rows = [line.split() for line in TABLE.read_text().splitlines() if not line.startswith("#")]
    log_jy, counts, above, below = (np.array([float(row[i]) for row in rows]) for i in range(4))
    return Published(10**log_jy, counts, above, below, tuple(row[5] for row in rows))


@dataclass(frozen=True)
class _Piece:
    """One power law of the curve: ``dN/dS = scale * S**-power`` per steradian and jansky from low to high."""

    low_jy: float
    high_jy: float
    scale: float
    power: float

    @property
    def number(self) -> float:
        """Return the sources per steradian; the power of no piece is 1, whose integral is a logarithm."""
        rest = 1 - self.power
        return self.scale / rest * (self.high_jy**rest - self.low_jy**rest)


def _pieces(low_jy: float, high_jy: float) -> Iterator[_Piece]:
    inner = [10**log_jy for log_jy, _ in KNOTS if low_jy < 10**log_jy < high_jy]
    edges = [low_jy, *inner, high_jy]
    for low, high in itertools.pairwise(edges):
        # The middle lies safely inside a piece, whichever way its ends were rounded.
        place = bisect_right([log_jy for log_jy, _ in KNOTS], (math.log10(low) + math.log10(high)) / 2)
        (x0, y0), (x1, y1) = KNOTS[(i := min(max(place, 1), len(KNOTS) - 1)) - 1], KNOTS[i]
        slope = (y1 - y0) / (x1 - x0)
        yield _Piece(low, high, 10 ** (y0 - slope * x0), 2.5 - slope)


def number_between(low_jy: float, high_jy: float) -> float:
    """Return the number of sources per steradian between two fluxes at 1.4 GHz; 0 for an empty interval."""
    return sum(piece.number for piece in _pieces(low_jy, high_jy)) if low_jy < high_jy else 0.0


def euclidean_counts(flux_jy: "Floats") -> "Floats":
    """Return S^2.5 dN/dS of the curve in Jy^1.5/sr at fluxes of 1.4 GHz."""
    import numpy as np

    log_jy = np.log10(flux_jy)
    knots, values = np.array(KNOTS).T
    place = np.clip(np.searchsorted(knots, log_jy), 1, len(knots) - 1)
    slope = (np.diff(values) / np.diff(knots))[place - 1]
    return np.asarray(10 ** (values[place] + slope * (log_jy - knots[place])))


def draw_fluxes(shares: "Floats", low_jy: float, high_jy: float) -> "Floats":
    """Return the fluxes of sources from uniform numbers: the inverse of the cumulative counts.

    Parameters
    ----------
    shares
        In [0, 1), shape (n,).

    Returns
    -------
    ndarray
        Jy at 1.4 GHz, shape (n,), float64, in ``[low_jy, high_jy]``.
    """
    import numpy as np

    pieces = list(_pieces(low_jy, high_jy))
    ends = np.cumsum([piece.number for piece in pieces])
    count = shares * ends[-1]
    which = np.minimum(np.searchsorted(ends, count, side="right"), len(pieces) - 1)
    low, scale, power = (np.array([getattr(p, key) for p in pieces]) for key in ("low_jy", "scale", "power"))
    rest = 1 - power[which]
    left = count - np.concatenate([[0], ends])[which]
    flux = (low[which] ** rest + left * rest / scale[which]) ** (1 / rest)
    return np.asarray(np.clip(flux, low_jy, high_jy))


def share_above(size_arcsec: float, flux_jy: float) -> float:
    """Return the share of the sources of a flux at 1.4 GHz whose largest angular size is above another.

    Windhorst et al. 1990: half of the sources are above 2 arcsec (S / mJy)^0.30, and the share above theta is
    exp(-ln 2 (theta / median)^0.62).
    """
    median = MEDIAN_ARCSEC * (flux_jy * 1e3) ** MEDIAN_SLOPE
    return float(2 ** -((size_arcsec / median) ** TAIL))


def draw_sizes(shares: "Floats", flux_jy: "Floats") -> "Floats":
    """Return the largest angular sizes of sources, arcsec, from uniform numbers in [0, 1)."""
    import numpy as np

    median = MEDIAN_ARCSEC * (flux_jy * 1e3) ** MEDIAN_SLOPE
    # In (0, 1]: a share of 0 would be an infinite size.
    return np.asarray(median * (-np.log2(1 - shares)) ** (1 / TAIL))
