"""Pixels without data are found alike in every window, whatever was read before."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from astro_dist.engine.errors import ConfigError
from astro_dist.sky.nodata import Scan, blank_zeros, refuse_absurd
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
