"""Ray over the nodes of a job: every node and GPU at work, nothing left, two jobs side by side."""

import json
import os

import pytest

from astro_dist.cluster.queue import log_folder
from tests.slurm.conftest import check_clean, traces
from tests.slurm.small_site import digests, expected, last_job, small_site, submit, wait_for_end
from tests.waiting import wait_until

TIMES = int(os.environ.get("TIMES", "10"))
FAKE = {"machine": {"executor": "serial", "fake_gpus": True}}


@pytest.fixture
def nodes(nodes_on, monkeypatch):
    monkeypatch.setenv("SLURM_CONF", nodes_on.environment["SLURM_CONF"])
    return nodes_on


def submit_over_nodes(root, tmp_path, gpus, **shards):
    """Queue the toy run with its shards on two nodes, a worker per GPU."""
    site = small_site(tmp_path, {"shards": {"workers": 1, "nodes": 2, "gpus": gpus}})
    submit(root, site, {**FAKE, "shards": shards})


def seats_of(root):
    """``{(node in Ray, host, gpu)}`` of all workers of a run, of which each must have one of its own."""
    logs = [json.loads(p.read_text())["log"] for p in root.glob("ledger/shards/*/[!.]*.json")]
    seats = {(log["host"], log["pid"]): (log["node"], log["host"], *log["gpus"]) for log in logs}
    assert len(set(seats.values())) == len(seats)
    return set(seats.values())


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("times", [1, pytest.param(TIMES, marks=pytest.mark.soak)])
def test_two_jobs_on_the_same_nodes_do_not_mix_and_leave_nothing(nodes, tmp_path, times):
    before = traces(nodes)
    reference = expected(tmp_path, {})
    for i in range(times):
        roots = [tmp_path / f"{side}{i}" for side in "ab"]
        for root in roots:
            # The worker that comes first waits for the other, however long that takes.
            submit_over_nodes(root, tmp_path, gpus=1, slow_until=[6])
        for root in roots:
            wait_for_end(root)
            assert last_job(nodes, root, "total")["JobState"] == "COMPLETED", logs_of(root)
            assert digests(root) == reference
        seats = [seats_of(root) for root in roots]
        assert [len(each) for each in seats] == [2, 2]
        assert {seat[1:] for each in seats for seat in each} == {("n1", 0), ("n1", 1), ("n2", 0), ("n2", 1)}
        assert len({seat[0] for each in seats for seat in each}) == 4
        check_clean(nodes, before)
    print(f"two Ray jobs side by side: {times} times")


def logs_of(root):
    return "\n".join(
        path.read_text() for path in (*log_folder(root).glob("*.out"), root / "logs" / "ray.log")
    )


@pytest.mark.soak
def test_a_cancelled_job_leaves_nothing(nodes, tmp_path):
    before = traces(nodes)
    root = tmp_path / "run"
    submit_over_nodes(root, tmp_path, gpus=2, pause_s=60)
    wait_until(lambda: list(root.glob("logs/worker-3.log")))
    nodes.run("scancel", "--user=root")
    wait_for_end(root)
    check_clean(nodes, before)
