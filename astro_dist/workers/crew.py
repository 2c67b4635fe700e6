"""The loop that gives tasks to the workers of any executor: retries, deadlines, replacements.

An executor implements how a worker is started, given a task, read and ended. The decision after a failure,
the loss of a worker or a silence is made here, so that processes and Ray behave alike.
"""

import contextlib
import os
import statistics
import textwrap
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from astro_dist.engine.errors import (
    AstroDistError,
    StartError,
    StoppedError,
    TimeUpError,
    explain_missing,
)
from astro_dist.engine.journal import Journal
from astro_dist.engine.ledger import Result
from astro_dist.engine.stopping import check_stop, seconds_left
from astro_dist.engine.work import Failure, Run, Stage, Task
from astro_dist.workers.attempts import Attempts, WorkerHungError, WorkerLostError

MAX_FALSE_STARTS = 5
"""Workers in a row that fail before their first task; after so many the stage stops."""
TICK_S = 0.5
"""Longest wait for news, in seconds; the deadline and silent workers are checked as often."""
FIRST_LIMIT_S = 3600.0
"""Seconds of silence allowed while fewer than three tasks are done."""
LEAST_LIMIT_S = 600.0
"""Seconds of silence allowed however short the tasks are."""
LIMIT_IN_MEDIANS = 20
"""Silence allowed later, in medians of the time of a task."""
LAST_BYTES = 4096
"""Most bytes at the end of a worker's log in which its last line is looked for."""
ALONE_S = 60.0
"""Seconds before the deadline. A worker that stops earlier because of its time was signalled alone."""


class Patience:
    """The longest silence of a worker: the limit of the user, else a multiple of the usual task.

    A slow worker is not a hung one, so the multiple is large; a wrong guess costs one task's work.
    """

    def __init__(self, limit_s: float | None) -> None:
        self.given_s, self.seconds = limit_s, list[float]()

    @property
    def hopeless(self) -> bool:
        """Whether a task that is begun now would end after the deadline, judged by the last ten tasks."""
        # The longest of ten, because a task begun too late is cut short; before the first it is 0.
        return seconds_left() < max(self.seconds[-10:], default=0.0)

    @property
    def limit_s(self) -> float:
        """Seconds of silence after which a worker counts as hung."""
        if self.given_s is not None:
            return self.given_s
        # A median of one or two times may come from unusually short tasks.
        if len(self.seconds) < 3:
            return FIRST_LIMIT_S
        # The median, because one slow task would stretch a mean.
        return max(LEAST_LIMIT_S, LIMIT_IN_MEDIANS * statistics.median(self.seconds))


class Seat(ABC):
    """The place of one worker; ``state`` is vacant, placing, opening, idle or busy.

    ``last_sign`` is the time of the last sign of life, ``beat`` the last progress note of the task, and
    ``log_bytes`` the size of the worker's log when the seat was made.
    """

    def __init__(self, number: int) -> None:
        self.number, self.state = number, "vacant"
        self.task: Task | None = None
        self.started = self.last_sign = 0.0
        self.beat, self.warned, self.log_bytes = "", False, 0

    @abstractmethod
    def hire(self) -> None:
        """Start a worker here and set ``state`` to ``placing`` or ``opening``."""

    @abstractmethod
    def give(self, task: Task) -> None:
        """Send a task to the idle worker."""

    @abstractmethod
    def warn(self) -> None:
        """Signal the busy worker, where that is possible, that the time is up, so that a long task stops."""

    @abstractmethod
    def dismiss(self) -> None:
        """End the worker at once, even in the middle of a task."""


News = tuple[Seat, str, Any]
"""A seat, what happened (``placed``, ``ready``, ``done`` or ``failed``) and the result or error."""


def wait_no_longer() -> None:
    """Raise when a stop was asked for or the time is up, and running tasks had their time to end."""
    check_stop(waiting=True)


