import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from astro_dist.engine.errors import ConfigError
from astro_dist.sky.stretch import ASINH_LIMIT, STRETCHES, stretch, unstretch

snrs = st.lists(st.floats(-5, 10_000, width=32), min_size=1, max_size=50)


@given(snrs, st.floats(1e-6, 1e-2), st.floats(-3, 3))
def test_asinh_comes_back_to_two_parts_in_a_million(snr, rms, background_sigma):
    background = np.float32(background_sigma * rms)
    image = np.asarray(snr, np.float32) * np.float32(rms) + background
    back = unstretch(stretch(image, background, rms), background, rms)
    assert back.dtype == np.float32
    tolerance = 2e-6 * np.maximum(np.abs(image), rms)
    assert (np.abs(back.astype(float) - image) <= tolerance).all()


def test_asinh_is_linear_in_the_noise_and_logarithmic_above():
    snr = np.array([0, 0.1, 1, 10_000])
    assert stretch(snr, 0, 1) == pytest.approx([0, 0.025, 0.2406, 4.6052], rel=2e-3)


@pytest.mark.parametrize("kind", STRETCHES)
def test_any_network_output_becomes_finite(kind):
    u = np.array([-1e30, -100, 0, 100, 1e30, np.inf], np.float32)
    back = unstretch(u, 1e-3, 1e-4, kind)
    assert np.isfinite(back).all()
    assert (np.diff(back) >= 0).all()
    assert unstretch(ASINH_LIMIT, 0, 1) == pytest.approx(162_755, rel=1e-4)


@pytest.mark.parametrize("kind", STRETCHES)
def test_nan_stays_nan_and_parameters_broadcast_per_cutout(kind):
    images = np.full((2, 3, 3), 2e-3, np.float32)
    images[0, 1, 1] = np.nan
    background = np.array([1e-3, 0], np.float32)[:, None, None]
    rms = np.array([1e-4, 1e-3], np.float32)[:, None, None]
    u = stretch(images, background, rms, kind)
    assert u.dtype == np.float32
    assert np.isnan(u[0, 1, 1])
    assert np.isnan(u).sum() == 1
    np.testing.assert_allclose(unstretch(u, background, rms, kind), images, rtol=1e-5)


def test_tanh_saturates_where_its_docstring_says():
    bright = unstretch(stretch([5.0, 10.0, 1000.0], 0, 1, "tanh"), 0, 1, "tanh")
    assert bright[:2] == pytest.approx([5, 10], rel=1e-4)
    assert bright[2] < 70


def test_an_unknown_stretch_names_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'asinh'"):
        stretch([0.0], 0, 1, "asin")
    with pytest.raises(ConfigError, match="valid here: asinh, tanh"):
        unstretch([0.0], 0, 1, "log")
