"""What a map as a whole says of its large regions of one value: whether they mark pixels without data."""

from collections import Counter
from collections.abc import Callable, Collection

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.arrays import Image
from astro_dist.sky.windows import Window, bands

JUDGE_ROWS = 256
SAMPLE = 16
DAMAGED_PIX = 16
"""Most damaged pixels that are farther below zero than a fill value."""
FILL_RATIO = {False: 4.0, True: 100.0}
"""By whether the value may be the top of a source that is cut off, see `judge_fill`."""
SAMPLED_PIX, PACKED_PIX, SAMPLED_ROWS = 1 << 20, 4_000_000, 128
"""A larger map, and a larger packed one, is not read whole to look at this many of its rows."""
MOST_RUNS = 16
"""More values with long runs are those of a map that is made of flat pieces."""
HIDDEN_PART = 0.01
"""Least part of a map with a fill value that does not reach the map's edge."""
RIM_PART = 0.2
"""No source that is cut off at its top has its value in so many of the pixels along a map's edge."""
AMONG_PART, MOST_FLAT = 0.125, 0.1
"""Of the pixels beside a fill value in the noise so many are above it, so many below, and so few alike."""
MOST_NEAR = 0.9
"""Beside the largest value of a smooth map half of the pixels are nearer to it."""
Flags = NDArray[np.bool_]
Reader = Callable[[Window], Image]


def judge_fill(value: float, whole: Window, read: Reader) -> bool:
    """Return whether large regions of a value mark missing data, from all pixels of a map.

    The value is the lowest or the highest of the map, apart from other such marks that are farther from zero
    and, below a negative one, from 16 damaged pixels. A negative one is 4 times as far from zero as half of
    the other pixels: noise that is cut off there leaves no large regions. A positive one is 100 times as far
    as half of the pixels beside it: a bright source whose top is cut off falls from there over the width of a
    beam, and stays. One that a fifth of the map's edge has, beside noise, is judged as a negative one is.
    """
    beside, others = [np.zeros(0, np.float32)], [np.zeros(0, np.float32)]
    farther, on_edge, flat = _Farther(value), 0, 0
    for band in bands(whole.shape, JUDGE_ROWS):
        frame = band.grown(1) & whole
        assert frame is not None
        image = read(frame)
        same = image == np.float32(value)
        inside = band.within(frame)
        alike = _like_neighbours(image)[inside]
        image, same, near = image[inside], same[inside], _beside(same)[inside]
        beyond = farther.look(image)
        if farther.is_too_much:
            return False
        known = ~same & ~beyond & np.isfinite(image) & (image != 0)
        beside.append(image[known & near])
        others.append(image[known][::SAMPLE])
        on_edge += _count_on_edge(same, band, whole)
        flat += int(np.count_nonzero(alike & known & near))
    if farther.n_lone > (DAMAGED_PIX if value < 0 else 0):
        return False
    if not all(judge_fill(mark, whole, read) for mark in farther.marks):
        return False
    is_rim = on_edge >= RIM_PART * 2 * (whole.height + whole.width)
    return _is_far(value, np.concatenate(beside), np.concatenate(others), is_rim, flat)


def _is_far(value: float, beside: Image, others: Image, is_rim: bool, flat: int) -> bool:
    """Return whether a value is far from others, see `judge_fill`; ``flat`` pixels beside it are alike."""
    is_noise = flat <= MOST_FLAT * len(beside) and _usual(beside) <= MOST_NEAR * abs(value)
    # Beside a fill value lie pixels that were interpolated with it, which say nothing of it.
    is_mark = value < 0 or (is_rim and is_noise)
    usual = others if is_mark else beside
    return abs(value) >= FILL_RATIO[not is_mark] * _usual(usual) if len(usual) else value < 0


def _usual(values: Image) -> float:
    return float(np.median(np.abs(values))) if len(values) else 0.0


def _count_on_edge(same: Flags, band: Window, whole: Window) -> int:
    """Return how many of the pixels along a map's edge that lie in a band of rows are flagged."""
    count = np.count_nonzero(same[:, [0, -1]])
    for row in (0,) * (band.y0 == whole.y0) + (-1,) * (band.y1 == whole.y1):
        count += np.count_nonzero(same[row])
    return int(count)


