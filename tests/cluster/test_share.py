"""Workers of an array without a scheduler: shares, claims, given-up tasks, the closing job."""

import os
from types import SimpleNamespace

import pytest

from astro_dist.cluster import share
from astro_dist.cluster.share import Claims, Portion, close_stage, do_share
from astro_dist.engine.errors import QuarantinedError
from astro_dist.engine.files import tree_digests
from astro_dist.engine.journal import Journal, read_journal
from astro_dist.engine.progress import Display
from astro_dist.engine.work import Task, for_stage
from astro_dist.runner import Runner
from astro_dist.workers.attempts import MAX_LOSSES
from tests.toys import SHARDS, execute, toy_runner
from tests.waiting import wait_until

QUIET = Display(live=False)


def begun(root, tree=None):
    """A runner of the stage `shards`, begun for workers."""
    runner = toy_runner(root, {"machine": {"executor": "serial"}, **(tree or {})})
    with runner.opened(QUIET):
        runner.begin(SHARDS)
    return Runner(runner.root, runner.config, runner.known, "shards")


def started(root):
    return [e["task"] for e in read_journal(root) if e["event"] == "start"]


def test_workers_share_all_rounds_and_the_bytes_are_those_of_one(tmp_path):
    root = tmp_path / "run"
    runner = begun(root)
    do_share(runner, "shards", 0, 2, QUIET)
    do_share(runner, "shards", 1, 2, QUIET)
    close_stage(runner, (), None, QUIET)
    execute(tmp_path / "alone", {"machine": {"executor": "serial"}})
    assert tree_digests(root / "shards") == tree_digests(tmp_path / "alone" / "shards")
    assert len(started(root)) == len(set(started(root))) > 12
    do_share(runner, "shards", 0, 2, QUIET)
    assert not list((root / "ledger").glob("*/*/.claims/*"))


def test_each_worker_begins_with_its_own_share():
    tasks = [Task(str(i)) for i in range(7)]
    names = [task.name for task in Portion(1, 3, 1).order(tasks)]
    assert names == ["1", "4", "2", "5", "0", "3", "6"]
    assert [Portion(0, 3, 2).batch(n) for n in (600, 12, 1)] == [100, 2, 2]


def test_given_up_tasks_are_named_by_the_closing_job_and_tried_by_the_next_command(tmp_path):
    root = tmp_path / "run"
    tree = {"shards": {"wanted": 0, "poisons": [3, 5]}}
    runner = begun(root, tree)
    do_share(runner, "shards", 0, 1, QUIET)
    before = len(started(root))
    with pytest.raises(QuarantinedError, match=r"2 of 12 tasks are quarantined \(shard-003: this shard"):
        close_stage(runner, (), None, QUIET)
    assert len(started(root)) == before
    (root / "cured").touch()
    execute(root, {"machine": {"executor": "serial"}, **tree})
    assert sorted(started(root)[before:]) == ["shard-003", "shard-005", "total"]


def test_a_task_that_ends_between_the_look_and_the_claim_is_not_done_again(tmp_path, monkeypatch):
    root = tmp_path / "run"
    runner = begun(root, {"shards": {"wanted": 0}})
    take = Claims.take

    def take_late(self, tasks, count):
        if self.who.endswith("_1") and not (root / "late").exists():
            (root / "late").touch()
            do_share(runner, "shards", 0, 2, QUIET)
        return take(self, tasks, count)

    monkeypatch.setattr(Claims, "take", take_late)
    do_share(runner, "shards", 1, 2, QUIET)
    assert (root / "late").exists()
    assert sorted(started(root)) == [f"shard-{i:03d}" for i in range(12)]


def claims(runner, who):
    return Claims(for_stage(runner.run, SHARDS, runner.ledger.begun("shards")), who)


def test_a_claim_holds_until_the_sign_of_its_owner_is_stale(tmp_path, monkeypatch):
    now_s = [0.0]
    monkeypatch.setattr(share, "time", SimpleNamespace(monotonic=lambda: now_s[0]))
    monkeypatch.setattr(share, "BEAT_S", 0.05)
    runner, tasks = begun(tmp_path), [Task("a"), Task("b"), Task("c")]
    with claims(runner, "one") as one, claims(runner, "two") as two:
        assert one.take(tasks, 2) == tasks[:2]
        assert two.take(tasks, 3) == tasks[2:]
        assert two.take(tasks[:2], 2) == []
        beat = one.folder.joinpath(".one").stat().st_mtime_ns
        wait_until(lambda: one.folder.joinpath(".one").stat().st_mtime_ns > beat)
        now_s[0] += 2 * share.STALE_S
        assert two.take(tasks[:2], 2) == []
        one.ended.set()
        one.beats.join()
        assert two.take(tasks[:2], 2) == []
        now_s[0] += 0.9 * share.STALE_S
        assert two.take(tasks[:2], 2) == []
        now_s[0] += 0.2 * share.STALE_S
        assert two.take(tasks[:2], 2) == tasks[:2]


def test_a_requeued_worker_takes_its_own_claims_and_a_deadly_task_is_given_up(tmp_path):
    runner = begun(tmp_path)
    deadly, innocent = Task("shard-000"), Task("shard-001")
    mark = runner.ledger.begun("shards")
    for life in range(MAX_LOSSES):
        dead = claims(runner, "one")
        dead.folder.mkdir(parents=True, exist_ok=True)
        assert dead.take([deadly, innocent], 2) == [deadly, innocent], life
        Journal(tmp_path, "0").note("start", stage="shards", fingerprint=mark, task=deadly.name)
    assert claims(runner, "one").take([deadly, innocent], 2) == [innocent]
    assert runner.ledger.records("shards", mark).given_up() == {
        deadly.name: f"{MAX_LOSSES} jobs ended while they did it, the last one"
    }
    assert sorted(os.listdir(dead.folder)) == [deadly.name, innocent.name]


def test_a_worker_begins_a_stage_that_is_not_begun_in_this_version(tmp_path):
    for wanted in (0, 1):
        tree = {"machine": {"executor": "serial"}, "shards": {"wanted": wanted, "poisons": [wanted]}}
        whole = toy_runner(tmp_path, tree)
        runner = Runner(whole.root, whole.config, whole.known, "shards")
        for number in (0, 1):
            do_share(runner, "shards", number, 2, QUIET)
    begins = [event["fingerprint"] for event in read_journal(tmp_path) if event["event"] == "begin"]
    assert len(begins) == len(set(begins)) == 2


def test_a_stage_that_would_replace_a_product_is_left_to_the_closing_job(tmp_path):
    execute(tmp_path, {"machine": {"executor": "serial"}})
    before = len(started(tmp_path))
    whole = toy_runner(tmp_path, {"machine": {"executor": "serial"}, "shards": {"wanted": 0}})
    do_share(Runner(whole.root, whole.config, whole.known, "shards"), "shards", 0, 2, QUIET)
    assert len(started(tmp_path)) == before
