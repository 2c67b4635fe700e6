import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import label

from astro_dist.sky.beams import Beam, Pixel
from astro_dist.sky.islands import (
    Islands,
    Pixels,
    count_peaks,
    find_pixels,
    in_beams,
    join_islands,
    trim_islands,
)
from astro_dist.sky.mesh import Mesh
from astro_dist.sky.windows import Window, bands

BEAM, PIXEL = Beam(8.0, 8.0), Pixel(2.0, 2.0)


def unit_mesh(shape):
    return Mesh(shape, min(shape), np.zeros((1, 1), np.float32), np.ones((1, 1), np.float32))


def pixels_of(image, threshold=3.0):
    """Find the pixels of an image in units of the noise."""
    image = np.asarray(image, np.float32)
    return find_pixels(image, unit_mesh(image.shape), Window.of_shape(image.shape), threshold)


def islands_of(image, seed=5.0, least_pix=0.0):
    return join_islands(pixels_of(image), seed, least_pix)


def points_of(islands):
    return in_beams(islands.pixels.y, islands.pixels.x, BEAM, PIXEL)


def labels_of(islands, shape):
    image = np.zeros(shape, int)
    image[islands.pixels.y, islands.pixels.x] = islands.owner + 1
    return image


def gaussian(shape, y, x, peak, beam=BEAM):
    yy, xx = np.indices(shape)
    return peak * beam.profile(yy - y, xx - x, PIXEL)


def test_pixels_beyond_the_threshold_of_either_sign():
    image = np.float32([[0, 3, -3], [np.nan, 2.9, -4], [9, np.nan, 1]])
    found = pixels_of(image)
    assert list(zip(found.y, found.x, strict=True)) == [(0, 1), (0, 2), (1, 2), (2, 0)]
    assert found.snr.tolist() == [3, -3, -4, 9]
    assert found.y.dtype == np.int32


def test_pixels_are_measured_against_the_local_mesh():
    shape = (40, 40)
    mesh = Mesh(shape, 40, np.float32([[2]]), np.float32([[0.5]]))
    image = np.full(shape, 2, np.float32)
    image[7, 9] = 5
    found = find_pixels(image[5:10], mesh, Window(5, 10, 0, 40), 3)
    assert (found.y, found.x, found.value_jy_beam, found.snr) == (7, 9, 3, 6)


@settings(max_examples=60, deadline=None)
@given(arrays(np.bool_, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_islands_are_the_connected_pixels_in_raster_order(mask):
    expected, count = label(mask, np.ones((3, 3)))
    islands = islands_of(np.where(mask, 6.0, 0.0))
    assert len(islands) == count
    np.testing.assert_array_equal(labels_of(islands, mask.shape), expected)
    assert islands.sizes.tolist() == np.bincount(expected.ravel())[1:].tolist()


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 12), st.integers(0, 99))
def test_islands_do_not_know_where_bands_were_cut(height, seed):
    image = np.random.default_rng(seed).normal(0, 3, (12, 15)).astype(np.float32)
    parts = [find_pixels(image[w.slices], unit_mesh(image.shape), w, 3) for w in bands(image.shape, height)]
    joined, whole = join_islands(Pixels.join(parts), 5, 0), pixels_of(image)
    whole = join_islands(whole, 5, 0)
    for name, values in vars(whole.pixels).items():
        np.testing.assert_array_equal(getattr(joined.pixels, name), values)
    np.testing.assert_array_equal(joined.starts, whole.starts)


def test_an_island_needs_a_seed_and_a_size():
    image = np.zeros((9, 20))
    image[2:5, 2:5], image[2:5, 8:11], image[2, 15] = 4, 6, 9
    assert len(islands_of(image)) == 2
    assert islands_of(image, least_pix=2).peak_snr.tolist() == [6]
    assert islands_of(image, seed=7).sizes.tolist() == [1]


def test_nothing_gives_no_islands():
    islands = islands_of(np.zeros((5, 5)))
    assert len(islands) == len(islands.brightest) == len(islands.peak_snr) == 0
    assert len(count_peaks(islands, 5, points_of(islands))) == 0
    assert len(trim_islands(islands, np.zeros(0, bool), points_of(islands), 5, 0)) == 0


def test_choosing_and_merging_undo_each_other():
    image = np.zeros((9, 20))
    image[2:5, 2:5], image[1:5, 8:11], image[7, 15] = 5, 6, 9
    islands = islands_of(image)
    odd = np.array([True, False, True])
    again = Islands.merge([islands[odd], islands[~odd]])
    for name in ("y", "x", "snr"):
        np.testing.assert_array_equal(getattr(again.pixels, name), getattr(islands.pixels, name))
    np.testing.assert_array_equal(again.starts, islands.starts)
    np.testing.assert_array_equal(again.is_peak, islands.is_peak)


def test_the_brightest_pixel_is_the_first_of_equals():
    islands = islands_of([[5, 7, 7], [7, 0, 0]])
    assert (islands.pixels.y[islands.brightest], islands.pixels.x[islands.brightest]) == (0, 1)
    assert np.flatnonzero(islands.is_peak).tolist() == islands.brightest.tolist()


@pytest.mark.parametrize(("apart_pix", "peaks"), [(0, 1), (3, 1), (7, 2)])
def test_peaks_are_counted_a_beam_width_apart(apart_pix, peaks):
    image = gaussian((40, 40), 20, 15, 30) + gaussian((40, 40), 20, 15 + apart_pix, 25)
    islands = islands_of(image)
    assert len(islands) == 1
    assert count_peaks(islands, 5, points_of(islands)).tolist() == [peaks]


def test_a_peak_below_the_seed_does_not_count():
    image = gaussian((40, 40), 20, 15, 30) + gaussian((40, 40), 20, 22, 4.5)
    assert count_peaks(islands_of(image), 5, points_of(islands_of(image))).tolist() == [1]


@pytest.mark.parametrize("pa_deg", [0, 30, 90, 145])
def test_the_beam_is_round_and_one_wide_in_beam_units(pa_deg):
    beam, pixel = Beam(76.0, 45.0, pa_deg), Pixel(18.0, 11.0)
    y, x = np.random.default_rng(1).normal(0, 2, (2, 50))
    radius = np.linalg.norm(in_beams(y, x, beam, pixel), axis=1)
    np.testing.assert_allclose(beam.profile(y, x, pixel), 0.5 ** (4 * radius**2), rtol=1e-9)


def test_an_arm_is_cut_off_as_an_island_of_its_own():
    image = gaussian((40, 80), 20, 20, 100)
    image[19:22, 20:60] += 7
    islands = islands_of(image)
    assert len(islands) == 1
    doubted = islands.pixels.snr < 10
    trimmed = trim_islands(islands, doubted, points_of(islands), 5, 4)
    source, arm = labels_of(trimmed, image.shape) == 1, labels_of(trimmed, image.shape) == 2
    assert len(trimmed) == 2
    assert arm[20, 35:60].all()
    assert source[20, 20]
    # The wings of the core stay with the source, on all pixels that a point source alone would cover.
    assert (source & (gaussian(image.shape, 20, 20, 100) >= 3)).sum() == (
        gaussian(image.shape, 20, 20, 100) >= 3
    ).sum()


def test_islands_without_doubt_are_not_touched():
    islands = islands_of(gaussian((40, 40), 20, 20, 100))
    assert trim_islands(islands, np.zeros(len(islands.pixels), bool), points_of(islands), 5, 0) is islands
