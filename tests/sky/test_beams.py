import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from astro_dist.engine.errors import ConfigError
from astro_dist.sky.beams import Beam, Pixel
from astro_dist.sky.symmetries import apply_symmetry, symmetries

SQUARE = Pixel(1.5, 1.5)
OFFSETS = np.mgrid[-30:31, -30:31]
angles = st.floats(-180, 180)


@given(st.floats(8, 15), st.floats(0.5, 1), angles, st.floats(1, 2), st.floats(1, 2))
def test_the_area_is_the_sum_of_the_profile(major, ratio, pa, dy, dx):
    beam, pixel = Beam(major, major * ratio, pa), Pixel(dy, dx)
    assert beam.profile(*OFFSETS, pixel).sum() == pytest.approx(beam.area_pix(pixel), rel=1e-3)


@given(st.floats(5, 15), st.floats(0.4, 1), angles, st.floats(1, 2), st.floats(1, 2))
def test_half_maximum_lies_half_a_width_out_along_both_axes(major, ratio, pa, dy, dx):
    beam, pixel = Beam(major, major * ratio, pa), Pixel(dy, dx)
    north, east = np.cos(np.radians(pa)), np.sin(np.radians(pa))
    along = beam.profile(major / 2 * north / dy, -major / 2 * east / dx, pixel)
    across = beam.profile(-major * ratio / 2 * east / dy, -major * ratio / 2 * north / dx, pixel)
    assert along == pytest.approx(0.5)
    assert across == pytest.approx(0.5)
    assert beam.profile(0, 0, pixel) == 1


def test_the_position_angle_turns_from_north_to_the_left():
    beam = Beam(10, 5, 30)
    left, right = beam.profile(3, -2, SQUARE), beam.profile(3, 2, SQUARE)
    assert left > right
    assert Beam(10, 5, 90).profile(0, 3, SQUARE) > Beam(10, 5, 90).profile(3, 0, SQUARE)


def test_widths_in_pixels():
    assert Beam(9, 4).fwhm_pix(Pixel(2, 2)) == pytest.approx(3)
    assert Beam(6, 6).area_pix(Pixel(1.5, 1.5)) == pytest.approx(18.13, abs=0.01)


@pytest.mark.parametrize(
    ("beam", "pixel", "kept"),
    [
        (Beam(6, 6), SQUARE, (0, 1, 2, 3, 4, 5, 6, 7)),
        (Beam(6, 5.95, 30), SQUARE, (0, 1, 2, 3, 4, 5, 6, 7)),
        (Beam(9, 6, 0), SQUARE, (0, 2, 4, 6)),
        (Beam(9, 6, 90), SQUARE, (0, 2, 4, 6)),
        (Beam(9, 6, 30), SQUARE, (0, 2)),
        (Beam(9, 6, 45), SQUARE, (0, 2, 5, 7)),
        (Beam(76.6, 45, 0), Pixel(18.7, 11), (0, 2, 4, 6)),
    ],
)
def test_only_turns_that_keep_beam_and_pixel_are_allowed(beam, pixel, kept):
    assert symmetries(beam, pixel) == kept


@given(st.sampled_from([0.0, 30.0, 45.0, 90.0, 120.0]), st.sampled_from([1.0, 0.99, 0.6]))
def test_an_allowed_turn_leaves_the_image_of_the_beam(pa, ratio):
    beam = Beam(12, 12 * ratio, pa)
    image = beam.profile(*OFFSETS, SQUARE)
    changes = [np.abs(apply_symmetry(image, k) - image).max() for k in range(8)]
    allowed = symmetries(beam, SQUARE)
    assert max(changes[k] for k in allowed) < 0.02
    assert all(changes[k] > 0.1 for k in range(8) if k not in allowed)


def test_the_code_of_a_symmetry_is_turns_then_a_mirror():
    image = np.array([[1, 2], [3, 4]])
    assert apply_symmetry(image, 1).tolist() == [[2, 4], [1, 3]]
    assert apply_symmetry(image, 4).tolist() == [[2, 1], [4, 3]]
    assert apply_symmetry(image, 5).tolist() == [[4, 2], [3, 1]]
    assert len({apply_symmetry(image, k).tobytes() for k in range(8)}) == 8
    assert apply_symmetry(np.zeros((5, 2, 3)), 1).shape == (5, 3, 2)


@pytest.mark.parametrize("sizes", [(5, 6), (0, 0), (float("nan"), 1), (float("inf"), 1)])
def test_an_impossible_beam_is_refused(sizes):
    with pytest.raises(ConfigError, match="beam"):
        Beam(*sizes)


def test_an_angle_or_a_pixel_without_a_number_is_refused():
    with pytest.raises(ConfigError, match="position angle"):
        Beam(5, 5, float("nan"))
    with pytest.raises(ConfigError, match="pixel"):
        Pixel(1, 0)
