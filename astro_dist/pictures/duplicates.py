"""Groups of near-duplicates: pictures that are one picture encoded, scaled, turned, flipped or cropped again.

Not all pairs are compared. The descriptions of all spots (see `astro_dist.pictures.looks`), 16 numbers each,
stand in one tree; every spot is looked up at the scales that a crop to 80 % may have, and the pictures of its
nearest neighbours are compared directly, some per picture. 100,000 pictures need less than 1 GB: 0.46 for the
looks, 0.2 for the tree. The more spots there are, the less thoroughly the tree is searched (`EXACT_SPOTS`).
"""

from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from astro_dist.engine.arrays import Floats, Integers
from astro_dist.engine.arrays import Image as Pixels
from astro_dist.pictures.looks import (
    SIGMAS,
    SPOTS,
    Spots,
    blur,
    colours_of,
    describe_discs,
    draw_discs,
    find_spots,
    grey_of,
    turn_discs,
)
from astro_dist.pictures.overlay import compare, first_guess, may_fit, refine

Table = NDArray[Any]
PAIR = np.dtype([("first", "<i8"), ("second", "<i8"), ("scale", "<f4"), ("distance", "<f4")])
"""Two spots by their numbers; the disc of the second is ``scale`` times as large."""
SCALES = (1.0, 1.06, 1.12, 1.18, 1.25)
"""Ratios of the sizes of two discs: the whole picture, up to its crop to 80 %."""
NUMBERS, BASIS_LOOKS = 16, 2000
NEIGHBOURS, FARTHEST = 6, 0.12
EXACT_SPOTS, LEAST_SLACK = 50_000, 0.1
"""With more spots than these (about 4,000 pictures have as many) the tree is searched less thoroughly."""
PER_PICTURE = 16
"""Pictures that one is compared with directly, those with the nearest spots."""
SPOT_PAIRS, GUESSES = 6, 2
LEAST_DISC, LEAST_COARSE, LEAST_REFINED = 0.95, 0.6, 0.9
"""Least correlations of two discs, of blurred looks laid over each other, and of those after refinement."""
AT_ONCE, DRAWN_AT_ONCE, PAIRS_AT_ONCE = 1000, 250, 500


def find_groups(looks: NDArray[np.uint8]) -> Integers:
    """Return the group of each picture, shape (N,): numbers from 0, in the order of their first pictures.

    Parameters
    ----------
    looks
        Shape (N, `LOOK_BYTES`), uint8, see `make_look`.
    """
    return join_pairs(np.concatenate([_same(looks), find_copies(looks)], axis=1), len(looks))


def join_pairs(pairs: Integers, n: int) -> Integers:
    """Return the group of each of ``n`` pictures, shape (n,), that pairs (2, m) join; see `find_groups`."""
    links = coo_array((np.ones(pairs.shape[1]), tuple(pairs)), shape=(n, n))
    owner = connected_components(links, directed=False)[1]
    # In the order of the first pictures, whatever order the search has met them in.
    _, start, group = np.unique(owner, return_index=True, return_inverse=True)
    rank = np.empty(len(start), np.int64)
    rank[np.argsort(start)] = np.arange(len(start))
    return rank[group]


def _same(looks: NDArray[np.uint8]) -> Integers:
    """Return pairs (2, m) of pictures whose looks are equal, which need no spots."""
    seen: dict[bytes, int] = {}
    firsts = [seen.setdefault(blake2b(look, digest_size=16).digest(), row) for row, look in enumerate(looks)]
    pairs = np.stack([np.array(firsts, np.int64), np.arange(len(looks))])
    return pairs[:, pairs[0] != pairs[1]]


def find_copies(looks: NDArray[np.uint8]) -> Integers:
    """Return pairs (2, m) of pictures that the direct comparison finds to be of one picture."""
    spots, points = _describe(looks)
    found, done = [np.empty((2, 0), np.int64)], np.empty(0, np.int64)
    # Picture by picture, so that what is held beside looks and tree does not grow with their number.
    for start in range(0, len(looks) if len(spots.of) > 1 else 0, AT_ONCE):
        parts = range(start, min(start + AT_ONCE, len(looks)), DRAWN_AT_ONCE)
        near = np.concatenate([_search(looks, spots, points, part) for part in parts])
        pairs, keys = _choose(spots, near, len(looks), done)
        done = np.concatenate([done, keys])
        checked = range(0, len(pairs), PAIRS_AT_ONCE)
        found += [_check(looks, spots, pairs[part : part + PAIRS_AT_ONCE]) for part in checked]
    return np.concatenate(found, axis=1)


