import numpy as np
import pytest

from astro_dist.engine.errors import ConfigError
from astro_dist.field.instrument import check_sampling
from astro_dist.field.rendering import patch_boxes, render, step_matrix
from astro_dist.sky.beams import Beam, Pixel
from astro_dist.sky.windows import Window

PIXEL = Pixel(1.0, 1.0)
SAME = np.eye(2)
POINT = np.ones((1, 1), np.float32)
NO_SPREAD = (0.0, 0.0, 0.0)
BEAMS = [
    Beam(2.5, 2.5),
    Beam(3, 3),
    Beam(3.9, 3.9),
    Beam(4, 4),
    Beam(6, 2.5, 30),
    Beam(10, 3.8, 77),
    Beam(12, 9, -20),
]


def matrix(moments):
    yy, yx, xx = moments
    return np.array([[yy, yx], [yx, xx]])


def direct_sum(window, model, placing, beam_pix):
    """The sum of one Gaussian after the other, over more pixels than a patch has."""
    (pixels, spread, origin), (step, anchor, place) = model, placing
    wide = beam_pix + step @ matrix(spread) @ step.T
    inverse = np.linalg.inv(wide)
    y, x = np.mgrid[window.y0 : window.y1, window.x0 : window.x1].astype(float)
    out = np.zeros(y.shape)
    for i, j in np.argwhere(pixels > 0):
        at = np.array(place) + step @ (np.array([i, j]) + origin - anchor)
        dy, dx = y - at[0], x - at[1]
        square = inverse[0, 0] * dy**2 + 2 * inverse[0, 1] * dy * dx + inverse[1, 1] * dx**2
        out += pixels[i, j] * np.exp(-0.5 * square)
    return out * np.sqrt(np.linalg.det(beam_pix) / np.linalg.det(wide))


def worst_difference(model, placing, beam):
    """The largest difference over the peak, also where the patch has ended; and the patch."""
    beam_pix = beam.covariance_pix(PIXEL)
    patch = render(*model, *placing, beam_pix)
    around = patch.window.grown(8)
    expected = direct_sum(around, model, placing, beam_pix)
    expected[patch.window.within(around)] -= patch.values
    return np.abs(expected).max() / patch.values.max(), patch


def random_spread(rng, size=0.6):
    root = size * rng.standard_normal((2, 2))
    return (root @ root.T)[[0, 0, 1], [0, 1, 1]]


def random_grid(rng):
    shape = rng.integers(1, 14, 2)
    pixels = rng.random(shape) ** 4 * (rng.random(shape) < 0.4)
    pixels[0, 0] += 0.1
    return (pixels / pixels.sum()).astype(np.float32)


def random_placing(rng):
    pixel = Pixel(*rng.uniform(0.6, 1.6, 2))
    step = step_matrix(PIXEL, pixel, rng.uniform(0, 360), flipped=bool(rng.integers(2)))
    return step, rng.uniform(0, 40, 2), rng.uniform(-50, 12000, 2)


@pytest.mark.parametrize("count", [8, pytest.param(300, marks=pytest.mark.soak)])
@pytest.mark.parametrize("beam", BEAMS, ids=str)
def test_points_gaussians_and_grids_are_what_the_formula_says(beam, count):
    rng = np.random.default_rng(1)
    for case in range(count):
        models = [
            (POINT, NO_SPREAD, (0.0, 0.0)),
            (POINT, random_spread(rng), rng.uniform(0, 30, 2)),
            (random_grid(rng), random_spread(rng, 0.4) * (case % 2), rng.integers(0, 30, 2)),
        ]
        for model in models:
            worst, patch = worst_difference(model, random_placing(rng), beam)
            assert worst < 1e-5
            assert patch.values.min() > -1e-5 * patch.values.max()
            assert patch.values.sum() == pytest.approx(beam.area_pix(PIXEL), rel=1e-6)


