"""Splits of pictures part no group, keep the shares of each class, and follow the user's own."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from astro_dist.engine.seeds import stream
from astro_dist.store.picture_splits import split_pictures
from astro_dist.store.splits import GUARD, TEST, TRAIN, VALIDATION

SHARES = (0.7, 0.15, 0.15)


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 30), st.sampled_from([-1, -1, 0, 1, 2, 3])), min_size=9
    )
)
def test_no_group_is_parted_whatever_the_user_gives(rows):
    labels, groups, given_split = (np.array(column, np.int64) for column in zip(*rows, strict=True))
    split = split_pictures(labels, groups, given_split, SHARES, stream(1, "x"))
    used = split != GUARD
    for group in np.unique(groups[used]):
        assert len(np.unique(split[used & (groups == group)])) == 1
    assert (split[given_split == GUARD] == GUARD).all()
    # Nothing goes to a higher split than the user gave, and test pictures stay.
    assert (split[given_split == TEST] == TEST).all()
    assert set(split[given_split == VALIDATION].tolist()) <= {VALIDATION, GUARD}


def test_every_class_has_its_shares_and_every_split_a_group():
    labels = np.repeat([0, 1, 2], [200, 40, 3])
    split = split_pictures(labels, np.arange(243), np.full(243, -1), SHARES, stream(1, "x"))
    for label, n in enumerate([200, 40, 3]):
        counts = np.bincount(split[labels == label], minlength=4)
        assert counts[:3].min() >= 1
        assert counts[GUARD] == 0
        assert abs(counts[TEST] - 0.15 * n) <= 1


def test_the_deal_follows_the_seed_alone():
    labels, groups, none = np.arange(60) % 3, np.arange(60) // 2, np.full(60, -1)
    first = split_pictures(labels, groups, none, SHARES, stream(1, "x"))
    np.testing.assert_array_equal(first, split_pictures(labels, groups, none, SHARES, stream(1, "x")))
    assert (first != split_pictures(labels, groups, none, SHARES, stream(2, "x"))).any()


def test_a_validation_part_is_dealt_out_of_the_users_training_folder():
    given_split = np.repeat([TRAIN, TEST], [80, 20])
    split = split_pictures(np.zeros(100, np.int64), np.arange(100), given_split, SHARES, stream(1, "x"))
    assert (split[80:] == TEST).all()
    assert np.bincount(split[:80], minlength=3)[VALIDATION] == 14
    assert TEST not in split[:80]


def test_a_copy_of_a_test_picture_leaves_the_training_folder():
    given_split = np.array([TRAIN, TRAIN, VALIDATION, TEST])
    split = split_pictures(np.zeros(4, np.int64), np.array([0, 1, 2, 1]), given_split, SHARES, stream(1, "x"))
    assert split.tolist() == [TRAIN, GUARD, VALIDATION, TEST]
