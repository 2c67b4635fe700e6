"""How far a figure would move had other images been drawn: bootstrap intervals.

A resample is a count per image. A statistic takes those counts as weights, so that an image drawn
twice weighs double and is never mistaken for two that agree.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]
RESAMPLES = 200
LEVEL = 0.95


def bootstrap(
    statistic: Callable[[Counts], float],
    n: int,
    rng: np.random.Generator,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> tuple[float, float, float]:
    """Return the value of a statistic and the ends of its bootstrap interval.

    The quantiles are taken round the value, after the mean of the resamples: a resample holds fewer
    distinct images than the sample, which alone raises a Frechet distance (bias correction of Efron &
    Tibshirani 1993, section 10.2, applied to the whole distribution).

    Parameters
    ----------
    statistic
        From counts of shape (n,), int64, of sum n, to a number. Resamples for which it gives NaN are
        left out.
    n
        Number of images.
    rng
        Draws the resamples.
    resamples
        How many; with 0 the ends are NaN.
    level
        Share of the resamples inside.
    """
    value = float(statistic(np.ones(n, np.int64)))
    drawn = np.array([statistic(rng.multinomial(n, np.full(n, 1 / n))) for _ in range(resamples)], float)
    drawn = drawn[np.isfinite(drawn)]
    if not drawn.size:
        return value, float("nan"), float("nan")
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2]) - drawn.mean() + value
    return value, float(low), float(high)


def weighted_median(values: NDArray[np.floating], weights: Counts) -> float:
    """Return the median of values repeated as often as their weights; NaN of nothing."""
    repeated = np.repeat(values, weights)
    return float(np.median(repeated)) if repeated.size else float("nan")
