"""Blends: which sources share pixels or touch, and the groups that they form.

Only pixels of detectable sources at the level of the mask count. Each band lists the pairs of its own rows
and across the edge to the next band; the pairs of all bands together do not depend on their heights.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from astro_dist.engine.arrays import Columns

Integers = NDArray[np.int64]


def find_pairs(
    cores: tuple[Integers, Integers], shape: tuple[int, int], own_rows: int
) -> list[dict[str, Any]]:
    """Return the pairs of sources in a band and the number of pixels that they share, 0 where they touch.

    Parameters
    ----------
    cores
        Number of a pixel in the window, and row of a source that covers it; a pixel may come several times.
    shape, own_rows
        Of the window, and rows of it that are the band's own. A row of the next band may follow, which counts
        for pairs that touch across the edge only.
    """
    pixels, owners = cores
    shared: dict[tuple[int, int], int] = {}
    order = np.argsort(pixels, kind="stable")
    pixels, owners = pixels[order], owners[order]
    for one, other in _same_pixel(pixels[pixels < own_rows * shape[1]], owners):
        shared[one, other] = shared.get((one, other), 0) + 1
    # One owner of a pixel is enough: those that share it are a pair already.
    last = np.append(pixels[1:] != pixels[:-1], True)[: len(pixels)]
    for one, other in _touching(pixels[last], owners[last], shape[1]):
        shared.setdefault((one, other), 0)
    return [{"row": a, "other": b, "n_pix": n} for (a, b), n in sorted(shared.items())]


def _same_pixel(pixels: Integers, owners: Integers) -> Iterator[tuple[int, int]]:
    """Yield the pairs of owners of each pixel; equal pixels follow each other."""
    step = 1
    while step < len(pixels) and (same := np.flatnonzero(pixels[step:] == pixels[:-step])).size:
        pairs = np.sort(np.stack([owners[same], owners[same + step]]), axis=0)
        yield from zip(*pairs.tolist(), strict=True)
        step += 1


def _touching(pixels: Integers, owners: Integers, columns: int) -> Iterator[tuple[int, int]]:
    """Yield the pairs of owners of ascending pixels that share a side or a corner."""
    for down, right in ((0, 1), (1, -1), (1, 0), (1, 1)):
        there = pixels + down * columns + right
        place = np.minimum(np.searchsorted(pixels, there), len(pixels) - 1)
        column = pixels % columns + right
        both = (pixels[place] == there) & (owners[place] != owners) & (column >= 0) & (column < columns)
        pairs = np.sort(np.stack([owners[both], owners[place[both]]]), axis=0)
        yield from zip(*np.unique(pairs, axis=1).tolist(), strict=True)


def add_up(pairs: Columns) -> Columns:
    """Return each pair once, with the pixels of all bands, in order."""
    keys = np.stack([pairs["row"], pairs["other"]], axis=1)
    unique, inverse = np.unique(keys, axis=0, return_inverse=True)
    counts = np.bincount(inverse.ravel(), pairs["n_pix"], minlength=len(unique)).astype(np.int64)
    return {"row": unique[:, 0], "other": unique[:, 1], "n_pix": counts}


def groups(pairs: Columns, ids: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return for each source the least id of its group, and the number of its members."""
    n = len(ids)
    links = coo_array((np.ones(len(pairs["row"]), bool), (pairs["row"], pairs["other"])), shape=(n, n))
    count, label = connected_components(links, directed=False)
    least = np.full(count, np.iinfo(np.int32).max, np.int32)
    np.minimum.at(least, label, ids)
    size = np.bincount(label, minlength=count).astype(np.int32)
    return least[label], size[label]
