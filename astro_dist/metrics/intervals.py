"""Bootstrap intervals: how far a figure would differ for other images of the same kind.

A resample is a count per image, which statistics take as weights. An image drawn twice weighs double, and a
statistic that compares images can leave out comparisons of an image with its own copy.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]
RESAMPLES = 200  # five of them lie beyond either end of a 95 % interval
LEVEL = 0.95


def bootstrap(
    statistic: Callable[[Counts], float],
    n: int,
    rng: np.random.Generator,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> tuple[float, float, float]:
    """Return the value of a statistic and the ends of its bootstrap interval.

    The distribution of the resamples is shifted until its mean is the value, and the ends are quantiles of
    the shifted distribution. A resample holds fewer distinct images than the sample, which alone raises a
    Frechet distance (bias correction of Efron & Tibshirani 1993, section 10.2, applied to the whole
    distribution).

    Parameters
    ----------
    statistic
        Function from counts of shape (n,), int64, of sum n, to a number. Resamples for which the statistic is
        NaN are left out.
    n
        Number of images.
    rng
        The generator that draws the resamples.
    resamples
        Number of resamples; with 0 the ends are NaN.
    level
        Share of the resamples inside the interval.
    """
    value = float(statistic(np.ones(n, np.int64)))
    # Drawing n images with replacement is a multinomial draw of n counts.
    drawn = np.array([statistic(rng.multinomial(n, np.full(n, 1 / n))) for _ in range(resamples)], float)
    drawn = drawn[np.isfinite(drawn)]
    if not drawn.size:
        return value, float("nan"), float("nan")
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2]) - drawn.mean() + value
    return value, float(low), float(high)


def weighted_median(values: NDArray[np.floating], weights: Counts) -> float:
    """Return the median of values repeated as often as their weights; NaN if all weights are 0."""
    repeated = np.repeat(values, weights)
    return float(np.median(repeated)) if repeated.size else float("nan")


def share_interval(part: int, whole: int) -> tuple[float, float, float]:
    """Return a share and the ends of its 95 % interval by Wilson (1927); NaN of nothing.

    The interval of 0 of n or n of n has a width, as that of a normal distribution would not.
    """
    if whole == 0:
        return float("nan"), float("nan"), float("nan")
    z, share = 1.959963984540054, part / whole
    middle = (share + z * z / (2 * whole)) / (1 + z * z / whole)
    half = z / (1 + z * z / whole) * np.sqrt(share * (1 - share) / whole + (z / (2 * whole)) ** 2)
    return share, float(max(0.0, middle - half)), float(min(1.0, middle + half))


def median_interval(values: NDArray[np.floating]) -> tuple[float, float, float]:
    """Return a median and the ends of its 95 % interval: order statistics, whatever the distribution.

    The number of values below the true median is binomial with one half (David & Nagaraja 2003, section 7.1),
    here by its normal approximation; below six values the ends are the extremes. NaN of nothing.
    """
    ordered = np.sort(np.asarray(values, np.float64))
    n = len(ordered)
    if n == 0:
        return float("nan"), float("nan"), float("nan")
    step = 1.959963984540054 * np.sqrt(n) / 2
    low, high = max(0, int(np.floor(n / 2 - step))), min(n - 1, int(np.ceil(n / 2 + step)))
    return float(np.median(ordered)), float(ordered[low]), float(ordered[high])
