"""Fields by counts and by a catalogue through an array of two workers on two nodes: the same bytes."""

import os
import shutil
import subprocess

import pytest

from astro_dist.cluster.queue import queue_of
from astro_dist.engine.journal import read_journal
from tests.end_to_end.conftest import ROOT, call, stable_digests, toy_run  # noqa: F401
from tests.end_to_end.test_fluxes import field  # noqa: F401
from tests.waiting import wait_until

SITE = """
resources: {cpus: 2, memory_gb: 3, minutes: 60}
stages:
  assemble: {workers: 2, cpus: 8}
"""


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_an_array_makes_the_same_field(nodes_on, monkeypatch, field, tmp_path):  # noqa: F811
    monkeypatch.setenv("SLURM_CONF", nodes_on.environment["SLURM_CONF"])
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    (tmp_path / "site.yaml").write_text(SITE)
    first, extra = field
    out = tmp_path / "run"
    shutil.copytree(first, out)
    shutil.rmtree(out / "logs")
    options = ("--redo", "assemble", "--cluster", tmp_path / "site.yaml")
    line = call("run", "--out", out, *options, extra=extra)
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False, env=dict(os.environ))
    assert done.returncode == 0, done.stderr
    wait_until(lambda: not queue_of(out))
    assert stable_digests(out) == stable_digests(first)
    events = [e for e in read_journal(out) if e["event"] == "done" and e["stage"] == "assemble"]
    assert sum(e["task"].startswith("band-") for e in events) >= 4
    # Either node may be the faster one and do all.
    assert {e["host"] for e in events} <= {"n1", "n2"}
    starts = [e["task"] for e in read_journal(out) if e["event"] == "start" and e["stage"] == "assemble"]
    assert len(starts) == len(set(starts))
