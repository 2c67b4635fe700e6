import numpy as np
import pytest

from astro_dist.pictures.transforms import crop, flip, jitter, look_from, turn

COLOUR = np.random.default_rng(1).integers(0, 256, (3, 24, 24)).astype(np.uint8)
FLOATS = COLOUR[:1].astype(np.float32) / 127.5 - 1


def ramp(side=48):
    """A picture whose grey values say where its pixels come from: rows in red, columns in green."""
    y, x = np.mgrid[:side, :side] * (255 / (side - 1))
    return np.stack([y, x, np.zeros_like(y)]).astype(np.uint8)


def test_flips_turn_over_rows_and_columns():
    np.testing.assert_array_equal(flip(COLOUR, True, False), COLOUR[:, ::-1])
    np.testing.assert_array_equal(flip(COLOUR, False, True), COLOUR[:, :, ::-1])
    np.testing.assert_array_equal(flip(flip(COLOUR, True, True), True, True), COLOUR)


@pytest.mark.parametrize("picture", [COLOUR, FLOATS], ids=["colour", "float"])
def test_nothing_changes_with_factors_of_one(picture):
    np.testing.assert_allclose(jitter(picture, 1, 1, 1, 0), picture, atol=1e-6)


def test_jitter_changes_what_it_is_asked_for():
    grey = np.full((3, 4, 4), 100, np.uint8)
    assert np.unique(jitter(grey, 1.5, 1, 1, 0)).tolist() == [150]
    # Grey has neither contrast nor colour.
    np.testing.assert_array_equal(jitter(grey, 1, 1.7, 1.9, 0.3), grey)
    red = np.stack([np.full((4, 4), v, np.uint8) for v in (200, 60, 60)])
    assert np.ptp(jitter(red, 1, 1, 0, 0)) == 0
    np.testing.assert_allclose(jitter(red, 1, 1, 1, 1.0), red, atol=1)
    turned = jitter(red, 1, 1, 1, 1 / 3)
    assert turned[0, 0, 0] < turned[1, 0, 0] or turned[0, 0, 0] < turned[2, 0, 0]
    half = np.concatenate([grey[:, :2] - 50, grey[:, 2:] + 50], 1)
    assert np.ptp(jitter(half, 1, 0.5, 1, 0)) == 50


def test_a_crop_shows_the_part_that_it_names():
    part = crop(ramp(), 1.0, 0.0, 0.5)
    assert part.shape == (3, 48, 48)
    assert part[0].min() >= 255 * 0.45
    assert part[1].max() <= 255 * 0.55


def test_a_quarter_turn_is_a_quarter_turn():
    np.testing.assert_array_equal(turn(COLOUR, 90), np.rot90(COLOUR, 1, (1, 2)))
    # Without black corners: a bright picture stays bright.
    assert turn(np.full((1, 24, 24), 200, np.uint8), 33).min() >= 198


def test_perspective_brings_the_moved_corners_to_the_corners():
    np.testing.assert_array_equal(look_from(COLOUR, np.zeros((4, 2))), COLOUR)
    moved = np.array([[0.25, 0.125], [0.0, 0.25], [0.125, 0.0], [0.0, 0.0]])
    seen = look_from(ramp(), moved)
    corners = [seen[:2, y, x] for y, x in ((0, 0), (0, -1), (-1, -1), (-1, 0))]
    wanted = [(0.25, 0.125), (0.0, 0.75), (0.875, 1.0), (1.0, 0.0)]
    np.testing.assert_allclose(np.array(corners) / 255, wanted, atol=0.04)


@pytest.mark.parametrize(
    "change",
    [
        lambda p: jitter(p, 1.6, 0.7, 1.2, 0.1),
        lambda p: crop(p, 0.3, 0.6, 0.9),
        lambda p: turn(p, 20),
        lambda p: look_from(p, np.full((4, 2), 0.05)),
    ],
    ids=["jitter", "crop", "turn", "perspective"],
)
def test_float_planes_change_as_bytes_do(change):
    """Within rounding, and the clipping between the two passes of a kernel on bytes."""
    smooth = np.repeat(np.linspace(20, 230, 32).astype(np.uint8)[None, None], 32, 1)
    found = change(smooth.astype(np.float32) / 127.5 - 1)
    assert found.dtype == np.float32
    np.testing.assert_allclose((found + 1) * 127.5, change(smooth), atol=1.6)
