import numpy as np
import pytest

from astro_dist.engine.seeds import stream
from astro_dist.sky.beams import Beam, Pixel
from astro_dist.sky.morphology import HABITS, Morphology, draw_galaxy

BEAM, PIXEL = Beam(6, 6), Pixel(1.5, 1.5)
COVARIANCE = BEAM.covariance_pix(PIXEL)
REACH = 64


def draw(kind, number=0, length=40.0, offset=0j, axis=0.6, reach=REACH):
    return draw_galaxy(stream(1, "galaxy", number), kind, length, axis, COVARIANCE, offset, reach)


@pytest.mark.parametrize("kind", HABITS)
def test_a_galaxy_is_a_resolved_positive_image_of_unit_peak_with_dark_edges(kind):
    for number in range(5):
        image = draw(kind, number)
        assert image.shape == (2 * REACH + 1, 2 * REACH + 1)
        assert image.dtype == np.float32
        assert image.max() == 1
        assert image.min() >= 0
        edge = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
        assert edge.max() < 1e-4
        assert image.sum() > 1.5 * BEAM.area_pix(PIXEL)


@pytest.mark.parametrize("kind", HABITS)
def test_it_belongs_to_its_stream(kind):
    assert np.array_equal(draw(kind), draw(kind))
    assert not np.allclose(draw(kind), draw(kind, 1))


def test_an_offset_moves_it_by_that_much():
    here, there = draw(Morphology.DOUBLE), draw(Morphology.DOUBLE, offset=0.3 - 0.4j)
    y, x = np.indices(here.shape)
    for axis, shift in ((y, -0.4), (x, 0.3)):
        moved = (axis * there).sum() / there.sum() - (axis * here).sum() / here.sum()
        assert moved == pytest.approx(shift, abs=0.02)


def test_nothing_is_finer_than_the_beam():
    """The spectrum of an image smoothed by a Gaussian beam has nothing left at the highest frequencies."""
    power = np.abs(np.fft.fft2(draw(Morphology.DOUBLE)))
    assert power[REACH, REACH] < 1e-4 * power[0, 0]


def test_a_double_lies_along_its_axis():
    image = draw(Morphology.DOUBLE, axis=np.pi / 2).astype(float)
    y, x = np.indices(image.shape) - REACH
    assert (y**2 * image).sum() > 3 * (x**2 * image).sum()
    assert 25 < np.ptp(np.flatnonzero(image.max(axis=1) > 0.05)) < 60


def test_emission_beyond_the_reach_is_left_out_instead_of_wrapped():
    image = draw(Morphology.DOUBLE, axis=0.0, length=120.0, reach=40)
    edge = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    assert edge.max() < 1e-4
