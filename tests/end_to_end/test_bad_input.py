"""Each kind of bad input, through the command: one line, the right exit code, nothing half written."""

import os
import resource
import signal

import numpy as np
import pytest
from astropy.io import fits

from tests.end_to_end.conftest import ROOT, call, run, stable_digests

CARDS = {
    "BUNIT": "Jy/beam",
    "BMAJ": 6 / 3600,
    "BMIN": 6 / 3600,
    "BPA": 0.0,
    "CTYPE1": "RA---SIN",
    "CTYPE2": "DEC--SIN",
    "CRVAL1": 180.0,
    "CRVAL2": -30.0,
    "CRPIX1": 150.0,
    "CRPIX2": 150.0,
    "CDELT1": -1.5 / 3600,
    "CDELT2": 1.5 / 3600,
    "CUNIT1": "deg",
    "CUNIT2": "deg",
}


def write_map(path, data=None, drop=(), **changes):
    """Write a small noise map of known rms, with some cards changed or left out."""
    if data is None:
        data = np.random.default_rng(1).normal(0, 2e-5, (300, 300)).astype("f4")
    header = fits.Header({k: v for k, v in {**CARDS, **changes}.items() if k not in drop})
    fits.writeto(path, data, header)
    return path


def bad_missing(folder):
    return {"maps.files": [str(folder / "absent.fits")]}, "absent.fits"


def bad_not_fits(folder):
    (folder / "m.fits").write_text("this is not a FITS file, whatever its name says")
    return {}, "m.fits"


def bad_truncated(folder):
    path = write_map(folder / "m.fits")
    os.truncate(path, 100_000)
    return {}, "m.fits"


def bad_all_nan(folder):
    write_map(folder / "m.fits", np.full((300, 300), np.nan, "f4"))
    return {}, "too few usable pixels"


def bad_small(folder):
    write_map(folder / "m.fits", np.zeros((100, 90), "f4"))
    return {}, "100.*90|90.*100"


def bad_no_beam(folder):
    write_map(folder / "m.fits", drop=("BMAJ", "BMIN", "BPA"))
    return {}, "maps.beam_major_arcsec"


def bad_no_wcs(folder):
    write_map(folder / "m.fits", drop=("CTYPE1", "CTYPE2"))
    return {}, "WCS"


def bad_no_unit(folder):
    write_map(folder / "m.fits", drop=("BUNIT",))
    return {}, "maps.unit"


def bad_unknown_unit(folder):
    write_map(folder / "m.fits", BUNIT="counts")
    return {}, "'counts'.*maps.unit"


def bad_kelvin(folder):
    write_map(folder / "m.fits", BUNIT="K")
    return {}, "K .*maps.frequency_hz"


def bad_absurd_value(folder):
    image = np.random.default_rng(0).normal(0, 1e-4, (300, 300)).astype("f4")
    image[:40] = -1e30
    write_map(folder / "m.fits", image)
    return {}, "m.fits: it holds -1e.30 Jy/beam.*maps.blank"


def bad_cube(folder):
    write_map(folder / "m.fits", np.zeros((4, 300, 300), "f4"), CTYPE3="FREQ", CRVAL3=1e9, CDELT3=1e6)
    return {}, "cube"


def bad_two_names(folder):
    for name in ("m.fits", "m.FITS"):
        write_map(folder / name)
    return {"maps.files": [str(folder / "m.*")]}, "two maps are named 'm'"


def bad_wide_beam(folder):
    write_map(folder / "m.fits", BMAJ=100 / 3600, BMIN=100 / 3600)
    return {}, "beam.*third|third.*window"


def bad_no_islands(folder):
    write_map(folder / "m.fits")
    return {}, "lower annotate.seed_sigma"


def run_here(command, out, *arguments, **settings):
    """Do what `run` does in this process."""
    return command(*call("run", "--out", out, *arguments, **settings)[3:], cwd=ROOT)


CASES = [value for name, value in sorted(globals().items()) if name.startswith("bad_")]


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.__name__)
def test_bad_maps(command, tmp_path, case):
    extra, pattern = case(tmp_path)
    extra = {"maps.files": [str(tmp_path / "m.fits")], **extra}
    done = run_here(command, tmp_path / "run", "--on", "serial", extra=extra)
    assert done.returncode == 2, done.stderr
    check_one_line(done.stderr, pattern)
    assert not [p for p in (tmp_path / "run").glob("*") if p.name in ("cutouts.zarr", "field", "stamps.zarr")]


def check_one_line(text, pattern):
    import re

    plain = [line for line in text.splitlines() if not line.startswith("{")]
    assert len(plain) == 1, text
    assert plain[0].startswith("astro-dist: ")
    assert re.search(pattern, plain[0]), plain[0]


@pytest.mark.parametrize(
    ("extra", "pattern"),
    [
        ({"assemble.pixel_arcsec": 3.0}, "does not sample a beam.*assemble.pixel_arcsec"),
        ({"assemble.objects": 5000, "assemble.reuse": 1000}, r"about \d+ would fit"),
        ({"assemble.shape": [100, 620]}, "smaller than a stamp"),
        ({"assemble.density": str(ROOT / "README.md")}, "cannot be read as a FITS image"),
    ],
    ids=["pixel", "objects", "shape", "density"],
)
def test_a_hopeless_field_is_refused_before_any_stage_runs(command, tmp_path, extra, pattern):
    done = run_here(command, tmp_path / "run", extra=extra)
    assert done.returncode == 2, done.stderr
    check_one_line(done.stderr, pattern)
    assert not (tmp_path / "run").exists()


def test_nan_loss(tmp_path):
    done = run(
        tmp_path / "run", "--on", "serial", extra={"autoencoder.lr": 1e30, "autoencoder.warmup_steps": 0}
    )
    assert done.returncode == 2, done.stderr
    check_one_line(done.stderr, "autoencoder.*loss")
    assert not (tmp_path / "run/models/autoencoder").exists()


def test_too_many_objects_says_how_many_fit_and_loses_nothing(toy_run, tmp_path):
    import shutil

    out, _ = toy_run
    shutil.copytree(out, tmp_path / "run")
    extra = {"assemble.objects": 2500, "assemble.reuse": 1000}
    done = run(tmp_path / "run", "--on", "serial", "--redo", "assemble", extra=extra)
    assert done.returncode == 2, done.stderr
    check_one_line(done.stderr, r"\d+ .*fit")
    assert stable_digests(tmp_path / "run") == stable_digests(out)


def test_full_disk_stops_with_75_and_the_same_command_finishes(toy_run, tmp_path):
    """A file size limit is a disk that is full for the large files: EFBIG, as a quota gives."""
    out, _ = toy_run

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))

    stopped = run(tmp_path / "run", "--workers", 2, preexec=limit)
    assert stopped.returncode == 75, stopped.stderr
    check_one_line(stopped.stderr, "the disk is full")
    done = run(tmp_path / "run", "--on", "serial")
    assert done.returncode == 0, done.stderr
    assert stable_digests(tmp_path / "run") == stable_digests(out)


def test_run_directory_in_the_way(command, tmp_path):
    (tmp_path / "file").touch()
    done = run_here(command, tmp_path / "file" / "run")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "cannot write to the run directory" in done.stderr


def test_configs_without_their_data_say_so(command, tmp_path):
    settings = {"config": ROOT / "configs/first.yaml", "extra": {"maps.files": ["nowhere/*.fits"]}}
    done = run_here(command, tmp_path / "run", **settings)
    assert done.returncode == 2
    assert "no file matches 'nowhere/*.fits'" in done.stderr
