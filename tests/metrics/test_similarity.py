import numpy as np
import pytest
from scipy.signal import convolve2d

from astro_dist.metrics import similarity
from astro_dist.metrics.similarity import (
    MS_WEIGHTS,
    count_scales,
    distribution_distance,
    ms_ssim,
    power_spectra,
    psnr,
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


def test_psnr_is_that_of_the_mean_squared_error():
    a = np.zeros((8, 8), np.uint8)
    assert psnr(a, a + 5, 255) == pytest.approx(20 * np.log10(255 / 5))
    assert psnr(a, a, 255) == np.inf


def test_five_scales_need_176_pixels():
    assert [count_scales(side) for side in (10, 11, 21, 22, 175, 176, 4000)] == [0, 1, 1, 2, 4, 5, 5]


def by_definition(x, y, data_range, scales):
    """Eq. 7 of Wang et al. 2003 with whole windows only, written with a convolution."""
    grid = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    window = np.outer(grid, grid) / np.outer(grid, grid).sum()
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    weights = np.array([0.0448, 0.2856, 0.3001, 0.2363, 0.1333])[:scales]
    weights, product = weights / weights.sum(), 1.0

    def blur(image):
        return convolve2d(image, window, "valid")

    for scale in range(scales):
        mx, my = blur(x), blur(y)
        sxx, syy, sxy = blur(x * x) - mx**2, blur(y * y) - my**2, blur(x * y) - mx * my
        contrast_structure = (2 * sxy + c2) / (sxx + syy + c2)
        if scale == scales - 1:
            contrast_structure = contrast_structure * (2 * mx * my + c1) / (mx**2 + my**2 + c1)
        product *= contrast_structure.mean() ** weights[scale]
        h, w = (side - side % 2 for side in x.shape)
        x, y = (sum(i[a:h:2, b:w:2] for a in (0, 1) for b in (0, 1)) / 4 for i in (x, y))
    return product


@pytest.mark.parametrize(("shape", "scales"), [((176, 190), 5), ((64, 64), 3), ((45, 91), 3), ((20, 20), 1)])
def test_ms_ssim_is_that_of_its_definition(shape, scales):
    a = np.abs(noise(*shape)) * 60
    b = np.abs(a + 15 * noise(*shape, seed=2))
    assert sum(MS_WEIGHTS) == pytest.approx(1, abs=2e-4)
    assert ms_ssim(a, a, 255) == pytest.approx(1)
    assert ms_ssim(a, b, 255) == pytest.approx(by_definition(a, b, 255, scales), abs=1e-9)
    # Planes are averaged.
    assert ms_ssim(np.stack([a, a]), np.stack([a, b]), 255) == pytest.approx((1 + ms_ssim(a, b, 255)) / 2)


def test_one_scale_is_ssim():
    a, b = np.abs(noise(20, 20)), np.abs(noise(20, 20, seed=2) + 2)
    assert ms_ssim(a, b, 3.0) == pytest.approx(ssim(a, b, 3.0))


def test_unrelated_images_have_no_similarity():
    a = np.abs(noise(64, 64))
    assert ms_ssim(a, a.max() - a, 3.0) == 0


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
