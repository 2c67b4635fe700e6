import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from astro_dist.sky.mesh import Mesh
from astro_dist.sky.windows import Window

SHAPE, CELL = (150, 215), 32
GRID = (5, 7)
RNG = np.random.default_rng(5)
MESH = Mesh(SHAPE, CELL, RNG.normal(0, 1, GRID).astype("f4"), RNG.uniform(1, 2, GRID).astype("f4"))


def test_a_plane_is_followed_between_the_outermost_centres():
    centres = [(np.arange(n) + 0.5) * CELL - 0.5 for n in GRID]
    plane = (3 * centres[0][:, None] - 2 * centres[1][None]).astype(np.float32)
    background, _ = Mesh(SHAPE, CELL, plane, np.ones(GRID, np.float32)).evaluate(Window(16, 143, 16, 200))
    y, x = np.mgrid[16:143, 16:200]
    np.testing.assert_allclose(background, 3 * y - 2 * x, atol=1e-3)


@st.composite
def windows(draw):
    y0, x0 = draw(st.integers(0, SHAPE[0] - 1)), draw(st.integers(0, SHAPE[1] - 1))
    return Window(y0, draw(st.integers(y0 + 1, SHAPE[0])), x0, draw(st.integers(x0 + 1, SHAPE[1])))


@settings(max_examples=50, deadline=None)
@given(windows())
def test_a_pixel_is_the_same_in_every_window(window):
    whole = MESH.evaluate(Window.of_shape(SHAPE))
    y, x = (axis.ravel() for axis in np.mgrid[window.slices])
    for part, all_of_it, points in zip(MESH.evaluate(window), whole, MESH.evaluate_at(y, x), strict=True):
        np.testing.assert_array_equal(part, all_of_it[window.slices])
        np.testing.assert_array_equal(points, part.ravel())


def test_a_single_cell_is_constant():
    mesh = Mesh((9, 5), 5, np.float32([[2]]), np.float32([[3]]))
    background, rms = mesh.evaluate(Window(0, 9, 0, 5))
    assert (background == 2).all()
    assert (rms == 3).all()
