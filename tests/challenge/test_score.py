"""Scores of catalogues against a package: a perfect one, and ones that were spoiled on purpose."""

import json

import numpy as np
import pytest

from astro_dist.challenge.detection import SNR_EDGES, measure_residuals
from astro_dist.challenge.matching import Matches
from astro_dist.challenge.score import Judge
from astro_dist.challenge.sdc1 import PARTS
from astro_dist.challenge.submission import Submission, read_submission
from astro_dist.engine.errors import ConfigError

COLUMNS = (
    *("id", "ra_deg", "dec_deg", "ra_peak_deg", "dec_peak_deg", "flux_jy", "core_fraction"),
    *("intrinsic_major_arcsec", "intrinsic_minor_arcsec", "intrinsic_pa_deg", "population", "class"),
)


@pytest.fixture(scope="module")
def perfect(judge):
    """The truth as a submission."""
    return {name: np.array(judge.truth[name], np.float64) for name in COLUMNS}


@pytest.fixture(scope="module")
def scored(judge):
    """Which sources are scored, by the pixel of their cores."""
    return judge.counts(judge.truth["ra_peak_deg"], judge.truth["dec_peak_deg"])


def score(judge, columns):
    return judge.score_catalogue(Submission("test", columns))


def test_the_truth_has_a_score_of_exactly_one_for_each_source(judge, perfect, scored, folder):
    n = int(scored.sum())
    assert n > 60
    for found in (
        score(judge, perfect),
        judge.score(folder / "hidden/truth_sdc1.txt"),
        judge.score(folder / "hidden/truth.fits"),
    ):
        for mode in ("core", "centroid"):
            assert found["sdc1"][mode]["score"] == found["sdc1"][mode]["n_match"] == n
            assert found["sdc1"][mode]["n_false"] == 0
        figures = found["detection"]
        assert figures["counts"]["false"] == 0
        assert figures["completeness"]["all"]["value"] == figures["reliability"]["all"]["value"] == 1
        assert figures["misses"] == []
        json.dumps(found, allow_nan=False)


def test_no_order_and_no_splitting_of_rows_changes_a_score(judge, perfect):
    rng = np.random.default_rng(1)
    noisy = {n: v * (1 + 0.02 * rng.normal(size=len(v))) if n == "flux_jy" else v for n, v in perfect.items()}
    noisy["id"] = np.arange(1.0, 1 + len(noisy["id"]))
    expected = score(judge, noisy)
    for part in (np.arange(len(noisy["id"])) % 3 == 0, noisy["flux_jy"] > np.median(noisy["flux_jy"])):
        order = np.concatenate([np.flatnonzero(part), np.flatnonzero(~part)])
        assert score(judge, {n: v[order] for n, v in noisy.items()}) == expected
    for _ in range(5):
        order = rng.permutation(len(noisy["id"]))
        assert score(judge, {n: v[order] for n, v in noisy.items()})["sdc1"] == expected["sdc1"]


def test_each_spoiled_part_moves_and_no_other(judge, perfect):
    beam = judge.about.beam.major_arcsec
    moved, far = (
        {**perfect, **{name: perfect[name] + step * beam / 3600 for name in ("dec_deg", "dec_peak_deg")}}
        for step in (0.5, 0.8)
    )
    brighter = {**perfect, "flux_jy": 1.2 * perfect["flux_jy"]}
    wider = {
        **perfect,
        **{
            f"intrinsic_{name}_arcsec": 2 * perfect[f"intrinsic_{name}_arcsec"] + beam
            for name in ("major", "minor")
        },
    }
    cases = {
        "position": (far, ("position",)),
        "flux": (brighter, ("flux",)),
        "b_maj": (wider, ("b_maj", "b_min")),
        "pa": ({**perfect, "intrinsic_pa_deg": perfect["intrinsic_pa_deg"] + 25}, ("pa",)),
        "core_frac": ({**perfect, "core_fraction": 0.7 * perfect["core_fraction"]}, ("core_frac",)),
        "class": ({**perfect, "population": 1 + perfect["population"] % 3}, ("class",)),
    }  # fmt: skip
    for columns, parts in cases.values():
        core = score(judge, columns)["sdc1"]["core"]
        lower = {part for part in PARTS if core["parts"][part] < 1 - 1e-9}
        assert lower == set(parts)
    # A flux of 20 % more than the truth is worth half, by 0.1 over 0.2.
    assert score(judge, brighter)["sdc1"]["core"]["parts"]["flux"] == pytest.approx(0.5, rel=1e-6)
    # Up to 0.3 of twice the beam have a full score.
    assert score(judge, moved)["sdc1"]["core"]["parts"]["position"] == 1
    assert score(judge, moved)["detection"]["residuals"]["north_arcsec"]["median"] == pytest.approx(
        beam / 2, rel=1e-6
    )
    assert score(judge, brighter)["detection"]["residuals"]["flux_ratio"]["median"] == pytest.approx(1.2)


