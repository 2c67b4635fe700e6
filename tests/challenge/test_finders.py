"""Catalogues of other programs are scored as they write them, and the baselines find what can be found."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from astro_dist.challenge.finders import CAESAR_COLUMNS, remove_beam
from astro_dist.challenge.matching import match
from astro_dist.challenge.score import Judge
from astro_dist.challenge.submission import read_submission
from astro_dist.engine.errors import ConfigError
from tests.challenge import small
from tests.field import small_sky

ROOT = Path(__file__).parents[2]
PROGRAMS = {"own": "numpy", "sep": "sep", "pybdsf": "bdsf", "aegean": "AegeanTools", "pieces": "AegeanTools"}
JOBS = {
    "own": ["baseline.py", "own"],
    "sep": ["run_sep.py"],
    "pieces": ["run_in_pieces.py", "--side=600", "aegean"],
}
DOUBLES = 12


@pytest.fixture(scope="module")
def easy(tmp_path_factory):
    """A package of 140 points and 12 doubles: the lobes of a double are apart, and finders count two."""
    root = tmp_path_factory.mktemp("easy")
    rng = np.random.default_rng(5)
    kinds = np.array(["2"] * 140 + ["3"] * DOUBLES)
    peaks = small_sky.RMS * (4 + rng.exponential(20.0, len(kinds)))
    sizes = np.where(kinds == "3", 24, 0)
    rows = [",".join(map(str, row)) for row in zip(np.minimum(peaks, 0.02), kinds, sizes, strict=True)]
    (root / "sources.csv").write_text("\n".join(["flux_jy,class,size", *rows, ""]))
    flux = {"mode": "catalogue", "catalogue": str(root / "sources.csv")}
    run = small.make_run(root / "run", flux=flux, shape=(600, 640), objects=None, max_overlap=0.0)
    return small.package(run, root / "package", tile_pix=128)


@pytest.mark.parametrize("finder", PROGRAMS)
def test_a_baseline_finds_most_detectable_sources(finder, easy, tmp_path):
    if importlib.util.find_spec(PROGRAMS[finder]) is None:
        pytest.skip(f"{PROGRAMS[finder]} is not installed; pip install -e '.[interop]'")
    out, judge = tmp_path / f"{finder}.csv", Judge.open(easy)
    job, *words = JOBS.get(finder, ["run_finder.py", finder])
    words = [sys.executable, f"jobs/{job}", *words, easy / "public/map.fits", out]
    done = subprocess.run(list(map(str, words)), cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = judge.score(out)
    json.dumps(found, allow_nan=False)
    figures, sdc1 = found["detection"], found["sdc1"]["core"]
    assert figures["completeness"]["detectable"]["value"] > 0.9
    assert figures["reliability"]["all"]["value"] > 0.9
    assert figures["residuals"]["flux_ratio"]["median"] == pytest.approx(1, abs=0.1)
    assert sdc1["score"] > 0.3 * sdc1["n_match"]
    # What is no source is a lobe of one that is found already, or an artefact: no finder takes noise for one.
    table = read_submission(out).columns
    others = np.setdiff1d(np.arange(len(table["ra_deg"])), match(table, judge.truth, 8.0).row)
    y, x = judge.field.pixel_of(table["ra_deg"][others], table["dec_deg"][others])
    labels = fits.getdata(easy / "hidden/mask.fits")[np.rint(y).astype(int), np.rint(x).astype(int)]
    assert np.count_nonzero(labels == 0) <= 2
    if finder in ("pybdsf", "aegean"):
        # Widths are those without the beam: most of these sources are narrower than it.
        assert np.median(table["intrinsic_major_arcsec"]) < judge.about.beam.major_arcsec
        assert sdc1["parts"]["b_maj"] > 0


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
