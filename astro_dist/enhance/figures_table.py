"""Figures of images summed up: a mean with its interval for each figure, and paired differences.

A figure of an image is a number, or a pair of numbers whose sums over images have a ratio (a share, a power
over the true power), or a list of such pairs.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from astro_dist.engine.arrays import Floats
from astro_dist.metrics.intervals import Counts, bootstrap

Images = Sequence[Mapping[str, Mapping[str, Any]]]
"""For each image what was measured (such as ``bicubic``), and of that the figures by name."""


Draw = Callable[[], np.random.Generator]
"""A generator that begins anew: every figure has the same resamples of the images."""
LEAST_IMAGES = 8
"""Images from which on an interval is trusted."""
CHAIN = "chain"
"""The row of what the whole chain has made."""


def sum_up(images: Images, baselines: Sequence[str], draw: Draw, resamples: int) -> dict[str, Any]:
    """Return ``figures``, of each row its value, interval and number, and ``gains`` over each baseline."""
    figures = {
        row: {
            name: _sum_one([image[row][name] for image in images], draw, resamples) for name in images[0][row]
        }
        for row in images[0]
    }
    return {"figures": figures, "gains": {row: _gain(images, row, draw, resamples) for row in baselines}}


def _sum_one(values: Sequence[Any], draw: Draw, resamples: int) -> Any:
    if isinstance(values[0], list) and values[0] and isinstance(values[0][0], list):
        return [_ratio([value[i] for value in values], draw, resamples) for i in range(len(values[0]))]
    if isinstance(values[0], list):
        return _ratio(values, draw, resamples)
    known = np.array([np.nan if value is None else value for value in values], np.float64)
    known = known[np.isfinite(known)]
    if not len(known):
        return None
    value, low, high = bootstrap(lambda w: float(known @ w / w.sum()), len(known), draw(), resamples)
    spread = {"median": float(np.median(known)), "best": float(known.max())}
    return {"value": value, "low": low, "high": high, "n": len(known), **spread}


def _ratio(pairs: Sequence[Any], draw: Draw, resamples: int) -> dict[str, Any]:
    both: Floats = np.array(pairs, np.float64)

    def ratio(counts: Counts) -> float:
        part, whole = counts @ both
        return float(part / whole) if whole else float("nan")

    value, low, high = bootstrap(ratio, len(both), draw(), resamples)
    # A share may not leave its range; a power may be above the true one.
    return {"value": value, "low": max(low, 0.0), "high": high, "n": len(both), "of": float(both[:, 1].sum())}


def _gain(images: Images, row: str, draw: Draw, resamples: int) -> dict[str, Any]:
    """Return the paired difference of the chain over a baseline, of every figure of one number.

    Images that lack a figure, such as the flux where no source is strong, are left out of it.
    """
    found = {}
    for name in images[0][CHAIN]:
        pairs = [(image[CHAIN][name], image[row].get(name)) for image in images]
        known = [a - b for a, b in pairs if isinstance(a, float) and isinstance(b, float)]
        if known:
            found[name] = _sum_one(known, draw, resamples)
    return found


def say_difference(gain: Mapping[str, Any], above: str, below: str, same: str) -> str:
    """Return the words for a paired difference; of few images an interval says nothing."""
    if gain["n"] < LEAST_IMAGES or gain["low"] is None:
        return f"{same} (of so few images)"
    return above if gain["low"] > 0 else below if gain["high"] < 0 else same
