import contextlib
import dataclasses
import json
import os
import random
import subprocess
import sys
from collections import Counter
from types import SimpleNamespace

import psutil
import pytest

from astro_dist.engine.config import validate
from astro_dist.engine.errors import QuarantinedError, StartError, StoppedError
from astro_dist.engine.files import tree_digests
from astro_dist.engine.journal import read_journal
from astro_dist.engine.progress import Display, read_progress
from astro_dist.engine.work import Run, Task, for_stage
from astro_dist.runner import Runner
from astro_dist.workers import crew
from astro_dist.workers.crew import MAX_FALSE_STARTS, Patience, WatchedCrew
from astro_dist.workers.processes import ProcessCrew
from tests.toys import SHARDS, ToyConfig, execute

MACHINE = {"workers": 2, "task_limit_s": 0.5}


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """Digests of the undisturbed serial run."""
    root = tmp_path_factory.mktemp("serial")
    execute(root, {"machine": {"executor": "serial"}})
    return tree_digests(root / "shards")


def records(root):
    return [json.loads(path.read_text()) for path in (root / "ledger/shards").glob("*/[!.]*.json")]


def test_patience_is_the_limit_of_the_user_or_many_times_the_usual():
    patience = Patience(None)
    assert patience.limit_s == 3600
    patience.seconds += [1.0, 2.0]
    assert patience.limit_s == 3600
    patience.seconds.append(3.0)
    assert patience.limit_s == 600
    patience.seconds += [100.0] * 9
    assert patience.limit_s == 2000
    assert Patience(7.0).limit_s == 7


@pytest.fixture
def free_cores(monkeypatch):
    """Let no worker seem silent because it waits for a core: only a stopped one counts as silent."""
    replace_silent = WatchedCrew._replace_silent

    def replace_stopped(self, *arguments):
        for seat in self.seats:
            with contextlib.suppress(psutil.NoSuchProcess):
                if psutil.Process(seat.process.pid).status() != psutil.STATUS_STOPPED:
                    seat.last_sign = crew.time.monotonic()
        replace_silent(self, *arguments)

    monkeypatch.setattr(WatchedCrew, "_replace_silent", replace_stopped)


@pytest.mark.usefixtures("free_cores")
def test_a_worker_that_hangs_is_replaced(tmp_path, reference):
    execute(tmp_path, {"machine": MACHINE, "shards": {"hang_once": 3}})
    assert tree_digests(tmp_path / "shards") == reference
    (lost,) = [event for event in read_journal(tmp_path) if event["event"] == "lost"]
    assert lost["task"] == "shard-003"
    assert "was silent for" in lost["reason"]


@pytest.mark.usefixtures("free_cores")
def test_a_task_that_always_hangs_is_quarantined_and_the_rest_is_done(tmp_path):
    with pytest.raises(QuarantinedError, match=r"1 of 12 .*shard-004: WorkerHungError: .* in shard-004"):
        execute(tmp_path, {"machine": MACHINE, "shards": {"hang": 4}})
    assert len(records(tmp_path)) == 11
    starts = Counter(e["task"] for e in read_journal(tmp_path) if e["event"] == "start")
    assert starts["shard-004"] == 3
    assert set(starts.values()) == {1, 3}


def test_a_long_task_that_tells_of_itself_is_left_alone(tmp_path, reference, monkeypatch):
    """The crew's clock counts the progress notes of the task, which is thus never slower than its clock."""

    def stoppable_s():
        notes = read_progress(tmp_path / "logs" / "progress", "shards")
        return sum(note["done"] for note in notes) / 2

    monkeypatch.setattr(crew, "time", SimpleNamespace(monotonic=stoppable_s))
    execute(tmp_path, {"machine": {"workers": 2, "task_limit_s": 4}, "shards": {"stoppable_s": 2.0}})
    assert stoppable_s() > 4
    assert tree_digests(tmp_path / "shards") == reference
    assert not [event for event in read_journal(tmp_path) if event["event"] == "lost"]


