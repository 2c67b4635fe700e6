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


class Shapes:
    def shape(self, number, turn=0):
        return apply_symmetry(SHAPES[number], turn)


def make_table(n=40):
    numbers, turn = RNG.integers(0, 4, n), RNG.integers(0, 8, n).astype(np.uint8)
    height, width = np.array([Shapes().shape(i, k).shape for i, k in zip(numbers, turn, strict=True)]).T
    return {
        "id": np.arange(1, n + 1, dtype=np.int32),
        "class": RNG.integers(1, 4, n).astype(np.uint8),
        "object": numbers.astype(np.int32),
        "turn": turn,
        "y0": RNG.integers(0, SHAPE[0] - height + 1).astype(np.int32),
        "x0": RNG.integers(0, SHAPE[1] - width + 1).astype(np.int32),
        "height": height.astype(np.int32),
        "width": width.astype(np.int32),
        "amplitude_jy_beam": RNG.random(n).astype(np.float32),
        "level_jy_beam": np.full(n, 0.3, np.float32),
    }


TABLE = make_table()
WHOLE = add_objects(np.zeros(SHAPE, np.float32), Window.of_shape(SHAPE), TABLE, Shapes())


@st.composite
def windows(draw):
    y0, x0 = draw(st.integers(0, SHAPE[0] - 1)), draw(st.integers(0, SHAPE[1] - 1))
    return Window(y0, draw(st.integers(y0 + 1, SHAPE[0])), x0, draw(st.integers(x0 + 1, SHAPE[1])))


@settings(max_examples=60, deadline=None)
@given(window=windows())
def test_a_window_sees_what_the_whole_field_has(window):
    layers = add_objects(np.zeros(window.shape, np.float32), window, TABLE, Shapes())
    for name in (MAP, MASK, INSTANCES):
        assert np.array_equal(layers[name], WHOLE[name][window.slices])


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
