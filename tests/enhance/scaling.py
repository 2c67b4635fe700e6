"""The configuration of survey maps at any size: run whole, and its doubling made again under kills."""

import shutil
import sys

import numpy as np
import yaml
from astropy.io import fits

from astro_dist.cli import main
from astro_dist.enhance.chain_stage import ENHANCE
from tests.end_to_end.conftest import ROOT, stable_digests
from tests.end_to_end.test_kill import disturb_line, finish

RADIO = ROOT / "configs" / "enhance" / "radio.yaml"
SMALL = {"side": 384, "width": 8, "steps": 4, "calls": 2, "band_rows": 128, "tile_pix": 128}
FULL = {"side": 1024, "width": 16, "steps": 200, "calls": 5, "band_rows": 64, "tile_pix": 256}
"""1,024 x 1,024 pixels in 16 bands."""


def configure(side, width, steps, calls, **tiles):
    """Return the configuration of survey maps at another size."""
    tree = yaml.safe_load(RADIO.read_text())
    tree["simulate"]["shape"] = [side, side]
    tree["cutouts"] |= {"size_pix": 32, "empty_fraction": 0.5, "shard": 64}
    tree["superres"] |= {"width": width, "steps": steps, "crop_pix": 32}
    tree["enhance"] |= {"samples": 2, "most_samples": 3, "keep_samples": 1, "calls": calls, **tiles}
    return tree


def double(folder, **sizes):
    """Double a simulated map in this process; the configuration lies beside the run."""
    (folder / "maps.yaml").write_text(yaml.safe_dump(configure(**sizes)))
    assert main(["run", str(folder / "maps.yaml"), "--out", str(folder / "run"), "--on", "serial", "-q"]) == 0
    return folder


def line(folder, out, *options):
    """Return the command that enhances the map of a copied run again."""
    words = ("enhance", folder / "maps.yaml", "--out", out, *options)
    return [sys.executable, "-m", "astro_dist", *map(str, words)]


def again(folder, out, *options):
    """Enhance the map of a copy of a run again and return the digests of all its products."""
    shutil.copytree(folder / "run", out)
    finish(line(folder, out, "--redo", "enhance", *options))
    return stable_digests(out)


def disturb(folder, out, executor, kills, chance, workers=2):
    """Enhance the map of a copied run until it was killed that often; the digests stay."""
    shutil.copytree(folder / "run", out)
    options = ("--redo", "enhance", "--on", executor, "--workers", workers)
    disturb_line(out, ENHANCE, line(folder, out, *options), executor, kills, chance)


def seams(folder, out, side):
    """Double the map of a copied run in tiles of another side.

    Returns
    -------
    dict
        For each file of pixels the greatest difference from what was there, of its standard deviation.
    """
    shutil.copytree(folder / "run", out)
    own = [word for name in ("band_rows", "tile_pix") for word in ("--set", f"enhance.{name}={side}")]
    words = ["enhance", folder / "maps.yaml", "--out", out, "--redo", "enhance", "--on", "serial", "-q", *own]
    assert main(list(map(str, words))) == 0
    found = {}
    for path in sorted((out / "enhanced").glob("*.fits")):
        before, after = (fits.getdata(root / "enhanced" / path.name) for root in (folder / "run", out))
        if "flags" not in path.name:
            found[path.name] = float(np.abs(before - after).max() / before.std())
        else:
            np.testing.assert_array_equal(before, after)
    return found
