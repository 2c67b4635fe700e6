"""Catalogues of other programs are scored as they write them, and the baselines find what can be found."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from astro_dist.challenge.finders import CAESAR_COLUMNS, remove_beam
from astro_dist.challenge.submission import read_submission
from astro_dist.engine.errors import ConfigError

ROOT = Path(__file__).parents[2]
PROGRAMS = {"own": "numpy", "sep": "sep", "pybdsf": "bdsf", "aegean": "AegeanTools"}


@pytest.mark.parametrize("finder", PROGRAMS)
def test_a_baseline_finds_most_detectable_sources(finder, folder, judge, tmp_path):
    if importlib.util.find_spec(PROGRAMS[finder]) is None:
        pytest.skip(f"{PROGRAMS[finder]} is not installed; pip install -e '.[interop]'")
    out = tmp_path / f"{finder}.csv"
    job = "baseline" if finder in ("own", "sep") else "run_finder"
    words = [sys.executable, f"jobs/{job}.py", finder, folder / "public/map.fits", out]
    done = subprocess.run(list(map(str, words)), cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = judge.score(out)
    json.dumps(found, allow_nan=False)
    figures = found["detection"]
    assert figures["completeness"]["detectable"]["value"] > 0.6
    assert figures["reliability"]["all"]["value"] > 0.5
    assert figures["residuals"]["flux_ratio"]["median"] == pytest.approx(1, abs=0.25)
    assert found["sdc1"]["core"]["n_match"] > 20
    if finder in ("pybdsf", "aegean"):
        # Widths are those without the beam: most of these sources are narrower than it.
        widths = read_submission(out).columns["intrinsic_major_arcsec"]
        assert np.median(widths) < judge.about.beam.major_arcsec
        assert found["sdc1"]["core"]["parts"]["b_maj"] > 0


def test_a_baseline_replaces_no_file(folder, tmp_path):
    out = tmp_path / "mine.csv"
    out.write_text("mine")
    words = [sys.executable, "jobs/baseline.py", "own", str(folder / "public/map.fits"), str(out)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, out.read_text()) == (2, "mine")
    assert "name a new file" in done.stderr


def write_caesar(path, n_columns=48):
    """Write two components as CAESAR does: tabs, and the names of columns only in comments."""
    lines = ["# This ascii file contains source components fitted to islands/blobs detected by CAESAR.", "#"]
    for flux in (0.5, 0.25):
        row = ["S1", "30", "1", "J1200-3000", *["0"] * 44]
        for name, value in {"ra_deg": 180, "dec_deg": -30, "flux_jy": 20 * flux, "beam_pix": 20}.items():
            row[CAESAR_COLUMNS[name]] = str(value)
        row[CAESAR_COLUMNS["intrinsic_major_arcsec"]] = "3.5"
        lines.append("\t".join(row[:n_columns]))
    path.write_text("\n".join([*lines, ""]))
    return path


def test_components_of_caesar_are_read(tmp_path):
    found = read_submission(write_caesar(tmp_path / "catalog_fitcomp.dat"))
    assert found.columns["flux_jy"].tolist() == [0.5, 0.25]
    assert found.columns["ra_deg"].tolist() == [180, 180]
    assert found.columns["intrinsic_major_arcsec"].tolist() == [3.5, 3.5]
    assert found.columns["id"].tolist() == [1, 2]
    assert found.notes == ("read as CAESAR's components",)
    with pytest.raises(ConfigError, match="line 3 is no fitted component of CAESAR"):
        read_submission(write_caesar(tmp_path / "catalog.dat", 33))


def test_catalogues_of_sofia_are_read(tmp_path):
    path = tmp_path / "cat.txt"
    path.write_text("# SoFiA source catalogue\n# id ra dec f_sum\n# - deg deg Jy\n 1 180.0 -30.0 0.5\n")
    found = read_submission(path)
    assert (found.columns["ra_deg"][0], found.columns["flux_jy"][0]) == (180, 0.5)


def test_a_beam_is_taken_out_of_widths():
    beam = tuple(np.array([value] * 3) for value in (6.0, 4.0, 20.0))
    # Along the beam squares subtract; what is the beam is a point; what is narrower is one, too.
    major, minor, angle = remove_beam(
        np.array([10.0, 6.0, 3.0]), np.array([5.0, 4.0, 3.0]), np.array([20.0, 20.0, 0.0]), beam
    )
    assert major == pytest.approx([8, 0, 0], abs=1e-6)
    assert minor == pytest.approx([3, 0, 0], abs=1e-6)
    assert angle[0] == pytest.approx(20)
