"""Arrays of workers on a real Slurm: the bytes of a local run, whatever happens to the jobs."""

import pytest

from astro_dist.cluster.queue import log_folder
from astro_dist.cluster.status import status_lines
from astro_dist.cluster.submit import cancel_run
from astro_dist.engine.journal import read_journal
from tests.slurm.small_site import (
    MACHINE,
    digests,
    expected,
    last_job,
    small_site,
    starts,
    submit,
    wait_for_end,
    workers_of,
)
from tests.toys import toy_runner
from tests.waiting import wait_until


@pytest.fixture
def nodes(slurm_cluster, monkeypatch):
    monkeypatch.setenv("SLURM_CONF", slurm_cluster.environment["SLURM_CONF"])
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return slurm_cluster


def test_a_chain_of_arrays_makes_the_bytes_of_a_local_run(nodes, tmp_path):
    tree = {"shards": {"pause_s": 0.9}}
    site, root = small_site(tmp_path), tmp_path / "run"
    first, second = submit(root, site, tree)
    assert first.split()[:4] == ["shards", "2", "workers", "as"]
    assert second.split()[:2] == ["total", "job"]
    again = submit(root, site, tree)
    assert [line.split()[1:3] for line in again] == [["is", "queued"]] * 2
    wait_until(lambda: sum(starts(root).values()) > 3)
    lines = status_lines(toy_runner(root, {"machine": MACHINE, **tree}))
    assert lines[0] == "running: jobs"
    assert any("running (n" in line for line in lines)
    assert any("pending (Dependency" in line for line in lines)
    wait_for_end(root)
    assert digests(root) == expected(tmp_path, tree)
    assert set(starts(root).values()) == {1}
    assert submit(root, site, tree) == []
    assert len(list(log_folder(root).iterdir())) < 12


def test_poisonous_tasks_are_named_and_cost_nobody_else(nodes, tmp_path):
    tree = {"shards": {"count": 64, "wanted": 0, "poisons": [3, 20, 41]}}
    site, root = small_site(tmp_path), tmp_path / "run"
    submit(root, site, tree)
    wait_for_end(root)
    facts = last_job(nodes, root, "shards")
    assert facts["ExitCode"] == "4:0"
    log = (log_folder(root) / f"shards-{facts['JobId']}.out").read_text()
    assert "3 of 64 tasks are quarantined" in log
    assert all(name in log for name in ("shard-003", "shard-020", "shard-041"))
    lines = status_lines(toy_runner(root, {"machine": MACHINE, **tree}))
    assert lines[1].startswith("a job ended with: astro-dist: shards: 3 of 64 tasks are quarantined")
    before = starts(root)
    assert len(list((root / "ledger" / "shards").glob("*/shard-*.json"))) == 61
    (root / "cured").touch()
    submit(root, site, tree)
    wait_for_end(root)
    assert starts(root) - before == dict.fromkeys(("shard-003", "shard-020", "shard-041"), 1)
    assert digests(root)["out/total.txt"]
    assert last_job(nodes, root, "total")["ExitCode"] == "0:0"


@pytest.mark.soak
def test_cancelled_jobs_do_not_come_back_and_the_same_command_goes_on(nodes, tmp_path):
    tree = {"shards": {"pause_s": 1.0}}
    site, root = small_site(tmp_path), tmp_path / "run"
    submit(root, site, tree)
    wait_until(lambda: len(workers_of(root)) == 2 and sum(starts(root).values()) > 2)
    cancel_run(root)
    wait_for_end(root)
    done = {path.stem for path in (root / "ledger" / "shards").glob("*/shard-*.json")}
    before = starts(root)
    submit(root, site, tree)
    wait_for_end(root)
    assert digests(root) == expected(tmp_path, tree)
    assert not done & set(starts(root) - before)


@pytest.mark.soak
def test_a_stage_over_two_nodes_is_one_job_with_ray_on_both(nodes, tmp_path):
    tree = {"shards": {"pause_s": 1.0, "count": 24}, "machine": {"gpus": 4, "fake_gpus": True}}
    site, root = small_site(tmp_path, {"shards": {"workers": 1, "nodes": 2, "gpus": 2}}), tmp_path / "run"
    first, _ = submit(root, site, tree)
    assert first.split()[:2] == ["shards", "job"]
    wait_for_end(root)
    assert digests(root) == expected(tmp_path, tree)
    hosts = {event["host"] for event in read_journal(root) if event["event"] == "done"}
    assert hosts == {"n1", "n2"}
