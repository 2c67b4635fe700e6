"""Parts of pictures: the grey scale, the beam, the same bytes every time."""

import numpy as np
import pytest
from PIL import Image

from astro_dist.field.panels import BLANK, INK, PAPER, Sheet, Stretch, noise_stretch, stamp_beam
from astro_dist.sky.beams import Beam, Pixel


def test_grey_rises_from_black_to_white_and_is_linear_over_the_noise():
    stretch = Stretch(-3.0, 100.0, 3.0)
    values = np.linspace(-5, 120, 1000)
    level = stretch.level(values)
    assert level[values < -3].max() == 0
    assert level[values > 100].min() == 1
    assert (np.diff(level[(values > -3) & (values < 100)]) > 0).all()
    steps = np.diff(stretch.level(np.array([-3.0, -2.0, -1.0])))
    assert steps[0] == pytest.approx(steps[1], rel=0.1)


def test_every_grey_is_the_level_of_its_brightness():
    stretch = Stretch(-3.0, 100.0, 3.0)
    values = np.linspace(-5, 120, 5000).astype(np.float32)
    painted = stretch.paint(values[None, :])[0, :, 0]
    assert abs(painted - 255 * stretch.level(values)).max() < 0.501
    assert set(painted.tolist()) == set(range(256))


def test_row_zero_is_at_the_bottom_and_blank_pixels_are_blue():
    pixels = Stretch(0.0, 2.0, 1.0).paint(np.array([[0.0, 1.0], [2.0, np.nan]], np.float32))
    assert pixels[1, 0].tolist() == [0, 0, 0]
    assert 0 < pixels[1, 1, 0] < 255
    assert pixels[0, 0].tolist() == [255, 255, 255]
    assert tuple(pixels[0, 1]) == BLANK


@pytest.mark.parametrize("image", [np.zeros((4, 4)), np.full((4, 4), np.nan), np.eye(4), np.full((4, 4), -7)])
def test_a_stretch_is_always_usable(image):
    stretch = noise_stretch(image.astype(np.float32))
    assert stretch.low < stretch.high
    assert stretch.soft > 0


def test_noise_lies_above_black_and_far_below_white():
    image = np.random.default_rng(0).normal(5.0, 2.0, (200, 200)).astype(np.float32)
    stretch = noise_stretch(image)
    assert stretch.low == pytest.approx(-1.0, abs=0.15)
    assert stretch.high == pytest.approx(29, abs=0.8)
    assert stretch.level(5.0) == pytest.approx(0.25, abs=0.01)
    image[:3, :3] = 1e6
    assert noise_stretch(image).high == pytest.approx(29, abs=0.8)
    image[:20, :20] = 1e6
    assert noise_stretch(image).high == pytest.approx(605, rel=0.03)
    assert noise_stretch(image).soft == pytest.approx(6, rel=0.03)


def test_the_beam_is_drawn_to_scale_and_turned_from_north_to_east():
    pixels = np.zeros((400, 400, 3), np.uint8)
    stamp_beam(pixels, Beam(12.0, 6.0, 45.0), Pixel(1.5, 1.5), 4)
    inside = (pixels == INK).all(axis=2)
    # The area of an ellipse with axes of 8 and 4 pixels, each drawn as 4.
    assert inside.sum() == pytest.approx(np.pi / 4 * 32 * 16, rel=0.03)
    y, x = np.nonzero(inside)
    # Row 0 of a picture is north, and east is left: towards the north-east both fall together.
    assert np.corrcoef(y, x)[0, 1] > 0.5
    assert y.min() > 340
    assert x.max() < 60
    assert (pixels[:330] == 0).all()
    stamp_beam(small := np.zeros((60, 60, 3), np.uint8), Beam(12.0, 6.0, 45.0), Pixel(1.5, 1.5), 4)
    assert (small == 0).all()


def test_a_sheet_has_the_same_bytes_every_time(tmp_path):
    for name in ("a.png", "b.png"):
        sheet = Sheet(240, 200)
        sheet.sky(90, 10, np.zeros((120, 60, 3), np.uint8))
        sheet.axes((90, 10, 60, 120), [(30.0, "12h")], [(60.0, "-30\N{DEGREE SIGN}")])
        sheet.bar(160, 10, 120, Stretch(-1.0, 50.0, 1.0), 1.0, "mJy/beam")
        sheet.publish(tmp_path / name, "what it is")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.text == {"Description": "what it is"}
        pixels = np.asarray(picture)
    assert (pixels[0] == PAPER).all()
    # The tick of declination, as far from the lower edge as it was put.
    assert tuple(pixels[70, 86]) == INK
    assert tuple(pixels[71, 86]) == PAPER
    assert tuple(pixels[133, 120]) == INK
