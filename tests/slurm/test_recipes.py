"""The recipe that submits one stage, on a real queue: shared by an array, the bytes of a local run."""

import subprocess
import sys

from astro_dist.cluster.queue import queue_of
from astro_dist.engine.files import tree_digests
from tests.slurm.conftest import ROOT
from tests.waiting import wait_until

CONFIG = """
simulate: {shape: [400, 420]}
machine: {workers: 1}
"""


def test_one_stage_after_the_other_from_python(nodes_on, monkeypatch, tmp_path):
    monkeypatch.setenv("SLURM_CONF", nodes_on.environment["SLURM_CONF"])
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    config, local, out = tmp_path / "small.yaml", tmp_path / "local", tmp_path / "out"
    config.write_text(CONFIG)
    line = [sys.executable, "-m", "astro_dist", "run", config, "--to", "annotate", "--out", local]
    subprocess.run([*line, "--on", "serial"], cwd=ROOT, check=True)
    for stage, workers in (("simulate", 1), ("annotate", 2)):
        line = [sys.executable, "jobs/submit_stage.py", stage, config, "--out", out]
        subprocess.run([*line, f"--workers={workers}", "--cpus=2", "--minutes=5"], cwd=ROOT, check=True)
        wait_until(lambda: not queue_of(out))
    for product in ("maps", "annotations"):
        assert tree_digests(out / product) == tree_digests(local / product)
