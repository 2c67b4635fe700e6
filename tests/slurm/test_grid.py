"""A grid of classifiers as an array on a real queue, whose jobs are put back while they train."""

import random
import subprocess
import sys

import pytest

from astro_dist.cluster.queue import queue_of
from astro_dist.cluster.slurm import script_name
from astro_dist.engine.journal import read_journal
from tests.flare.grids import facts, published, run_grid, steps_done, write_config
from tests.slurm.conftest import ROOT
from tests.waiting import wait_until

SITE = """
resources: {cpus: 1, memory_gb: 2, minutes: 20}
stages:
  classify: {workers: 2, cpus: 1}
"""
STEPS, REQUEUES = 100, 3


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_requeued_jobs_of_a_grid_make_the_bytes_of_a_local_run(nodes_on, monkeypatch, tmp_path):
    monkeypatch.setenv("SLURM_CONF", nodes_on.environment["SLURM_CONF"])
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    config = write_config(tmp_path / "c.yaml", steps=STEPS, checkpoint_every_s=1e-9)
    local, out, chance = tmp_path / "local", tmp_path / "out", random.Random(1)
    run_grid(config, local, "--on", "serial")
    (tmp_path / "site.yaml").write_text(SITE)
    line = [sys.executable, "-m", "astro_dist", "run", config, "--out", out]
    line += ["--cluster", tmp_path / "site.yaml", "--set", "machine.workers=1"]
    subprocess.run(list(map(str, line)), check=True, cwd=ROOT)
    name, put_back = script_name("classify", shared=True), 0
    total = len(facts(local)["cells"]) * STEPS

    def elements():
        return [f"{row.id}_{row.element}" for row in queue_of(out).get(name, []) if row.state == "RUNNING"]

    while put_back < REQUEUES:
        goal = (put_back + 1) * total // (REQUEUES + 2)
        wait_until(lambda goal=goal: not queue_of(out) or (elements() and steps_done(out, STEPS) >= goal))
        if not (running := elements()):
            break
        nodes_on.run("scontrol", "requeue", chance.choice(sorted(running)))
        put_back += 1
    wait_until(lambda: not queue_of(out))
    assert put_back == REQUEUES
    assert published(out) == published(local)
    assert facts(out)["cells"] == facts(local)["cells"]
    begun = [e["task"] for e in read_journal(out) if e["event"] == "start" and e["stage"] == "classify"]
    assert set(begun) == set(facts(out)["cells"])
    assert len(begun) > len(set(begun))
