"""The places of objects: random, largest objects first, with at most the allowed overlap of footprints.

The ground of a field has one byte per pixel: free, taken by an object, or closed to all. A footprint holds
every pixel that an object covers (`astro_dist.field.footprints`). Each object is tried at random places until
one has room. Largest first, this fills 40 % of a field at about three tries per object, so no other search is
needed. Where all overlap is allowed a footprint may also reach beyond the field.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.errors import ConfigError

# CLOSED includes the bit of TAKEN, so that one test of a footprint finds both.
FREE, TAKEN, CLOSED = 0, 1, 3
# Candidates are drawn in blocks, so that numpy discards those whose peak is taken, not a loop in Python.
# 16 x 128 = 2,048 places are tried before a field counts as full.
BLOCK, BLOCKS = 16, 128

Places = NDArray[np.int64]
Ground = NDArray[np.uint8]


@dataclass(frozen=True)
class Footprint:
    """The pixels that an object covers, within its box.

    Attributes
    ----------
    pixels
        Shape (h, w), uint8, 1 inside and 0 outside.
    peak
        Row and column of the brightest pixel in the box.
    anchor
        Row and column, from the box's first pixel, of the pixel nearest to the anchor.
    margin
        Rows and columns beyond the box, on each side, to which the object adds a little.
    """

    pixels: NDArray[np.uint8]
    peak: tuple[int, int]
    anchor: tuple[int, int]
    margin: tuple[int, int] = (0, 0)

    @classmethod
    def of(cls, shape: NDArray[np.float32], anchor: tuple[int, int] | None = None) -> "Footprint":
        """Return the footprint of a drawing: its pixels other than 0; by default its peak is the anchor."""
        row, column = divmod(int(np.argmax(shape)), shape.shape[1])
        return cls((shape != 0).view(np.uint8), (row, column), anchor or (row, column))


Candidates = Callable[[int, Footprint], Iterator[Places]]
"""Function of an object's number and footprint: blocks of places (y, x) of its box's first pixel."""


def uniform(shape: Sequence[int], rng: np.random.Generator, *, beyond: bool = False) -> Candidates:
    """Propose places uniformly over a field of ``shape``, with the whole box inside the field.

    Where boxes may reach ``beyond`` the field, only their anchors are inside.
    """
    ny, nx = shape

    def propose_anchor(number: int, footprint: Footprint) -> Iterator[Places]:
        for _ in range(BLOCKS):
            yield (rng.random((BLOCK, 2)) * shape).astype(np.int64) - footprint.anchor

    if beyond:
        return propose_anchor

    def propose(number: int, footprint: Footprint) -> Iterator[Places]:
        h, w = np.add(footprint.pixels.shape, np.multiply(2, footprint.margin))
        if h <= ny and w <= nx:
            room = np.array((ny - h + 1, nx - w + 1))
            for _ in range(BLOCKS):
                yield (rng.random((BLOCK, 2)) * room).astype(np.int64) + footprint.margin

    return propose


def by_density(
    shape: Sequence[int],
    density: NDArray[np.float64],
    rng: np.random.Generator,
    *,
    beyond: bool = False,
) -> Candidates:
    """Propose places whose peaks follow a relative density, an image of any size stretched over the field.

    Parameters
    ----------
    density
        Shape (rows, columns), not negative; NaN counts as zero. The density is constant within a cell.

    Raises
    ------
    ConfigError
        When the density is negative somewhere, or zero everywhere.
    """
    # Infinity becomes negative, and the next line refuses it.
    weights = np.nan_to_num(density, nan=0.0, posinf=-1.0)
    if weights.min() < 0 or weights.max() <= 0:
        raise ConfigError("assemble.density: it must be finite, nowhere negative and somewhere positive")
    # The cumulative distribution over cells: a uniform number is looked up in it to draw a cell.
    steps = np.cumsum(weights) / weights.sum()
    scale = np.divide(shape, weights.shape)

    def propose(number: int, footprint: Footprint) -> Iterator[Places]:
        for _ in range(BLOCKS):
            draws = rng.random((BLOCK, 3))
            # The last sum may round to a little below 1; a draw above it would lie past the last cell.
            cells = np.minimum(np.searchsorted(steps, draws[:, 0], side="right"), weights.size - 1)
            corner = np.stack(np.divmod(cells, weights.shape[1]), axis=1)
            spots = ((corner + draws[:, 1:]) * scale).astype(np.int64) - footprint.peak
            yield spots if beyond else _keep_inside(spots, footprint, shape)

    return propose


def fixed(shape: Sequence[int], anchors: Places, *, beyond: bool = False) -> Candidates:
    """Propose one place for each object: that with its anchor in the given pixel (y, x)."""

    def propose(number: int, footprint: Footprint) -> Iterator[Places]:
        spots = anchors[number : number + 1] - footprint.anchor
        yield spots if beyond else _keep_inside(spots, footprint, shape)

    return propose


def place(
    footprints: Iterator[Footprint], ground: Ground, candidates: Candidates, max_overlap: float = 0.0
) -> Places:
    """Find a place for each object in turn and mark its pixels as TAKEN in ``ground``.

    Parameters
    ----------
    footprints
        Footprints in the order of placing; larger ones first fill the field best.
    ground
        Shape of the field, uint8, FREE, TAKEN or CLOSED; changed in place.
    max_overlap
        Share of a footprint that may lie on TAKEN pixels. Unless it is 1, the pixel of an object's peak
        becomes CLOSED to later objects, so that each object keeps at least that pixel in the instance map.

    Returns
    -------
    ndarray
        Shape (n, 2), first row and column of each box. The first object without a place ends the search,
        so that n is then smaller than the number of footprints.
    """
    places = []
    find = _find if max_overlap < 1 else _find_open
    for number, footprint in enumerate(footprints):
        spot = find(footprint, ground, candidates(number, footprint), max_overlap)
        if spot is None:
            break
        places.append(spot)
        if max_overlap == 1:
            continue
        y, x = spot
        h, w = footprint.pixels.shape
        # `|=`: zeros of the footprint free no pixel, and CLOSED pixels stay closed.
        ground[y : y + h, x : x + w] |= footprint.pixels
        ground[y + footprint.peak[0], x + footprint.peak[1]] |= CLOSED
    return np.array(places, np.int64).reshape(-1, 2)


def most_that_fit(fits: Callable[[int], bool], wanted: int) -> int:
    """Return a number of objects below ``wanted`` that ``fits``, to within 2 % of ``wanted``.

    ``fits(wanted)`` must be False already. Halving the interval takes about six calls of ``fits``.
    """
    low, high = 0, wanted
    # Each call of `fits` lays out a whole field; 2 % is close enough for the number in a message.
    while high - low > max(1, wanted // 50):
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _keep_inside(spots: Places, footprint: Footprint, shape: Sequence[int]) -> Places:
    last = np.subtract(shape, footprint.pixels.shape) - footprint.margin
    return spots[((spots >= footprint.margin) & (spots <= last)).all(axis=1)]


def _find(
    footprint: Footprint, ground: Ground, blocks: Iterator[Places], max_overlap: float
) -> tuple[int, int] | None:
    pixels, (peak_y, peak_x) = footprint.pixels, footprint.peak
    h, w = pixels.shape
    # Where no overlap is allowed a taken peak rules a place out; with overlap only a CLOSED one does.
    worst = FREE if max_overlap == 0 else TAKEN
    for block in blocks:
        at_peak = ground[block[:, 0] + peak_y, block[:, 1] + peak_x]
        for y, x in block[at_peak <= worst].tolist():
            under = ground[y : y + h, x : x + w]
            if not (under & pixels).any() or (max_overlap and _may_overlap(under, pixels, max_overlap)):
                return y, x
    return None


def _find_open(
    footprint: Footprint, ground: Ground, blocks: Iterator[Places], max_overlap: float
) -> tuple[int, int] | None:
    """Return the first place whose part in the field has no CLOSED pixel; nothing else is in the way."""
    h, w = footprint.pixels.shape
    for block in blocks:
        for y, x in block.tolist():
            top, left = max(y, 0), max(x, 0)
            under = ground[top : y + h, left : x + w]
            part = footprint.pixels[top - y :, left - x :][: under.shape[0], : under.shape[1]]
            if not (under[part != 0] == CLOSED).any():
                return y, x
    return None


def _may_overlap(under: Ground, pixels: NDArray[np.uint8], max_overlap: float) -> bool:
    covered = under[pixels != 0]
    return bool((covered != CLOSED).all() and np.count_nonzero(covered) <= max_overlap * covered.size)
