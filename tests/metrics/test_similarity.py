import numpy as np
import pytest

from astro_dist.metrics import similarity
from astro_dist.metrics.similarity import (
    distribution_distance,
    power_spectra,
    ring_frequencies,
    spectrum_distance,
    ssim,
)


def noise(*shape, seed=1):
    return np.random.default_rng(seed).standard_normal(shape)


def test_equal_images_are_wholly_similar_and_unrelated_ones_hardly():
    a, b = noise(64, 64), noise(64, 64, seed=2)
    assert ssim(a, a, 6.0) == pytest.approx(1)
    assert abs(ssim(a, b, 0.1)) < 0.05
    assert ssim(5 + a, 5 - a, 0.1) < -0.8


def test_a_shift_of_brightness_has_its_closed_form():
    """For flat images only the luminance term is left (eq. 6 of Wang et al. 2004)."""
    a, b, c1 = np.full((32, 32), 3.0), np.full((32, 32), 1.0), (0.01 * 2.0) ** 2
    assert ssim(a, b, 2.0) == pytest.approx((2 * 3 + c1) / (9 + 1 + c1))


def test_the_window_is_11_by_11():
    """A single bright pixel changes the local means of 11 x 11 pixels and of no others."""
    a = np.zeros((31, 31))
    b = a.copy()
    b[15, 15] = 1
    x, y = (similarity._blur(image) for image in (a, b))
    assert np.count_nonzero(y - x) == 11 * 11
    assert y.sum() == pytest.approx(1)


def test_ssim_is_symmetric():
    a, b = noise(40, 40), noise(40, 40) + noise(40, 40, seed=3)
    assert ssim(a, b, 4.0) == pytest.approx(ssim(b, a, 4.0))


def test_white_noise_has_a_flat_spectrum_of_its_variance():
    power = power_spectra(2 * noise(40, 64, 64), 12)
    assert power.shape == (40, 12)
    np.testing.assert_allclose(power.mean(0)[1:], 4, rtol=0.1)
    assert ring_frequencies(12)[0] == pytest.approx(0.5 / 24)


def test_a_wave_lies_in_its_ring():
    wave = np.sin(2 * np.pi * 0.25 * np.arange(64))[None, None, :] * np.ones((1, 64, 1))
    power = power_spectra(wave, 20)
    assert abs(ring_frequencies(20)[np.argmax(power[0])] - 0.25) <= 0.025


def test_a_factor_of_ten_is_one_dex():
    power = power_spectra(noise(4, 32, 32), 8)
    assert spectrum_distance(10 * power.mean(0), power.mean(0)) == pytest.approx(1)
    assert spectrum_distance(power.mean(0), power.mean(0)) == 0


def test_distributions_are_as_far_apart_as_they_are_shifted():
    a = noise(500)
    assert distribution_distance(a, a + 0.3) == pytest.approx(0.3)
    assert distribution_distance(a, a[::-1]) == 0
    assert np.isnan(distribution_distance(a, []))
