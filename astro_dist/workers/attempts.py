"""The worker that does tasks, the rules for failed tasks, and the executor in this process."""

import contextlib
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any

from astro_dist.engine.errors import (
    ConfigError,
    DataError,
    IntegrityError,
    StageError,
    StoppedError,
    explain_missing,
)
from astro_dist.engine.files import Anchor, is_disk_full
from astro_dist.engine.journal import Journal
from astro_dist.engine.ledger import Result, states_output
from astro_dist.engine.stopping import check_stop
from astro_dist.engine.work import Crew, Failure, Run, Stage, Task

MAX_ATTEMPTS = 3
"""Attempts at a task that raises or hangs, before the task is given up."""
MAX_LOSSES = 12
"""Lost workers in the same task before the task is given up; most are lost for reasons outside the task."""


class Worker:
    """One open stage; it does tasks and records each one after the task's data are on the disk."""

    def __init__(self, stage: Stage, run: Run, **facts: Any) -> None:
        self.stage, self.run, self.anchor = stage, run, Anchor(run.root)
        self.facts = {"host": os.uname().nodename, "pid": os.getpid(), **facts}
        self.journal = Journal(run.root, str(facts.get("worker", 0)))
        self.journal.note("open", stage=stage.name, fingerprint=run.fingerprint, **facts)
        # Before the stage is opened: a wrong machine is refused before weights are loaded.
        if stage.numerics is not None:
            afresh = f"delete {run.output} and run the same command"
            run.records.settle_numerics(stage.numerics(run), afresh)
        self.state = stage.open(run)

    def do(self, task: Task) -> Result:
        """Run one task, publish its record and return its result."""
        what = {"stage": self.stage.name, "fingerprint": self.run.fingerprint, "task": task.name}
        self.anchor.check()
        self.journal.note("start", **what)
        start = time.time()
        result = self.stage.run(self.state, task)
        log = {**self.facts, "start": round(start, 3), "seconds": round(time.time() - start, 4)}
        # The folder is checked before the record is written: a record in a replaced folder would be false.
        self.anchor.check()
        if not states_output(result):
            raise StageError(f"the result of {self.stage.name} {task.name} does not state its files")
        self.run.records.record(task.name, result, log)
        self.journal.note("done", seconds=log["seconds"], **what)
        return result


class Attempts:
    """Counts of failed attempts of one stage; each failure stops the stage, is retried or ends the task."""

    def __init__(self, run: Run) -> None:
        self.run, self.anchor = run, Anchor(run.root)
        self.counts: dict[str, int] = {}
        self.failures: list[Failure] = []

    def retry(self, task: Task, error: BaseException) -> bool:
        """Return True to try again, False when the task is given up; raise the error to stop the stage."""
        # First, because a lost run directory causes errors of many kinds, and each would count as an attempt.
        self.anchor.check()
        if is_disk_full(error):
            raise error
        if (missing := explain_missing(error)) is not None:
            raise missing from None
        # Every other task would meet the same error: the stage stops, and no task is given up for it.
        if isinstance(error, ConfigError | IntegrityError | StageError | StoppedError):
            raise error
        lost = isinstance(error, WorkerLostError) and not isinstance(error, WorkerHungError)
        allowed = MAX_LOSSES if lost else MAX_ATTEMPTS
        self.counts[task.name] = self.counts.get(task.name, 0) + 1
        if not isinstance(error, DataError) and self.counts[task.name] < allowed:
            return True
        # The message of a DataError is written for the user; other errors need their class to be understood.
        kind = "" if isinstance(error, DataError) else f"{type(error).__name__}: "
        self.failures.append(Failure(task.name, f"{kind}{error}"))
        # Recorded, so that workers of other jobs do not try the task either.
        self.run.records.give_up(task.name, f"{kind}{error}")
        return False


class WorkerLostError(Exception):
    """End of a worker that the executor did not ask for."""


class WorkerHungError(WorkerLostError):
    """Silence of a worker for longer than allowed; the executor has ended the worker."""


class SerialExecutor:
    """Executor that does the tasks one after the other in this process."""

    @contextlib.contextmanager
    def crew(self, stage: Stage, run: Run) -> Iterator[Crew]:
        """See `Executor`."""
        yield _SerialCrew(stage, run)


class _SerialCrew:
    """One worker in the driver's process; the stage is opened for the first task, not before."""

    def __init__(self, stage: Stage, run: Run) -> None:
        self.stage, self.run = stage, run

    @cached_property
    def worker(self) -> Worker:
        return Worker(self.stage, self.run)

    def execute(self, tasks: Sequence[Task], on_done: Callable[[Task, Result], None]) -> list[Failure]:
        attempts, queue = Attempts(self.run), deque(tasks)
        while queue:
            check_stop()
            task = queue.popleft()
            try:
                result = self.worker.do(task)
            except Exception as error:
                if attempts.retry(task, error):
                    # At the end of the queue: a cause that passes, such as a busy disk, has time to pass.
                    queue.append(task)
            else:
                on_done(task, result)
        return attempts.failures
