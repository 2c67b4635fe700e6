"""The curve of counts: fitted to the published table, with numbers and draws that agree with it."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from astro_dist.sky.counts import (
    KNOTS,
    draw_fluxes,
    draw_sizes,
    euclidean_counts,
    number_between,
    published,
    share_above,
)
from astro_dist.sky.sources import count_density

FLUX = st.floats(-5.5, 1.5).map(lambda x: 10**x)


def test_the_published_table_is_whole():
    table = published()
    assert len(table.flux_jy) == 179
    assert (np.diff(table.flux_jy) >= 0).all()
    assert (table.counts > 0).all()
    assert (table.above > 0).all()
    assert (table.below > 0).all()
    assert len(set(table.survey)) == 11


def test_the_curve_is_the_fit_to_the_table():
    table, (knots, values) = published(), np.array(KNOTS).T
    used = table.fitted
    error = np.maximum((table.above + table.below) / 2 / table.counts, 0.05)[used] / math.log(10)
    hats = np.stack([np.interp(np.log10(table.flux_jy[used]), knots, one) for one in np.eye(len(knots))], 1)
    fit = np.linalg.lstsq(hats / error[:, None], np.log10(table.counts[used]) / error, rcond=None)[0]
    assert values == pytest.approx(fit, abs=6e-4)


def test_the_curve_is_as_near_to_the_surveys_as_these_to_each_other():
    table = published()
    away = np.log(euclidean_counts(table.flux_jy) / table.counts) * table.counts / table.above
    # FIRST states its Poisson errors alone, of 1 to 2 %.
    chi2 = {
        name: np.mean(away[table.fitted & (np.array(table.survey) == name)] ** 2) for name in ("bo08", "wi97")
    }
    assert chi2["bo08"] < 1.5
    assert chi2["wi97"] < 3


def test_the_fit_of_hopkins_agrees_where_it_is_valid():
    flux = np.geomspace(1e-4, 0.3, 50)
    assert euclidean_counts(flux) / (count_density(flux, 1.4e9) * flux**2.5) == pytest.approx(1, abs=0.2)


@pytest.mark.parametrize(("low", "high"), [(1e-6, 1e-5), (1e-4, 10), (0.3, 0.31), (5, 300)])
def test_numbers_are_the_integral_of_the_curve(low, high):
    edges = np.geomspace(low, high, 40_001)
    middle = np.sqrt(edges[1:] * edges[:-1])
    summed = (euclidean_counts(middle) * middle**-2.5 * np.diff(edges)).sum()
    assert number_between(low, high) == pytest.approx(summed, rel=1e-5)


@given(st.tuples(FLUX, FLUX, FLUX).map(sorted))
def test_numbers_of_neighbouring_intervals_add_up(edges):
    low, middle, high = edges
    parts = number_between(low, middle) + number_between(middle, high)
    assert parts == pytest.approx(number_between(low, high), rel=1e-9, abs=1e-9)
    assert number_between(high, low) == 0 or low == high


@given(st.tuples(FLUX, FLUX).map(sorted), st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=9))
def test_a_drawn_flux_has_its_share_of_the_sources_below_it(edges, shares):
    low, high = edges[0], edges[1] * 1.01
    fluxes = draw_fluxes(np.array(shares), low, high)
    assert ((fluxes >= low) & (fluxes <= high)).all()
    total = number_between(low, high)
    for share, flux in zip(shares, fluxes, strict=True):
        assert number_between(low, flux) / total == pytest.approx(share, abs=1e-6)


def test_half_of_the_sources_of_a_millijansky_are_above_two_arcsec():
    assert share_above(2.0, 1e-3) == 0.5
    # Windhorst et al. 1990: the median grows by 0.30 dex per dex of flux.
    assert share_above(2 * 10**0.3, 1e-2) == pytest.approx(0.5)


@given(st.floats(0, 1, exclude_max=True), FLUX)
def test_a_drawn_size_has_its_share_of_the_sources_below_it(share, flux):
    (size,) = draw_sizes(np.array([share]), np.array([flux]))
    assert math.isfinite(size)
    assert share_above(size, flux) == pytest.approx(1 - share, abs=1e-9)
