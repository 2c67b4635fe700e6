import numpy as np
import pytest

from astro_dist.generate.conditions import Choice
from astro_dist.generate.sampler import Sampler
from astro_dist.models.device import pin
from astro_dist.seeds import stream
from astro_dist.store.reader import StoreReader
from tests.generate import small_run

CHOICES = [Choice(0, 1, 0), Choice(1, 2, 3), Choice(2, 0, 6), Choice(4, 5, 1)]


def read(inputs, choices):
    source = small_run.open_source(StoreReader(inputs / "cutouts.zarr"))
    return source.read(range(len(choices)), choices)


@pytest.fixture(scope="module")
def sampler(inputs):
    pin(1)
    return Sampler(inputs / "models" / "autoencoder", inputs / "models" / "diffusion", 3, 1.0, "cpu", "no")


@pytest.fixture(scope="module")
def conditions(inputs):
    return read(inputs, CHOICES)


@pytest.fixture
def noise(sampler):
    return np.stack([stream(1, i).standard_normal(sampler.noise_shape(64), np.float32) for i in range(4)])


def test_drawing_twice_gives_the_same_bits(sampler, conditions, noise):
    first = sampler.draw(conditions, noise)
    assert first.shape == (4, 64, 64)
    assert first.dtype == np.float32
    assert np.array_equal(first, sampler.draw(conditions, noise))


def test_companions_do_not_change_a_stamp(inputs, sampler, conditions, noise):
    order = [2, 3, 1, 0]
    shuffled = read(inputs, [CHOICES[i] for i in order])
    assert np.array_equal(sampler.draw(shuffled, noise[order]), sampler.draw(conditions, noise)[order])


def test_conditions_and_guidance_matter(inputs, sampler, conditions, noise):
    plain = sampler.draw(conditions, noise)
    other = read(inputs, [Choice(5, 1, 0)] * 4)
    assert np.abs(sampler.draw(other, noise) - plain).max() > 1e-4
    sampler.guidance = 2.0
    try:
        assert np.abs(sampler.draw(conditions, noise) - plain).max() > 1e-4
    finally:
        sampler.guidance = 1.0
