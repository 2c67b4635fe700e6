import numpy as np
import pytest

from astro_dist.metrics.noise import count_stray, describe_noise, measure_stripes, sum_noise


def noise(*shape):
    return np.random.default_rng(4).standard_normal(shape)


def test_noise_of_a_gaussian():
    snr = 1.5 * noise(4, 250, 200) + 0.1
    figures = describe_noise(sum_noise(snr, np.ones(snr.shape, bool)).sum(0))
    assert figures["rms"] == pytest.approx(1.5, rel=0.01)
    assert figures["kurtosis"] == pytest.approx(3, abs=0.06)
    assert figures["above_3"] == pytest.approx(2.66e-2, rel=0.1)
    assert figures["below_4"] == pytest.approx(3.1e-3, rel=0.15)
    assert figures["below_5"] < figures["above_5"] < figures["above_4"]


def test_only_sky_counts():
    snr, sky = noise(2, 32, 32), np.ones((2, 32, 32), bool)
    whole = sum_noise(snr, sky)
    snr[:, :4], sky[:, :4] = 1e6, False
    hidden = sum_noise(snr, sky)
    assert (hidden[:, 0] == 28 * 32).all()
    assert (hidden[:, 2] < whole[:, 2]).all()
    assert np.isnan(describe_noise(sum_noise(snr, ~sky & sky).sum(0))["kurtosis"])


def test_stripes_of_any_direction_and_colour_are_found():
    sky = np.ones((8, 64, 64), bool)
    white = noise(8, 64, 64)
    red = white + np.roll(white, 1, 1) + np.roll(white, 1, 2) + np.roll(white, (1, 1), (1, 2))
    y, x = np.mgrid[:64, :64]
    for background in (white, red):
        plain = measure_stripes(background, sky)
        assert plain.mean() == pytest.approx(1.5, abs=0.2)
        for angle in (0.2, 1.1, 2.5):
            along = np.cos(angle) * x + np.sin(angle) * y
            stripes = sum(np.sin(2 * np.pi * f * along) for f in (0.06, 0.1, 0.14, 0.18, 0.22))
            assert (measure_stripes(background + stripes, sky) > 2 * plain.mean()).all()
    sky[:, :32] = False
    assert np.isfinite(measure_stripes(white, sky)).all()


def test_islands_that_touch_no_object_are_stray():
    snr, mask = np.zeros((2, 20, 20)), np.zeros((2, 20, 20), np.uint8)
    snr[:, 3:5, 3:5] = snr[0, 12:14, 12:14] = 6
    snr[:, 17, 3] = 4
    mask[:, 4:8, 4:8] = 2
    assert count_stray(snr, mask).tolist() == [1, 0]
