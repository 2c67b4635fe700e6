"""The foreman: the one process that uses Ray; it starts actors, gives them tasks and removes the cluster.

Ray may end the process that it runs in, and a process can start only one cluster with a token; hence a
process beside the driver. The foreman exits when the driver's end of the pipe closes, even when the driver
was killed.
"""

import contextlib
import os
import signal
import socket
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil

from astro_dist.engine.errors import AstroDistError, ConfigError, explain_missing
from astro_dist.engine.stopping import check_stop, end_time
from astro_dist.engine.work import Task
from astro_dist.workers.allocation import Allocation
from astro_dist.workers.machine import Machine
from astro_dist.workers.processes import log_to
from astro_dist.workers.ray_actors import RayCrew, last_line
from astro_dist.workers.ray_agent import OBJECT_STORE_BYTES, QUIET, joined
from astro_dist.workers.ray_leftovers import INNER, TOKEN, remove_cluster

# Ray's switch for clusters of several nodes; when it is off, Ray binds all its ports to loopback.
LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
ESSENTIAL = ("gcs_server", "raylet", "srun")
"""Processes below the foreman without which a private cluster cannot go on."""


@dataclass(frozen=True)
class Cluster:
    """The cluster to use: a private one in ``folder``, or the one at ``address``."""

    machine: Machine
    folder: Path | None
    address: str | None
    log: Path
    allocation: Allocation | None = None


def serve(pipe: Connection, cluster: Cluster) -> None:
    """Start or join the cluster, then carry out orders until the pipe closes; the foreman's main function."""
    # A session of its own: Ctrl-C in the terminal reaches the driver only, which then sends "stop".
    os.setsid()
    try:
        log_to(cluster.log)
    except OSError as error:
        # Raised in the driver, which names the file: without its log nothing of Ray's would be seen.
        pipe.send(("failed", error))
        os._exit(0)
    try:
        with _connected(cluster) as machine:
            pipe.send(("ready", None))
            Foreman(pipe, machine, private=cluster.folder is not None).serve()
    except (EOFError, OSError):
        pass
    except AstroDistError as error:
        with contextlib.suppress(OSError):
            pipe.send(("failed", error))
    except Exception as error:
        if (missing := explain_missing(error)) is not None:
            pipe.send(("failed", missing))
        traceback.print_exc()
    finally:
        # Not a plain return: Ray's exit handler would call ray.shutdown(), which waits for processes that are
        # already gone and makes the removed folder again.
        os._exit(0)


@contextlib.contextmanager
def _connected(cluster: Cluster) -> Iterator[Machine]:
    """Start or join the cluster, yield its cores and GPUs, and take a private cluster down again."""
    os.environ.update(QUIET)
    if cluster.folder is not None:
        os.environ.update(LOOPBACK if cluster.allocation is None else {})
        os.environ["RAY_AUTH_TOKEN_PATH"] = str(cluster.folder / TOKEN)
        # The user's own values belong to another cluster; such a token would be used before the file's.
        for name in ("RAY_AUTH_TOKEN", "RAY_ADDRESS"):
            os.environ.pop(name, None)
    # Only now, because Ray reads some of these variables when it is imported.
    import ray

    try:
        _initialise(cluster)
        # Ray installs handlers that exit. Stopping is the driver's decision, so signals do nothing here.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: None)
        with _over_nodes(cluster):
            resources = ray.cluster_resources()  # type: ignore[no-untyped-call]
            # On one machine the numbers given to Ray are those of `machine` already.
            alone = cluster.folder is not None and cluster.allocation is None
            yield cluster.machine if alone else cluster.machine.spread(resources)
    finally:
        if cluster.folder is None:
            ray.shutdown()
        else:
            remove_cluster(cluster.folder)


def _over_nodes(cluster: Cluster) -> contextlib.AbstractContextManager[None]:
    """Return the context in which the other nodes of a job are part of the cluster."""
    import ray

    if cluster.allocation is None or cluster.folder is None:
        return contextlib.nullcontext()
    head = ray.get_runtime_context().gcs_address
    return joined(cluster.allocation, head, (cluster.folder / TOKEN).read_text(), cluster.machine)


