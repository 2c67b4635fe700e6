"""The deadline of a job: tasks that are begun and tasks that are left when the time is nearly up."""

import os
import signal
import threading
import time

import pytest

from astro_dist.engine.errors import StoppedError, TimeUpError
from astro_dist.engine.files import tree_digests
from astro_dist.engine.journal import read_journal
from astro_dist.engine.stopping import END_AT, STOP_AT, check_stop, seconds_left, stop_on_signals
from tests.toys import execute, records_of
from tests.waiting import wait_until

PROCESSES = {"machine": {"executor": "processes", "workers": 2}}


def until(monkeypatch, stop_s, end_s):
    monkeypatch.setenv(STOP_AT, str(time.time() + stop_s))
    monkeypatch.setenv(END_AT, str(time.time() + end_s))


def test_waiting_is_allowed_for_half_of_the_rest(monkeypatch):
    check_stop()
    assert seconds_left() == float("inf")
    until(monkeypatch, -1, 3)
    check_stop(waiting=True)
    with pytest.raises(TimeUpError):
        check_stop()
    until(monkeypatch, -3, 1)
    with pytest.raises(TimeUpError):
        check_stop(waiting=True)


def test_a_warning_ends_the_time_and_a_request_is_no_such_thing(monkeypatch):
    until(monkeypatch, 100, 200)
    with stop_on_signals():
        os.kill(os.getpid(), signal.SIGUSR2)
        with pytest.raises(TimeUpError):
            check_stop()
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(StoppedError) as caught:
            check_stop()
        assert not isinstance(caught.value, TimeUpError)
        check_stop(waiting=True)
    assert 90 < seconds_left() < 100
    check_stop()


def test_tasks_end_in_time_and_none_is_begun_that_would_not(tmp_path, monkeypatch):
    tree = {"shards": {"pause_s": 0.5}, **PROCESSES}
    until(monkeypatch, 2, 3600)
    with pytest.raises(TimeUpError):
        execute(tmp_path / "run", tree)
    events = [e["event"] for e in read_journal(tmp_path / "run")]
    assert events.count("start") == events.count("done")
    monkeypatch.delenv(STOP_AT)
    execute(tmp_path / "run", tree)
    execute(tmp_path / "alone", {"machine": {"executor": "serial"}})
    assert tree_digests(tmp_path / "run/shards") == tree_digests(tmp_path / "alone/shards")


WARNED, ASKED = (signal.SIGUSR2, TimeUpError), (signal.SIGTERM, StoppedError)


@pytest.mark.parametrize(
    ("executor", "number", "error"),
    [
        ("processes", *WARNED),
        ("processes", *ASKED),
        ("ray", *ASKED),
        # The driver treats the two differently; the workers get the same order for both.
        pytest.param("ray", *WARNED, marks=pytest.mark.soak),
    ],
)
def test_a_stop_before_the_hour_reaches_long_tasks_in_other_processes(
    tmp_path, monkeypatch, executor, number, error
):
    tree = {"shards": {"stoppable_s": 60}, "machine": {"executor": executor, "workers": 2}}
    until(monkeypatch, 3600, 7200)

    def stop():
        # One task is long; the other worker has done all others.
        wait_until(lambda: list(tmp_path.glob("logs/progress/*")) and len(records_of(tmp_path)) == 11)
        os.kill(os.getpid(), number)

    threading.Thread(target=stop, daemon=True).start()
    with stop_on_signals(), pytest.raises(error) as caught:
        execute(tmp_path, tree)
    assert type(caught.value) is error
    events = [e["event"] for e in read_journal(tmp_path)]
    assert "lost" not in events
    assert (events.count("start"), events.count("done")) == (12, 11)


def test_a_worker_that_is_signalled_alone_is_replaced(tmp_path):
    def signal_one():
        progress = wait_until(lambda: list(tmp_path.glob("logs/progress/*.json")))
        starts = [e for e in read_journal(tmp_path) if e["event"] == "start"]
        os.kill(next(e["pid"] for e in starts if progress[0].stem.endswith(e["task"])), signal.SIGTERM)

    threading.Thread(target=signal_one, daemon=True).start()
    with stop_on_signals():
        execute(tmp_path, {"shards": {"stoppable_s": 60, "stoppable_once": True}, **PROCESSES})
    events = read_journal(tmp_path)
    (lost,) = [event for event in events if event["event"] == "lost"]
    assert lost["reason"] == "its worker alone was signalled to stop"
    assert [e["event"] for e in events if e.get("task") == lost["task"]].count("start") == 2
