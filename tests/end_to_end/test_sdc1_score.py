"""The truth of a field as a submission to SKA Science Data Challenge 1, scored by SKAO's own program."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.field.small_sky import assemble, make_run

SCORER = Path(__file__).parent / "sdc1_score.py"
INSTALL = (
    "SKA_SDC_PYTHON names no python with ska-sdc: python3 -m venv V && "
    "V/bin/pip install 'ska-sdc==2.0.0' 'pandas<3' 'setuptools<81' && export SKA_SDC_PYTHON=V/bin/python"
)


@pytest.mark.soak
def test_the_truth_has_a_perfect_score_of_skao(tmp_path):
    python = os.environ.get("SKA_SDC_PYTHON")
    if python is None:
        pytest.skip(INSTALL)
    # The score looks at one place on the sky, outside the part that was for training.
    flux = {"scale": 20.0, "minimum": 10.0, "cap": 200.0}
    run = make_run(tmp_path, shape=(220, 240), objects=16, flux=flux, ra_deg=0.5, dec_deg=-30.3)
    assemble(run)
    path = run.root / "field" / "truth_sdc1.txt"
    done = subprocess.run([python, SCORER, path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    n = len(np.loadtxt(path))
    for score in json.loads(done.stdout.splitlines()[-1]):
        assert (score["n_match"], score["n_det"]) == (n, n)
        assert score["value"] == pytest.approx(n, rel=1e-9)
