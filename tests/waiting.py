"""Waiting for an event, and processes that end with the test that started them.

Nothing here has a deadline. On a busy machine every event takes longer, and pytest-timeout ends a test whose
event never comes. pytest-timeout raises inside the test, so that fixtures and ``finally`` still run.
"""

import contextlib
import subprocess
import time

import psutil

POLL_S = 0.05
_started: list[subprocess.Popen] = []


def wait_until(condition, *processes):
    """Return the first true value of ``condition``; fail when one of the processes ends before that."""
    while True:
        ended = [process for process in processes if process.poll() is not None]
        # The condition comes second: a process may make it true and then end.
        if value := condition():
            return value
        assert not ended, f"{ended[0].args} ended with {ended[0].returncode}"
        time.sleep(POLL_S)


def start(line, **options):
    """Start a process; `end_started` kills it and its descendants at the end of the test."""
    process = subprocess.Popen(list(map(str, line)), **options)
    _started.append(process)
    return process


def end_started():
    """Kill every process that a test has started and not ended."""
    while _started:
        end(_started.pop())


def end(process):
    """Kill a process and its descendants, and reap it; nothing is done to one that has ended."""
    if process.poll() is None:
        with contextlib.suppress(psutil.NoSuchProcess):
            for child in psutil.Process(process.pid).children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.kill()
        process.kill()
        process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()


def records_of(root, stage="shards"):
    """The records of the finished tasks of a toy stage."""
    return list((root / "ledger").glob(f"{stage}/*/[!.]*.json"))
