"""The Ray executor: one actor per worker, pinned to its GPU or its cores, tasks pulled one by one.

A private cluster is started unless an address is given: dashboard, client server and usage reports
off, a token in a 0600 file, a short private temporary folder that is removed at the end. No array
passes through Ray: an actor reads and writes the run directory and returns small records.
"""

import contextlib
import os
import secrets
import shutil
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

from astro_dist.cluster.resources import Machine
from astro_dist.errors import ConfigError, StoppedError
from astro_dist.ledger import Result
from astro_dist.processes import THREAD_VARIABLES, log_to
from astro_dist.work import (
    Attempts,
    Failure,
    Run,
    Stage,
    Task,
    Worker,
    WorkerLostError,
    check_stop,
)

PREFIX = "astro_dist-"
OBJECT_STORE_BYTES = 80_000_000
QUIET = {
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_enable_metrics_collection": "0",
    "RAY_BACKEND_LOG_LEVEL": "error",
}


class Actor:
    """A worker inside Ray: opens the stage once, then does the tasks it is given."""

    def __init__(self, stage: Stage, run: Run, number: int) -> None:
        import ray

        log_to(run.root / "logs" / f"worker-{number}.log")
        gpus = [int(i) for i in ray.get_gpu_ids()]
        self.worker = Worker(
            stage, run, worker=number, gpus=gpus, node=ray.get_runtime_context().get_node_id()
        )

    def do(self, task: Task) -> Result:
        """Run one task and return its small result."""
        return self.worker.do(task)


class RayExecutor:
    """Does tasks on Ray actors; use it as a context manager, the cluster lives as long as it does."""

    def __init__(self, machine: Machine, address: str | None = None) -> None:
        self.machine, self.address = machine, address
        self.folder: Path | None = None

    def __enter__(self) -> "RayExecutor":
        with silenced_stderr(), contextlib.ExitStack() as undo:
            undo.callback(self.close)
            self._start()
            undo.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _start(self) -> None:
        os.environ.update(QUIET)
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
        if self.address is None:
            _sweep_leftovers()
            self.folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=_short_folder()))
            token = self.folder / "token"
            with open(os.open(token, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as handle:
                handle.write(secrets.token_hex(32))
            os.environ["RAY_AUTH_TOKEN_PATH"] = str(token)
            # A worker without a GPU must still see its cores: one actor may take several.
            cores = self.machine.cores * max(1, self.machine.workers or 1)
            options |= {
                "num_cpus": cores,
                "num_gpus": self.machine.gpus,
                "include_dashboard": False,
                "object_store_memory": OBJECT_STORE_BYTES,
                "_temp_dir": str(self.folder),
            }
        import ray

        try:
            ray.init(address=self.address or "local", **options)
        except (ConnectionError, RuntimeError, ValueError) as error:
            where = f"the Ray cluster at {self.address}" if self.address else "a private Ray cluster"
            raise ConfigError(
                f"cannot use {where}: {str(error).splitlines()[0]}; --on processes works without Ray"
            ) from None

    def close(self) -> None:
        """End the private cluster and remove its folder; harmless when repeated."""
        import ray

        with silenced_stderr():
            ray.shutdown()
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder = None

    @contextlib.contextmanager
    def crew(self, stage: Stage, run: Run) -> Iterator["RayCrew"]:
        """See `astro_dist.work.Executor`."""
        crew = RayCrew(stage, run, self.machine)
        try:
            yield crew
        finally:
            crew.dismiss()


class RayCrew:
    """The actors of one stage; one that is lost is replaced."""

    def __init__(self, stage: Stage, run: Run, machine: Machine) -> None:
        self.stage, self.run = stage, run
        self.size, self.gpus = machine.workers_for(stage, run), machine.gpus
        self.seats: list[_Seat] = []

    def execute(self, tasks: Sequence[Task], on_done: Callable[[Task, Result], None]) -> list[Failure]:
        """See `astro_dist.work.Crew`."""
        import ray

        attempts, queue = Attempts(), deque(tasks)
        for number in range(len(self.seats), min(self.size, len(tasks))):
            self.seats.append(_Seat(self._hire(number), number))
        busy: dict[Any, tuple[_Seat, Task]] = {}
        while queue or busy:
            check_stop()
            for seat in self.seats:
                if seat.free and queue:
                    task, seat.free = queue.popleft(), False
                    busy[seat.actor.do.remote(task)] = (seat, task)
            done, _ = ray.wait(list(busy), timeout=0.5)
            for reference in done:
                seat, task = busy.pop(reference)
                seat.free = True
                try:
                    result = ray.get(reference)
                except Exception as error:
                    cause = _unwrap(error)
                    if isinstance(cause, WorkerLostError):
                        seat.actor = self._hire(seat.number)
                    if attempts.retry(task, cause):
                        queue.append(task)
                else:
                    on_done(task, result)
        return attempts.failures

    def dismiss(self) -> None:
        """End all actors at once."""
        import ray

        for seat in self.seats:
            ray.kill(seat.actor)

    def _hire(self, number: int) -> Any:
        import ray

        threads = self.stage.threads(self.run)
        return (
            ray.remote(Actor)
            .options(
                num_cpus=threads,
                num_gpus=min(1.0, self.gpus / self.size),
                max_restarts=0,
                runtime_env={"env_vars": dict.fromkeys(THREAD_VARIABLES, str(threads))},
            )
            .remote(self.stage, self.run, number)
        )


@dataclass
class _Seat:
    """One actor and whether it waits for a task."""

    actor: Any
    number: int
    free: bool = True


def _unwrap(error: Exception) -> Exception:
    """Return what the task raised, or `WorkerLostError` when its actor or node is gone."""
    import ray

    if isinstance(error, ray.exceptions.RayTaskError):
        cause = error.cause
        return cause if isinstance(cause, Exception) else StoppedError(str(error))
    if isinstance(error, ray.exceptions.ActorDiedError) and "__init__" in str(error):
        cause = getattr(error, "cause", None)
        return cause if isinstance(cause, Exception) else WorkerLostError(_last_line(str(error)))
    if isinstance(error, ray.exceptions.RayError):
        return WorkerLostError(_last_line(str(error)))
    return error


def _last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "no reason given")


def _short_folder() -> str:
    """Return a folder whose path leaves room for Ray's sockets (107 bytes in all)."""
    chosen = tempfile.gettempdir()
    return chosen if len(chosen) <= 30 else "/tmp"


def _sweep_leftovers() -> None:
    """Remove the temporary folders of this user's drivers that were killed."""
    for path in Path(_short_folder()).glob(f"{PREFIX}*"):
        pid = path.name.removeprefix(PREFIX).partition("-")[0]
        if pid.isdigit() and not psutil.pid_exists(int(pid)) and path.stat().st_uid == os.getuid():
            shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def silenced_stderr() -> Any:
    """Keep what foreign libraries print at start and end away from the user's terminal."""
    keep = os.dup(2)
    sink = os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, 2)
    try:
        yield
    finally:
        os.dup2(keep, 2)
        os.close(keep)
        os.close(sink)
