"""Pairs that share pixels or touch, and their groups, are those of the whole images, in any bands."""

from itertools import combinations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import binary_dilation

from astro_dist.field.blends import add_up, find_pairs, groups

IDS = np.array([7, 3, 9, 1, 5, 2], np.int32)


def in_bands(masks, height):
    """The pairs of all bands of a field, added up."""
    rows = masks.shape[1]
    found = {"row": [], "other": [], "n_pix": []}
    for first in range(0, rows, height):
        own = min(height, rows - first)
        part = masks[:, first : first + own + 1]
        cores = [np.flatnonzero(mask) for mask in part]
        owners = [np.full(len(core), row) for row, core in enumerate(cores)]
        pairs = find_pairs((np.concatenate(cores), np.concatenate(owners)), part.shape[1:], own)
        for pair in pairs:
            for name, values in found.items():
                values.append(pair[name])
    return add_up({name: np.array(values, np.int64) for name, values in found.items()})


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    share=st.sampled_from([0.02, 0.1, 0.3]),
    seed=st.integers(0, 999),
)
def test_pairs_and_groups_are_those_of_the_whole_images(shape, share, seed):
    masks = np.random.default_rng(seed).random((len(IDS), *shape)) < share
    couples = list(combinations(range(len(IDS)), 2))
    overlaps = {(a, b): int((masks[a] & masks[b]).sum()) for a, b in couples}
    label = list(IDS)
    for _ in IDS:
        for a, b in couples:
            if (binary_dilation(masks[a], np.ones((3, 3))) & masks[b]).any():
                label[a] = label[b] = min(label[a], label[b])
    for height in (1, 2, 5, 20):
        pairs = in_bands(masks, height)
        rows = zip(*(pairs[name].tolist() for name in ("row", "other", "n_pix")), strict=True)
        assert {(a, b): n for a, b, n in rows if n} == {pair: n for pair, n in overlaps.items() if n}
        found, size = groups(pairs, IDS)
        assert found.tolist() == label
        assert size.tolist() == [label.count(one) for one in label]
