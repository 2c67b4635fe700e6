"""Which pixels of a map hold no data: one rule, which every reader of maps follows.

No data are NaN, infinities, the value that BLANK or ``maps.blank`` names, and regions of one value that are
larger than both 16 pixels and the beam, where that value is zero, or is the lowest or highest of the map and
marks missing data as `judge_fill` says (-999, -32768); once it is taken out, the next one is looked at.
Values that `marks.hidden_fills` finds below brighter pixels are such ones too. A smaller region is a
measurement: maps of whole numbers hold such zeros in their noise. Brightness beyond 1e9 Jy/beam is refused.

Pixels of a region touch by their sides. Whether a region is large does not depend on the window that is read:
where one reaches a window's edge and may go on behind it, more pixels are looked at until its size is known.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.arrays import Image
from astro_dist.engine.errors import ConfigError
from astro_dist.sky.marks import DAMAGED_PIX, Flags, Reader
from astro_dist.sky.windows import Window

ABSURD_JY_BEAM = 1e9
"""Far above the brightest source of the radio sky: such a value is a mark or damage."""
REGION_PIX = 16
# Rows and columns that are looked at first beyond a window; four times as many each time that is not enough.
FIRST_REACH_PIX = 4
DAMAGE_RATIO = 2.0
"""How far below zero damaged pixels are that a fill value is looked for behind, beside the highest value."""


class Scan:
    """What some pixels that pass by hold: zeros, numbers that may be no brightness, and the two ends.

    Parameters
    ----------
    to_jy_beam
        Factor from the unit of the pixels.

    Attributes
    ----------
    zero, beyond
        Whether there was a zero, and a value beyond 1e9 Jy/beam, an infinity or a NaN.
    """

    def __init__(self, to_jy_beam: float = 1.0) -> None:
        # As bits positive floats are in the order of their values, with infinity and NaN at the end; so are
        # negative ones among unsigned numbers.
        most = np.float32(min(ABSURD_JY_BEAM / to_jy_beam, float(np.finfo(np.float32).max)))
        self._most, self._least = most.view(np.int32), (-most).view(np.uint32)
        self.zero = self.beyond = False
        # The highest positive and the lowest negative number as bits, and how many pixels have them.
        self._ends: list[tuple[Any, int]] = [(np.int32(0), 0), (np.float32(-0.0).view(np.uint32), 0)]

    def look(self, pixels: Image) -> None:
        """Look at some pixels, which are contiguous."""
        flat = pixels.reshape(-1)
        # Maxima of whole numbers take a third of the time of comparing floats, NaN among them.
        signed, unsigned = flat.view(np.int32), flat.view(np.uint32)
        high, low = signed.max(), unsigned.max()
        self.beyond |= bool(high > self._most or low > self._least)
        self.zero = self.zero or bool((flat == 0).any())
        for i, (bits, end) in enumerate(((signed, high), (unsigned, low))):
            before, count = self._ends[i]
            # Few pieces hold a new end, so that few are counted.
            if end >= before:
                same = int(np.count_nonzero(bits == end))
                self._ends[i] = end, same + (count if end == before else 0)

    def ends(self, image: Image, factor: float) -> list["End"]:
        """Return the lowest negative and the highest positive value, in the unit of ``image``.

        Parameters
        ----------
        image
            The pixels that were looked at, times ``factor``, with NaN for some of them.
        """
        if self.beyond:
            return ends_of(image)
        found = [(bits.view(np.float32) * np.float32(factor), count) for bits, count in self._ends]
        return [(value, count) for value, count in found if value != 0]


End = tuple[np.float32, int]
"""A value at an end of the values of some pixels, and how many pixels have it."""


def ends_of(image: Image) -> list[End]:
    """Return the lowest value where it is negative and the highest where it is positive; NaN is left out."""
    low, high = np.fmin.reduce(image, axis=None), np.fmax.reduce(image, axis=None)
    return [
        (end, int(np.count_nonzero(image == end))) for end, sign in ((low, -1), (high, 1)) if end * sign > 0
    ]


def refuse_absurd(image: Image, to_jy_beam: float = 1.0) -> None:
    """Turn infinities into NaN, in place, and refuse values that no sky has.

    Parameters
    ----------
    image
        Jy/beam.
    to_jy_beam
        Factor from the unit of the file, in which the message names the value.

    Raises
    ------
    ConfigError
        In one line without the path: a finite value is beyond 1e9 Jy/beam.
    """
    beyond = np.abs(image) > np.float32(ABSURD_JY_BEAM)
    if not beyond.any():
        return
    values = image[beyond]
    finite = values[np.isfinite(values)]
    if len(finite):
        value = float(finite[0])
        raise ConfigError(
            f"it holds {value:.6g} Jy/beam, which is no brightness of the sky; if the value marks pixels "
            f"without data, give it as maps.blank: {value / to_jy_beam:.9g}, or write NaN in its place"
        )
    # One mark for missing data: code that leaves out NaN would let infinities through.
    image[beyond] = np.nan


def blank_zeros(
    image: Image,
    window: Window,
    whole: Window,
    read: Reader,
    region_pix: float,
    are_blank: Callable[[], bool] = lambda: True,
) -> None:
    """Turn large regions of exact zeros into NaN, in place; see `find_regions`.

    Parameters
    ----------
    are_blank
        Whether such regions hold no data; asked only where there is one.
    """
    regions = find_regions(0.0, image, window, whole, read, region_pix)
    if regions is not None and are_blank():
        image[regions] = np.nan


def blank_fills(
    image: Image,
    ends: Sequence[End],
    window: Window,
    whole: Window,
    read: Reader,
    region_pix: float,
    is_fill: Callable[[float], bool],
    hidden: Sequence[float] = (),
) -> None:
    """Turn large regions of a value that marks missing data into NaN, in place.

    Parameters
    ----------
    ends
        The lowest and the highest value of ``image``, see `Scan.ends`: those of the map are among them in
        every window that holds them.
    is_fill
        See `judge_fill`; asked only for values of large regions.
    hidden
        Further such values, see `marks.hidden_fills`.
    """
    for value in map(np.float32, hidden):
        if (image == value).any():
            regions = find_regions(value, image, window, whole, read, region_pix)
            if regions is not None:
                image[regions] = np.nan
    high = max((float(end) for end, _ in ends if end > 0), default=0.0)
    for end in ends:
        passed = 0
        next_end: End | None = end
        while next_end is not None:
            value, count = next_end
            regions = find_regions(value, image, window, whole, read, region_pix, count)
            if regions is None and float(value) in hidden:
                # Taken out above; what is left of it are small groups.
                pass
            elif regions is None:
                # Damage far below all else may lie beyond a fill value. Looking on costs a pass over the
                # pixels, and noise is seldom that much lower than its highest.
                passed += count
                if -value < DAMAGE_RATIO * high or value > 0 or passed > DAMAGED_PIX:
                    break
            elif is_fill(float(value)):
                image[regions] = np.nan
            else:
                break
            next_end = _end_before(image, value)


def _end_before(image: Image, value: np.float32) -> End | None:
    """Return the farthest value from zero, of the sign of ``value``, that is nearer than that; or None."""
    sign = np.sign(value)
    sizes = image * sign
    size = np.max(sizes, initial=0, where=(sizes > 0) & (sizes < abs(value)))
    return (size * sign, int(np.count_nonzero(sizes == size))) if size else None


def find_regions(
    value: float | np.float32,
    image: Image,
    window: Window,
    whole: Window,
    read: Reader,
    region_pix: float,
    count: int | None = None,
) -> Flags | None:
    """Return which pixels of a window belong to large regions of one value; None where there are none.

    Parameters
    ----------
    image
        The pixels of ``window``.
    whole
        The window of the whole map.
    read
        Returns the pixels of any window inside the map; called for pixels beyond ``window``.
    region_pix
        The beam's area. A region of more pixels, and of more than 16, is large.
    count
        How many pixels have the value, where that is known.
    """
    least = max(region_pix, REGION_PIX)
    # Where the few pixels of an end go on beyond the edge is seen from those next to them.
    if count is not None and count <= least and not _goes_on(image, value, window, whole, read):
        return None
    # Values at an edge are common in maps of whole numbers: looked behind at once, they need no second round.
    edges = _touches_edge(image, value, window, whole)
    same = image == value
    if not edges and np.count_nonzero(same) <= least:
        return None
    reach = FIRST_REACH_PIX if edges else 0
    while True:
        frame = (window.grown(reach) & whole) if reach else window
        assert frame is not None
        regions = _Regions.of(_same_in(frame, window, same, lambda strip: read(strip) == value))
        large = regions.sizes > least
        if not (regions.reaching(frame, window, whole) & ~large).any():
            inside = regions.paint(large)[window.within(frame)] if large.any() else None
            return inside if inside is not None and inside.any() else None
        # Ends at the latest when `reach` is above `least`: what reaches that far is large.
        reach = 4 * reach or FIRST_REACH_PIX


def _touches_edge(image: Image, value: float | np.float32, window: Window, whole: Window) -> bool:
    return any((edge == value).any() for edge, *_ in _open_edges(image, window, whole))


def _goes_on(image: Image, value: float | np.float32, window: Window, whole: Window, read: Reader) -> bool:
    for edge, y, x, is_row in _open_edges(image, window, whole):
        places = np.flatnonzero(edge == value)
        if not len(places):
            continue
        first, last = int(places[0]), int(places[-1]) + 1
        beyond = Window(y, y + 1, x + first, x + last) if is_row else Window(y + first, y + last, x, x + 1)
        if (read(beyond).reshape(-1)[places - first] == value).any():
            return True
    return False


def _open_edges(image: Image, window: Window, whole: Window) -> Iterator[tuple[Image, int, int, bool]]:
    """Yield the edges inside the map: pixels, the first one beyond them (y, x), and whether they are rows."""
    y0, y1, x0, x1 = window.y0, window.y1, window.x0, window.x1
    if y0 > whole.y0:
        yield image[0], y0 - 1, x0, True
    if y1 < whole.y1:
        yield image[-1], y1, x0, True
    if x0 > whole.x0:
        yield image[:, 0], y0, x0 - 1, False
    if x1 < whole.x1:
        yield image[:, -1], y0, x1, False


def _same_in(frame: Window, window: Window, same: Flags, look: Callable[[Window], Flags]) -> Flags:
    """Return which pixels of a frame round a window have a value; those of the window are known."""
    if frame == window:
        return same
    found = np.zeros(frame.shape, np.bool_)
    found[window.within(frame)] = same
    for strip in _strips(frame, window):
        found[strip.within(frame)] = look(strip)
    return found


def _strips(frame: Window, window: Window) -> Iterator[Window]:
    """Yield the parts of a frame above, below and beside a window."""
    sides = (
        (frame.y0, window.y0, frame.x0, frame.x1),
        (window.y1, frame.y1, frame.x0, frame.x1),
        (window.y0, window.y1, frame.x0, window.x0),
        (window.y0, window.y1, window.x1, frame.x1),
    )
    return (Window(y0, y1, x0, x1) for y0, y1, x0, x1 in sides if y0 < y1 and x0 < x1)


@dataclass(frozen=True, eq=False)
class _Regions:
    """Connected regions of a plane of flags, as runs of pixels along rows.

    Attributes
    ----------
    flags
        The plane.
    y, x0, x1
        Row, first and last column + 1 of each run, in raster order.
    owner
        The region of each run.
    sizes
        Number of pixels of each region.
    """

    flags: Flags
    y: NDArray[np.intp]
    x0: NDArray[np.intp]
    x1: NDArray[np.intp]
    owner: NDArray[np.integer]
    sizes: NDArray[Any]

    @classmethod
    def of(cls, flags: Flags) -> "_Regions":
        """Find the regions whose pixels touch by their sides."""
        # Imported here: most maps have no zeros, and every worker imports this module.
        from scipy.sparse import coo_matrix
        from scipy.sparse.csgraph import connected_components

        height, width = flags.shape
        stride = width + 1
        # One column more, which is never set: it ends the last run of each row.
        padded = np.zeros((height, stride), np.bool_)
        padded[:, :width] = flags
        flat = padded.reshape(-1)
        edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
        if flat[0]:
            edges = np.insert(edges, 0, 0)
        starts, ends = edges[::2], edges[1::2]
        # Runs are in order and apart, so that those under a run in the next row follow each other.
        first = np.searchsorted(ends, starts + stride, side="right")
        counts = np.searchsorted(starts, ends + stride, side="left") - first
        above = np.repeat(np.arange(len(starts)), counts)
        below = np.arange(len(above)) + np.repeat(first - (np.cumsum(counts) - counts), counts)
        graph = coo_matrix((np.ones(len(above), np.bool_), (above, below)), shape=(len(starts),) * 2)
        n, owner = connected_components(graph, directed=False)
        y = starts // stride
        sizes = np.bincount(owner, ends - starts, n)
        return cls(flags, y, starts - y * stride, ends - y * stride, owner, sizes)

    def reaching(self, frame: Window, window: Window, whole: Window) -> Flags:
        """Return which regions have pixels in ``window`` and may go on beyond ``frame``, which they fill."""
        on_edge = np.zeros(len(self.y), np.bool_)
        for open_side, there in (
            (frame.y0 > whole.y0, self.y == 0),
            (frame.y1 < whole.y1, self.y == frame.height - 1),
            (frame.x0 > whole.x0, self.x0 == 0),
            (frame.x1 < whole.x1, self.x1 == frame.width),
        ):
            if open_side:
                on_edge |= there
        rows, columns = window.within(frame)
        inside = (self.y >= rows.start) & (self.y < rows.stop)
        inside &= (self.x0 < columns.stop) & (self.x1 > columns.start)
        n = len(self.sizes)
        return (np.bincount(self.owner, on_edge, n) > 0) & (np.bincount(self.owner, inside, n) > 0)

    def paint(self, chosen: Flags) -> Flags:
        """Return the plane with the chosen regions alone."""
        painted = np.zeros_like(self.flags)
        # Runs are in raster order, as are the pixels that a plane of flags selects.
        painted[self.flags] = np.repeat(chosen[self.owner], self.x1 - self.x0)
        return painted