@dataclass(frozen=True)
class _Points:
    """Descriptions of spots as points: the tree of all, and how further discs become points."""

    mean: Pixels
    basis: Pixels
    tree: cKDTree

    def of(self, discs: Pixels) -> Floats:
        """Return the points of discs, shape (m, `NUMBERS`)."""
        return ((describe_discs(discs) - self.mean) @ self.basis).astype(np.float64)

    def near(self, wanted: Floats) -> tuple[Floats, Integers]:
        """Return distances and numbers of the spots nearest to some points, (m, `NEIGHBOURS` + 1) each.

        Parts of the tree that begin farther than `FARTHEST` / (1 + slack) from a point are left out. The
        slack grows with the number of spots: in 16 dimensions a tree leaves little out otherwise, and a
        search takes as long as there are many. With 1.2 million spots it is 3: all within a quarter of
        `FARTHEST` are found, where most copies have one, and about seven of ten of the farther ones.
        """
        slack = max(LEAST_SLACK, float(np.log(self.tree.n / EXACT_SPOTS)))
        # Close ones one after the other, as they need the same parts of the tree.
        order = cKDTree(wanted).indices
        distance, near = self.tree.query(
            wanted[order], k=NEIGHBOURS + 1, eps=slack, distance_upper_bound=FARTHEST
        )
        back = np.argsort(order)
        return distance[back], near[back]


def _describe(looks: NDArray[np.uint8]) -> tuple[Spots, _Points]:
    """Return the spots of all looks whose discs are whole, and their points."""
    mean, basis = _find_basis(looks)
    empty = _Points(mean, basis, cKDTree(np.empty((0, NUMBERS))))
    spots: list[Spots] = []
    # One table that the tree takes as it is: what no spot fills is never touched, and needs no memory.
    points, n = np.empty((len(looks) * len(SIGMAS) * SPOTS, NUMBERS)), 0
    for start in range(0, len(looks), DRAWN_AT_ONCE):
        some, discs = _find_discs(looks[start : start + DRAWN_AT_ONCE])
        spots.append(Spots(some.of + start, some.y, some.x))
        points[n : n + len(discs)] = empty.of(discs)
        n += len(discs)
    whole = Spots(*(np.concatenate([getattr(one, key) for one in spots]) for key in ("of", "y", "x")))
    return whole, _Points(mean, basis, cKDTree(points[:n]))


def _find_discs(looks: NDArray[np.uint8]) -> tuple[Spots, Pixels]:
    grey = grey_of(looks)
    spots = find_spots(grey)
    discs, whole = draw_discs(blur(grey, 1), spots, np.ones(len(spots.of), np.float32))
    return spots[whole], discs[whole]


