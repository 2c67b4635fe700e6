"""One worker, what follows when it fails, and the executor that has only that one."""

import contextlib
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any

from astro_dist.engine.errors import ConfigError, DataError, IntegrityError, StageError, StoppedError
from astro_dist.engine.files import Anchor, is_disk_full
from astro_dist.engine.journal import Journal
from astro_dist.engine.ledger import Result, states_output
from astro_dist.engine.stopping import check_stop
from astro_dist.engine.work import Crew, Failure, Run, Stage, Task

MAX_ATTEMPTS = 3
MAX_LOSSES = 12


class Worker:
    """One open stage: does tasks and records each when its data are safe."""

    def __init__(self, stage: Stage, run: Run, **facts: Any) -> None:
        self.stage, self.run, self.anchor = stage, run, Anchor(run.root)
        self.facts = {"host": os.uname().nodename, "pid": os.getpid(), **facts}
        self.journal = Journal(run.root, str(facts.get("worker", 0)))
        self.journal.note("open", stage=stage.name, fingerprint=run.fingerprint, **facts)
        if stage.numerics is not None:
            afresh = f"delete {run.output} and run the same command"
            run.records.settle_numerics(stage.numerics(run), afresh)
        self.state = stage.open(run)

    def do(self, task: Task) -> Result:
        """Run one task and publish its record."""
        what = {"stage": self.stage.name, "fingerprint": self.run.fingerprint, "task": task.name}
        self.anchor.check()
        self.journal.note("start", **what)
        start = time.time()
        result = self.stage.run(self.state, task)
        log = {**self.facts, "start": round(start, 3), "seconds": round(time.time() - start, 4)}
        self.anchor.check()
        if not states_output(result):
            raise StageError(f"the result of {self.stage.name} {task.name} does not state what it wrote")
        self.run.records.record(task.name, result, log)
        self.journal.note("done", seconds=log["seconds"], **what)
        return result


class Attempts:
    """Decides what follows a failed task: stop everything, try again, or give the task up."""

    def __init__(self, run: Run) -> None:
        self.run, self.anchor = run, Anchor(run.root)
        self.counts: dict[str, int] = {}
        self.failures: list[Failure] = []

    def retry(self, task: Task, error: BaseException) -> bool:
        """Return True to try again, False when the task is given up; raise to stop the stage."""
        self.anchor.check()
        if is_disk_full(error):
            raise error
        if isinstance(error, ConfigError | IntegrityError | StageError | StoppedError):
            raise error
        lost = isinstance(error, WorkerLostError) and not isinstance(error, WorkerHungError)
        allowed = MAX_LOSSES if lost else MAX_ATTEMPTS
        self.counts[task.name] = self.counts.get(task.name, 0) + 1
        if not isinstance(error, DataError) and self.counts[task.name] < allowed:
            return True
        kind = "" if isinstance(error, DataError) else f"{type(error).__name__}: "
        self.failures.append(Failure(task.name, f"{kind}{error}"))
        self.run.records.give_up(task.name, f"{kind}{error}")
        return False


class WorkerLostError(Exception):
    """A worker process ended in the middle of a task."""


class WorkerHungError(WorkerLostError):
    """A worker was silent for too long and was ended."""


class SerialExecutor:
    """Does the tasks one after the other in this process."""

    @contextlib.contextmanager
    def crew(self, stage: Stage, run: Run) -> Iterator[Crew]:
        """See `Executor`."""
        yield _Alone(stage, run)


class _Alone:
    """The crew of one that shares the driver's process; it opens when there is something to do."""

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
                    queue.append(task)
            else:
                on_done(task, result)
        return attempts.failures
