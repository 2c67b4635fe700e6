"""Places of objects: inside, apart from one another, as the density asks, and how many fit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astro_dist.engine.errors import ConfigError
from astro_dist.field.layout import (
    CLOSED,
    FREE,
    Footprint,
    by_density,
    fixed,
    most_that_fit,
    place,
    uniform,
)


def disc(radius):
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    return np.where(y * y + x * x <= radius * radius, np.exp(-(y * y + x * x) / 9.0), 0).astype(np.float32)


def count_cover(shape, footprints, places):
    cover = np.zeros(shape, int)
    for footprint, (y, x) in zip(footprints, places, strict=False):
        h, w = footprint.pixels.shape
        assert y >= 0
        assert x >= 0
        assert y + h <= shape[0]
        assert x + w <= shape[1]
        cover[y : y + h, x : x + w] += footprint.pixels
    return cover


@settings(max_examples=30, deadline=None)
@given(
    radii=st.lists(st.integers(0, 6), min_size=1, max_size=25),
    height=st.integers(20, 60),
    width=st.integers(20, 60),
    seed=st.integers(0, 9),
)
def test_objects_are_inside_and_apart(radii, height, width, seed):
    footprints = [Footprint.of(disc(r)) for r in sorted(radii, reverse=True)]
    ground = np.zeros((height, width), np.uint8)
    closed = np.random.default_rng(seed).random((height, width)) < 0.01
    ground[closed] = CLOSED
    places = place(iter(footprints), ground, uniform(ground.shape, np.random.default_rng(seed)))
    cover = count_cover(ground.shape, footprints, places)
    assert cover.max(initial=0) <= 1
    assert not cover[closed].any()
    assert np.array_equal(ground != FREE, (cover == 1) | closed)


@settings(max_examples=20, deadline=None)
@given(overlap=st.sampled_from([0.1, 0.3, 0.7]), seed=st.integers(0, 99))
def test_overlap_is_bounded_and_peaks_stay_free(overlap, seed):
    footprints = [Footprint.of(disc(r)) for r in (9, 8, 7, 6, 5, 5, 4, 4, 3, 3, 2, 1)]
    ground = np.zeros((36, 40), np.uint8)
    places = place(iter(footprints), ground, uniform(ground.shape, np.random.default_rng(seed)), overlap)
    before = np.zeros(ground.shape, bool)
    peaks = np.zeros(ground.shape, bool)
    for footprint, (y, x) in zip(footprints, places, strict=False):
        h, w = footprint.pixels.shape
        inside = footprint.pixels.astype(bool)
        under = before[y : y + h, x : x + w]
        assert under[inside].sum() <= overlap * inside.sum()
        assert not peaks[y : y + h, x : x + w][inside].any()
        under |= inside
        peaks[y + footprint.peak[0], x + footprint.peak[1]] = True


def test_placing_is_deterministic_and_stops_at_the_first_that_does_not_fit():
    footprints = [Footprint.of(disc(4))] * 40
    both = []
    for _ in range(2):
        ground = np.zeros((40, 40), np.uint8)
        both.append(place(iter(footprints), ground, uniform(ground.shape, np.random.default_rng(3))))
    assert np.array_equal(*both)
    assert 8 <= len(both[0]) < 20


def test_an_object_larger_than_the_field_finds_no_place():
    ground = np.zeros((8, 50), np.uint8)
    places = place(iter([Footprint.of(disc(5))]), ground, uniform(ground.shape, np.random.default_rng(1)))
    assert places.shape == (0, 2)
    assert (ground == FREE).all()


def test_density_is_followed():
    density = np.array([[1.0, 0.0, 3.0], [np.nan, 0.0, 0.0]])
    ground = np.zeros((200, 300), np.uint8)
    footprints = [Footprint.of(disc(0))] * 800
    places = place(iter(footprints), ground, by_density(ground.shape, density, np.random.default_rng(5)))
    assert len(places) == 800
    y, x = places.T
    assert y.max() < 100
    assert not ((x >= 100) & (x < 200)).any()
    assert 0.20 < (x < 100).mean() < 0.30


@pytest.mark.parametrize("density", [np.zeros((3, 3)), -np.ones((2, 2)), np.full((2, 2), np.inf)])
def test_impossible_densities_are_refused(density):
    with pytest.raises(ConfigError, match="density"):
        by_density((10, 10), density, np.random.default_rng(0))


def test_fixed_places_put_the_peak_there_or_nowhere():
    shape = disc(3)
    footprints = [Footprint.of(shape)] * 2
    ground = np.zeros((30, 30), np.uint8)
    places = place(iter(footprints), ground, fixed(ground.shape, np.array([[10, 12], [20, 25]])))
    assert places.tolist() == [[7, 9], [17, 22]]
    ground[:] = FREE
    assert len(place(iter(footprints), ground, fixed(ground.shape, np.array([[10, 12], [11, 12]])))) == 1
    assert len(place(iter(footprints), ground, fixed(ground.shape, np.array([[2, 12], [20, 20]])))) == 0


@given(limit=st.integers(0, 5000), wanted=st.integers(1, 5000))
def test_most_that_fit_is_true_and_close(limit, wanted):
    if limit >= wanted:
        return
    asked = []

    def fits(n):
        asked.append(n)
        return n <= limit

    found = most_that_fit(fits, wanted)
    assert found <= limit
    assert limit - found <= max(1, wanted // 50)
    assert len(asked) <= 8