def test_a_slow_worker_merely_gets_fewer_tasks(tmp_path, reference):
    # In each of the two rounds the slow worker waits for the other one to do all other tasks.
    execute(tmp_path, {"machine": {"workers": 2}, "shards": {"slow_until": (11, 18)}})
    assert tree_digests(tmp_path / "shards") == reference
    done = Counter(record["log"]["pid"] for record in records(tmp_path))
    slow = int((tmp_path / "slow").readlink().name.removeprefix("slow-"))
    assert 1 <= done[slow] <= 0.4 * sum(done.values())


def shuffled(run, results):
    tasks = SHARDS.plan(run, results)
    random.Random(len(results)).shuffle(tasks)
    return tasks


@pytest.mark.parametrize("machine", [{"executor": "serial"}, *({"workers": n} for n in (1, 3, 8))])
def test_neither_order_nor_workers_change_a_byte(tmp_path, reference, machine):
    stage = dataclasses.replace(SHARDS, plan=shuffled)
    Runner(tmp_path, validate(ToyConfig, {"machine": machine}), [stage]).execute(Display(live=False))
    assert tree_digests(tmp_path / "shards") == reference


def die(run):
    print("libwanted.so is missing", file=sys.stderr, flush=True)
    os._exit(3)


def test_a_worker_that_can_never_start_is_a_clear_stop(tmp_path):
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "worker-0.log").write_text("a line of an earlier run\n")
    stage = dataclasses.replace(SHARDS, open=die)
    runner = Runner(tmp_path, validate(ToyConfig, {"machine": {"workers": 1}}), [stage])
    with pytest.raises(StoppedError, match=rf"not start {MAX_FALSE_STARTS} times in a row") as stop:
        runner.execute(Display(live=False))
    assert "(its worker ended (exit code 3); its last line: libwanted.so is missing)" in str(stop.value)


def import_what_is_absent(run):
    raise ModuleNotFoundError("No module named 'wanted'")


class Unreadable:
    """Becomes an error where it is unpickled, as a module does that a worker cannot import."""

    def __reduce__(self):
        return import_what_is_absent, (None,)


@pytest.mark.parametrize("executor", ["processes", pytest.param("ray", marks=pytest.mark.soak)])
def test_the_reason_why_a_worker_cannot_open_a_stage_is_in_the_line(tmp_path, executor):
    stage = dataclasses.replace(SHARDS, open=import_what_is_absent)
    config = validate(ToyConfig, {"machine": {"workers": 1, "executor": executor}})
    reason = r"shards: a worker could not start \(ModuleNotFoundError: No module named 'wanted'\); see logs"
    with pytest.raises(StartError, match=reason):
        Runner(tmp_path, config, [stage]).execute(Display(live=False))


def test_a_worker_that_cannot_read_its_stage_says_why(tmp_path):
    stage = dataclasses.replace(SHARDS, sources=Unreadable())
    run = for_stage(Run.of(tmp_path, validate(ToyConfig, {})), SHARDS, "f" * 64)
    crew_ = ProcessCrew(stage, run, 1, [], 0)
    try:
        with pytest.raises(StartError, match="No module named 'wanted'"):
            crew_.execute([Task("shard-000", {"index": 0})], lambda *_: None)
    finally:
        crew_.dismiss()


def test_a_log_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "logs" / "worker-0.log").mkdir(parents=True)
    with pytest.raises(IsADirectoryError, match=r"worker-0\.log"):
        execute(tmp_path, {"machine": {"workers": 1}})


def test_a_machine_that_refuses_more_processes_is_one_line(tmp_path):
    """The limit of open files is met before the first worker; nothing hides that."""
    code = (
        "import os, resource, sys\nfrom tests import toys\n"
        "most = len(os.listdir('/proc/self/fd')) + 3\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (most, 4096))\n"
        "toys.main(sys.argv[1], 'processes', '8')"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 75, done.stderr
    last = done.stderr.splitlines()[-1]
    assert "cannot be started (Too many open files)" in last
    assert "Traceback" not in done.stderr
