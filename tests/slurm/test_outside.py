"""A pipeline from outside the package on a real queue, submitted from the folder above a clone."""

import os
import subprocess
import sys

from astro_dist.cluster.queue import queue_of
from astro_dist.engine.journal import read_journal
from tests.slurm.conftest import wait_until
from tests.test_pipelines import OUTSIDE, SUMS, products

SITE = """
resources: {cpus: 2, memory_gb: 2, minutes: 10}
stages:
  learn: {workers: 3, cpus: 1}
"""


def test_its_jobs_find_it_where_the_one_that_submits_did(nodes_on, monkeypatch, tmp_path, above):
    monkeypatch.setenv("SLURM_CONF", nodes_on.environment["SLURM_CONF"])
    monkeypatch.setenv("PYTHONPATH", f"{OUTSIDE}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    (tmp_path / "site.yaml").write_text(SITE)
    line = [sys.executable, "-m", "astro_dist", "run", SUMS, "--set", "machine.workers=1"]
    local, out = tmp_path / "local", tmp_path / "out"
    subprocess.run([*line, "--out", local, "--on", "serial"], cwd=above, check=True)
    submitted = subprocess.run(
        [*line, "--out", out, "--cluster", tmp_path / "site.yaml"],
        cwd=above,
        capture_output=True,
        text=True,
        check=False,
    )
    assert submitted.returncode == 0, submitted.stderr
    assert [text.split()[0] for text in submitted.stdout.splitlines()[:3]] == ["numbers", "learn", "verdict"]
    wait_until(lambda: not queue_of(out))
    assert products(out) == products(local)
    cells = [e for e in read_journal(out) if e["event"] == "start" and e["stage"] == "learn"]
    assert sorted(event["task"] for event in cells) == ["all", "few", "slow"]
    # Refused before anything is queued: a stage that no pipeline has.
    (tmp_path / "wrong.yaml").write_text("stages:\n  numbrs: {cpus: 1}\n")
    refused = subprocess.run(
        [*line, "--out", tmp_path / "refused", "--cluster", tmp_path / "wrong.yaml"],
        cwd=above,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "no stage is called 'numbrs': did you mean 'numbers'" in refused.stderr
