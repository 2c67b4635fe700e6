"""Pixels without data are found alike in every window, whatever was read before."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from astro_dist.engine.errors import ConfigError
from astro_dist.sky.marks import hidden_fills, judge_fill
from astro_dist.sky.nodata import Scan, blank_fills, blank_zeros, refuse_absurd
from astro_dist.sky.windows import Window, bands

SHAPE = (60, 50)
WHOLE = Window.of_shape(SHAPE)


def read_by(image, windows, region_pix):
    """Read an image by windows, each with its zeros judged on its own."""
    found = np.full(image.shape, 7, np.float32)
    for window in windows:
        part = image[window.slices].copy()
        blank_zeros(part, window, Window.of_shape(image.shape), lambda w: image[w.slices], region_pix)
        found[window.slices] = part
    return found


def expected(image, region_pix):
    label, n = ndimage.label(image == 0)
    large = np.bincount(label.ravel(), minlength=n + 1) > max(region_pix, 16)
    large[0] = False
    return np.where(large[label], np.nan, image)


def tiles(height, width):
    return [
        Window(y, min(y + height, SHAPE[0]), x, min(x + width, SHAPE[1]))
        for y in range(0, SHAPE[0], height)
        for x in range(0, SHAPE[1], width)
    ]


@settings(max_examples=15, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([0.02, 0.3, 0.55, 0.62, 0.9]),
    st.integers(1, 60),
    st.integers(1, 50),
    st.sampled_from([1.0, 16.0, 40.0, 300.0]),
)
def test_any_windows_give_the_regions_of_the_whole_map(seed, share, height, width, region_pix):
    rng = np.random.default_rng(seed)
    image = np.where(rng.random(SHAPE) < share, 0, 1).astype(np.float32)
    whole = expected(image, region_pix)
    np.testing.assert_array_equal(read_by(image, [WHOLE], region_pix), whole)
    np.testing.assert_array_equal(read_by(image, bands(SHAPE, height), region_pix), whole)
    np.testing.assert_array_equal(read_by(image, tiles(height, width), region_pix), whole)


def test_a_winding_line_is_one_region_for_every_reader():
    image = np.ones(SHAPE, np.float32)
    image[::4] = 0
    image[1::8, -1] = image[2::8, -1] = image[3::8, -1] = 0
    image[5::8, 0] = image[6::8, 0] = image[7::8, 0] = 0
    for region_pix in (16, 700, 800):
        whole = expected(image, region_pix)
        assert np.isnan(whole).any() == (region_pix < 800)
        np.testing.assert_array_equal(read_by(image, bands(SHAPE, 3), region_pix), whole)
        np.testing.assert_array_equal(read_by(image, tiles(7, 5), region_pix), whole)


@pytest.mark.parametrize(("pixels", "is_data"), [(16, True), (17, False)])
def test_a_region_needs_more_than_sixteen_pixels(pixels, is_data):
    image = np.ones(SHAPE, np.float32)
    image[30, :pixels] = -0.0
    assert np.isfinite(read_by(image, [WHOLE], 3.0)[30, 0]) == is_data
    assert np.isfinite(read_by(image, [WHOLE], 17.0)[30, 0])


def test_a_map_without_zeros_is_not_read_twice():
    image = np.ones(SHAPE, np.float32)

    def refuse(window):
        raise AssertionError(window)

    assert not Scan().zero
    scan = Scan()
    scan.look(image)
    assert not scan.zero
    image[20:40, 20:40] = 0
    blank_zeros(image, WHOLE, Window(0, 100, 0, 100), refuse, 20.0)
    assert np.isnan(image).sum() == 400


@pytest.mark.parametrize("value", [-9.223372e18, 3e38, 1.1e9, -1e10])
def test_values_of_no_sky_are_named_with_the_remedy(value):
    image = np.ones((4, 4), np.float32)
    image[1, 2], image[0, 0] = value, np.nan
    with pytest.raises(ConfigError, match=r"no brightness .* maps\.blank: ") as caught:
        refuse_absurd(image, 1.0)
    named = float(str(caught.value).partition("maps.blank: ")[2].partition(",")[0])
    assert np.float32(named) == np.float32(value)


@pytest.mark.parametrize("factor", [1.0, 1e-3, 1e-12, 50.0])
def test_a_scan_sees_zeros_and_what_may_be_absurd(factor):
    for value, zero, beyond in (
        (1.0, False, False),
        (0.0, True, False),
        (-0.0, True, False),
        (np.nan, False, True),
        (-np.inf, False, True),
        (np.float32(0.9e9 / factor), False, False),
        (np.float32(-0.9e9 / factor), False, False),
        (np.float32(1.1e9 / factor), False, True),
        (np.float32(-1.1e9 / factor), False, True),
    ):
        scan, image = Scan(factor), np.full((3, 4), -1.0, np.float32)
        image[1, 1] = value
        scan.look(image)
        assert (scan.zero, scan.beyond) == (zero, beyond), value


def test_infinities_become_nan_and_bright_sources_stay():
    image = np.array([[np.inf, -np.inf, np.nan, 9e8, -9e8, 0]], np.float32)
    refuse_absurd(image)
    np.testing.assert_array_equal(image, np.array([[np.nan, np.nan, np.nan, 9e8, -9e8, 0]], np.float32))


def judged(image, value):
    return judge_fill(value, Window.of_shape(image.shape), lambda w: image[w.slices])


def read_fills(image, windows, region_pix=20.0):
    """Read an image by windows, each with its zeros and its ends judged on its own."""
    found, whole = np.full(image.shape, 7, np.float32), Window.of_shape(image.shape)
    for window in windows:
        part, scan = image[window.slices].copy(), Scan()
        scan.look(part)
        if scan.zero:
            blank_zeros(part, window, whole, lambda w: image[w.slices], region_pix)
        ends = scan.ends(part, 1.0)
        arguments = part, ends, window, whole, lambda w: image[w.slices], region_pix
        hidden = hidden_fills(math.inf, whole, lambda w: image[w.slices])
        blank_fills(*arguments, lambda value: judged(image, value), hidden)
        found[window.slices] = part
    return found


NOISE = np.random.default_rng(4).normal(0, 1e-4, SHAPE).astype(np.float32)


def filled(*marks):
    """Noise with a source of 1 Jy, and a border, a hole and a lone pixel of each mark."""
    y, x = np.indices(SHAPE)
    image = NOISE + np.exp(-((y - 30.0) ** 2 + (x - 25.0) ** 2) / 8).astype(np.float32)
    for i, mark in enumerate(marks):
        image[:, 4 * i : 4 * i + 3] = image[40 : 45 + i, 20 + 6 * i : 25 + 6 * i] = mark
        image[10, 40 + i] = mark
    return image


@pytest.mark.parametrize(
    "marks",
    [(-999.0,), (-32768.0,), (-1.0,), (999.0,), (1e8,), (0.0, -99.0), (99.0, -1e8)],
)
def test_large_regions_of_a_fill_value_are_no_data_in_any_windows(marks):
    image = filled(*[np.float32(mark) for mark in marks])
    expected = np.zeros(SHAPE, bool)
    for i in range(len(marks)):
        expected[:, 4 * i : 4 * i + 3] = expected[40 : 45 + i, 20 + 6 * i : 25 + 6 * i] = True
    for windows in ([WHOLE], bands(SHAPE, 7), bands(SHAPE, 1), tiles(11, 9), tiles(60, 3)):
        read = read_fills(image, windows)
        np.testing.assert_array_equal(np.isnan(read), expected)
        np.testing.assert_array_equal(read[~expected], image[~expected])


def test_a_source_that_is_cut_off_at_its_top_stays():
    y, x = np.indices(SHAPE)
    for width in (2.0, 12.0):
        source = np.exp(-((y - 30.0) ** 2 + (x - 25.0) ** 2) / width**2).astype(np.float32)
        image = np.minimum(NOISE + source, np.float32(0.05))
        assert np.count_nonzero(image == image.max()) > 20 if width > 2 else True
        np.testing.assert_array_equal(read_fills(image, [WHOLE], 3.0), image)
        np.testing.assert_array_equal(read_fills(image, tiles(9, 11), 3.0), image)
    # Nor is the lowest of noise that is cut off at some value below zero, or of numbers of few steps.
    for image in (np.maximum(NOISE, np.float32(-5e-5)), np.round(NOISE / 2e-4).astype(np.float32) * 2 - 0.5):
        np.testing.assert_array_equal(read_fills(image, [WHOLE]), image)
        np.testing.assert_array_equal(read_fills(image, bands(SHAPE, 8)), image)


def test_maps_of_noise_or_weights_that_are_the_same_over_large_parts_stay():
    image = np.full(SHAPE, 0.5, np.float32)
    np.testing.assert_array_equal(read_fills(image, tiles(16, 16)), image)
    image[:, 25:] = 0.25
    image[:20], image[50:] = np.nan, 0.0
    read = read_fills(image, tiles(16, 16))
    np.testing.assert_array_equal(np.isnan(read), np.isnan(image) | (image == 0))
    assert judged(np.full(SHAPE, -1, np.float32), -1.0)


def test_pixels_interpolated_with_a_fill_value_do_not_hide_it():
    image = filled(-999.0)
    image[:, 3:5] = np.array([-600, -250]) + 1e4 * NOISE[:, 3:5]
    for windows in ([WHOLE], bands(SHAPE, 7), tiles(11, 9)):
        read = read_fills(image, windows)
        assert np.isnan(read[:, :3]).all()
        np.testing.assert_array_equal(read[:, 3:5], image[:, 3:5])


@pytest.mark.parametrize("marks", [(-999.0, -9999.0), (9999.0, 999.0), (-99.0, -1e4, -999.0, 0.0)])
def test_all_marks_of_one_sign_are_found_in_any_windows(marks):
    image = filled(*marks)
    wanted = read_marks(image, marks)
    # A few damaged pixels, farther below zero than the marks, hide none.
    image[50, 30:33] = -1e5, -2e5, -1e5
    damaged = image[50, 30:33].copy()
    if min(marks) < 0:
        wanted[50, 30:33] = damaged
    else:
        image[50, 30:33] = wanted[50, 30:33]
    for windows in ([WHOLE], bands(SHAPE, 7), bands(SHAPE, 1), tiles(11, 9)):
        np.testing.assert_array_equal(read_fills(image, windows), wanted)


def read_marks(image, marks):
    """The image without the borders and the holes that `filled` makes; its lone pixels stay."""
    wanted = image.copy()
    for i in range(len(marks)):
        wanted[:, 4 * i : 4 * i + 3] = wanted[40 : 45 + i, 20 + 6 * i : 25 + 6 * i] = np.nan
    return wanted


def test_pixels_farther_than_a_mark_hide_it_where_they_are_many():
    image = filled(-999.0)
    image[50, 30:47] = -1e5 - np.arange(17)
    assert not judged(image, -999.0)
    image[50, 46] = 0
    assert judged(image, -999.0)
    image = filled(999.0)
    image[50, 30] = 1e5
    assert not judged(image, 999.0)


def test_a_value_is_judged_by_all_that_lies_beside_it():
    image = filled(-999.0)
    assert judged(image, -999.0)
    assert not judged(image, float(image[5, 30]))
    image = NOISE.copy()
    image[20:40, :3], image[20:40, 3] = 0.5, 0.4
    # Beside another value as bright as itself: no cliff.
    assert not judged(image, 0.5)
    image[20:40, 3] = 4e-3
    assert judged(image, 0.5)


LARGE = np.random.default_rng(5).normal(0, 1e-4, (300, 250)).astype(np.float32)
Y, X = np.indices(LARGE.shape)


def fills_of(image):
    return hidden_fills(math.inf, Window.of_shape(image.shape), lambda w: image[w.slices])


def beside_bright(*marks):
    """Noise with a source of 1,000 Jy and a deep bowl, a rim and a hole of a mark, and a corner of others."""
    image = LARGE + 1e3 * np.exp(-((Y - 150.0) ** 2 + (X - 120.0) ** 2) / 20).astype(np.float32)
    image[140:160, 140:145] = -5e4 * (1 + np.abs(LARGE[140:160, 140:145]))
    empty = np.hypot(Y - 150, X - 125) > 120
    empty[50:60, 100:112] = True
    image[empty] = marks[0]
    for number, mark in enumerate(marks[1:]):
        image[:20, 30 * number : 30 * number + 20] = mark
    return image, empty


@pytest.mark.parametrize("marks", [(99.0,), (9.0, -999.0), (-32768.0, -1.0)])
def test_fill_values_below_brighter_pixels_are_no_data_in_any_windows(marks):
    image, empty = beside_bright(*marks)
    assert fills_of(image) == tuple(sorted(marks))
    whole = Window.of_shape(image.shape)
    wide = [Window(y, y + 30, x, x + 50) for y in range(0, 300, 30) for x in range(0, 250, 50)]
    for windows in ([whole], bands(image.shape, 7), wide, tiles_of(whole, 13, 3)):
        read = read_fills(image, windows)
        np.testing.assert_array_equal(np.isnan(read), empty)
        np.testing.assert_array_equal(read[~empty], image[~empty])


@pytest.mark.parametrize("border", [np.s_[:, :2], np.s_[:, -3:], np.s_[:1], np.s_[-2:]])
def test_a_narrow_border_below_brighter_pixels_is_no_data(border):
    image = LARGE + 1e3 * np.exp(-((Y - 150.0) ** 2 + (X - 120.0) ** 2) / 20).astype(np.float32)
    image[border] = 99
    assert fills_of(image) == (99.0,)
    expected = np.zeros(image.shape, bool)
    expected[border] = True
    for windows in ([Window.of_shape(image.shape)], bands(image.shape, 20)):
        np.testing.assert_array_equal(np.isnan(read_fills(image, windows)), expected)


def tiles_of(whole, height, width):
    """Some small windows; those beside them are the rest of the map in bands."""
    small = [Window(39, 52, x, x + width) for x in range(0, whole.width - width, width)]
    rest = Window(39, 52, small[-1].x1, whole.width)
    return [Window(0, 39, 0, whole.width), *small, rest, Window(39 + height, whole.height, 0, whole.width)]


def test_a_large_map_is_looked_at_in_some_rows():
    image, _ = beside_bright(99.0)
    read = []

    def reader(window):
        read.append(window)
        return image[window.slices]

    assert hidden_fills(1000, Window.of_shape(image.shape), reader) == (99.0,)
    assert sum(window.height == 1 for window in read) in range(128, 152)
    read.clear()
    assert hidden_fills(1000, Window.of_shape(LARGE.shape), lambda w: read.append(w) or LARGE[w.slices]) == ()
    assert all(window.height == 1 for window in read)


def test_what_is_flat_for_other_reasons_stays():
    bright = 1e3 * np.exp(-((Y - 200.0) ** 2 + (X - 200.0) ** 2) / 20).astype(np.float32)
    for width in (3.0, 8.0, 30.0):
        # Cut off at its top, below another source, in the middle and at the edge.
        for x in (80, 0):
            cut = np.exp(-((Y - 80.0) ** 2 + (X - x) ** 2) / width**2).astype(np.float32)
            assert fills_of(np.minimum(LARGE + cut, np.float32(0.05)) + bright * (bright > 1)) == ()
    box = LARGE + bright
    box[100:120, 40:65] = 5.0
    assert fills_of(box) == ()
    # Weights and models are made of flat pieces; numbers of few steps have equal neighbours.
    pieces = np.where(X < 100, np.float32(1e-3), np.float32(1)) + np.where(Y < 30, np.float32(9), 0)
    assert fills_of(pieces) == ()
    steps = np.round(LARGE / 2e-4).astype(np.float32) + bright
    steps[:40] = 3.0
    assert fills_of(steps) == ()
    assert fills_of(np.full((20, 4), 5, np.float32)) == fills_of(np.zeros((3, 3), np.float32)) == ()


def rimmed(value, rim=None):
    """Noise in a disc with ``value`` outside it, and pixels between the two along the disc's rim."""
    image, r = LARGE.copy(), np.hypot(Y - 150, X - 125)
    if rim is not None:
        image[(r > 108) & (r < 112)] = rim + LARGE[(r > 108) & (r < 112)]
    return np.where(r > 110 + 2 * (rim is not None), np.float32(value), image), r > 110 + 2 * (
        rim is not None
    )