def test_a_patch_does_not_depend_on_what_was_rendered_before_nor_on_whole_pixels():
    rng = np.random.default_rng(2)
    beam_pix = Beam(4, 3.4, 20).covariance_pix(PIXEL)
    for pixels in (POINT, random_grid(rng)):
        step, anchor, place = random_placing(rng)
        first = render(pixels, (0.3, 0, 0.3), (3, 4), step, anchor, place, beam_pix)
        for _ in range(3):
            render(random_grid(rng), NO_SPREAD, (0, 0), *random_placing(rng), beam_pix)
        again = render(pixels, (0.3, 0, 0.3), (3, 4), step, anchor, place, beam_pix)
        moved = render(pixels, (0.3, 0, 0.3), (3, 4), step, anchor, place + np.array([1000, -333]), beam_pix)
        assert again.values.tobytes() == first.values.tobytes() == moved.values.tobytes()
        assert moved.window == first.window.shifted(1000, -333)


def test_boxes_are_the_windows_of_the_patches_one_or_many():
    rng = np.random.default_rng(3)
    beam_pix = Beam(5, 3, 40).covariance_pix(PIXEL)
    cases = [
        (random_grid(rng), random_spread(rng), rng.integers(0, 9, 2), *random_placing(rng)) for _ in range(40)
    ]
    windows = [render(*case, beam_pix).window for case in cases]
    shapes = [case[0].shape for case in cases]
    columns = [np.array(column) for column in list(zip(*cases, strict=True))[1:]]
    boxes = patch_boxes(shapes, *columns, beam_pix)
    assert [Window(y, y + h, x, x + w) for y, x, h, w in boxes.tolist()] == windows
    single = patch_boxes((1, 1), NO_SPREAD, (0, 0), SAME, (0, 0), columns[-1], beam_pix)
    assert single.shape == (40, 4)
    assert len(np.unique(single[:, 2:], axis=0)) <= 4


def test_turns_run_from_north_to_east_and_pixels_keep_the_sky():
    # North is +y, east is -x.
    north, east = np.array([1.0, 0.0]), np.array([0.0, -1.0])
    assert step_matrix(PIXEL, PIXEL, 90) @ north == pytest.approx(east)
    assert step_matrix(PIXEL, PIXEL, flipped=True) @ east == pytest.approx(-east)
    assert step_matrix(PIXEL, PIXEL, 90, flipped=True) @ east == pytest.approx(north)
    step = step_matrix(Pixel(2, 3), Pixel(1, 1.5), 0, scale=1.5)
    assert step == pytest.approx(np.diag([3.0, 3.0]))
    sky = np.array([2.0, 3.0])
    turned = step_matrix(Pixel(2, 3), Pixel(0.5, 1.5), 31) @ north * [0.5, 1.5]
    assert np.hypot(*turned) == pytest.approx(sky[0])
    assert np.degrees(np.arctan2(-turned[1], turned[0])) == pytest.approx(31)


def test_the_anchor_comes_to_lie_at_its_place():
    beam_pix = Beam(4, 4).covariance_pix(PIXEL)
    pixels = np.zeros((9, 12), np.float32)
    pixels[[2, 7], [3, 9]] = 0.8, 0.2
    step = step_matrix(PIXEL, PIXEL, 77, flipped=True)
    patch = render(pixels, NO_SPREAD, (10, 20), step, (12, 23), (50.25, 60.5), beam_pix)
    y, x = np.mgrid[patch.window.y0 : patch.window.y1, patch.window.x0 : patch.window.x1]
    centre = [(patch.values * axis).sum() / patch.values.sum() for axis in (y, x)]
    assert centre == pytest.approx([50.25, 60.5] + 0.2 * step @ [5, 6], abs=1e-5)


@pytest.mark.parametrize(
    ("beam", "pixel"), [(Beam(2.4, 2.4), PIXEL), (Beam(9, 2.4, 45), PIXEL), (Beam(6, 6), Pixel(1, 2.5))]
)
def test_a_pixel_that_does_not_sample_the_beam_is_refused(beam, pixel):
    with pytest.raises(ConfigError, match=r"pixels per full width; lower assemble.pixel_arcsec"):
        check_sampling(beam, pixel)
    check_sampling(Beam(2.5, 2.5), PIXEL)
    check_sampling(Beam(9, 2.5, 45), PIXEL)
