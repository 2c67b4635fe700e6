"""The process executor: worker processes that receive one task at a time through a pipe each."""

import contextlib
import ctypes
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from astro_dist.engine.errors import StoppedError
from astro_dist.engine.stopping import end_time
from astro_dist.engine.work import Run, Stage, Task
from astro_dist.workers.attempts import Worker, WorkerLostError
from astro_dist.workers.crew import News, Seat, WatchedCrew
from astro_dist.workers.devices import named_devices

JOIN_S = 5.0
"""Seconds to wait for a killed worker process to be reaped."""
ALL_GPUS = "ASTRO_DIST_GPUS"
"""Variable with all GPUs of a run, for workers that are themselves pinned to one of them."""
# Threads change the order of float sums, and so bytes: their number is a setting, no default.
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def module_command(module: str, *words: str) -> list[str]:
    """Return the command line of a Python process that runs a module.

    With ``-P``, without which Python looks for modules in the current folder first, and so in any `random.py`
    or clone of this package there.
    """
    return [sys.executable, "-P", "-m", module, *words]


class ProcessExecutor:
    """Executor that does tasks in worker processes; lost and hung workers are replaced.

    ``workers_for(stage, run)`` is the number of workers. With ``gpus`` above 0 the workers of a GPU stage
    are pinned to the GPUs in turn. The first worker has the number ``first``.
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
        return _ProcessSeat(self.stage, self.run, self.first + number, gpu)

    def collect(self, timeout_s: float) -> list[News]:
        """See `WatchedCrew`."""
        seats = [seat for seat in self.seats if isinstance(seat, _ProcessSeat)]
        ready = multiprocessing.connection.wait([seat.pipe for seat in seats], timeout=timeout_s)
        return [(seat, *seat.receive()) for seat in seats if seat.pipe in ready]

    def dismiss(self) -> None:
        """Kill all workers at once; a task cut short has published nothing and is done again."""
        for seat in self.seats:
            # Kill all before waiting for any: each wait may take `JOIN_S`.
            if isinstance(seat, _ProcessSeat) and seat.process is not None:
                seat.process.kill()
        super().dismiss()


class _ProcessSeat(Seat):
    """The driver's end of one worker process."""

    def __init__(self, stage: Stage, run: Run, number: int, gpu: str | None) -> None:
        super().__init__(number)
        self.args, self.gpu = (stage, run, number), gpu
        self.process: Any = None

    def hire(self) -> None:
        # Not fork: thread variables are read at import, held locks are copied, and CUDA refuses forks.
        context = multiprocessing.get_context("spawn")
        variables = _variables(self.args[0].threads(self.args[1]), self.gpu)
        try:
            self.pipe, far_end = context.Pipe()
            process = context.Process(target=_serve, args=(far_end,), daemon=True)
            with environment(variables), ignoring_ctrl_c():
                process.start()
        except OSError as error:
            raise cannot_start(f"worker {self.number}", error) from None
        self.process = process
        # While this process held the far end too, the pipe of an ended worker would never report its end.
        far_end.close()
        # Through the pipe and not as arguments: the worker then reports what fails when they are read.
        with contextlib.suppress(OSError):
            self.pipe.send(self.args)
        self.state = "opening"

    def warn(self) -> None:
        if self.process.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.process.pid, signal.SIGUSR2)

    def give(self, task: Task) -> None:
        # A closed pipe means that the worker has just ended; `receive` reports that with the exit code.
        with contextlib.suppress(OSError):
            self.pipe.send(task)

    def receive(self) -> tuple[str, Any]:
        """Return the worker's answer, or a `WorkerLostError` when its pipe has closed."""
        try:
            kind, value = self.pipe.recv()
            return kind, value
        except (EOFError, OSError):
            # Reaped first: before that there is no exit code.
            self.process.join(JOIN_S)
            self.pipe.close()
            return "failed", WorkerLostError(f"its worker ended ({exit_text(self.process.exitcode)})")

    def dismiss(self) -> None:
        # A worker that could not be started has no process.
        if self.process is not None:
            self.process.kill()
            self.process.join(JOIN_S)
            self.pipe.close()


def cannot_start(what: str, error: OSError) -> StoppedError:
    """Return the stop for a process that the machine refuses to start."""
    reason = error.strerror or str(error)
    return StoppedError(
        f"{what} cannot be started ({reason}); free memory, ask for fewer workers, or raise the limits of "
        "processes and open files (ulimit -u, ulimit -n), and run the same command again"
    )


def exit_text(code: int | None) -> str:
    """Return how a process ended, in words."""
    return f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"


def _serve(pipe: Any) -> None:
    """Open the stage, then do tasks until the pipe closes; the main function of a worker process."""
    # A parent that ended before this call is noticed by the closed pipe.
    die_with_parent()
    # Slurm sends SIGTERM to every process of a job. The default action would end the worker in mid-task;
    # instead long tasks save and stop, and the driver decides whether the run goes on.
    signal.signal(signal.SIGTERM, end_time)
    signal.signal(signal.SIGUSR2, end_time)
    try:
        # To read these imports the module of the stage.
        stage, run, number = pipe.recv()
        log_to(run.root / "logs" / f"worker-{number}.log")
        worker = Worker(stage, run, worker=number)
    except Exception as error:
        # The log has the whole traceback; the driver shows the error in one line.
        traceback.print_exc()
        with contextlib.suppress(OSError):
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
    """Return the error, or a RuntimeError with its text: classes of other libraries may not pickle."""
    if type(error).__module__.startswith(("astro_dist", "builtins")):
        return error
    return RuntimeError(f"{type(error).__name__}: {error}")


def visible_gpus(count: int) -> list[str]:
    """Return the names or indices of the first ``count`` GPUs that this process may use."""
    named = named_devices()
    return [str(n) for n in range(count)] if named is None else named[:count]


def _variables(threads: int, gpu: str | None) -> dict[str, str]:
    """Return the variables that pin the threads of every numerical library, and the GPU."""
    pinned = dict.fromkeys(THREAD_VARIABLES, str(threads))
    return pinned if gpu is None else {**pinned, "CUDA_VISIBLE_DEVICES": gpu}


@contextlib.contextmanager
def environment(wanted: Mapping[str, str]) -> Iterator[None]:
    """Set variables for processes started inside, which look for no module in the current folder."""
    # Libraries read these when they are imported, so the variables must be set before the child starts.
    # multiprocessing starts Python with `-c`, for which PYTHONSAFEPATH is what `-P` is for `-m`.
    wanted = {**wanted, "PYTHONSAFEPATH": "1"}
    # Restored afterwards, because later children of the driver get values of their own.
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
def ignoring_ctrl_c() -> Iterator[None]:
    """Start processes inside with SIGINT blocked: a Ctrl-C then reaches the driver only, which stops them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def die_with_parent() -> None:
    """Make Linux kill this process when its parent ends, so that a killed driver leaves no workers behind."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


def log_to(path: Path) -> None:
    """Append standard output and standard error of this process to a log file."""
    # On the descriptors, not on `sys.stdout`: C libraries and child processes write there too.
    path.parent.mkdir(parents=True, exist_ok=True)
    # Appended, so that the log of a lost worker stays readable above that of its successor.
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o666)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.close(handle)