def _initialise(cluster: Cluster) -> None:
    import ray

    # Workers write their own logs below the run directory, see `log_to`.
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    if cluster.allocation is not None:
        options |= {"_node_ip_address": cluster.allocation.address()}
    if cluster.folder is not None:
        here = cluster.machine.gpus if cluster.allocation is None else cluster.machine.gpus_here()
        options |= {
            "num_cpus": cluster.machine.cores,
            "num_gpus": here,
            "include_dashboard": False,
            "object_store_memory": OBJECT_STORE_BYTES,
            "_temp_dir": str(cluster.folder / INNER),
        }
    try:
        if cluster.address is not None:
            # Where nothing answers `ray.init` ends the whole process; a plain connection raises instead.
            host, _, port = cluster.address.rpartition(":")
            socket.create_connection((host, int(port)), timeout=10).close()
        # Ray puts the current folder first where its workers look for modules, so that they would import any
        # `numpy.py` in it. Workers go there by themselves, see `Actor`.
        outside = "." if os.getcwd() in sys.path else "/"
        with contextlib.chdir(outside):
            ray.init(address=cluster.address or "local", **options)
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise ConfigError(cannot_use(cluster.address, cluster.log, last_line(str(error)))) from None


def cannot_use(address: str | None, log: Path, reason: str) -> str:
    """Return one line for the user: why there is no cluster, and what to do."""
    if address is None:
        return f"cannot use a private Ray cluster: {reason}; see {log}; --on processes works without Ray"
    return (
        f"cannot use the Ray cluster at {address}: {reason}; is it up, and does RAY_AUTH_TOKEN_PATH name the "
        "file with its token? Without machine.ray_address a private cluster is started"
    )


class Foreman:
    """Carries out the driver's orders: opens crews, runs tasks, reports each task as it ends."""

    def __init__(self, pipe: Connection, machine: Machine, private: bool) -> None:
        self.pipe, self.machine, self.private = pipe, machine, private
        children = psutil.Process().children(recursive=True) if private else []
        # Collected once, after the start; a later listing would no longer hold a process that has ended.
        self.essential = [child for child in children if child.name() in ESSENTIAL]

    def serve(self) -> None:
        """Carry out orders; raise `EOFError` when the pipe closes, `HeadLostError` without a cluster."""
        crew: RayCrew | None = None
        while True:
            # Between stages no crew is at work that would call `check`.
            if not self.pipe.poll(1.0):
                self.check_processes()
                continue
            order, *values = self.pipe.recv()
            if order == "stop":
                end_time()
            elif order == "crew":
                stage, run = values
                crew = RayCrew(stage, run, self.machine, self.private, self.check)
            elif order == "dismiss" and crew is not None:
                crew.dismiss()
                crew = None
            elif order == "execute" and crew is not None:
                self._execute(crew, *values)

    def _execute(self, crew: "RayCrew", tasks: list[Task]) -> None:
        answer: tuple[str, Any]
        try:
            answer = ("end", crew.execute(tasks, lambda task, result: self.pipe.send(("done", task, result))))
        except (_HungUpError, EOFError, BrokenPipeError):
            raise EOFError from None
        # Not an answer: the foreman exits, and the driver starts the cluster again.
        except HeadLostError:
            raise
        except Exception as error:
            answer = ("error", error)
        self.pipe.send(answer)

    def check(self) -> None:
        """Raise when the driver wants the work to end, the cluster is gone, or the grace time is over."""
        if self.pipe.poll(0):
            # Any order but "stop" in the middle of the work means that the driver has dropped this crew.
            if self.pipe.recv() != ("stop",):
                raise _HungUpError
            end_time()
        self.check_processes()
        check_stop(waiting=True)

    def check_processes(self) -> None:
        """Raise `HeadLostError` when one of the private cluster's own processes has ended."""
        for process in self.essential:
            # psutil counts a zombie as running, and nothing here waits for Ray's processes to reap them.
            if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
                raise HeadLostError(f"{process.name()} has ended")


class HeadLostError(Exception):
    """One of the `ESSENTIAL` processes of the cluster has ended."""


class _HungUpError(Exception):
    """The driver wants the work to end."""