def _find_basis(looks: NDArray[np.uint8]) -> tuple[Pixels, Pixels]:
    """Return mean and first principal components of the descriptions of pictures spread over all."""
    some = looks[:: max(1, len(looks) // BASIS_LOOKS)][:BASIS_LOOKS]
    parts = [some[start : start + DRAWN_AT_ONCE] for start in range(0, len(some), DRAWN_AT_ONCE)]
    described = np.concatenate([describe_discs(_find_discs(part)[1]) for part in parts]).astype(np.float64)
    if len(described) < 2:
        described = np.zeros((2, described.shape[1]))
    mean = described.mean(axis=0)
    _, axes = np.linalg.eigh(np.cov((described - mean).T))
    return mean.astype(np.float32), axes[:, ::-1][:, :NUMBERS].astype(np.float32)


def _search(looks: NDArray[np.uint8], spots: Spots, points: _Points, start: int) -> Table:
    """Return, for the spots of some pictures at every scale, the nearest spots of others; rows of `PAIR`."""
    found = []
    here = np.arange(*np.searchsorted(spots.of, (start, start + DRAWN_AT_ONCE)))
    some = Spots(spots.of[here] - start, spots.y[here], spots.x[here])
    smooth = blur(grey_of(looks[start : start + DRAWN_AT_ONCE]), 1)
    for scale in SCALES:
        discs, whole = draw_discs(smooth, some, np.full(len(here), scale, np.float32))
        mine = here[whole]
        distance, near = points.near(points.of(discs[whole]))
        row, column = np.nonzero(np.isfinite(distance))
        rows = np.empty(len(row), PAIR)
        rows["first"], rows["second"] = near[row, column], mine[row]
        rows["scale"], rows["distance"] = scale, distance[row, column]
        found.append(rows[spots.of[rows["first"]] != spots.of[rows["second"]]])
    return np.concatenate(found)


def _choose(spots: Spots, pairs: Table, n: int, done: Integers) -> tuple[Table, Integers]:
    """Return the nearest pairs of spots of each picture with those it is compared with, and all pairs' keys.

    ``done`` are the keys of pairs of pictures that were compared before.
    """
    one, two = spots.of[pairs["first"]], spots.of[pairs["second"]]
    keys = np.minimum(one, two) * n + np.maximum(one, two)
    new = np.flatnonzero(~np.isin(keys, done))
    # Pictures decide where two are equally near, so that the order does not depend on the search.
    order = new[np.lexsort((keys[new], pairs["distance"][new]))]
    known, nearest, of = np.unique(keys[order], return_index=True, return_inverse=True)
    owner = two[order[nearest]]
    by_owner = np.lexsort((nearest, owner))
    is_kept = np.zeros(len(known), np.bool_)
    is_kept[by_owner] = _count_up(owner[by_owner]) < PER_PICTURE
    # By pair, so that its spots, and the looks of neighbouring pairs, are handled together.
    chosen = np.flatnonzero(is_kept[of])
    chosen = chosen[np.argsort(of[chosen], kind="stable")]
    return pairs[order[chosen[_count_up(of[chosen]) < SPOT_PAIRS]]], known[is_kept]


def _count_up(values: Integers) -> Integers:
    """Return how many equal values precede each of some sorted ones."""
    return np.arange(len(values)) - np.searchsorted(values, values)


def _most_alike(keys: Integers, likeness: Pixels) -> Integers:
    """Return the rows of the most alike pairs of spots of each pair of pictures, which ``keys`` number."""
    order = np.lexsort((-likeness, keys))
    kept = order[_count_up(keys[order]) < GUESSES]
    return kept[likeness[kept] > LEAST_DISC]


def _check(looks: NDArray[np.uint8], spots: Spots, pairs: Table) -> Integers:
    """Return the pairs (2, m) of pictures that the direct comparison confirms."""
    first, second = spots[pairs["first"]], spots[pairs["second"]]
    rows, places = np.unique(np.stack([first.of, second.of]), return_inverse=True)
    one, two = places.reshape(2, -1)
    first, second = Spots(one, first.y, first.x), Spots(two, second.y, second.x)
    grey = grey_of(looks[rows])
    smooth = blur(grey, 1)
    discs = [draw_discs(smooth, first, np.ones(len(one), np.float32))[0]]
    discs += [draw_discs(smooth, second, pairs["scale"])[0]]
    likeness, angle, flip = turn_discs(*discs)
    guess = first_guess(first, second, pairs["scale"], angle, flip)
    kept = _most_alike(np.minimum(one, two) * len(rows) + np.maximum(one, two), likeness)
    kept = kept[may_fit(blur(grey, 2.5), one[kept], two[kept], guess[kept], LEAST_COARSE)]
    if not len(kept):
        return np.empty((2, 0), np.int64)
    one, two, smooth = one[kept], two[kept], blur(grey, 1.5)
    refined = refine(smooth, one, two, guess[kept])
    kept = np.flatnonzero(may_fit(smooth, one, two, refined, LEAST_REFINED))
    one, two, refined = one[kept], two[kept], refined[kept]
    is_copy = compare(grey, colours_of(looks[rows]), one, two, refined).is_copy
    return np.stack([rows[one[is_copy]], rows[two[is_copy]]])
