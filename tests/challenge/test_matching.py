"""The one matching: radius on the sphere, brightest first, one to one, whatever the order of rows."""

import numpy as np
import pytest

from astro_dist.challenge.matching import match
from astro_dist.challenge.spheres import pairs_on_sphere, separation_arcsec

BEAM = 6.0


def truth_of(ra, dec, flux, major=None, ids=None):
    n = len(ra)
    columns = {"ra_deg": ra, "dec_deg": dec, "ra_peak_deg": ra, "dec_peak_deg": dec, "flux_jy": flux}
    columns |= {"id": ids or range(1, n + 1), "major_arcsec": major or [BEAM] * n}
    return {name: np.array(values, float) for name, values in columns.items()}


def found_of(ra, dec, flux):
    return {"ra_deg": np.array(ra, float), "dec_deg": np.array(dec, float), "flux_jy": np.array(flux, float)}


def pairs(matches):
    return {*zip(matches.row.tolist(), matches.true_row.tolist(), strict=True)}


def test_the_brightest_chooses_first_and_takes_the_nearest():
    step = 1 / 3600
    truth = truth_of([10, 10], [0, 2 * step], [1.0, 5.0])
    # Both lie nearer to the faint source; the bright one takes the nearer of them.
    found = found_of([10, 10], [0.2 * step, 0.9 * step], [1, 1])
    assert pairs(match(found, truth, BEAM)) == {(1, 1), (0, 0)}
    # One position for two sources is the bright one's.
    assert pairs(match(found_of([10], [0.1 * step], [1]), truth, BEAM)) == {(0, 1)}


def test_the_radius_is_the_beam_or_half_of_the_source():
    far = [0.99 * BEAM / 3600, 1.01 * BEAM / 3600, 19.9 / 3600, 20.1 / 3600]
    truth = truth_of([0, 1, 2, 3], [0, 0, 0, 0], [1, 1, 1, 1], major=[BEAM, BEAM, 40, 40])
    found = found_of([0, 1, 2, 3], far, [1, 1, 1, 1])
    assert pairs(match(found, truth, BEAM)) == {(0, 0), (2, 2)}


def test_centroid_or_brightest_pixel_whichever_is_nearer():
    truth = truth_of([5], [0], [1], major=[BEAM])
    truth["ra_peak_deg"] = np.array([5 + 30 / 3600])
    for ra in (5 + 1 / 3600, 5 + 29 / 3600):
        matches = match(found_of([ra], [0], [1]), truth, BEAM)
        assert pairs(matches) == {(0, 0)}
        assert matches.apart_arcsec == pytest.approx([1.0], rel=1e-6)


@pytest.mark.parametrize("ra0", [0.0, 180.0])
@pytest.mark.parametrize("dec0", [-89.999, 0.0, 75.0])
def test_pairs_are_those_of_all_distances(ra0, dec0):
    rng = np.random.default_rng(2)
    scale = 20 / 3600
    ra = (ra0 + scale * rng.normal(size=(2, 60)) / max(0.02, np.cos(np.deg2rad(dec0)))) % 360
    dec = np.clip(dec0 + scale * rng.normal(size=(2, 60)), -90, 90)
    radius = rng.uniform(0, 30, 60)
    row, other = pairs_on_sphere((ra[0], dec[0]), (ra[1], dec[1]), radius)
    apart = separation_arcsec(ra[0][:, None], dec[0][:, None], ra[1][None], dec[1][None])
    assert {*zip(row.tolist(), other.tolist(), strict=True)} == {
        *map(tuple, np.argwhere(apart <= radius[:, None]).tolist())
    }
    assert len(row) > 20


def test_no_order_of_rows_changes_a_pair():
    rng = np.random.default_rng(3)
    truth = truth_of(
        *(rng.normal(size=(2, 80)) * 30 / 3600 + [[180], [-30]]), rng.choice([1.0, 2.0, 3.0], 80)
    )
    found = found_of(*(rng.normal(size=(2, 90)) * 30 / 3600 + [[180], [-30]]), rng.choice([1.0, 2.0], 90))
    matches = match(found, truth, BEAM)
    assert len(set(matches.row)) == len(set(matches.true_row)) == len(matches) > 30
    for _ in range(20):
        one, other = rng.permutation(90), rng.permutation(80)
        mixed = match({n: v[one] for n, v in found.items()}, {n: v[other] for n, v in truth.items()}, BEAM)
        again = {*zip(one[mixed.row].tolist(), other[mixed.true_row].tolist(), strict=True)}
        assert again == pairs(matches)
