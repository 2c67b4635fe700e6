"""Stopping, on request or because the time of this machine is up.

The deadline stands in the environment, which every process below a job inherits. No task is begun that would
not end before the deadline, and long tasks stop at their first step after it. Processes that wait for others
wait on for half of the time between the deadline and the end of the machine. A request to stop moves the
deadline to now.
"""

import contextlib
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

from astro_dist.engine.errors import StoppedError, TimeUpError

# Epoch times: processes on all nodes of a job inherit them, and each node's monotonic clock has its own zero.
STOP_AT, END_AT = "ASTRO_DIST_STOP_AT", "ASTRO_DIST_END_AT"
"""Variables with the deadline and with the end of the machine, in seconds of the epoch."""

GRACE_S = 15.0
"""Seconds that waiting processes wait on after a request. Slurm kills after 30 s unless configured."""

_stop = threading.Event()
"""Set in the process that received a request; the processes below it have the moved deadline alone."""


def seconds_left() -> float:
    """Return the seconds until work should stop, infinite where no deadline is set."""
    return float(os.environ.get(STOP_AT, math.inf)) - time.time()


def check_stop(waiting: bool = False) -> None:
    """Raise `StoppedError` after a request to stop, `TimeUpError` after the deadline.

    Long tasks call this between steps. ``waiting`` is for a caller that has nothing to save and waits for
    tasks that have: half of the time up to the end of the machine is then added.
    """
    left = seconds_left()
    if waiting and left < 0:
        left += (float(os.environ.get(END_AT, 0)) - float(os.environ[STOP_AT])) / 2
    if left >= 0:
        return
    if _stop.is_set():
        raise StoppedError("stopped on request; run the same command to go on")
    raise TimeUpError("the time of this job is up; run the same command to go on")


def end_time(*signal_facts: object) -> None:
    """Move the deadline of this process and of its later children to now; fit to handle a signal."""
    now = time.time()
    # A known end of the job stays. Otherwise twice the grace, of which `check_stop` grants half.
    os.environ.setdefault(END_AT, str(now + 2 * GRACE_S))
    os.environ[STOP_AT] = str(now)


@contextlib.contextmanager
def stop_on_signals() -> Iterator[None]:
    """Stop cleanly on Ctrl-C and SIGTERM, at once on a second Ctrl-C; end the time on SIGUSR2."""

    def ask(number: int, frame: Any) -> None:
        if number == signal.SIGUSR2:
            end_time()
        elif not _stop.is_set():
            _stop.set()
            # A request has its own grace time, however much time the job has left.
            os.environ.pop(END_AT, None)
            end_time()
            if sys.stderr.isatty():
                # Not `print`: the signal may have interrupted a `print` to the same buffer, which raises.
                os.write(2, b"\nstopping: long tasks save their state; Ctrl-C again ends at once\n")
        elif number == signal.SIGINT:
            raise KeyboardInterrupt

    _stop.clear()
    deadline = {name: os.environ[name] for name in (STOP_AT, END_AT) if name in os.environ}
    before = {s: signal.signal(s, ask) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for name in (STOP_AT, END_AT):
            os.environ.pop(name, None)
        os.environ.update(deadline)
        # One process may run several commands (tests, scripts): nothing of this one must stop the next.
        _stop.clear()
