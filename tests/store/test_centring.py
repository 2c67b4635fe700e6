import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astro_dist.store.centring import SortedBoxes, centre_windows, empty_windows, find_cut

SIZE, SHAPE = 32, (120, 150)


@st.composite
def islands(draw, largest=24):
    n = draw(st.integers(1, 25))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    heights, widths = rng.integers(1, largest + 1, (2, n))
    y0, x0 = rng.integers(0, SHAPE[0] - heights), rng.integers(0, SHAPE[1] - widths)
    return np.column_stack([y0, y0 + heights, x0, x0 + widths]), rng.random(n) < 0.5


def centre(boxes, extended, jitter=5, seed=0):
    return centre_windows(SHAPE, boxes, extended, SIZE, jitter, np.random.default_rng(seed))


def paint(boxes):
    image = np.zeros(SHAPE, bool)
    for y0, y1, x0, x1 in boxes:
        image[y0:y1, x0:x1] = True
    return image


@settings(max_examples=60, deadline=None)
@given(islands(), st.integers(0, 20))
def test_unmarked_windows_cut_no_extended_island_and_every_island_is_whole_somewhere(drawn, jitter):
    boxes, extended = drawn
    found = centre(boxes, extended, jitter)
    assert found.y0.min() >= 0
    assert (found.y0 + SIZE).max() <= SHAPE[0]
    assert found.x0.min() >= 0
    assert (found.x0 + SIZE).max() <= SHAPE[1]
    for y, x, cut in zip(found.y0, found.x0, found.cuts_extended, strict=True):
        b = boxes[extended]
        rows = np.clip(np.minimum(b[:, 1], y + SIZE) - np.maximum(b[:, 0], y), 0, None)
        columns = np.clip(np.minimum(b[:, 3], x + SIZE) - np.maximum(b[:, 2], x), 0, None)
        area = (b[:, 1] - b[:, 0]) * (b[:, 3] - b[:, 2])
        held = rows * columns
        assert cut == np.any((held > 0) & (held < area))
    for y0, y1, x0, x1 in boxes:
        whole = (found.y0 <= y0) & (y1 <= found.y0 + SIZE) & (found.x0 <= x0) & (x1 <= found.x0 + SIZE)
        assert whole.any()


@settings(max_examples=30, deadline=None)
@given(islands())
def test_a_marked_window_could_not_be_moved_anywhere_better(drawn):
    boxes, extended = drawn
    found = centre(boxes, extended)
    for y, x in zip(found.y0[found.cuts_extended], found.x0[found.cuts_extended], strict=True):
        own = boxes[
            (boxes[:, 0] >= y) & (boxes[:, 1] <= y + SIZE) & (boxes[:, 2] >= x) & (boxes[:, 3] <= x + SIZE)
        ]
        doomed = []
        for y0, y1, x0, x1 in own:
            ys = np.arange(max(0, y1 - SIZE), min(y0, SHAPE[0] - SIZE) + 1)
            xs = np.arange(max(0, x1 - SIZE), min(x0, SHAPE[1] - SIZE) + 1)
            doomed.append(find_cut(ys[:, None], xs[None, :], SIZE, boxes[extended]).all())
        assert any(doomed)


def test_the_move_is_the_least_that_helps():
    """An extended island is below and right of a compact one: the window moves up by two, not left by ten."""
    boxes = np.array([[50, 54, 50, 54], [65, 80, 45, 75]])
    found = centre(boxes, np.array([False, True]), jitter=0)
    windows = set(zip(found.y0.tolist(), found.x0.tolist(), strict=True))
    assert (33, 36) in windows
    assert not found.cuts_extended.any()


def test_an_island_in_the_middle_of_a_window_gets_none_of_its_own():
    boxes = np.array([[50, 60, 50, 60], [56, 58, 60, 62], [64, 66, 50, 52]])
    found = centre(boxes, np.array([True, False, False]), jitter=0)
    assert found.y0.tolist() == [39, 49]


def test_islands_larger_than_a_window_are_listed_and_what_meets_them_is_marked():
    boxes = np.array([[10, 50, 40, 50], [20, 24, 52, 56], [100, 104, 100, 104]])
    found = centre(boxes, np.array([True, False, False]), jitter=0)
    assert found.oversized.tolist() == [0]
    windows = dict(
        zip(zip(found.y0.tolist(), found.x0.tolist(), strict=True), found.cuts_extended, strict=True)
    )
    # The first window ends right beside the large island; the second is far from that island.
    assert windows == {(6, 50): False, (86, 86): False}
    boxes[1] = 20, 24, 42, 46
    assert centre(boxes, np.array([True, False, False]), jitter=0).cuts_extended.tolist() == [True, False]


def test_jitter_moves_windows_and_is_bounded():
    boxes = np.column_stack(
        [np.full(40, 60), np.full(40, 62), 3 * np.arange(40) + 10, 3 * np.arange(40) + 12]
    )
    extended = np.zeros(40, bool)
    moved = [centre(boxes[i : i + 1], extended[:1], jitter=7, seed=i).y0[0] - 45 for i in range(40)]
    assert max(map(abs, moved)) <= 7
    assert len(set(moved)) > 5


def test_one_box_may_be_as_large_as_the_window_and_the_map():
    found = centre_windows(
        (SIZE, SIZE), np.array([[0, SIZE, 0, SIZE]]), np.array([True]), SIZE, 9, np.random.default_rng(0)
    )
    assert (found.y0.tolist(), found.x0.tolist(), found.cuts_extended.tolist()) == ([0], [0], [False])


@settings(max_examples=40, deadline=None)
@given(islands(), st.integers(0, 8))
def test_empty_windows_hold_no_pixel_of_an_island(drawn, count):
    boxes, _ = drawn
    image = paint(boxes)
    found = empty_windows(SHAPE, boxes, SIZE, count, np.random.default_rng(1))
    assert found.shape[1] == 2
    assert len(found) <= count
    assert not any(image[y : y + SIZE, x : x + SIZE].any() for y, x in found)


def test_as_many_empty_windows_as_asked_for_where_there_is_room():
    none = np.zeros((0, 4), np.int64)
    assert len(empty_windows(SHAPE, none, SIZE, 13, np.random.default_rng(1))) == 13
    everywhere = np.array([[0, SHAPE[0], 0, SHAPE[1]]])
    assert len(empty_windows(SHAPE, everywhere, SIZE, 13, np.random.default_rng(1))) == 0


@settings(max_examples=40, deadline=None)
@given(islands(largest=60), st.integers(0, 100), st.integers(1, 60), st.integers(0, 100), st.integers(1, 60))
def test_sorted_boxes_find_all_that_meet(drawn, y0, height, x0, width):
    boxes, _ = drawn
    y1, x1 = y0 + height, x0 + width
    meets = (boxes[:, 0] < y1) & (boxes[:, 1] > y0) & (boxes[:, 2] < x1) & (boxes[:, 3] > x0)
    found = SortedBoxes(boxes).meeting(y0, y1, x0, x1)
    assert sorted(map(tuple, found)) == sorted(map(tuple, boxes[meets]))


@pytest.mark.parametrize(("y", "x", "cut"), [(10, 10, False), (11, 10, True), (20, 10, False), (0, 20, True)])
def test_find_cut_is_about_part_of_a_box(y, x, cut):
    boxes = np.array([[10, 20, 10, 30]])
    assert find_cut(np.array(y), np.array(x), SIZE, boxes) == cut
