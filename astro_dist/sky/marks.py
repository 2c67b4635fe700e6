"""What a map as a whole says of its large regions of one value: whether they mark pixels without data."""

from collections import Counter
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.arrays import Image
from astro_dist.sky.windows import Window, bands

JUDGE_ROWS = 256
SAMPLE = 16
DAMAGED_PIX = 16
"""Most damaged pixels that are farther below zero than a fill value."""
FILL_RATIO = {False: 4.0, True: 100.0}
"""By whether the value is positive, see `judge_fill`."""
Flags = NDArray[np.bool_]
Reader = Callable[[Window], Image]


def judge_fill(value: float, whole: Window, read: Reader) -> bool:
    """Return whether large regions of a value mark missing data, from all pixels of a map.

    The value is the lowest or the highest of the map, apart from other such marks that are farther from zero
    and, below a negative one, from 16 damaged pixels. A negative one is 4 times as far from zero as half of
    the other pixels: noise that is cut off there leaves no large regions. A positive one is 100 times as far
    as half of the pixels beside it: a bright source whose top is cut off falls from there over the width of a
    beam, and stays.
    """
    others, farther = [np.zeros(0, np.float32)], _Farther(value)
    for band in bands(whole.shape, JUDGE_ROWS):
        frame = band.grown(1) & whole
        assert frame is not None
        image = read(frame)
        same = image == np.float32(value)
        inside = band.within(frame)
        image, same, near = image[inside], same[inside], _beside(same)[inside]
        beyond = farther.look(image)
        if farther.is_too_much:
            return False
        known = ~same & ~beyond & np.isfinite(image) & (image != 0)
        # Beside a fill value lie pixels that were interpolated with it, which say nothing of a negative one.
        others.append(image[known & near] if value > 0 else image[known][::SAMPLE])
    if farther.n_lone > (DAMAGED_PIX if value < 0 else 0):
        return False
    if not all(judge_fill(mark, whole, read) for mark in farther.marks):
        return False
    usual = np.abs(np.concatenate(others))
    if not len(usual):
        return value < 0
    return abs(value) >= FILL_RATIO[value > 0] * float(np.median(usual))


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