def test_doubled_rows_are_false_detections(judge, perfect, scored):
    again = np.flatnonzero(scored)[::10]
    doubled = {name: np.concatenate([values, values[again]]) for name, values in perfect.items()}
    doubled["id"] = np.arange(1.0, 1 + len(doubled["id"]))
    found, n = score(judge, doubled), int(scored.sum())
    core = found["sdc1"]["core"]
    assert (core["n_match"], core["n_false"]) == (n, len(again))
    assert core["score"] == pytest.approx(n - len(again))
    assert found["detection"]["counts"]["false"] == len(again)
    counts, reliability = found["detection"]["counts"], found["detection"]["reliability"]["all"]
    assert counts["submitted_scored"] == counts["matched"] + len(again)
    assert reliability["value"] == pytest.approx(1 - len(again) / counts["submitted_scored"], abs=1e-6)
    assert reliability["low"] < reliability["value"] < reliability["high"]


def test_shares_by_flux_class_and_blend_are_those_that_were_left(judge, perfect):
    """Some sources are taken out by chance, and rows on the empty sky are added with the others' fluxes."""
    rng, mine = np.random.default_rng(5), Judge(judge.folder, judge.about)
    # This small field has no blends: here some sources are said to be of one.
    truth = {**judge.truth, "blend_size": 1 + np.arange(len(judge.truth["id"])) % 4}
    vars(mine)["truth"] = truth
    counts = judge.counts(truth["ra_deg"], truth["dec_deg"])
    kept = rng.random(len(counts)) < 0.6
    found = {name: np.concatenate([values[kept], values[:9]]) for name, values in perfect.items()}
    y, x = np.mgrid[130:390:9, 15:445:9].reshape(2, -1)
    away = np.hypot(y[:, None] - truth["y_pix"], x[:, None] - truth["x_pix"]).min(axis=1)
    empty = np.argsort(-away)[:9]
    places = judge.field.sky_of(y[empty], x[empty])
    for axis, values in zip(("ra", "dec"), places, strict=True):
        found[f"{axis}_deg"][-9:] = found[f"{axis}_peak_deg"][-9:] = values
    false = int(judge.counts(*places).sum())
    assert false > 5
    figures = score(mine, found)["detection"]
    complete, reliable = figures["completeness"], figures["reliability"]
    detectable = counts & (truth["detectable"] == 1)
    for kind, name in ((2, "compact"), (3, "extended")):
        here = truth["class"] == kind
        one = complete["by_class"][name]
        assert (one["k"], one["n"]) == ((detectable & here & kept).sum(), (detectable & here).sum())
    assert sum(reliable["by_class"][name]["k"] for name in ("compact", "extended")) == (counts & kept).sum()
    for name, here in (
        ("alone", truth["blend_size"] == 1),
        ("two that touch", truth["blend_size"] == 2),
        ("three or more", truth["blend_size"] > 2),
    ):
        one = complete["by_blend"][name]
        assert (one["k"], one["n"]) == ((detectable & here & kept).sum(), (detectable & here).sum())
    assert min(one["n"] for one in complete["by_blend"].values()) > 5
    for curve, k, n in (
        (complete["by_flux_jy"], (counts & kept).sum(), counts.sum()),
        (reliable["by_flux_jy"], (counts & kept).sum(), (counts & kept).sum() + false),
    ):
        assert (sum(one["k"] for one in curve), sum(one["n"] for one in curve)) == (k, n)
        assert all(one["low"] <= one["value"] <= one["high"] for one in curve)


def test_nothing_outside_of_the_scored_part_counts(judge, perfect, scored):
    rest = np.flatnonzero(~scored)
    found = score(judge, {name: values[rest] for name, values in perfect.items()})
    assert found["sdc1"]["core"]["n_det"] == 0
    assert found["detection"]["counts"]["submitted_scored"] == 0
    assert found["detection"]["reliability"]["all"]["value"] is None


def test_misses_are_listed_from_the_most_significant_on(judge, perfect, scored):
    best = np.maximum(judge.truth["snr"], judge.truth["integrated_snr"])
    gone = np.flatnonzero(scored & (judge.truth["detectable"] == 1))
    gone = gone[np.argsort(-best[gone])][:7]
    kept = np.setdiff1d(np.arange(len(best)), gone)
    figures = score(judge, {name: values[kept] for name, values in perfect.items()})["detection"]
    assert [one["id"] for one in figures["misses"]] == judge.truth["id"][gone].tolist()
    assert figures["counts"]["missed_detectable"] == 7
    curve = figures["completeness"]["by_snr"]
    n = figures["counts"]["true_scored"]
    assert (
        sum(point["n"] for point in curve) == n == judge.counts(perfect["ra_deg"], perfect["dec_deg"]).sum()
    )
    assert sum(point["k"] for point in curve) == n - 7
    assert all(point["low"] <= point["value"] <= point["high"] for point in curve)


