"""The Ray executor: one actor per worker, pinned to its GPU or its cores, tasks pulled one by one.

Without an address a private cluster is started: over all nodes of the Slurm job, or on one machine with all
ports on loopback. A private cluster has a token in a 0600 file, a short private folder, and no dashboard,
client server or usage report. The cluster ends with the driver, even when the driver is killed. A cluster
that breaks is started again and does the tasks that are left.
No array passes through Ray: an actor reads and writes the run directory and returns small records.
"""

import contextlib
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from astro_dist.engine.errors import ConfigError, StoppedError
from astro_dist.engine.ledger import Result
from astro_dist.engine.stopping import check_stop, seconds_left
from astro_dist.engine.work import Failure, Run, Stage, Task
from astro_dist.workers.allocation import find_allocation
from astro_dist.workers.crew import TICK_S
from astro_dist.workers.machine import Machine
from astro_dist.workers.processes import cannot_start
from astro_dist.workers.ray_foreman import Cluster, cannot_use, serve
from astro_dist.workers.ray_leftovers import make_folder, remove_cluster, sweep_clusters

MAX_BREAKDOWNS = 5
"""Largest number of breakdowns of a cluster in a row without one task done in between."""
TAKE_DOWN_S = 30.0
"""Seconds that the foreman has to take its cluster down before it is killed."""


class RayExecutor:
    """Executor that does tasks on Ray actors; a context manager that starts and removes the cluster."""

    def __init__(self, machine: Machine, log: Path, address: str | None = None) -> None:
        self.machine, self.log, self.address = machine, log, address
        self.folder: Path | None = None
        self.process: Any = None
        self.begun, self.breakdowns = False, 0

    def __enter__(self) -> "RayExecutor":
        with contextlib.ExitStack() as undo:
            # `__exit__` is not called when `__enter__` raises, so the begun cluster is removed here.
            undo.callback(self.close)
            self._start()
            undo.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _start(self) -> None:
        allocation = None
        if self.address is None:
            allocation = find_allocation()
            # Clusters of killed drivers would keep their processes and memory on this machine.
            sweep_clusters()
            self.folder = make_folder()
        cluster = Cluster(self.machine, self.folder, self.address, self.log, allocation)
        # Spawned, because Ray reads variables at its import, and not a daemon, which would be killed at exit
        # before it has removed its cluster.
        context = multiprocessing.get_context("spawn")
        self.pipe, far_end = context.Pipe()
        process = context.Process(target=serve, args=(far_end, cluster), name="ray")
        try:
            process.start()
        except OSError as error:
            raise cannot_start("Ray", error) from None
        self.process = process
        far_end.close()
        self.stop_sent, answer = False, None
        # No time limit: the foreman answers or its pipe closes, and `check_stop` raises meanwhile.
        while answer is None:
            check_stop()
            answer = self.receive()
        if answer[0] == "failed":
            raise answer[1]
        if answer[0] == "lost":
            self.restart()
        self.begun = True

    def receive(self) -> tuple[Any, ...] | None:
        """Return the foreman's next message, ``("lost",)`` when its process is gone, None after `TICK_S`."""
        try:
            return self.pipe.recv() if self.pipe.poll(TICK_S) else None
        except (EOFError, OSError):
            return ("lost",)

    def pass_on_stop(self) -> None:
        """Send the foreman one stop order when the time is up; raise when the grace time is over too."""
        check_stop(waiting=True)
        if seconds_left() < 0 and not self.stop_sent:
            self.stop_sent = True
            self.send("stop")

    def send(self, *order: Any) -> None:
        """Send the foreman an order; a foreman that is gone shows as ``("lost",)`` in `receive`."""
        with contextlib.suppress(OSError):
            self.pipe.send(order)

    def restart(self) -> None:
        """Start the private cluster again after it broke.

        Raises
        ------
        ConfigError
            When a cluster at an address never answered.
        StoppedError
            When a cluster at an address is gone, or the private one broke more than `MAX_BREAKDOWNS` times
            in a row.
        """
        self.close()
        check_stop()
        if self.address is not None and not self.begun:
            raise ConfigError(cannot_use(self.address, self.log, "it does not answer"))
        if self.address is not None:
            raise StoppedError(
                f"the Ray cluster at {self.address} is gone; see {self.log}; "
                "published products are safe: run the same command when it is back"
            )
        self.breakdowns += 1
        if self.breakdowns > MAX_BREAKDOWNS:
            raise StoppedError(
                f"the private Ray cluster broke {MAX_BREAKDOWNS} times in a row; see {self.log}; "
                "run the same command again, or with --on processes, which does without Ray"
            )
        self._start()

    def close(self) -> None:
        """End the private cluster and remove its folder; a second call does nothing."""
        if self.process is not None:
            # The closed pipe makes the foreman take the cluster down and exit.
            self.pipe.close()
            self.process.join(TAKE_DOWN_S)
            # Harmless where it has ended in time.
            self.process.kill()
            self.process.join(TAKE_DOWN_S)
            self.process = None
        if self.folder is not None:
            remove_cluster(self.folder)
            self.folder = None

    @contextlib.contextmanager
    def crew(self, stage: Stage, run: Run) -> Iterator["DistantCrew"]:
        """See `astro_dist.engine.work.Executor`."""
        crew = DistantCrew(self, stage, run)
        try:
            yield crew
        finally:
            self.send("dismiss")


class DistantCrew:
    """The driver's end of a crew of actors; after a breakdown it goes on with the next cluster."""

    def __init__(self, executor: RayExecutor, stage: Stage, run: Run) -> None:
        self.executor, self.args = executor, (stage, run)
        executor.send("crew", *self.args)

    def execute(self, tasks: Sequence[Task], on_done: Callable[[Task, Result], None]) -> list[Failure]:
        """See `astro_dist.engine.work.Crew`."""
        # Kept by the driver, so that a new cluster gets the tasks without a result and no others.
        left = {task.name: task for task in tasks}
        self.executor.send("execute", list(left.values()))
        while True:
            self.executor.pass_on_stop()
            answer = self.executor.receive()
            if answer is None:
                continue
            kind, *values = answer
            if kind == "done":
                # One finished task shows that the cluster works; only breakdowns in a row count.
                self.executor.breakdowns = 0
                task, result = values
                del left[task.name]
                on_done(task, result)
            elif kind == "end":
                return list(values[0])
            elif kind == "lost":
                self.executor.restart()
                self._pass_on_recorded(left, on_done)
                self.executor.send("crew", *self.args)
                self.executor.send("execute", list(left.values()))
            else:
                if isinstance(values[0], StoppedError):
                    # The driver's own reason (Ctrl-C or the time limit) is raised where there is one: the
                    # foreman only received "stop".
                    check_stop()
                raise values[0]

    def _pass_on_recorded(self, left: dict[str, Task], on_done: Callable[[Task, Result], None]) -> None:
        """Pass on recorded tasks whose message was lost with the cluster, and take them out of ``left``."""
        recorded = self.args[1].records.results()
        for name in left.keys() & recorded.keys():
            on_done(left.pop(name), recorded[name])
