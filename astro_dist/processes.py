"""The process executor: workers that pull one task at a time from pipes; a lost one is replaced."""

import contextlib
import ctypes
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from astro_dist.errors import StoppedError
from astro_dist.ledger import Result
from astro_dist.work import Attempts, Failure, Run, Stage, Task, Worker, WorkerLostError, check_stop

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class ProcessExecutor:
    """Does the tasks in worker processes that pull one at a time; a lost worker is replaced.

    ``workers_for(stage, run)`` says how many; with ``gpus`` the workers of a stage that wants one are
    pinned to them in turn.
    """

    def __init__(self, workers_for: Callable[[Stage, Run], int], gpus: int = 0) -> None:
        self.workers_for, self.gpus = workers_for, gpus

    @contextlib.contextmanager
    def crew(self, stage: Stage, run: Run) -> Iterator["ProcessCrew"]:
        """See `astro_dist.work.Executor`."""
        crew = ProcessCrew(stage, run, self.workers_for(stage, run), self.gpus if stage.gpu else 0)
        try:
            yield crew
        finally:
            for hand in crew.hands:
                hand.end()


class ProcessCrew:
    """At most ``size`` worker processes, started when there are tasks for them."""

    def __init__(self, stage: Stage, run: Run, size: int, gpus: int) -> None:
        self.stage, self.run, self.size, self.gpus = stage, run, size, gpus
        self.hands: list[_Hand] = []

    def execute(self, tasks: Sequence[Task], on_done: Callable[[Task, Result], None]) -> list[Failure]:
        """See `astro_dist.work.Crew`."""
        attempts, queue = Attempts(), deque(tasks)
        for number in range(len(self.hands), min(self.size, len(tasks))):
            gpu = number % self.gpus if self.gpus else None
            self.hands.append(_Hand(self.stage, self.run, number, gpu))
        while queue or any(hand.task for hand in self.hands):
            check_stop()
            for hand in self.hands:
                if hand.idle and queue:
                    hand.give(queue.popleft())
            for hand in _with_news(self.hands):
                task, outcome = hand.hear()
                if task is None and isinstance(outcome, BaseException):
                    raise outcome
                if task is not None:
                    if not isinstance(outcome, BaseException):
                        on_done(task, outcome)
                    elif attempts.retry(task, outcome):
                        queue.append(task)
                if not hand.process.is_alive():
                    hand.start()
        return attempts.failures


class _Hand:
    """The driver's end of one worker process."""

    def __init__(self, stage: Stage, run: Run, number: int, gpu: int | None) -> None:
        self.args = (stage, run, number)
        self.gpu = gpu
        self.task: Task | None = None
        self.start()

    def start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, far_end = context.Pipe()
        self.process = context.Process(target=_serve, args=(far_end, *self.args), daemon=True)
        with _environment(self.args[0].threads(self.args[1]), self.gpu):
            self.process.start()
        far_end.close()
        self.ready = False

    @property
    def idle(self) -> bool:
        return self.ready and self.task is None

    def give(self, task: Task) -> None:
        self.task = task
        # A worker that has just died is noticed by `hear`, which hands the task back.
        with contextlib.suppress(OSError):
            self.pipe.send(task)

    def hear(self) -> tuple[Task | None, Any]:
        """Return the task that ended and its result or error; no task when a worker opened or failed to."""
        try:
            kind, value = self.pipe.recv()
        except (EOFError, OSError):
            self.process.join()
            kind, value = "lost", WorkerLostError(f"its worker died ({_exit_text(self.process.exitcode)})")
        if kind == "ready":
            self.ready = True
            return None, None
        task, self.task = self.task, None
        if task is None and isinstance(value, WorkerLostError):
            raise StoppedError(f"a worker could not start: {value}; see logs/worker-{self.args[2]}.log")
        return task, value

    def end(self) -> None:
        self.process.terminate()
        self.process.join(5)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.pipe.close()


def _exit_text(code: int | None) -> str:
    return f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"


def _with_news(crew: list[_Hand]) -> list[_Hand]:
    pipes = [hand.pipe for hand in crew]
    ready = multiprocessing.connection.wait(pipes, timeout=0.5)
    return [hand for hand in crew if hand.pipe in ready]


def _serve(pipe: Any, stage: Stage, run: Run, number: int) -> None:
    """Live as a worker process: open the stage, then do tasks until the pipe closes."""
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    log_to(run.root / "logs" / f"worker-{number}.log")
    try:
        worker = Worker(stage, run, worker=number)
    except Exception as error:
        pipe.send(("failed", _portable(error)))
        return
    pipe.send(("ready", None))
    with contextlib.suppress(EOFError, OSError):
        while True:
            task = pipe.recv()
            try:
                answer: tuple[str, Any] = ("done", worker.do(task))
            except Exception as error:
                answer = ("error", _portable(error))
            pipe.send(answer)


def _portable(error: Exception) -> Exception:
    """Return the error, or its text when its class is foreign and may not survive pickling."""
    if type(error).__module__.startswith(("astro_dist", "builtins")):
        return error
    return RuntimeError(f"{type(error).__name__}: {error}")


@contextlib.contextmanager
def _environment(threads: int, gpu: int | None) -> Iterator[None]:
    """Pin the threads of every numerical library, and the GPU, of processes started inside."""
    wanted = dict.fromkeys(THREAD_VARIABLES, str(threads))
    if gpu is not None:
        wanted["CUDA_VISIBLE_DEVICES"] = str(gpu)
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def die_with_parent() -> None:
    """Ask Linux to end this process when its parent dies, so that a killed driver leaves none."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


def log_to(path: Path) -> None:
    """Send everything this process prints to a log file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.close(handle)
