"""What new users wish for, each with the commands that the documentation shows, at the first try.

What they wish for in Python is in `test_api.py` and in the programs of the guides (`test_docs.py`).
"""

import json

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from PIL import Image

from tests.test_starter import RMS, write_map

QUICK = ("plan", "quickstart")
# `generate.objects` is needed with maps of one's own: `plan` refuses without, and names the number.
WISHES = {
    "my own map": [
        ("init", "--from", "mine.fits"),
        ("plan", "mine.yaml"),
        ("run", "mine.yaml", "--to", "cutouts", "--on", "serial"),
    ],
    "my map into a configuration of the package": [
        (*QUICK, "--set", "maps.files=mine.fits", "--set", "generate.objects=490")
    ],
    "fewer sources on a smaller field": [
        (*QUICK, "--set", "assemble.shape=1000,1200", "--set", "assemble.flux.counts.limit_jy=5e-4")
    ],
    "my own masks of 0 and 1": [
        (*QUICK, "--set", "generate.masks.labels=ones.fits", "--set", "generate.masks.classes={1: extended}")
    ],
    "a real background": [
        (
            *(*QUICK, "--set", "assemble.background={kind: map, path: mine.fits}"),
            *("--set", "generate.objects=3"),
        )
    ],
    "my catalogue as PyBDSF writes it": [
        (
            *QUICK,
            *("--set", "assemble.flux={mode: catalogue, catalogue: sources.csv}"),
            *("--set", "assemble.background={kind: map, path: mine.fits}", "--set", "generate.objects=2"),
        )
    ],
    "my catalogue with the drawings of a run": [
        (
            *("fork", "RUN", "mine", "--set", "assemble.flux={mode: catalogue, catalogue: sources.csv}"),
            *("--set", "assemble.background={kind: map, path: mine.fits}", "--set", "assemble.objects=2"),
        ),
        ("run", "mine/config.yaml", "--out", "mine", "--to", "assemble", "--on", "serial"),
    ],
    "training from the weights of the package": [(*QUICK, "--set", "diffusion.steps=500")],
    "the fluxes of one sky at three frequencies": [
        (*QUICK, "--set", "assemble.flux.bands_hz=144e6,3e9", "--to", "assemble")
    ],
    "maps of one sky at three frequencies": [
        (*QUICK, "--set", f"assemble.seen.frequency_hz={band}", "--to", "assemble")
        for band in ("150e6", "5e9")
    ],
    "work done over Ray": [(*QUICK, "--on", "ray")],
    "a Slurm chain to look at": [("run", "quickstart", "--cluster", "generic", "--dry-run")],
    "figures for a script": [(*QUICK, "--json"), ("doctor", "--json"), ("status", "RUN", "--json")],
    "cutout 3 as FITS with its place": [("export", "RUN", "cutouts", "--index", "3", "--fits")],
    "cutouts as pictures": [("export", "RUN", "cutouts", "--index", "0-9", "--grid")],
    "samples for training elsewhere": [
        ("export", "RUN", "cutouts", "--index", "0-3", "--hf", "--out", "hf"),
        ("export", "RUN", "stamps", "--index", "0-3", "--webdataset", "--out", "tars"),
    ],
    "another field from the same drawings": [("fork", "RUN", "second", "--set", "assemble.seed=2")],
    "completion in my shell": [("completion", "bash"), ("completion", "zsh")],
    "why it failed": [("logs", "RUN"), ("status", "RUN")],
    "room on my disk": [("clean", "RUN", "--dry-run")],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A user's folder: a map, a mask of ones, a catalogue of a finder, pictures."""
    folder = tmp_path_factory.mktemp("user")
    with fits.open(write_map(folder / "mine.fits"), mode="update") as file:
        header = file[0].header
        # Two sources of 8 x 20 pixels, which a training can learn from and whose masks are drawn for.
        for row, column in ((150, 200), (350, 400)):
            file[0].data[row : row + 8, column : column + 20] += 40 * RMS
    ones = np.zeros((512, 640), np.int16)
    ones[200:212, 300:340] = 1
    fits.writeto(folder / "ones.fits", ones, header)
    places = {"RA": [150.0, 150.02], "DEC": [-30.0, -30.01], "Total_flux": [0.01, 0.02]}
    Table(places).write(folder / "sources.csv", format="ascii.csv")
    rng = np.random.default_rng(1)
    Image.fromarray(rng.integers(0, 256, (24, 24, 3), np.uint8)).save(folder / "photo.jpg")
    for label in ("spirals", "ellipticals"):
        (folder / "photos" / label).mkdir(parents=True)
        for number in range(12):
            pixels = rng.integers(0, 256, (24, 24, 3), np.uint8)
            Image.fromarray(pixels).save(folder / "photos" / label / f"{number}.png")
    return folder


@pytest.mark.parametrize("wish", WISHES)
def test_it_comes_true_at_the_first_try(wish, folder, toy_run, command):
    for words in WISHES[wish]:
        given = [toy_run[0] if word == "RUN" else word for word in words]
        done = command(*given, cwd=folder)
        assert done.returncode == 0, done.stderr
        if "--json" in words:
            assert json.loads(done.stdout)
        assert done.stdout.strip()
