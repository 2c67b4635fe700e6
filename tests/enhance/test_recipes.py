"""What users copy: the script for folders of maps, the configuration for survey maps, the check of a GPU."""

import re
import runpy
import subprocess
import sys

import numpy as np
import pytest
from astropy.io import fits

from tests.end_to_end.conftest import ROOT, stable_digests
from tests.enhance.fits_images import sky, write
from tests.enhance.scaling import RADIO


def test_a_script_doubles_folders_of_maps(tmp_path, monkeypatch, capsys):
    """Two maps in two folders and a file that is none; the same command again finds all done."""
    (tmp_path / "maps" / "north").mkdir(parents=True)
    write(tmp_path / "maps" / "a.fits", sky(seed=1))
    write(tmp_path / "maps" / "north" / "b.fits", sky(seed=2))
    (tmp_path / "maps" / "north" / "c.fits").write_text("no FITS")
    script, out = ROOT / "jobs" / "enhance_maps.py", tmp_path / "out"
    assert len(script.read_text().splitlines()) <= 40
    line = [str(script), str(tmp_path / "maps"), str(out), "--on", "serial"]
    monkeypatch.setattr(sys, "argv", line)
    found = []
    for _ in range(2):
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(script), run_name="__main__")
        assert end.value.code == 4
        found.append([stable_digests(out / name) for name in ("maps", "north")])
    assert found[0] == found[1]
    assert "c.fits" in capsys.readouterr().err
    for name, file, seed in (("maps", "a", 1), ("north", "b", 2)):
        large = fits.getdata(out / name / "enhanced" / f"{file}.fits").astype(np.float64)
        means = large.reshape(64, 2, 80, 2).mean((1, 3))
        assert np.abs(means - sky(seed=seed)).max() < 1e-6 * np.abs(means).max()


def test_files_need_no_network(command, tmp_path):
    """The command in the head of the configuration of survey maps, which is run whole elsewhere."""
    (said,) = re.findall(r"--set '(enhance=.*)'", RADIO.read_text())
    (tmp_path / "maps").mkdir()
    write(tmp_path / "maps" / "a.fits")
    line = ("enhance", RADIO, "--set", said, "--out", tmp_path / "run", "--on", "serial")
    done = command(*line, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert fits.getdata(tmp_path / "run" / "enhanced" / "a.fits").shape == (128, 160)


@pytest.mark.soak
def test_the_check_of_a_gpu_rehearses_on_a_core(tmp_path):
    script = [str(ROOT / "slurm" / "superres_check.sh"), "--rehearse", str(tmp_path / "out.txt")]
    done = subprocess.run(script, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "out.txt").read_text().splitlines()
    assert [line.split(":")[0] for line in lines[1:]] == ["training", "15 calls", "2000 calls"]
    assert all(float(re.search(r": ([\d.e+-]+) ", line)[1]) > 0 for line in lines[1:])
