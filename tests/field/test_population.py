"""The sources of a field by published counts: their numbers, fluxes, spectra, sizes and kinds."""

import itertools
import math
from functools import partial

import numpy as np
import pytest
from scipy.stats import kstest, norm

from astro_dist.engine.config import validate
from astro_dist.engine.errors import ConfigError
from astro_dist.engine.seeds import stream
from astro_dist.field.config import CountsConfig
from astro_dist.field.population import draw_population, expect, solid_angle_sr
from astro_dist.sky.beams import Pixel
from astro_dist.sky.counts import COUNTS_HZ, number_between, share_above
from astro_dist.sky.fits_file import plane_wcs
from tests.benchmarks.counts import published_numbers

LAW = CountsConfig(limit_jy=1e-4)
AREA = 0.003
BEAM = 6.0


def draw(law=LAW, area=AREA, frequency=COUNTS_HZ, seed=1):
    return draw_population(law, area, frequency, BEAM, partial(stream, seed))


def test_the_area_of_a_field_is_that_of_its_corners_on_the_sphere():
    shape, pixel = (1200, 1500), Pixel(20.0, 15.0)
    edges = [np.linspace(-0.5, n - 0.5, 61) for n in shape]
    y, x = np.meshgrid(*edges, indexing="ij")
    ra, dec = np.radians(plane_wcs(shape, pixel, 180.0, -30.0).wcs_pix2world(x, y, 0))
    points = np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=-1)
    a, b, c, d = points[:-1, :-1], points[1:, :-1], points[:-1, 1:], points[1:, 1:]
    area = 0.0
    for one, two, three in ((a, b, c), (d, b, c)):
        # Van Oosterom and Strackee 1983.
        volume = np.abs((one * np.cross(two, three)).sum(-1))
        below = 1 + (one * two).sum(-1) + (two * three).sum(-1) + (three * one).sum(-1)
        area += (2 * np.arctan2(volume, below)).sum()
    assert solid_angle_sr(shape, (20.0, 15.0)) == pytest.approx(area, rel=1e-5)
    assert area > math.prod(shape) * 300 / 206264.806**2


@pytest.mark.parametrize("frequency", [1.5e8, 1.4e9, 3e9])
def test_numbers_are_poisson_about_the_expected_ones(frequency):
    law = CountsConfig(limit_jy=1e-3)
    mean = expect(law, AREA, frequency, BEAM)
    fields = [draw(law, frequency=frequency, seed=seed) for seed in range(40)]
    for wanted, found in (
        (mean.sources, [len(field) for field in fields]),
        (mean.objects, [field.is_object.sum() for field in fields]),
    ):
        # A mean within four of its errors; variance over mean within 4 sqrt(2 / 39).
        assert np.mean(found) == pytest.approx(wanted, abs=4 * math.sqrt(wanted / 40))
        assert np.var(found, ddof=1) / wanted == pytest.approx(1, abs=0.9)


def compare_with_the_table(area):
    """Return how far the numbers of a drawn field are from the published ones in bins of flux, in errors."""
    edges = 10 ** np.arange(-4, 0.26, 0.25)
    # Only the shape of the curve within a bin enters; the height is the table's.
    wanted, own = published_numbers(edges, area)
    found = np.histogram(draw(area=area).flux_jy, edges)[0]
    return (found - wanted) / np.hypot(np.sqrt(wanted), wanted * own)


def test_drawn_counts_are_the_published_ones_within_their_errors():
    away = compare_with_the_table(area=0.01)
    assert len(away) == 17
    assert np.abs(away).max() < 3.5
    assert (away**2).mean() < 2


@pytest.mark.soak
def test_drawn_counts_of_a_hundred_fields_are_the_published_ones():
    away = compare_with_the_table(area=1.0)
    assert np.abs(away).max() < 3.5
    assert (away**2).mean() < 2


@pytest.mark.parametrize("frequency", [1.5e8, 3e9])
def test_every_source_has_the_spectrum_that_brings_it_to_the_frequency_of_the_field(frequency):
    law = CountsConfig(limit_jy=5e-4, spectral_index=-0.8, spectral_spread=0.3)
    field = draw(law, frequency=frequency)
    assert ((field.flux_jy >= 5e-4) & (field.flux_jy <= 10)).all()
    # A steep spectrum adds sources at low frequencies: of n ~ S^-p those of index alpha by r^((p - 1) alpha).
    at_1400 = field.flux_jy / (frequency / COUNTS_HZ) ** field.spectral_index
    safe = (at_1400 > 0.02) & (at_1400 < 0.5)
    assert kstest(field.spectral_index[safe], norm(-0.8, 0.3).cdf).pvalue > 1e-3
    edges = np.geomspace(0.02, 0.5, 6)
    for low, high in itertools.pairwise(edges):
        wanted = number_between(low, high) * AREA
        found = np.count_nonzero((at_1400 >= low) & (at_1400 < high))
        assert abs(found - wanted) < 4 * math.sqrt(wanted)


def test_sources_are_points_gaussians_and_objects_by_their_size():
    field = draw()
    point = field.major_arcsec == 0
    gaussian = ~point & ~field.is_object
    assert (field.minor_arcsec[point] == 0).all()
    assert ((field.major_arcsec[gaussian] >= 0.1 * BEAM) & (field.major_arcsec[gaussian] <= 2 * BEAM)).all()
    ratio = field.minor_arcsec[gaussian] / field.major_arcsec[gaussian]
    assert ((ratio >= 0.2) & (ratio <= 1)).all()
    assert (field.major_arcsec[field.is_object] > 2 * BEAM).all()
    assert np.isnan(field.minor_arcsec[field.is_object]).all()
    assert ((field.image_pa_deg >= 0) & (field.image_pa_deg < 180)).all()


def test_the_share_of_objects_grows_with_flux_as_published():
    field, edges = draw(area=0.02), np.array([1e-4, 3e-4, 1e-3, 1e-2, 1])
    for low, high in itertools.pairwise(edges):
        inside = (field.flux_jy >= low) & (field.flux_jy < high)
        wanted = np.array([share_above(2 * BEAM, flux) for flux in field.flux_jy[inside]])
        found = np.count_nonzero(field.is_object[inside])
        assert abs(found - wanted.sum()) < 4 * math.sqrt((wanted * (1 - wanted)).sum())


def test_what_is_an_object_changes_no_flux_and_no_size():
    one, other = draw(), draw(LAW.model_copy(update={"object_beams": 3.0}))
    for name in ("flux_jy", "spectral_index", "image_pa_deg"):
        assert np.array_equal(getattr(one, name), getattr(other, name))
    larger = other.is_object
    assert 0 < larger.sum() < one.is_object.sum()
    assert np.array_equal(one.major_arcsec[larger], other.major_arcsec[larger])


def test_few_fields_need_more_objects_than_are_provided_for():
    mean = expect(LAW, AREA, COUNTS_HZ, BEAM)
    assert max(draw(seed=seed).is_object.sum() for seed in range(20)) < mean.most_objects
    assert mean.most_objects < 1.4 * mean.objects


@pytest.mark.parametrize("tree", [{"limit_jy": 20}, {"limit_jy": 1, "highest_jy": 0.5}, {"limit_jy": -1}])
def test_limits_that_hold_no_source_are_refused(tree):
    with pytest.raises(ConfigError, match="limit_jy"):
        validate(CountsConfig, tree)
