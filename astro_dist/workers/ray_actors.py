"""Workers inside Ray: one actor each, spread over the nodes and pinned to its share of a GPU."""

import contextlib
import os
import signal
import textwrap
import time
from collections.abc import Callable
from typing import Any

from astro_dist.engine.errors import ConfigError, StoppedError
from astro_dist.engine.ledger import Result
from astro_dist.engine.stopping import end_time
from astro_dist.engine.work import Run, Stage, Task
from astro_dist.workers.attempts import Worker, WorkerLostError
from astro_dist.workers.crew import News, Seat, WatchedCrew
from astro_dist.workers.machine import Machine
from astro_dist.workers.processes import THREAD_VARIABLES, log_to

ROOM_LIMIT_S = 600.0
"""Seconds that a crew waits for the cluster to place its first worker."""


class Actor:
    """A worker inside Ray.

    The stage is opened by `open`, not by the constructor: Ray reports an error in a constructor as a lost
    actor, an error in a method as itself.
    """

    def __init__(self, stage: Stage, run: Run, number: int, folder: str) -> None:
        self.args, self.number = (stage, run), number
        # Settings may name files from there. Another node may lack the folder, and then the files.
        with contextlib.suppress(OSError):
            os.chdir(folder)

    def place(self) -> tuple[str, int]:
        """Return host and process of the actor; Ray answers as soon as it has found room for the actor."""
        signal.signal(signal.SIGUSR2, end_time)
        return os.uname().nodename, os.getpid()

    def open(self) -> None:
        """Open the stage."""
        import ray

        log_to(self.args[1].root / "logs" / f"worker-{self.number}.log")
        node = str(ray.get_runtime_context().get_node_id())
        gpus = [int(i) if str(i).isdigit() else str(i) for i in ray.get_gpu_ids()]
        self.worker = Worker(*self.args, worker=self.number, gpus=gpus, node=node)

    def do(self, task: Task) -> Result:
        """Run one task and return its small result."""
        return self.worker.do(task)


class RayCrew(WatchedCrew):
    """Actors of one stage, spread over the nodes; a lost actor is replaced where there is room."""

    def __init__(
        self, stage: Stage, run: Run, machine: Machine, private: bool, check: Callable[[], None]
    ) -> None:
        super().__init__(stage, run, machine.workers_for(stage, run), check)
        share = machine.gpu_share(stage, self.size)
        # In a private cluster only our workers use cores, and their number already follows from the cores.
        self.needs = {"CPU": 0 if private else stage.threads(run), "GPU": share}
        self.room_since = time.monotonic()
        self._require_room()

    def make_seat(self, number: int) -> Seat:
        """See `WatchedCrew`."""
        return _ActorSeat(self.stage, self.run, number, self.needs)

    def collect(self, timeout_s: float) -> list[News]:
        """See `WatchedCrew`."""
        import ray

        waiting = {seat.answer: seat for seat in self.seats if isinstance(seat, _ActorSeat) and seat.answer}
        # For an empty list `ray.wait` returns at once, and the loop would spin.
        if not waiting:
            time.sleep(timeout_s)
            return []
        done, _ = ray.wait(list(waiting), num_returns=1, timeout=timeout_s)
        # One placed worker is enough: the stage goes on with fewer, and the others join when there is room.
        if any(seat.state != "placing" for seat in self.seats):
            self.room_since = time.monotonic()
        elif time.monotonic() - self.room_since > ROOM_LIMIT_S:
            raise StoppedError(
                f"the Ray cluster had no room for a worker in {ROOM_LIMIT_S:.0f} s (one needs "
                f"{_shown(self.needs)}); run the same command when it is less busy"
            )
        return [(waiting[answer], *waiting[answer].receive()) for answer in done]

    def _require_room(self) -> None:
        """Raise `ConfigError` when no node could ever hold a worker; Ray itself would wait without end."""
        import ray

        known = ray.nodes()  # type: ignore[no-untyped-call]
        nodes = [node["Resources"] for node in known if node["Alive"]]
        if not any(all(node.get(kind, 0) >= n for kind, n in self.needs.items()) for node in nodes):
            largest = "; ".join(sorted({_shown(node) for node in nodes})) or "none"
            settings = {"CPU": "its threads", "GPU": "machine.gpus_per_worker"}
            short = [k for k, n in self.needs.items() if all(node.get(k, 0) < n for node in nodes)]
            remedy = " and ".join(settings[kind] for kind in short or settings)
            raise ConfigError(
                f"no node of the Ray cluster can hold a worker of {self.stage.name}, which needs "
                f"{_shown(self.needs)} (nodes: {largest}); lower {remedy}, or add a larger node"
            )


class _ActorSeat(Seat):
    """The place of one actor; ``answer`` is the call that is under way."""

    def __init__(self, stage: Stage, run: Run, number: int, needs: dict[str, float]) -> None:
        super().__init__(number)
        self.args, self.needs = (stage, run, number), needs
        self.threads = str(stage.threads(run))
        self.actor: Any = None
        self.answer: Any = None
        self.place = "", 0

    def hire(self) -> None:
        import ray

        options = {
            "num_cpus": self.needs["CPU"],
            "num_gpus": self.needs["GPU"],
            # A restarted actor would have no open stage; the crew replaces lost actors itself.
            "max_restarts": 0,
            # Ray's default packs actors onto few nodes.
            "scheduling_strategy": "SPREAD",
            # Ray sets OMP_NUM_THREADS by itself (1 for an actor), and threads change bytes.
            "runtime_env": {"env_vars": dict.fromkeys(THREAD_VARIABLES, self.threads)},
        }
        self.actor = ray.remote(Actor).options(**options).remote(*self.args, os.getcwd())
        self.answer, self.state = self.actor.place.remote(), "placing"

    def give(self, task: Task) -> None:
        self.answer = self.actor.do.remote(task)

    def receive(self) -> tuple[str, Any]:
        import ray

        answer, self.answer = self.answer, None
        try:
            value = ray.get(answer)
        except Exception as error:
            return "failed", _unwrap(error)
        if self.state == "placing":
            self.place, self.answer = value, self.actor.open.remote()
            return "placed", value
        return ("ready", None) if self.state == "opening" else ("done", value)

    def warn(self) -> None:
        # Actors on other nodes cannot be signalled from here; they stop at the deadline of the job.
        host, process = self.place
        if host == os.uname().nodename:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGUSR2)

    def dismiss(self) -> None:
        import ray

        # Forgotten first, so that the end of the killed call is not collected as news.
        self.answer = None
        with contextlib.suppress(ray.exceptions.RayError, ValueError):
            ray.kill(self.actor)


def _unwrap(error: Exception) -> Exception:
    """Return the error that the task raised, or `WorkerLostError` when its actor or node is gone."""
    import ray

    if isinstance(error, ray.exceptions.RayTaskError):
        cause: Exception = error.cause
        if type(cause).__module__.startswith(("astro_dist", "builtins")):
            return cause
        return RuntimeError(last_line(str(error)))
    if isinstance(error, ray.exceptions.RayError):
        return WorkerLostError(f"its actor or node is gone ({last_line(str(error))})")
    return error


def _shown(resources: dict[str, float]) -> str:
    return f"{resources.get('CPU', 0):g} CPU and {resources.get('GPU', 0):g} GPU"


def last_line(text: str) -> str:
    """Return the last line of an error that is not empty, shortened to 160 characters."""
    line = next((line for line in reversed(text.splitlines()) if line.strip()), "no reason given")
    return textwrap.shorten(line, 160, placeholder=" ...")
