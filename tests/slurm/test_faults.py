"""What happens to jobs on a cluster: the run ends complete, and only unfinished tasks are done again."""

import os
import random
import signal
import sys
import time

import psutil
import pytest

from astro_dist.cluster.queue import queue_of
from astro_dist.workers.attempts import MAX_LOSSES
from tests.slurm.conftest import ROOT
from tests.slurm.conftest import submit as submit_script
from tests.slurm.small_site import (
    digests,
    expected,
    last_job,
    small_site,
    starts,
    submit,
    wait_for_end,
    workers_of,
)
from tests.waiting import start, wait_until

TREE = {"shards": {"pause_s": 0.7, "count": 24}}
CHANCE = random.Random(5)
FAULTS = int(os.environ.get("FAULTS", "20"))


def requeue(cluster, root):
    """Put one running element back; it does its task again."""
    cluster.run("scontrol", "requeue", CHANCE.choice(sorted(workers_of(root))))
    return 1


def kill(cluster, root):
    """Kill the process of one worker; Slurm does not start it again."""
    victims = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if "tests.slurm.toy_job" in words and str(root) in words and "--share" in words:
            victims.append(process)
    CHANCE.choice(victims).kill()
    return 1


def preempt(cluster, root):
    """Let a job of a higher partition take both nodes."""
    submit_script(cluster, "-N2", "--exclusive", "-phigh", "--output=/dev/null", "--wrap", "sleep 1")
    return 2


def power_off(cluster, root):
    """Cut the power of one worker's node, and give it back later."""
    node = CHANCE.choice(sorted(workers_of(root).values()))
    lost = sum(other == node for other in workers_of(root).values())
    cluster.off(node)
    wait_until(lambda: "down" in " ".join(cluster.states()))
    cluster.on(node)
    return lost


def disturb(cluster, root, site, fault, times):
    """Submit the run and let a fault happen ``times``; return what that may cost, and how often it came."""
    submit(root, site, TREE)
    cost = happened = 0
    while happened < times:
        seen = sum(starts(root).values())
        if wait_until(lambda seen=seen: whether_at_work(root, seen)) == "ended":
            break
        cost, happened = cost + fault(cluster, root), happened + 1
    wait_for_end(root)
    return cost, happened


def whether_at_work(root, seen):
    """Say whether workers have begun more than ``seen`` tasks, or whether the run has left the queue."""
    if not queue_of(root):
        return "ended"
    return "working" if workers_of(root) and sum(starts(root).values()) > seen else None


@pytest.fixture
def nodes(nodes_on, monkeypatch):
    monkeypatch.setenv("SLURM_CONF", nodes_on.environment["SLURM_CONF"])
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return nodes_on


def check(cluster, root, tmp_path, cost, tree=TREE):
    assert last_job(cluster, root, "total")["JobState"] == "COMPLETED"
    assert digests(root) == expected(tmp_path, tree)
    repeated = sum(starts(root).values()) - len(starts(root))
    assert repeated <= cost
    return repeated


@pytest.mark.parametrize("fault", [requeue, pytest.param(kill, marks=pytest.mark.soak)])
def test_a_fault_costs_the_tasks_it_hits(nodes, tmp_path, fault):
    root = tmp_path / "run"
    cost, happened = disturb(nodes, root, small_site(tmp_path), fault, 1)
    assert happened == 1
    check(nodes, root, tmp_path, cost)


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("fault", [requeue, kill, preempt, power_off])
def test_many_faults_of_a_kind(nodes, tmp_path, fault):
    total = rounds = repeated = 0
    while total < FAULTS:
        folder = tmp_path / str(rounds)
        folder.mkdir()
        # A task whose jobs end more often than that is taken for what ends them.
        times = min(MAX_LOSSES - 1, FAULTS - total)
        cost, happened = disturb(nodes, folder / "run", small_site(folder), fault, times)
        repeated += check(nodes, folder / "run", folder, cost)
        total, rounds = total + happened, rounds + 1
    print(f"{fault.__name__}: {total} faults, {rounds} runs, {repeated} tasks repeated")


def test_a_job_whose_time_is_up_puts_itself_back_and_repeats_nothing(nodes, tmp_path):
    """Each worker's job seems to end in 16 s, of which a fifth of its minute is for stopping.

    Only the first time: on a busy machine 4 s may not be enough for one task.
    """
    site = small_site(tmp_path, minutes=1)
    soon = '[ -z "$SLURM_ARRAY_JOB_ID" ] || [ "${SLURM_RESTART_COUNT:-0}" != 0 ]'
    soon = f"{soon} || export SLURM_JOB_END_TIME=$(($(date +%s) + 16))"
    site = site.model_copy(update={"setup": (soon,)})
    root = tmp_path / "run"
    tree = {"shards": {"pause_s": 1.0, "count": 16}}
    submit(root, site, tree)
    wait_for_end(root)
    logs = [path.read_text() for path in (root / "logs" / "slurm").glob("shards-*_*.out")]
    assert sum("time" in log and "run the same command to go on" in log for log in logs) == 2
    assert check(nodes, root, tmp_path, 0, tree) == 0


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_a_real_time_limit(nodes, tmp_path):
    """Each worker has two minutes of work and limits of one, so that it comes to its limit twice."""
    root, workers = tmp_path / "run", (FAULTS + 1) // 2
    site = small_site(tmp_path, {"shards": {"workers": workers, "cpus": 1}}, minutes=1)
    tree = {"shards": {"pause_s": 4.0, "count": 30 * workers}}
    submit(root, site, tree)
    wait_for_end(root)
    logs = [path.read_text() for path in (root / "logs" / "slurm").glob("shards-*_*.out")]
    limits = [log.count("the time of this job is up") for log in logs]
    print(f"real time limits: {sum(limits)} of {len(limits)} workers")
    assert sum(limits) >= FAULTS
    assert check(nodes, root, tmp_path, 0, tree) == 0


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_the_one_who_submits_is_killed_and_comes_back(nodes, tmp_path):
    """Wherever it dies, the same command queues what is missing and nothing twice."""
    code = "import json,sys; from pathlib import Path; from tests.slurm.small_site import *; "
    code += f"submit(Path(sys.argv[1]), small_site(Path(sys.argv[2])), {TREE!r})"
    for number in range(FAULTS):
        folder = tmp_path / str(number)
        folder.mkdir()
        driver = start([sys.executable, "-c", code, folder / "run", folder], cwd=ROOT)
        wait_until(lambda folder=folder: (folder / "run").exists(), driver)
        time.sleep(CHANCE.uniform(0.0, 0.5))
        os.kill(driver.pid, signal.SIGKILL)
        driver.wait()
        submit(folder / "run", small_site(folder), TREE)
        wait_for_end(folder / "run")
        check(nodes, folder / "run", folder, 0)
    print(f"driver killed: {FAULTS} of {FAULTS} runs complete, 0 tasks repeated")
