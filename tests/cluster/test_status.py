import contextlib
import json
import os
import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import psutil
import pytest

from astro_dist.cluster.commands import cancel, find_logs
from astro_dist.cluster.queue import log_folder, refuse_while_queued
from astro_dist.cluster.status import measure_workers, status_facts, status_lines, work_seconds
from astro_dist.engine.errors import ConfigError
from astro_dist.engine.files import find_owner, lock_folder
from astro_dist.engine.journal import Journal, read_journal
from astro_dist.engine.progress import read_progress
from tests.toys import execute, toy_runner
from tests.waiting import start, wait_until

ROOT = Path(__file__).parents[2]
SLOW = {"shards": {"pause_s": 0.4, "count": 60, "wanted": 0}}


def test_figures_count_from_the_last_begin_and_name_what_runs():
    mine = {"stage": "s", "fingerprint": "f", "host": "h", "who": "0"}
    old = {**mine, "event": "done", "task": "a", "seconds": 1.0, "time": 1.0}
    begin = {**mine, "event": "begin", "who": "driver", "time": 2.0}
    done = [{**old, "task": t, "seconds": 2.0, "time": 3.0} for t in "bc"]
    start = {**mine, "event": "start", "task": "d", "time": 5.0}
    other = {**start, "stage": "t", "who": "9"}
    (worker,) = measure_workers([old, begin, *done, start, other], "s", "f")
    assert (worker.tasks, worker.tasks_per_s, worker.now, worker.since) == (2, 0.5, "d", 5.0)


def test_seconds_of_a_stage_leave_out_the_time_between_two_commands():
    times = {"begin": (0, 100, 200), "done": (5, 103), "published": (207,)}
    events = [
        {"event": name, "stage": "s", "fingerprint": "f", "time": time}
        for name, some in times.items()
        for time in some
    ]
    events = sorted([*events, {**events[0], "fingerprint": "g", "time": 50}], key=lambda event: event["time"])
    assert work_seconds(events, "s", "f") == 5 + 3 + 7
    assert work_seconds(events, "t", "f") == 0


REDO = """
import sys
from astro_dist.engine.errors import errors_in_one_line
from astro_dist.engine.stopping import stop_on_signals
from tests.toys import execute
if __name__ == "__main__":
    with errors_in_one_line(), stop_on_signals():
        execute({root!r}, {tree}, ("shards",))
"""


@contextlib.contextmanager
def held_still(driver):
    """Hold a driver and its workers where they are, so that nothing changes while it is compared."""
    processes = [psutil.Process(driver.pid), *psutil.Process(driver.pid).children(recursive=True)]
    for process in processes:
        process.suspend()
    try:
        yield
    finally:
        for process in processes:
            process.resume()


def test_status_from_another_shell_shows_rate_workers_and_remaining_time(tmp_path):
    call = [
        sys.executable,
        "-m",
        "tests.toys",
        str(tmp_path),
        "processes",
        "2",
        json.dumps(SLOW),
    ]
    driver = start(call, stderr=subprocess.DEVNULL)

    def done():
        return [event for event in read_journal(tmp_path) if event["event"] == "done"]

    wait_until(lambda: len(done()) >= 3 and len({event["who"] for event in done()}) == 2, driver)
    with held_still(driver):
        first, shards, *workers, total = status_lines(toy_runner(tmp_path, SLOW))
        facts = [(one["stage"], one["status"]) for one in status_facts(toy_runner(tmp_path, SLOW))["stages"]]
        times = {who: [e["seconds"] for e in done() if e["who"] == who] for who in ("0", "1")}
    driver.terminate()
    assert driver.wait() == 75
    assert first.startswith(f"running: pid {driver.pid} on ")
    words = shards.split()
    assert words[:5] == ["shards", words[1], "of", "60", "tasks"]
    assert 3 <= int(words[1]) < 60
    assert all(seconds >= 0.4 for of_one in times.values() for seconds in of_one)
    rate = sum(len(of_one) / sum(of_one) for of_one in times.values())
    assert float(words[6]) == pytest.approx(rate, rel=0.01)
    assert words[-1] == "left"
    assert [line.split()[:2] for line in workers] == [["worker", "0"], ["worker", "1"]]
    assert any("shard-0" in line for line in workers)
    assert total.split() == ["total", "waits"]
    assert facts == [("shards", "running"), ("total", "after")]
    assert status_facts(toy_runner(tmp_path, SLOW))["stages"][0]["status"] == "todo"
    idle = status_lines(toy_runner(tmp_path, SLOW))
    assert re.fullmatch(r"nothing is running here since [-0-9]+ [:0-9]+; the same command goes on", idle[0])
    assert not [line for line in idle if "worker" in line]


