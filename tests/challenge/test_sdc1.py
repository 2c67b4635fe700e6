"""The published score: equal to SKAO's program on 24 catalogues, and independent of the order of rows."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from astro_dist.challenge.sdc1 import PARTS, SDC1_NAMES, Sdc1Rules, score_sdc1
from tests.end_to_end.test_sdc1_score import INSTALL

GOLDEN = json.loads(Path(__file__).with_name("golden_sdc1.json").read_text())
# Least and most RA and Dec of the training area of the challenge, by MHz.
TRAINING = {
    9200: (-0.04092, 0.0, -29.94, -29.9074),
    1400: (-0.2688, 0.0, -29.94, -29.7265),
    560: (-0.6723, 0.0, -29.94, -29.4061),
}


def table(rows):
    return dict(zip(SDC1_NAMES, np.array(rows, float).reshape(-1, len(SDC1_NAMES)).T, strict=True))


def rules_of(case):
    """Return the beam, the area and the flat search of the program."""
    west, east, south, north = TRAINING[case["mhz"]]

    def outside(ra, dec):
        return (ra < west) | (ra > east) | (dec < south) | (dec > north)

    return Sdc1Rules(0.25 / case["mhz"] * 1400, ("core", "cent")[case["mode"]], flat=True), outside


def test_there_are_24_cases_and_each_has_a_name_of_its_own():
    assert len({case["name"] for case in GOLDEN}) == len(GOLDEN) == 24


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: case["name"])
def test_it_is_the_score_of_skao(case):
    rules, outside = rules_of(case)
    score = score_sdc1(table(case["submitted"]), table(case["truth"]), rules, outside)
    assert score.value == pytest.approx(case["value"], abs=1e-9, rel=1e-9)
    for name in ("n_det", "n_match", "n_bad", "n_false"):
        assert getattr(score, name) == case[name], name
    assert score.total == pytest.approx(case["score_det"], abs=1e-9)
    for name in PARTS if case["parts"] else ():
        assert np.nansum(score.parts[name]) == pytest.approx(case["parts"][name], abs=1e-9), name


@pytest.mark.parametrize(
    "name", ["all_columns", "doubled_rows", "doubled_numbers", "rivals_are_not_matched_again"]
)
def test_the_order_of_rows_does_not_count(name):
    case = next(case for case in GOLDEN if case["name"] == name)
    rules, outside = rules_of(case)
    rows, truth = np.array(case["submitted"]), table(case["truth"])
    value = score_sdc1(table(rows), truth, rules, outside).value
    rng = np.random.default_rng(5)
    for _ in range(250):
        assert score_sdc1(table(rng.permutation(rows)), truth, rules, outside).value == value
    # Two parts of a catalogue, one after the other, are the catalogue.
    for part in (np.arange(len(rows)) % 2 == 0, rows[:, 5] > np.median(rows[:, 5])):
        halves = np.concatenate([rows[part], rows[~part]])
        assert score_sdc1(table(halves), truth, rules, outside).value == value


def test_the_rows_of_matches_are_those_of_the_given_tables():
    case = next(case for case in GOLDEN if case["name"] == "all_columns")
    rules, outside = rules_of(case)
    mixed = np.random.default_rng(1).permutation(np.array(case["submitted"]))
    found, truth = table(mixed), table(case["truth"])
    score = score_sdc1(found, truth, rules, outside)
    apart = np.hypot(*(found[a][score.row] - truth[a][score.truth_row] for a in ("ra_core", "dec_core")))
    assert len(score.row) == case["n_match"]
    assert apart.max() < 5 / 3600


@pytest.mark.parametrize("dec", [-85.0, 0.0, 60.0])
def test_on_the_sky_the_search_is_round_at_every_declination(dec):
    east = np.array([0.5, 0.99, 1.01, 2.0]) * 6 / 3600 / np.cos(np.radians(dec))
    n = len(east)
    far = {
        name: np.full(n, value) for name, value in {"size": 2, "class": 2, "pa": 0, "core_frac": 0.5}.items()
    }
    ra = 180 + 0.5 * np.arange(n)
    one = {
        **far,
        "id": np.arange(n),
        "flux": np.full(n, 1e-3),
        "b_maj": np.full(n, 1e-3),
        "b_min": np.full(n, 1e-3),
    }
    truth = one | {"ra_core": ra, "ra_cent": ra, "dec_core": np.full(n, dec), "dec_cent": np.full(n, dec)}
    found = truth | {"ra_core": ra + east, "ra_cent": ra + east}
    assert score_sdc1(found, truth, Sdc1Rules(6.0)).row.tolist() == [0, 1]


@pytest.mark.soak
def test_the_golden_scores_are_what_the_program_says_today(tmp_path):
    python = os.environ.get("SKA_SDC_PYTHON")
    if python is None:
        pytest.skip(INSTALL)
    made = tmp_path / "made.json"
    line = [python, Path(__file__).with_name("golden_sdc1.py"), made]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    for new, old in zip(json.loads(made.read_text()), GOLDEN, strict=True):
        assert new["submitted"] == old["submitted"], old["name"]
        assert new["value"] == pytest.approx(old["value"], abs=1e-9), old["name"]
