"""Which pixels of a map hold no data: one rule, which every reader of maps follows.

No data are NaN, infinities, the value that BLANK or ``maps.blank`` names, and regions of exact zeros that are
larger than both 16 pixels and the beam. A zero in a smaller region is a measurement: maps of whole numbers
hold such zeros in their noise. Brightness beyond 1e9 Jy/beam is refused.

Pixels of a region touch by their sides. Whether a region is large does not depend on the window that is read:
where one reaches a window's edge and may go on behind it, more pixels are looked at until its size is known.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.arrays import Image
from astro_dist.engine.errors import ConfigError
from astro_dist.sky.windows import Window

ABSURD_JY_BEAM = 1e9
"""Far above the brightest source of the radio sky: such a value is a mark or damage."""
REGION_PIX = 16
# Rows and columns that are looked at first beyond a window; four times as many each time that is not enough.
FIRST_REACH_PIX = 4
Flags = NDArray[np.bool_]
Reader = Callable[[Window], Image]


class Scan:
    """Whether pixels that pass by hold zeros, or numbers that may be no brightness.

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

    def look(self, pixels: Image) -> None:
        """Look at some pixels, which are contiguous."""
        flat = pixels.reshape(-1)
        # Maxima of whole numbers take a third of the time of comparing floats, NaN among them.
        self.beyond |= bool(
            flat.view(np.int32).max() > self._most or flat.view(np.uint32).max() > self._least
        )
        self.zero = self.zero or bool((flat == 0).any())


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


def blank_zeros(image: Image, window: Window, whole: Window, read: Reader, region_pix: float) -> None:
    """Turn large regions of exact zeros into NaN, in place.

    Parameters
    ----------
    image
        The pixels of ``window``.
    whole
        The window of the whole map.
    read
        Returns the pixels of any window inside the map; called for pixels beyond ``window``.
    region_pix
        The beam's area. A region of more pixels, and of more than 16, holds no data.
    """
    zero = image == 0
    least = max(region_pix, REGION_PIX)
    # Zeros at an edge are common in maps of whole numbers: looked behind at once, they need no second round.
    reach = FIRST_REACH_PIX if _touches_edge(zero, window, whole) else 0
    if not reach and np.count_nonzero(zero) <= least:
        return
    while True:
        frame = (window.grown(reach) & whole) if reach else window
        assert frame is not None
        zeros = _Regions.of(_zeros_in(frame, window, zero, read))
        large = zeros.sizes > least
        if not (zeros.reaching(frame, window, whole) & ~large).any():
            if large.any():
                image[zeros.paint(large)[window.within(frame)]] = np.nan
            return
        # Ends at the latest when `reach` is above `least`: what reaches that far is large.
        reach = 4 * reach or FIRST_REACH_PIX


def _touches_edge(zero: Flags, window: Window, whole: Window) -> bool:
    edges = (
        (window.y0 > whole.y0, zero[0]),
        (window.y1 < whole.y1, zero[-1]),
        (window.x0 > whole.x0, zero[:, 0]),
        (window.x1 < whole.x1, zero[:, -1]),
    )
    return any(is_open and edge.any() for is_open, edge in edges)


def _zeros_in(frame: Window, window: Window, zero: Flags, read: Reader) -> Flags:
    """Return which pixels of a frame round a window are zero, of which those of the window are known."""
    if frame == window:
        return zero
    found = np.zeros(frame.shape, np.bool_)
    found[window.within(frame)] = zero
    for strip in _strips(frame, window):
        found[strip.within(frame)] = read(strip) == 0
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
