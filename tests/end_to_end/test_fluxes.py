"""Fields by counts and by a catalogue on every executor, and under kills: always the same bytes."""

import random
import shutil

import numpy as np
import pytest

from astro_dist.field.columns import read_columns_file
from astro_dist.sky.beams import Pixel
from astro_dist.sky.fits_file import plane_wcs
from tests.end_to_end.conftest import run, stable_digests
from tests.end_to_end.test_kill import disturb_stage

SHAPE = (500, 620)
# None is an object of the library: what so short a training draws gives few that have a model.
COUNTS = {"limit_jy": 3e-5, "highest_jy": 0.01, "object_beams": 100.0}


def settings_of(mode, folder):
    """Return the settings of one mode, beside those of the toy run."""
    if mode == "counts":
        flux = {"mode": "counts", "counts": COUNTS}
    else:
        rng = np.random.default_rng(5)
        y, x = (rng.uniform(0, n - 1, 60) for n in SHAPE)
        ra, dec = plane_wcs(SHAPE, Pixel(1.5, 1.5), 180.0, -30.0).wcs_pix2world(x, y, 0)
        flux = 10 ** rng.uniform(-4.5, -1, 60)
        size = rng.uniform(0, 8, 60)
        rows = np.stack([ra, dec, flux, size, size * rng.uniform(0.3, 1, 60), rng.uniform(0, 180, 60)], 1)
        names = "ra_deg,dec_deg,flux_jy,major_arcsec,minor_arcsec,pa_deg"
        np.savetxt(folder / "rows.csv", rows, "%.12g", ",", header=names, comments="")
        flux = {"mode": "catalogue", "catalogue": str(folder / "rows.csv")}
    # Objects as in the toy run, so that its stamps are those of this run too.
    kept = {"generate.accept.classes": ["compact", "extended"], "generate.masks.compact": 0.7}
    return {"assemble.flux": flux, "assemble.objects": None} | kept


@pytest.fixture(scope="module", params=["counts", "catalogue"])
def field(request, toy_run, tmp_path_factory):
    """A field of one mode on the stamps of the toy run, made in one process, and its settings."""
    folder = tmp_path_factory.mktemp(request.param)
    out, extra = folder / "run", settings_of(request.param, folder)
    shutil.copytree(toy_run[0], out)
    done = run(out, "--on", "serial", "--redo", "assemble", extra=extra)
    assert done.returncode == 0, done.stderr
    return out, extra


@pytest.mark.soak
@pytest.mark.parametrize("where", [("processes", 1), ("processes", 2), ("processes", 4), ("ray", 2)])
def test_any_number_of_workers_makes_the_same_field(field, tmp_path, where):
    first, extra = field
    assert len(read_columns_file(first / "field" / "truth.parquet")["id"]) > 20
    shutil.copytree(first, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "field")
    executor, workers = where
    done = run(tmp_path / "run", "--on", executor, "--workers", workers, "--redo", "assemble", extra=extra)
    assert done.returncode == 0, done.stderr
    assert stable_digests(tmp_path / "run") == stable_digests(first)


@pytest.mark.soak
@pytest.mark.parametrize("executor", ["processes", "ray"])
def test_twenty_kills_change_no_byte(field, tmp_path, executor):
    shutil.copytree(field[0], tmp_path / "run")
    disturb_stage(tmp_path / "run", "assemble", executor, 20, random.Random(20), field[1])