class WatchedCrew(ABC):
    """At most ``size`` workers of one stage, hired when there are tasks for them.

    ``check`` is called between news and raises when the work should not go on.
    """

    def __init__(self, stage: Stage, run: Run, size: int, check: Callable[[], None] = wait_no_longer) -> None:
        self.stage, self.run, self.size, self.check = stage, run, size, check
        self.seats: list[Seat] = []
        self.patience = Patience(run.machine.task_limit_s)
        self.journal = Journal(run.root, "crew")
        self.false_starts = 0

    @abstractmethod
    def make_seat(self, number: int) -> Seat:
        """Return a vacant seat."""

    @abstractmethod
    def collect(self, timeout_s: float) -> list[News]:
        """Wait for news from the workers, at most ``timeout_s`` seconds, and return the news."""

    def dismiss(self) -> None:
        """End all workers."""
        for seat in self.seats:
            seat.dismiss()

    def execute(self, tasks: Sequence[Task], on_done: Callable[[Task, Result], None]) -> list[Failure]:
        """See `astro_dist.engine.work.Crew`."""
        attempts, queue = Attempts(self.run), deque(tasks)
        self.on_done = on_done
        # No more workers than tasks: opening a stage may load weights. Seats stay for the next round.
        for number in range(len(self.seats), min(self.size, len(tasks))):
            seat = self.make_seat(number)
            with contextlib.suppress(OSError):
                seat.log_bytes = self._log(seat).stat().st_size
            self.seats.append(seat)
            self._hire(seat)
        while queue or any(seat.task for seat in self.seats):
            self.check()
            if self.patience.hopeless:
                # No task is begun any more. The running ones may still end in time.
                if not any(seat.task for seat in self.seats):
                    check_stop()
                    raise TimeUpError("no task ends in the time left; run the same command to go on")
            else:
                self._hand_out(queue)
            # The workers may save and stop now; `check` raises once the grace time is over too.
            if seconds_left() < 0:
                self._warn()
            for seat, kind, value in self.collect(TICK_S):
                # Read first: `_settle` clears the task of the seat.
                task = seat.task
                if kind == "failed":
                    self._settle_failure(seat, value, attempts, queue)
                else:
                    self._settle(seat, kind)
                if kind == "done" and task is not None:
                    on_done(task, value)
            self._replace_silent(attempts, queue)
        return attempts.failures

    def _hand_out(self, queue: deque[Task]) -> None:
        for seat in self.seats:
            if seat.state == "idle" and queue:
                self._give(seat, queue.popleft())

    def _warn(self) -> None:
        """Warn each busy worker once: a signal may have moved the driver's deadline, not the workers'."""
        for seat in self.seats:
            if seat.state == "busy" and not seat.warned:
                seat.warned = True
                seat.warn()

    def _hire(self, seat: Seat) -> None:
        seat.task, seat.last_sign, seat.warned = None, time.monotonic(), False
        seat.hire()

    def _give(self, seat: Seat, task: Task) -> None:
        # The note of an earlier attempt may still lie there; it must not count as a sign of life.
        seat.task, seat.state, seat.beat = task, "busy", self._read_beat(task)
        seat.started = seat.last_sign = time.monotonic()
        seat.give(task)

    def _settle(self, seat: Seat, kind: str) -> None:
        seat.last_sign = time.monotonic()
        seat.state = "opening" if kind == "placed" else "idle"
        if kind == "ready":
            self.false_starts = 0
        elif kind == "done":
            self.patience.seconds.append(seat.last_sign - seat.started)
            seat.task = None

    def _settle_failure(
        self, seat: Seat, error: BaseException, attempts: Attempts, queue: deque[Task]
    ) -> None:
        # Kept, because hiring a new worker below changes both.
        task, state = seat.task, seat.state
        seat.task, seat.state = None, "idle"
        if isinstance(error, StoppedError):
            # The error of a worker does not say why the worker was to stop, so the driver's own reason is
            # raised where there is one. Without one the worker was signalled alone and is replaced.
            check_stop()
            if isinstance(error, TimeUpError) and seconds_left() > ALONE_S:
                seat.dismiss()
                error = WorkerLostError("its worker alone was signalled to stop")
        if isinstance(error, WorkerLostError):
            what = {"stage": self.stage.name, "fingerprint": self.run.fingerprint, "worker": seat.number}
            self.journal.note("lost", **what, task=task and task.name, reason=str(error))
            self._hire(seat)
        elif task is None:
            # An opening that fails would fail in every worker. A lost run directory is the truer reason.
            attempts.anchor.check()
            if isinstance(error, AstroDistError | OSError):
                raise error
            if (missing := explain_missing(error)) is not None:
                raise missing from None
            raise StartError(
                f"{self.stage.name}: a worker could not start ({type(error).__name__}: {error}); see "
                f"logs/worker-{seat.number}.log"
            )
        if task is not None:
            # A worker may end after it wrote the record and before it sent the result; then nothing is lost.
            result = self.run.records.result(task.name)
            if result is not None:
                self.on_done(task, result)
            elif attempts.retry(task, error):
                queue.append(task)
        elif state != "idle":
            self.false_starts += 1
            if self.false_starts >= MAX_FALSE_STARTS:
                raise StoppedError(
                    f"a worker could not start {self.false_starts} times in a row ({error}"
                    f"{self._last_words(seat)}); see logs/worker-{seat.number}.log"
                )

    def _log(self, seat: Seat) -> Path:
        return self.run.root / "logs" / f"worker-{seat.number}.log"

    def _last_words(self, seat: Seat) -> str:
        """Return the last line that a worker of a seat has printed in this stage."""
        with contextlib.suppress(OSError), self._log(seat).open("rb") as log:
            log.seek(max(seat.log_bytes, os.fstat(log.fileno()).st_size - LAST_BYTES))
            lines = log.read().decode(errors="replace").split("\n")
            if said := [line.strip() for line in lines if line.strip()]:
                return f"; its last line: {textwrap.shorten(said[-1], 160, placeholder=' ...')}"
        return ""

    def _replace_silent(self, attempts: Attempts, queue: deque[Task]) -> None:
        """End and replace workers that were silent for longer than allowed."""
        now, limit_s = time.monotonic(), self.patience.limit_s
        for seat in self.seats:
            # A worker that waits for a place (Ray) or for a task has nothing to report.
            if seat.state not in ("opening", "busy") or now - seat.last_sign <= limit_s:
                continue
            # Read only now: notes lie on a shared file system, and most tasks end long before the limit.
            beat = self._read_beat(seat.task) if seat.task else ""
            if beat != seat.beat:
                seat.beat, seat.last_sign = beat, now
                continue
            seat.dismiss()
            what = "while it opened" if seat.task is None else f"in {seat.task.name}"
            error = WorkerHungError(
                f"worker {seat.number} was silent for {now - seat.last_sign:.0f} s {what}"
            )
            self._settle_failure(seat, error, attempts, queue)

    def _read_beat(self, task: Task) -> str:
        """Return the latest progress note of a task; a change of the note is a sign of life."""
        try:
            return self.run.progress_path(task.name).read_text()
        except OSError:
            return ""
