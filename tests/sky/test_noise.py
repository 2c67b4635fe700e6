import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astro_dist.sky.beams import Beam, Pixel
from astro_dist.sky.noise import BLOCK, beam_noise
from astro_dist.sky.windows import Window

BEAM, PIXEL = Beam(6, 6), Pixel(1.5, 1.5)
SPAN = Window(-BLOCK // 2, BLOCK + BLOCK // 2, 100, 700)


@pytest.fixture(scope="module")
def plane():
    return beam_noise(SPAN, BEAM, PIXEL, 1, ("noise",))


@given(st.data())
@settings(max_examples=12, deadline=None)
def test_the_value_of_a_pixel_does_not_depend_on_the_window_asked_for(plane, data):
    y0 = data.draw(st.integers(SPAN.y0, SPAN.y1 - 1))
    x0 = data.draw(st.integers(SPAN.x0, SPAN.x1 - 1))
    y1 = data.draw(st.integers(y0 + 1, min(SPAN.y1, y0 + 300)))
    x1 = data.draw(st.integers(x0 + 1, min(SPAN.x1, x0 + 300)))
    window = Window(y0, y1, x0, x1)
    assert np.array_equal(beam_noise(window, BEAM, PIXEL, 1, ("noise",)), plane[window.within(SPAN)])


def test_it_is_float32_noise_of_zero_mean_and_unit_rms_everywhere(plane):
    assert plane.dtype == np.float32
    assert abs(plane.mean()) < 0.03
    assert plane.std() == pytest.approx(1, abs=0.02)
    edge = BLOCK - SPAN.y0
    assert plane[edge - 20 : edge + 20].std() == pytest.approx(1, abs=0.1)


def test_another_key_or_seed_is_another_plane(plane):
    window = Window(0, 200, 100, 300)
    here = plane[window.within(SPAN)]
    for seed, key in ((1, ("other",)), (2, ("noise",))):
        other = beam_noise(window, BEAM, PIXEL, seed, key)
        assert abs(np.corrcoef(here.ravel(), other.ravel())[0, 1]) < 0.1


def test_blocks_join_without_a_seam(plane):
    """A step over a block's edge is no larger than one inside it."""
    steps = np.diff(plane, axis=0)
    assert steps[-SPAN.y0 - 1].std() == pytest.approx(steps.std(), rel=0.15)


def test_its_power_spectrum_is_that_of_real_surveys():
    """Mean power in four bands, as measured in FIRST and SUMSS, within the scatter between surveys."""
    noise = beam_noise(Window(0, 512, 0, 512), Beam(5.4, 5.4), Pixel(1.8, 1.8), 3, ("spectrum",))
    power = np.abs(np.fft.fft2(noise)) ** 2 / noise.size
    k = np.hypot(*np.meshgrid(np.fft.fftfreq(512), np.fft.fftfreq(512)))
    edges = (0.02, 0.08, 0.16, 0.25, 0.5)
    means = [power[(k >= a) & (k < b)].mean() for a, b in itertools.pairwise(edges)]
    assert means == pytest.approx([15.2, 5.0, 2.0, 0.25], rel=0.3)


def test_a_long_beam_makes_long_noise_along_its_axis():
    noise = beam_noise(Window(0, 512, 0, 512), Beam(18, 6, 90), PIXEL, 1, ("long",))
    along = np.mean(noise[:, 5:] * noise[:, :-5])
    across = np.mean(noise[5:] * noise[:-5])
    assert along > across + 0.3
