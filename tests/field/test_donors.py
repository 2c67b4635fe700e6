"""The objects that stand for sources: of their size, clean enough, and none too often."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from astro_dist.field.donors import MOST_RESIZED, Donors, Wanted, choose_donors

SIZE, FLUX = st.floats(5, 200), st.floats(1e-4, 10)


def columns(*kinds, **sizes):
    rows = st.lists(st.tuples(*kinds), **sizes)
    return rows.map(lambda pairs: tuple(np.array(column, float) for column in zip(*pairs, strict=True)))


def choose(wanted, donors, reuse=1, clip=True, seed=1):
    return choose_donors(
        Wanted(*map(np.array, wanted)),
        Donors(*map(np.array, donors)),
        reuse,
        np.random.default_rng(seed),
        clip=clip,
    )


@given(
    wanted=columns(FLUX, SIZE, min_size=1, max_size=12),
    donors=columns(SIZE, FLUX, min_size=1, max_size=8),
    reuse=st.integers(1, 3),
    clip=st.booleans(),
)
def test_no_object_is_resized_or_used_more_than_allowed(wanted, donors, reuse, clip):
    choice = choose(wanted, donors, reuse, clip)
    chosen = choice.donor >= 0
    assert np.bincount(choice.donor[chosen], minlength=1).max() <= reuse
    assert (np.abs(np.log(choice.factor)) <= math.log(MOST_RESIZED) + 1e-12).all()
    if clip:
        assert chosen.sum() == min(len(chosen), reuse * len(donors[0]))
    else:
        sizes = donors[0][choice.donor[chosen]] * choice.factor[chosen]
        assert sizes == pytest.approx(wanted[1][chosen], rel=1e-9)
    dim = chosen & ~choice.brightened
    assert (donors[1][choice.donor[dim]] >= wanted[0][dim]).all()


def test_bright_sources_get_the_clean_objects_whatever_their_place_in_the_list():
    donors = ([30.0, 30.0, 30.0], [0.01, 5.0, 0.01])
    choice = choose(([0.001, 0.001, 1.0], [30.0, 30.0, 30.0]), donors)
    assert choice.donor[2] == 1
    assert not choice.brightened.any()


def test_the_cleanest_object_is_taken_where_none_bears_the_flux():
    choice = choose(([9.0], [30.0]), ([30.0, 31.0, 80.0], [0.1, 0.2, 20.0]))
    assert choice.donor[0] == 1
    assert choice.brightened[0]


def test_objects_are_used_equally_often():
    wanted = (np.full(60, 1e-3), np.full(60, 20.0))
    choice = choose(wanted, (np.full(20, 20.0), np.ones(20)), reuse=5)
    assert (np.bincount(choice.donor) == 3).all()
    again, other = (choose(wanted, (np.full(20, 20.0), np.ones(20)), 5, seed=seed) for seed in (1, 2))
    assert np.array_equal(choice.donor, again.donor)
    assert not np.array_equal(choice.donor, other.donor)


def test_a_size_that_no_object_reaches_is_clipped_or_refused():
    wanted, donors = ([0.1], [100.0]), ([20.0, 40.0], [1.0, 1.0])
    clipped = choose(wanted, donors)
    assert (clipped.donor[0], clipped.factor[0]) == (1, MOST_RESIZED)
    assert choose(wanted, donors, clip=False).donor[0] == -1
    # A size of 0 is nearest to the smallest.
    assert choose(([0.1], [0.0]), donors).donor[0] == 0
    assert choose(([0.1], [0.0]), donors, clip=False).donor[0] == -1
