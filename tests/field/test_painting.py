"""Objects in a window of a field; windows that overlap agree bit for bit."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from astro_dist.field.layers import INSTANCES, MAP, MASK
from astro_dist.field.painting import add_objects, clip_boxes
from astro_dist.sky.symmetries import apply_symmetry
from astro_dist.sky.windows import Window

SHAPE = (60, 70)
RNG = np.random.default_rng(0)
SHAPES = [RNG.random((h, w)).astype(np.float32) for h, w in ((5, 9), (12, 3), (1, 1), (20, 20))]


def shape_of(table, row):
    return apply_symmetry(SHAPES[table["object"][row]], table["turn"][row])


def drawn(row):
    """Every third placement is not detectable."""
    facts = {"level_jy_beam": np.float32(0.3), "detectable": row % 3 != 0}
    return shape_of(TABLE, row) * TABLE["amplitude"][row], facts


def make_table(n=40):
    numbers, turn = RNG.integers(0, 4, n), RNG.integers(0, 8, n).astype(np.uint8)
    height, width = np.array(
        [apply_symmetry(SHAPES[i], k).shape for i, k in zip(numbers, turn, strict=True)]
    ).T
    return {
        "id": np.arange(1, n + 1, dtype=np.int32),
        "class": RNG.integers(1, 4, n).astype(np.uint8),
        "object": numbers.astype(np.int32),
        "turn": turn,
        "y0": RNG.integers(0, SHAPE[0] - height + 1).astype(np.int32),
        "x0": RNG.integers(0, SHAPE[1] - width + 1).astype(np.int32),
        "height": height.astype(np.int32),
        "width": width.astype(np.int32),
        "amplitude": RNG.random(n).astype(np.float32),
    }


TABLE = make_table()
PAINTED = add_objects(np.zeros(SHAPE, np.float32), Window.of_shape(SHAPE), TABLE, drawn)
WHOLE = PAINTED.layers


@st.composite
def windows(draw):
    y0, x0 = draw(st.integers(0, SHAPE[0] - 1)), draw(st.integers(0, SHAPE[1] - 1))
    return Window(y0, draw(st.integers(y0 + 1, SHAPE[0])), x0, draw(st.integers(x0 + 1, SHAPE[1])))


@settings(max_examples=60, deadline=None)
@given(window=windows())
def test_a_window_sees_what_the_whole_field_has(window):
    painted = add_objects(np.zeros(window.shape, np.float32), window, TABLE, drawn)
    for name in (MAP, MASK, INSTANCES):
        assert np.array_equal(painted.layers[name], WHOLE[name][window.slices])
    y, x = np.divmod(painted.cores[0], window.width)
    found = set(
        zip((y + window.y0).tolist(), (x + window.x0).tolist(), painted.cores[1].tolist(), strict=True)
    )
    y, x = np.divmod(PAINTED.cores[0], SHAPE[1])
    inside = (y >= window.y0) & (y < window.y1) & (x >= window.x0) & (x < window.x1)
    columns = (y[inside].tolist(), x[inside].tolist(), PAINTED.cores[1][inside].tolist())
    assert found == set(zip(*columns, strict=True))


@settings(max_examples=60, deadline=None)
@given(window=windows())
def test_clipping_is_the_algebra_of_windows(window):
    here, inner, outer = clip_boxes(TABLE, window)
    found = dict(zip(here.tolist(), zip(inner.tolist(), outer.tolist(), strict=True), strict=True))
    for i in range(len(TABLE["id"])):
        y, x, h, w = (int(TABLE[name][i]) for name in ("y0", "x0", "height", "width"))
        box = Window(y, y + h, x, x + w)
        part = box & window
        assert (part is not None) == (i in found)
        if part is not None:
            for edges, origin in zip(found[i], (window, box), strict=True):
                assert (slice(edges[0], edges[1]), slice(edges[2], edges[3])) == part.within(origin)


def test_spurious_pixels_have_a_class_and_no_id():
    assert (WHOLE[MASK] == 1).any()
    assert (WHOLE[INSTANCES][WHOLE[MASK] == 1] == 0).all()
    assert (WHOLE[INSTANCES][WHOLE[MASK] > 1] > 0).all()


def test_what_is_not_detectable_has_a_negative_number_and_covers_nothing_else():
    faint = WHOLE[INSTANCES] < 0
    assert faint.any()
    assert (WHOLE[MASK][faint] == 0).all()
    rows = -WHOLE[INSTANCES][faint] - 1
    assert (rows % 3 == 0).all()
    assert (TABLE["class"][rows] > 1).all()
    detectable = np.unique(WHOLE[INSTANCES][WHOLE[INSTANCES] > 0]) - 1
    assert (detectable % 3 != 0).all()
    assert set(detectable.tolist()) == set(PAINTED.cores[1].tolist()) - _hidden()


def _hidden():
    """Sources all of whose pixels others cover."""
    return set(PAINTED.cores[1].tolist()) - set((WHOLE[INSTANCES][WHOLE[INSTANCES] > 0] - 1).tolist())
