"""The process executor: workers that pull one task at a time from pipes; a lost one is replaced."""

import contextlib
import ctypes
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from astro_dist.engine.stopping import end_time
from astro_dist.engine.work import Run, Stage, Task
from astro_dist.workers.attempts import Worker, WorkerLostError
from astro_dist.workers.crew import News, Seat, WatchedCrew

GRACE_S = 5.0
ALL_GPUS = "ASTRO_DIST_GPUS"
"""Names the GPUs of a run to workers that are pinned to one of them."""
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class ProcessExecutor:
    """Does the tasks in worker processes that pull one at a time; a lost or hung one is replaced.

    ``workers_for(stage, run)`` says how many; with ``gpus`` the workers of a stage that wants one are
    pinned to them in turn. The first worker has the number ``first``.
    """

    def __init__(self, workers_for: Callable[[Stage, Run], int], gpus: int = 0, first: int = 0) -> None:
        self.workers_for, self.gpus, self.first = workers_for, gpus, first

    @contextlib.contextmanager
    def crew(self, stage: Stage, run: Run) -> Iterator["ProcessCrew"]:
        """See `astro_dist.engine.work.Executor`."""
        gpus = visible_gpus(self.gpus) if stage.gpu else []
        crew = ProcessCrew(stage, run, self.workers_for(stage, run), gpus, self.first)
        try:
            yield crew
        finally:
            crew.dismiss()


class ProcessCrew(WatchedCrew):
    """Worker processes, each at the far end of a pipe."""

    def __init__(self, stage: Stage, run: Run, size: int, gpus: list[str], first: int) -> None:
        super().__init__(stage, run, size)
        self.gpus, self.first = gpus, first

    def make_seat(self, number: int) -> Seat:
        """See `WatchedCrew`."""
        gpu = self.gpus[number % len(self.gpus)] if self.gpus else None
        return _Hand(self.stage, self.run, self.first + number, gpu)

    def hear(self, timeout_s: float) -> list[News]:
        """See `WatchedCrew`."""
        hands = [seat for seat in self.seats if isinstance(seat, _Hand)]
        ready = multiprocessing.connection.wait([hand.pipe for hand in hands], timeout=timeout_s)
        return [(hand, *hand.hear()) for hand in hands if hand.pipe in ready]

    def dismiss(self) -> None:
        """End all workers at once: whatever they do is either published or done again."""
        for seat in self.seats:
            if isinstance(seat, _Hand):
                seat.process.kill()
        super().dismiss()


class _Hand(Seat):
    """The driver's end of one worker process."""

    def __init__(self, stage: Stage, run: Run, number: int, gpu: str | None) -> None:
        super().__init__(number)
        self.args, self.gpu = (stage, run, number), gpu

    def hire(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, far_end = context.Pipe()
        self.process = context.Process(target=_serve, args=(far_end, *self.args), daemon=True)
        with _environment(self.args[0].threads(self.args[1]), self.gpu), deaf_to_ctrl_c():
            self.process.start()
        far_end.close()
        self.state = "opening"

    def warn(self) -> None:
        if self.process.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.process.pid, signal.SIGUSR2)

    def give(self, task: Task) -> None:
        # A worker that has just died is noticed by `hear`.
        with contextlib.suppress(OSError):
            self.pipe.send(task)

    def hear(self) -> tuple[str, Any]:
        """Return what the worker says, or that it is lost."""
        try:
            return self.pipe.recv()
        except (EOFError, OSError):
            self.process.join(GRACE_S)
            self.pipe.close()
            return "failed", WorkerLostError(f"its worker died ({_exit_text(self.process.exitcode)})")

    def dismiss(self) -> None:
        self.process.kill()
        self.process.join(GRACE_S)
        self.pipe.close()


def _exit_text(code: int | None) -> str:
    return f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"


def _serve(pipe: Any, stage: Stage, run: Run, number: int) -> None:
    """Live as a worker process: open the stage, then do tasks until the pipe closes."""
    die_with_parent()
    # Slurm sends SIGTERM to every process of a job; what is to follow is for the driver to say.
    signal.signal(signal.SIGTERM, end_time)
    signal.signal(signal.SIGUSR2, end_time)
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
                answer = ("failed", _portable(error))
            pipe.send(answer)


def _portable(error: Exception) -> Exception:
    """Return the error, or its text when its class is foreign and may not survive pickling."""
    if type(error).__module__.startswith(("astro_dist", "builtins")):
        return error
    return RuntimeError(f"{type(error).__name__}: {error}")


def visible_gpus(count: int) -> list[str]:
    """Return what names the first ``count`` GPUs that this process may see."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = [part.strip() for part in named.split(",")] if named else [str(n) for n in range(count)]
    return names[:count]


@contextlib.contextmanager
def _environment(threads: int, gpu: str | None) -> Iterator[None]:
    """Pin the threads of every numerical library, and the GPU, of processes started inside."""
    wanted = dict.fromkeys(THREAD_VARIABLES, str(threads))
    if gpu is not None:
        wanted["CUDA_VISIBLE_DEVICES"] = gpu
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


@contextlib.contextmanager
def deaf_to_ctrl_c() -> Iterator[None]:
    """Let processes started inside never hear the terminal's Ctrl-C, which is the driver's to answer."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


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
