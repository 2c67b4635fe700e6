"""The whole pipeline at toy size over two nodes with fake GPUs: byte for byte what a local run makes."""

import os
import shutil
import subprocess

import pytest

from astro_dist.cluster.queue import queue_of
from astro_dist.engine.journal import read_journal
from tests.end_to_end.conftest import ROOT, call, stable_digests, toy_run  # noqa: F401
from tests.end_to_end.test_kill import finish, stage_line
from tests.end_to_end.test_package_stage import PACKAGED
from tests.waiting import wait_until

SITE = """
resources: {cpus: 2, memory_gb: 3, minutes: 60}
stages:
  annotate: {workers: 2}
  cutouts: {workers: 2, cpus: 4}
  generate: {workers: 4, gpus: 1}
  assemble: {workers: 2}
"""
FAKE = {"machine.fake_gpus": True, "machine.gpus": 1}


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_the_pipeline_through_arrays_on_two_nodes(nodes_on, monkeypatch, toy_run, tmp_path):  # noqa: F811
    monkeypatch.setenv("SLURM_CONF", nodes_on.environment["SLURM_CONF"])
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    (tmp_path / "site.yaml").write_text(SITE)
    out = tmp_path / "run"
    line = call("run", "--out", out, "--cluster", tmp_path / "site.yaml", extra=FAKE)
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False, env=dict(os.environ))
    assert done.returncode == 0, done.stderr
    wait_until(lambda: not queue_of(out))
    assert stable_digests(out) == stable_digests(toy_run[0])
    hosts = {event["host"] for event in read_journal(out) if event["event"] == "done"}
    assert hosts <= {"n1", "n2"}
    starts = [(e["stage"], e["task"]) for e in read_journal(out) if e["event"] == "start"]
    assert len(starts) == len(set(starts))
    assert len(list((out / "logs" / "slurm").iterdir())) < 40


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_a_package_through_an_array_on_two_nodes(nodes_on, monkeypatch, toy_run, tmp_path):  # noqa: F811
    monkeypatch.setenv("SLURM_CONF", nodes_on.environment["SLURM_CONF"])
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    (tmp_path / "site.yaml").write_text(f"{SITE}  package: {{workers: 2}}\n")
    here, out = tmp_path / "here", tmp_path / "run"
    for root in (here, out):
        shutil.copytree(toy_run[0], root)
    finish(stage_line("package", here, "serial", PACKAGED))
    line = stage_line("package", out, "processes", PACKAGED, "--cluster", tmp_path / "site.yaml")
    for word in ("--workers", "--on"):
        del line[(at := line.index(word)) : at + 2]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False, env=dict(os.environ))
    assert done.returncode == 0, done.stderr
    wait_until(lambda: not queue_of(out))
    assert stable_digests(out) == stable_digests(here)
    assert {e["host"] for e in read_journal(out) if e["stage"] == "package" and e["event"] == "done"} <= {
        "n1",
        "n2",
    }
