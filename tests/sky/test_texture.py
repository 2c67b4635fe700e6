"""Noise with the texture of real maps: its power, its rms, and that no window changes a bit of it."""

import numpy as np
import pytest

from astro_dist.sky.noise import BLOCK
from astro_dist.sky.texture import Texture, measure_kernel
from astro_dist.sky.windows import Window

SPAN = Window(BLOCK - 90, BLOCK + 100, -60, 130)
REACH = 30


def stripes(n, angle_deg, side=96, seed=1):
    """Noise that is long across one direction and short along it."""
    k = np.fft.fftfreq(side)
    along = np.cos(np.radians(angle_deg)) * k[:, None] + np.sin(np.radians(angle_deg)) * k[None]
    across = -np.sin(np.radians(angle_deg)) * k[:, None] + np.cos(np.radians(angle_deg)) * k[None]
    shape = np.exp(-((across * 20) ** 2) - (along * 5) ** 2)
    white = np.random.default_rng(seed).standard_normal((n, side, side))
    images = np.fft.ifft2(np.fft.fft2(white) * shape).real
    return (images / images.std()).astype(np.float32)


def power(image):
    return np.abs(np.fft.fft2(image - image.mean())) ** 2 / image.size


@pytest.fixture(scope="module")
def kernels():
    everywhere = np.ones((24, 96, 96), bool)
    return np.stack([measure_kernel(stripes(24, angle), everywhere, REACH) for angle in (20, 110)])


def test_a_kernel_makes_noise_of_the_power_that_was_measured(kernels):
    made = Texture(kernels[:1], 1, ("noise",)).read(Window(0, 96 * 4, 0, 96 * 4))
    pieces = made.reshape(4, 96, 4, 96).swapaxes(1, 2).reshape(-1, 96, 96)
    k = np.fft.fftfreq(96)
    found, wanted = (np.mean([power(one) for one in some], axis=0) for some in (pieces, stripes(24, 20)))
    octant = np.floor(np.arctan2(k[:, None], k[None]) / (np.pi / 4)).astype(int) % 4
    radius = np.hypot(k[:, None], k[None])
    sums = []
    for part in range(4):
        inside = (octant == part) & (radius > 0.03) & (radius < 0.15)
        sums.append((found[inside].sum(), wanted[inside].sum()))
    ours, real = np.array(sums).T
    assert ours == pytest.approx(real, rel=0.25)
    assert real.max() > 2 * real.min()


def test_sources_are_left_out():
    images, free = stripes(24, 20), np.ones((24, 96, 96), bool)
    alone = measure_kernel(images, free, REACH)
    images[:, 30:40, 50:60] += 200
    free[:, 30:40, 50:60] = False
    masked = measure_kernel(images, free, REACH)
    assert abs(masked - alone).max() < 0.1 * alone.max()
    with pytest.raises(ValueError, match="free of sources"):
        measure_kernel(images, np.zeros_like(free), REACH)


def test_it_has_unit_rms_everywhere_and_no_seam(kernels):
    """Between corners of different kernels too, and over the edge of a block."""
    plane = Texture(kernels, 1, ("noise",)).read(Window(0, 2 * BLOCK, 0, 2 * BLOCK))
    assert plane.std() == pytest.approx(1, abs=0.02)
    tiles = plane.reshape(8, BLOCK // 4, 8, BLOCK // 4).std(axis=(1, 3))
    assert tiles == pytest.approx(1, abs=0.12)
    steps = np.diff(plane, axis=0).std(axis=1)
    assert steps[BLOCK - 1] == pytest.approx(steps.mean(), rel=0.1)


def test_the_value_of_a_pixel_does_not_depend_on_the_window(kernels):
    texture = Texture(kernels, 3, ("noise",))
    whole = texture.read(SPAN)
    for window in (Window(BLOCK - 3, BLOCK + 1, -60, 130), Window(BLOCK + 7, BLOCK + 60, -1, 2)):
        assert np.array_equal(texture.read(window), whole[window.within(SPAN)])
    assert not np.array_equal(Texture(kernels, 4, ("noise",)).read(SPAN), whole)
