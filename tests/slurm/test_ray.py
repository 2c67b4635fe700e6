"""Ray over the nodes of a job: every node and GPU at work, nothing left, two jobs side by side."""

import json
import sys

import pytest

from astro_dist.files import tree_digests
from tests.slurm.conftest import batch, submit, traces, wait_for_state, wait_until
from tests.toys import execute


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """Digests of the undisturbed serial run."""
    root = tmp_path_factory.mktemp("serial")
    execute(root, {"machine": {"executor": "serial"}})
    return tree_digests(root / "shards")


def submit_toy(cluster, folder, gpus, **settings):
    """A job of two nodes that runs the toy stages on Ray with the GPUs it is given."""
    tree = json.dumps({"machine": {"fake_gpus": True}, "shards": {"pause_s": 0.3, **settings}})
    command = f"{sys.executable} -m tests.toys {folder}/run ray {2 * gpus} '{tree}'"
    folder.mkdir()
    script = batch(folder / "job.sh", f"exec {command}")
    options = ("-N2", "--ntasks-per-node=1", "--cpus-per-task=4", f"--gres=gpu:{gpus}", "--mem-per-cpu=100")
    return submit(cluster, *options, f"--output={folder}/log", script=script)


def seats_of(folder):
    """``{worker process: (node in Ray, host, gpu)}`` of a run."""
    logs = [json.loads(p.read_text())["log"] for p in folder.glob("run/ledger/shards/*/[!.]*.json")]
    return {(log["host"], log["pid"]): (log["node"], log["host"], *log["gpus"]) for log in logs}


@pytest.mark.parametrize("times", [1, pytest.param(10, marks=pytest.mark.soak)])
def test_two_jobs_on_the_same_nodes_do_not_mix_and_leave_nothing(nodes_on, tmp_path, reference, times):
    before = {node: traces(nodes_on, node) for node in nodes_on.nodes}
    for i in range(times):
        folders = [tmp_path / f"{side}{i}" for side in "ab"]
        jobs = [submit_toy(nodes_on, folder, gpus=1) for folder in folders]
        seats = []
        for folder, job in zip(folders, jobs, strict=True):
            facts = wait_for_state(nodes_on, job, "COMPLETED", "FAILED")
            assert facts["JobState"] == "COMPLETED", (folder / "log").read_text()
            assert tree_digests(folder / "run/shards") == reference
            seats.append(set(seats_of(folder).values()))
        assert [len(each) for each in seats] == [2, 2]
        hosts_and_gpus = {seat[1:] for each in seats for seat in each}
        assert hosts_and_gpus == {("n1", 0), ("n1", 1), ("n2", 0), ("n2", 1)}
        assert len({seat[0] for each in seats for seat in each}) == 4
        wait_until(lambda: {node: traces(nodes_on, node) for node in nodes_on.nodes} == before, 20)


@pytest.mark.soak
def test_a_cancelled_job_leaves_nothing(nodes_on, tmp_path):
    before = {node: traces(nodes_on, node) for node in nodes_on.nodes}
    job = submit_toy(nodes_on, tmp_path / "a", gpus=2, pause_s=60)
    wait_until(lambda: list((tmp_path / "a/run").glob("logs/worker-3.log")))
    nodes_on.run("scancel", str(job))
    wait_for_state(nodes_on, job, "CANCELLED")
    wait_until(lambda: {node: traces(nodes_on, node) for node in nodes_on.nodes} == before, 60)
