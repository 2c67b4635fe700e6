"""Copies of maps at a wider beam: points become points of that beam, and blank pixels stay blank."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from astro_dist.sky.beams import Beam, Pixel
from astro_dist.sky.fits_file import plane_wcs, radio_header

JOB = Path(__file__).parents[2] / "jobs" / "convolve_maps.py"
OWN, WIDE, PIXEL = Beam(6, 6), Beam(10, 8, 40), Pixel(1.5, 1.5)


def convolve(path, out, beam=("10", "8", "40")):
    line = [sys.executable, str(JOB), "--beam", *beam, "--out", str(out), str(path)]
    return subprocess.run(line, capture_output=True, text=True, check=False)


def test_a_point_has_the_wider_beam_and_its_peak(tmp_path):
    y, x = np.mgrid[:90, :90]
    image = 2.5 * OWN.profile(y - 45.3, x - 44.6, PIXEL)
    image[:5] = np.nan
    header = radio_header(image.shape, plane_wcs(image.shape, PIXEL, 10.0, -20.0), OWN, 1.4e9)
    fits.writeto(tmp_path / "map.fits", image.astype(np.float32), header)
    done = convolve(tmp_path / "map.fits", tmp_path / "wide")
    assert done.returncode == 0, done.stderr
    with fits.open(tmp_path / "wide" / "map.fits") as hdus:
        found, cards = hdus[0].data.astype(float), hdus[0].header
    # The kernel is cut at two of its widths.
    assert found[30:60, 30:60] == pytest.approx(
        2.5 * WIDE.profile(y - 45.3, x - 44.6, PIXEL)[30:60, 30:60], abs=2.5e-3
    )
    assert [3600 * cards["BMAJ"], 3600 * cards["BMIN"], cards["BPA"]] == pytest.approx([10, 8, 40])
    assert np.isnan(found[:5]).all()
    assert np.isfinite(found[30:70, 30:60]).all()
    again = convolve(tmp_path / "map.fits", tmp_path / "wide")
    assert (again.returncode, again.stderr.count("\n")) == (2, 1)
    assert "has such copies already" in again.stderr
    inside = convolve(tmp_path / "map.fits", tmp_path / "other", ("5", "5", "0"))
    assert (inside.returncode, inside.stderr.count("\n")) == (2, 1)
    assert "give a larger --beam" in inside.stderr
