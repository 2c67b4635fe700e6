"""When to stop: on request, or because the time of this machine is up.

The deadline is in the environment, so that every process below a job knows it: new work is not begun
when it would not end in time, long tasks stop at their next step, and those who wait for others wait
half of what is left between the deadline and the end. A request only moves the deadline to now.
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

STOP_AT, END_AT = "ASTRO_DIST_STOP_AT", "ASTRO_DIST_END_AT"
"""Seconds of the epoch: when to stop, and when the machine goes away."""

GRACE_S = 15.0
"""How long those who wait for others wait after a request. Slurm kills after 30 s, unless told otherwise."""

_stop = threading.Event()


def seconds_left() -> float:
    """Return the seconds until work should stop, infinite where no deadline is set."""
    return float(os.environ.get(STOP_AT, math.inf)) - time.time()


def check_stop(waiting: bool = False) -> None:
    """Raise `StoppedError` once a stop was asked for or the time is up; long tasks call it between steps.

    With ``waiting`` the caller has nothing to save and waits for those who have.
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
    """Let the time of this process and of those it starts be up; fit to handle a signal."""
    now = time.time()
    os.environ.setdefault(END_AT, str(now + 2 * GRACE_S))
    os.environ[STOP_AT] = str(now)


@contextlib.contextmanager
def stop_on_signals() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM ask for a clean stop, a second Ctrl-C end at once, and SIGUSR2 end the time."""

    def ask(number: int, frame: Any) -> None:
        if number == signal.SIGUSR2:
            end_time()
        elif not _stop.is_set():
            _stop.set()
            os.environ.pop(END_AT, None)
            end_time()
            if sys.stderr.isatty():
                os.write(2, b"\nstopping: long tasks save what they have; Ctrl-C again ends at once\n")
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
        _stop.clear()