def test_residuals_of_known_errors():
    n = 400
    rng = np.random.default_rng(4)
    truth = {
        "ra_deg": rng.uniform(359.9, 360.1, n) % 360,
        "dec_deg": np.full(n, 60.0),
        "flux_jy": rng.uniform(1, 2, n),
        "snr": np.geomspace(1, 99, n),
        "integrated_snr": np.zeros(n),
        "major_arcsec": np.full(n, 10.0),
        "intrinsic_major_arcsec": np.full(n, 8.0),
        "intrinsic_minor_arcsec": np.full(n, 4.0),
        "intrinsic_pa_deg": rng.uniform(0, 180, n),
    }
    found = {
        **truth,
        "ra_deg": (truth["ra_deg"] + 2 / 3600 / 0.5) % 360,
        "dec_deg": truth["dec_deg"] - 1 / 3600,
    }
    found["intrinsic_pa_deg"] = truth["intrinsic_pa_deg"] + 170
    rows = np.arange(n)
    errors = measure_residuals(found, truth, Matches(rows, rows, np.full(n, np.sqrt(5))))
    assert errors["east_arcsec"]["median"] == pytest.approx(2, rel=1e-6)
    assert errors["north_arcsec"]["median"] == pytest.approx(-1, rel=1e-6)
    assert errors["angle_deg"]["median"] == pytest.approx(-10, rel=1e-6)
    assert errors["flux_ratio"] | {"by_snr": []} == {
        **{"median": 1.0, "low": 1.0, "high": 1.0, "scatter": 0.0, "n": n}, "by_snr": []
    }  # fmt: skip
    bins = errors["flux_ratio"]["by_snr"]
    assert sum(one["n"] for one in bins) == n
    assert all(one["from"] in SNR_EDGES for one in bins)


def test_catalogues_of_finders_are_read_as_they_are(tmp_path):
    pybdsf = tmp_path / "found.csv"
    pybdsf.write_text(
        "Source_id,RA,DEC,Total_flux,Peak_flux,DC_Maj,DC_Min,DC_PA,E_Total_flux\n"
        "0,180.0,-30.0,0.01,0.008,0.001,0.0005,30,0.001\n1,180.1,-30.0,0.02,0.02,0,0,0,0.001\n"
    )
    found = read_submission(pybdsf)
    assert found.columns["intrinsic_major_arcsec"].tolist() == [3.6, 0.0]
    assert found.columns["peak_jy_beam"].tolist() == [0.008, 0.02]
    assert found.columns["id"].tolist() == [1, 2]
    table = found.as_sdc1(0.06)
    assert table["b_min"].tolist() == [1.8, 0.06]
    assert table["ra_core"].tolist() == table["ra_cent"].tolist() == [180.0, 180.1]
    assert table["class"].tolist() == [0, 0]


def test_rows_without_a_flux_are_left_out_and_said(tmp_path):
    path = tmp_path / "gaps.csv"
    path.write_text("ra_deg,dec_deg,flux_jy\n180,-30,0.001\n180.1,-30,\n")
    found = read_submission(path)
    assert len(found) == 1
    assert found.notes[-1] == "gaps.csv: 1 rows without a position or a flux"
    path.write_text("ra_deg,dec_deg,flux_jy\n180,-30,\n181,-30,\n")
    with pytest.raises(ConfigError, match="none of its 2 rows has a position and a flux"):
        read_submission(path)
    # Names of columns in another code than UTF-8 are names all the same.
    path.write_bytes(b"ra_deg,dec_deg,flux_jy,n\xe9\n180,-30,0.001,\xe9\n")
    assert read_submission(path).columns["flux_jy"].tolist() == [0.001]


HOSTILE = (
    *("1e-300,1,2,3,4,5,6,0", "-1,2,3,4,5,6,7,8", "1e-4,-1,-2,nan,,1,2,3", "0,1,1,1,1,1,1,1"),
    *("5e-324,0,0,0,0,0,0,0", "1e10,1e10,1e10,-1e10,1e10,1e10,1e10,1e10"),
)


def write_hostile(path, judge, rows):
    """Write strange numbers at the places of true sources."""
    places = zip(*(judge.truth[name][-len(rows) :].tolist() for name in ("ra_deg", "dec_deg")), strict=True)
    head = ",".join(
        ["ra_deg", "dec_deg", "flux_jy", *COLUMNS[7:10], "core_fraction", *COLUMNS[10:], "peak_jy_beam"]
    )
    lines = [f"{ra},{dec},{row}" for (ra, dec), row in zip(places, rows, strict=True)]
    path.write_text("\n".join([head, *lines, ""]))
    return path


def test_strange_numbers_have_a_score_and_impossible_ones_a_line(judge, tmp_path):
    """Warnings are errors here: nothing overflows or divides by nothing on the way."""
    path = write_hostile(tmp_path / "strange.csv", judge, HOSTILE)
    json.dumps(judge.score(path), allow_nan=False)
    for bad in ("1,inf,1,1,1,1,2,1", "1e300,1,1,1,1,1,2,1", "1,1,1,-1e20,1,1,2,1"):
        write_hostile(path, judge, [HOSTILE[0], bad])
        with pytest.raises(ConfigError, match=r"in row 2, beyond 1e\+10; `challenge validate` names every"):
            judge.score(path)
