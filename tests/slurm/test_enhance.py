"""A map doubled by a network through an array on two nodes: byte for byte what one process makes."""

import os
import shutil
import subprocess
import sys

import pytest

from astro_dist.cluster.queue import queue_of
from astro_dist.engine.journal import read_journal
from tests.end_to_end.conftest import ROOT, stable_digests
from tests.enhance import scaling
from tests.waiting import wait_until

SITE = """
resources: {cpus: 1, memory_gb: 2, minutes: 60}
stages:
  enhance: {workers: 2}
"""


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("sizes", ["SMALL", "FULL"])
def test_an_array_doubles_a_map(nodes_on, monkeypatch, tmp_path, sizes):
    monkeypatch.setenv("SLURM_CONF", nodes_on.environment["SLURM_CONF"])
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    folder, out = scaling.double(tmp_path, **getattr(scaling, sizes)), tmp_path / "out"
    shutil.copytree(folder / "run", out)
    (out / "ledger" / "enhance.json").unlink()
    for path in (out / "ledger" / "enhance", out / "enhanced", out / "logs"):
        shutil.rmtree(path)
    (tmp_path / "site.yaml").write_text(SITE)
    line = [sys.executable, "-m", "astro_dist", "run", folder / "maps.yaml", "--out", out]
    line += ["--cluster", tmp_path / "site.yaml"]
    done = subprocess.run(
        list(map(str, line)), cwd=ROOT, capture_output=True, text=True, check=False, env=dict(os.environ)
    )
    assert done.returncode == 0, done.stderr
    wait_until(lambda: not queue_of(out))
    assert stable_digests(out) == stable_digests(folder / "run")
    events = read_journal(out)
    starts = [e["task"] for e in events if e["event"] == "start" and e["stage"] == "enhance"]
    assert len(starts) == len(set(starts))
    assert {e["host"] for e in events if e["event"] == "done"} <= {"n1", "n2"}
