import numpy as np
import pytest

from astro_dist.sky.beams import Beam
from astro_dist.sky.common_beam import MISSED, beam_of_moments, find_common, find_excess, moments_of_beam


def common_of(*beams):
    return beam_of_moments(find_common(np.stack([moments_of_beam(Beam(*one)) for one in beams])))


def test_a_beam_that_holds_all_others_is_the_common_one():
    found = common_of((8, 6, 30), (5, 5, 0), (6, 4, 40), (8, 6, 30.01))
    assert (found.major_arcsec, found.minor_arcsec, found.pa_deg) == pytest.approx((8, 6, 30), abs=0.02)
    one = moments_of_beam(Beam(8, 6, 30))
    np.testing.assert_array_equal(find_common(np.stack([one, one / 2])), one)


def area(moments):
    return np.sqrt(np.linalg.det(moments))


@pytest.mark.parametrize("n", [2, 3, 7, 200])
def test_no_beam_of_less_area_holds_all(n):
    rng = np.random.default_rng(n)
    beams = [Beam(major, major * rng.uniform(0.3, 1), rng.uniform(0, 180)) for major in rng.uniform(4, 9, n)]
    moments = np.stack([moments_of_beam(one) for one in beams])
    common = find_common(moments)
    assert find_excess(common, moments).max() <= MISSED
    # Ellipses of every shape, each as small as holds all.
    for ratio in np.linspace(0.3, 1, 29):
        for angle in range(0, 180, 6):
            tried = moments_of_beam(Beam(1, ratio, angle))
            assert area(common) <= area(tried) * (1 + find_excess(tried, moments).max()) * (1 + 1e-3)


@pytest.mark.parametrize("others", [[(5, 3, 90)], [(5, 3, 90), (5.5, 2, 45)]])
def test_radio_beam_finds_the_same(others):
    import astropy.units as u
    from radio_beam import Beams

    beams = np.array([(6, 3, 10), *others], float)
    theirs = Beams(
        *(column << unit for column, unit in zip(beams.T, (u.arcsec, u.arcsec, u.deg), strict=True))
    )
    theirs, ours = theirs.common_beam(), common_of(*beams)
    assert ours.major_arcsec == pytest.approx(theirs.major.to_value("arcsec"), rel=5e-3)
    assert ours.minor_arcsec == pytest.approx(theirs.minor.to_value("arcsec"), rel=5e-3)