def test_a_long_task_and_a_stage_that_is_replaced_show_how_far_they_are(tmp_path):
    settings = {"shards": {"wanted": 0, "count": 2}}
    execute(tmp_path, settings)
    tree = {"shards": {**settings["shards"], "stoppable_s": 20}, "machine": {"workers": 2}}
    call = [sys.executable, "-c", REDO.format(root=str(tmp_path), tree=tree)]
    driver = start(call, stderr=subprocess.DEVNULL, cwd=ROOT)

    def notes():
        return read_progress(tmp_path / "logs" / "progress", "shards")

    wait_until(lambda: any(note["per_s"] > 0 for note in notes()), driver)
    with held_still(driver):
        (line,) = [line for line in status_lines(toy_runner(tmp_path, tree)) if "of 200" in line]
        (note,) = notes()
    driver.terminate()
    assert driver.wait() == 75
    assert "per s, about" in line
    rate = float(line.split()[4])
    assert rate == pytest.approx(note["per_s"], rel=0.01)
    # A tenth of a second passes between two calls at least.
    assert 0 < rate <= 10


def test_a_finished_run_says_so(tmp_path):
    execute(tmp_path, {"machine": {"executor": "serial"}})
    lines = status_lines(toy_runner(tmp_path))
    assert [line.split()[:2] for line in lines[1:3]] == [["shards", "done,"], ["total", "done,"]]
    assert all(re.search(r"done, \d+ s$", line) for line in lines[1:3])
    facts = status_facts(toy_runner(tmp_path))
    assert facts["seconds"] == pytest.approx(sum(stage["seconds"] for stage in facts["stages"]), abs=0.001)
    assert all(stage["seconds"] > 0 for stage in facts["stages"])
    assert [stage["status"] for stage in facts["stages"]] == ["done", "done"]


def test_a_queue_that_does_not_answer_is_not_an_empty_one(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    log_folder(tmp_path).mkdir(parents=True)
    (log_folder(tmp_path) / "shards.sbatch").touch()
    first, shards, _ = status_lines(toy_runner(tmp_path))
    assert "the queue cannot be read: there is no squeue on PATH" in first
    assert shards.split() == ["shards", "not", "begun"]


def test_an_empty_folder_of_logs_proves_that_nothing_was_submitted(tmp_path, monkeypatch):
    squeue = tmp_path / "bin" / "squeue"
    squeue.parent.mkdir()
    squeue.write_text("#!/bin/sh\nexit 1\n")
    squeue.chmod(0o755)
    monkeypatch.setenv("PATH", f"{squeue.parent}:{os.environ['PATH']}")
    log_folder(tmp_path).mkdir(parents=True)
    refuse_while_queued(tmp_path)
    (log_folder(tmp_path) / "shards.sbatch").touch()
    with pytest.raises(ConfigError, match="cannot check whether jobs of"):
        refuse_while_queued(tmp_path)


@pytest.mark.parametrize("command", [partial(find_logs, stage=None, count=3), cancel])
def test_logs_and_cancel_need_a_run_directory(tmp_path, command):
    with pytest.raises(ConfigError, match="there is no run directory"):
        command(tmp_path / "none")
    with pytest.raises(ConfigError, match="is not a run directory"):
        command(tmp_path)


def test_the_owner_of_a_run_is_known_while_it_lasts(tmp_path):
    assert find_owner(tmp_path) is None
    with lock_folder(tmp_path):
        assert find_owner(tmp_path).startswith("pid ")
    assert find_owner(tmp_path) is None


def test_a_torn_line_of_the_journal_is_left_out(tmp_path):
    Journal(tmp_path, "0").note("start", stage="s", fingerprint="f", task="a")
    path = next((tmp_path / "logs/journal").iterdir())
    path.write_text(path.read_text() + '{"event": "do')
    assert [event["task"] for event in read_journal(tmp_path)] == ["a"]