def hidden_fills(most_pix: float, whole: Window, read: Reader) -> tuple[float, ...]:
    """Return the values that mark missing data in a map which holds values farther from zero.

    Such a value has runs of 9 pixels or more in one of 128 rows, or in the first or last pixels of these, and
    reaches the map's edge or fills a hundredth of it. Its distance from zero is that of `judge_fill`, or
    pixels beside it are above it and below, as they are not where a sky is cut off. Most pixels beside it
    differ from their neighbours, and most other pixels have no such runs, as in noise and not in a map of
    flat pieces.
    """
    rows = sorted({*range(0, whole.height, max(1, whole.height // SAMPLED_ROWS)), whole.height - 1})
    # Row by row a packed map would be unpacked again and again, where its tiles are large.
    image = read(whole) if whole.height * whole.width <= most_pix else None
    values, ends = set[float](), []
    for y in rows:
        row = image[y : y + 1] if image is not None else read(Window(y, y + 1, 0, whole.width))
        values.update(_run_values(row))
        ends.append(row[0, [0, -1]])
    # A border on the left or the right may be narrower than a run.
    values.update(_run_values(np.array(ends).T))
    if len(values) > MOST_RUNS:
        return ()
    return tuple(value for value in sorted(values) if _is_hidden_fill(value, values, whole, read))


def _run_values(rows: Image) -> list[float]:
    """Return the values other than 0 of 9 and more equal pixels in a row."""
    runs = rows[:, 1:] == rows[:, :-1]
    # Where n pairs alike begin, and n more behind them, 2 n of them begin.
    for n in (1, 2, 4):
        if not runs.any():
            return []
        runs = runs[:, :-n] & runs[:, n:]
    found = np.unique(rows[:, : runs.shape[1]][runs])
    return [float(value) for value in found if value != 0 and np.isfinite(value)]


def _is_hidden_fill(value: float, marks: Collection[float], whole: Window, read: Reader) -> bool:
    """Return whether a value is a fill value, see `hidden_fills`; ``marks`` are all that may be."""
    count = flat = on_edge = n_known = n_other = 0
    besides, others = [np.zeros(0, np.float32)], [np.zeros(0, np.float32)]
    for band in bands(whole.shape, JUDGE_ROWS):
        frame = band.grown(1) & whole
        assert frame is not None
        image = read(frame)
        same, inside = image == np.float32(value), band.within(frame)
        numbers = np.isfinite(image) & (image != 0) & ~same
        known = numbers & ~np.isin(image, np.array([*marks], np.float32))
        n_other += int(np.count_nonzero(numbers))
        n_known += int(np.count_nonzero(known))
        near = (known & _beside(same))[inside]
        besides.append(image[inside][near])
        others.append(image[inside][known[inside]][::SAMPLE])
        flat += int(np.count_nonzero(_like_neighbours(image)[inside] & near))
        count += int(np.count_nonzero(same[inside]))
        on_edge += _count_on_edge(same[inside], band, whole)
    beside = np.concatenate(besides)
    is_wide = on_edge or count >= HIDDEN_PART * whole.height * whole.width
    if 2 * flat > len(beside) or not is_wide:
        return False
    is_noise = flat <= MOST_FLAT * len(beside) and 2 * n_known >= n_other
    is_rim = on_edge >= RIM_PART * 2 * (whole.height + whole.width)
    other = np.concatenate(others)
    return _is_far(value, beside, other, is_rim, flat) or (is_noise and _is_among(value, beside, other))


def _is_among(value: float, beside: Image, others: Image) -> bool:
    """Return whether a value lies within noise: of the pixels beside it some are above, and some below.

    Where a sky without noise falls to its background, many pixels are all but at it.
    """
    if not len(beside) or not len(others):
        return False
    distance = np.abs(others - np.float32(value))
    is_noise = float(np.mean(distance < 0.01 * np.median(distance))) <= MOST_FLAT
    above = float(np.mean(beside > np.float32(value)))
    return is_noise and AMONG_PART <= above <= 1 - AMONG_PART


def _like_neighbours(image: Image) -> Flags:
    """Return which pixels have the value of one beside them in their row."""
    alike = np.zeros(image.shape, np.bool_)
    pairs = image[:, 1:] == image[:, :-1]
    alike[:, 1:] |= pairs
    alike[:, :-1] |= pairs
    return alike


class _Farther:
    """Values of a map that are farther from zero than one of the same sign, and how many pixels have them."""

    def __init__(self, value: float) -> None:
        self._value = np.float32(value)
        self._counts: Counter[float] = Counter()

    def look(self, image: Image) -> Flags:
        """Return which pixels of an image are farther, and count them."""
        beyond = image > self._value if self._value > 0 else image < self._value
        if beyond.any():
            values, counts = np.unique(image[beyond], return_counts=True)
            self._counts.update(dict(zip(values.tolist(), counts.tolist(), strict=True)))
        return np.asarray(beyond)

    @property
    def marks(self) -> list[float]:
        """The values of more pixels than damage has."""
        return [value for value, count in self._counts.items() if count > DAMAGED_PIX]

    @property
    def is_too_much(self) -> bool:
        """Whether there are more values than marks and damage make."""
        return len(self._counts) > (2 * DAMAGED_PIX if self._value < 0 else DAMAGED_PIX)

    @property
    def n_lone(self) -> int:
        """The number of pixels that have none of the marks."""
        return sum(count for count in self._counts.values() if count <= DAMAGED_PIX)


def is_sparse(whole: Window, read: Reader) -> bool:
    """Return whether half of a map's pixels that are not zero touch a zero by a side.

    So they do among counts of few events; beside the border of a mosaic few do.
    """
    touching = known = 0
    for band in bands(whole.shape, JUDGE_ROWS):
        frame = band.grown(1) & whole
        assert frame is not None
        zero, inside = (image := read(frame)) == 0, band.within(frame)
        touching += int(np.count_nonzero((_beside(zero) & np.isfinite(image))[inside]))
        known += int(np.count_nonzero((~zero & np.isfinite(image))[inside]))
    return 2 * touching >= known


def _beside(same: Flags) -> Flags:
    """Return which pixels touch the given ones by a side, and are none of them."""
    near = np.zeros_like(same)
    near[1:] |= same[:-1]
    near[:-1] |= same[1:]
    near[:, 1:] |= same[:, :-1]
    near[:, :-1] |= same[:, 1:]
    return np.asarray(near & ~same)
