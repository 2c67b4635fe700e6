import math

import numpy as np
import pytest

from astro_dist.sky.morphology import Morphology
from astro_dist.sky.sources import count_density, draw_population
from astro_dist.sky.survey import SimulateConfig

CONFIG = SimulateConfig(shape=(1500, 2000))


@pytest.fixture(scope="module")
def population():
    return draw_population(CONFIG, 1, ("simulate", 0))


def test_counts_are_those_of_hopkins_2003():
    at_one_mjy = count_density(np.array([1e-3]), 1.4e9)[0] * 1e-3**2.5
    assert math.log10(at_one_mjy) == pytest.approx(0.859)
    assert math.log10(count_density(np.array([0.1]), 1.4e9)[0] * 0.1**2.5) == pytest.approx(2.363)


def test_counts_go_on_smoothly_below_the_fit():
    edge = 5e-5 * np.array([0.999, 1.0, 1.001])
    density = count_density(edge, 1.4e9)
    assert np.all(np.diff(density) < 0)
    assert density[0] * density[2] == pytest.approx(density[1] ** 2, rel=1e-4)


def test_another_frequency_moves_every_flux_by_the_spectrum():
    factor = (2.8 / 1.4) ** -0.7
    here = count_density(np.array([1e-3]), 1.4e9)
    there = count_density(np.array([1e-3 * factor]), 2.8e9)
    assert there * factor == pytest.approx(here)


def test_compact_fluxes_follow_the_counts(population):
    flux = population.flux_jy[~population.is_extended]
    grid = np.geomspace(CONFIG.rms_jy_beam, 1, 4000)
    density = count_density(grid, 1.4e9)
    area_sr = 1500 * 2000 * (1.5 / 206264.806) ** 2
    for limit in (CONFIG.rms_jy_beam, 1e-4, 5e-4):
        above = grid >= limit
        expected = np.trapezoid(density[above], grid[above]) * area_sr
        assert abs((flux > limit).sum() - expected) < 4 * math.sqrt(expected)


def test_every_source_lies_wholly_inside_the_map(population):
    for centre, size in ((population.y, 1500), (population.x, 2000)):
        assert np.all(np.rint(centre) - population.reach_pix >= 0)
        assert np.all(np.rint(centre) + population.reach_pix <= size - 1)


def test_extended_sources_are_as_many_as_asked_and_apart(population):
    rows = np.flatnonzero(population.is_extended)
    beams = 1500 * 2000 / CONFIG.beam.area_pix(CONFIG.pixel)
    expected = 0.5 * beams / 1000
    assert abs(len(rows) - expected) < 4 * math.sqrt(expected)
    z = population.x[rows] + 1j * population.y[rows]
    gap = np.abs(z[:, None] - z)
    length_pix = population.major_arcsec[rows] / 1.5
    needed = 0.5 * (length_pix[:, None] + length_pix)
    off = ~np.eye(len(rows), dtype=bool)
    assert np.all(gap[off] > needed[off])


def test_sizes_and_kinds(population):
    point = population.kind == Morphology.POINT
    resolved = population.kind == Morphology.RESOLVED
    assert np.all(population.major_arcsec[point] == 0)
    assert 0.27 < resolved.sum() / (point | resolved).sum() < 0.33
    assert np.all(population.major_arcsec[resolved] <= 0.9 * 6)
    assert np.all(population.minor_arcsec[resolved] <= population.major_arcsec[resolved])
    beams = population.major_arcsec[population.is_extended] / 6
    assert beams.min() >= 4
    assert beams.max() <= 36
    assert np.mean(beams > 20) < 0.1
    assert set(population.kind[population.is_extended]) == set(range(Morphology.DOUBLE, len(Morphology)))


def test_a_point_source_on_a_pixel_peaks_at_its_flux(population):
    point = population.kind == Morphology.POINT
    ratio = population.peak_jy_beam[point] / population.flux_jy[point]
    assert ratio.max() <= 1
    assert ratio.max() > 0.999
    assert ratio.min() > 0.9


def test_touching_finds_all_sources_of_a_band_in_order(population):
    found = population.touching(500, 600)
    assert np.all(np.diff(found) > 0)
    low, high = population.y - population.reach_pix, population.y + population.reach_pix
    surely = np.flatnonzero((high > 502) & (low < 597))
    assert set(surely) <= set(found)
    assert len(found) < len(population) / 3


def test_a_population_belongs_to_seed_and_map(population):
    again = draw_population(CONFIG, 1, ("simulate", 0))
    assert np.array_equal(again.y, population.y)
    other = draw_population(CONFIG, 1, ("simulate", 1))
    assert not np.isin(other.y, population.y).any()