@pytest.mark.parametrize("value", [1e-30, -1e-30, 3e-5, 1e-4, -1e-4])
def test_a_fill_value_in_the_noise_is_no_data_in_any_windows(value):
    image, empty = rimmed(value)
    assert fills_of(image) == (float(np.float32(value)),)
    for windows in ([Window.of_shape(image.shape)], bands(image.shape, 20)):
        np.testing.assert_array_equal(np.isnan(read_fills(image, windows)), empty)


@pytest.mark.parametrize("value", [6e-4, 2e-3, 99.0])
def test_a_fill_value_round_a_map_is_found_behind_pixels_interpolated_with_it(value):
    image, empty = rimmed(value, 0.6 * value)
    for bright in (0, 1e3):
        image[150, 125] = bright
        for windows in ([Window.of_shape(image.shape)], bands(image.shape, 20)):
            np.testing.assert_array_equal(np.isnan(read_fills(image, windows)), empty)


def test_pieces_of_weights_with_soft_rims_stay():
    turned = (X - 120) + 0.7 * (Y - 150)
    soft = np.clip(turned / 5, -1, 1) + np.clip((0.7 * (X - 120) - (Y - 150)) / 5, -1, 1)
    assert fills_of((3 + soft).astype(np.float32)) == ()


def test_smooth_maps_and_pieces_of_weights_stay():
    smooth = np.exp(-((Y - 150.0) ** 2 + (X - 120.0) ** 2) / 3000).astype(np.float32)
    # A sky without noise on a background, with a hole in it; noise that rises to a largest value; two pieces.
    sky = 1e-12 + 1e-3 * np.exp(-((Y - 150.0) ** 2 + (X - 120.0) ** 2) / 200).astype(np.float32)
    sky[200:210, 60:120] = -3 * np.linspace(0.5, 1, 60)
    for image in (
        sky,
        np.minimum(1 / smooth, np.float32(8)),
        np.where(X < 120, np.float32(1), np.float32(0.2)),
    ):
        assert fills_of(image) == ()
        np.testing.assert_array_equal(read_fills(image, [Window.of_shape(image.shape)]), image)
