"""The process that speaks to Ray: hires actors, hands them tasks, and takes the cluster down with it.

Ray may end the process it runs in, and a process can start one cluster with a token only; hence a
process of its own. It ends when the driver's end of the pipe closes, however the driver ended.
"""

import contextlib
import os
import signal
import socket
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil

from astro_dist.engine.errors import AstroDistError, ConfigError
from astro_dist.engine.stopping import check_stop, end_time
from astro_dist.engine.work import Task
from astro_dist.workers.allocation import Allocation
from astro_dist.workers.machine import Machine
from astro_dist.workers.processes import log_to
from astro_dist.workers.ray_actors import RayCrew, last_line
from astro_dist.workers.ray_agent import OBJECT_STORE_BYTES, QUIET, joined
from astro_dist.workers.ray_leftovers import INNER, TOKEN, remove_cluster

# Ray's own name for it: without clusters of several nodes, all its ports are bound to loopback.
LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
HEART = ("gcs_server", "raylet", "srun")


@dataclass(frozen=True)
class Cluster:
    """Which cluster: a private one in ``folder``, over all nodes of a job, or the one at ``address``."""

    machine: Machine
    folder: Path | None
    address: str | None
    log: Path
    allocation: Allocation | None = None


def serve(pipe: Connection, cluster: Cluster) -> None:
    """Live as the foreman: start or join the cluster, then obey until the pipe closes."""
    os.setsid()
    log_to(cluster.log)
    try:
        with _connected(cluster) as machine:
            pipe.send(("ready", None))
            Foreman(pipe, machine, private=cluster.folder is not None).obey()
    except (EOFError, OSError):
        pass
    except AstroDistError as error:
        with contextlib.suppress(OSError):
            pipe.send(("failed", error))
    except Exception:
        traceback.print_exc()
    finally:
        # Ray's own farewell waits for a cluster that is gone, and makes its folder again.
        os._exit(0)


@contextlib.contextmanager
def _connected(cluster: Cluster) -> Iterator[Machine]:
    """Start or join the cluster; yield what it offers; take it down if it is ours."""
    os.environ.update(QUIET)
    if cluster.folder is not None:
        os.environ.update(LOOPBACK if cluster.allocation is None else {})
        os.environ["RAY_AUTH_TOKEN_PATH"] = str(cluster.folder / TOKEN)
        for name in ("RAY_AUTH_TOKEN", "RAY_ADDRESS"):
            os.environ.pop(name, None)
    import ray

    try:
        _initialise(cluster)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: None)
        with _over_nodes(cluster):
            resources = ray.cluster_resources()  # type: ignore[no-untyped-call]
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
            # Ray ends the process where nobody answers; so ask first.
            host, _, port = cluster.address.rpartition(":")
            socket.create_connection((host, int(port)), timeout=10).close()
        ray.init(address=cluster.address or "local", **options)
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise ConfigError(cannot_use(cluster.address, cluster.log, last_line(str(error)))) from None


def cannot_use(address: str | None, log: Path, reason: str) -> str:
    """Say in one line why there is no cluster, and what to do."""
    if address is None:
        return f"cannot use a private Ray cluster: {reason}; see {log}; --on processes works without Ray"
    return (
        f"cannot use the Ray cluster at {address}: {reason}; is it up, and does RAY_AUTH_TOKEN_PATH name the "
        "file with its token? Without machine.ray_address a private cluster is started"
    )


class Foreman:
    """Obeys the driver: opens crews, runs tasks, reports each as it ends."""

    def __init__(self, pipe: Connection, machine: Machine, private: bool) -> None:
        self.pipe, self.machine, self.private = pipe, machine, private
        children = psutil.Process().children(recursive=True) if private else []
        self.heart = [child for child in children if child.name() in HEART]

    def obey(self) -> None:
        """Do what the driver says until it hangs up; raises when the cluster is gone."""
        crew: RayCrew | None = None
        while True:
            if not self.pipe.poll(1.0):
                self.check_heart()
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
        except HeadLostError:
            raise
        except Exception as error:
            answer = ("error", error)
        self.pipe.send(answer)

    def check(self) -> None:
        """Raise when the driver has hung up, the cluster has lost its head or the time is up."""
        if self.pipe.poll(0):
            if self.pipe.recv() != ("stop",):
                raise _HungUpError
            end_time()
        self.check_heart()
        check_stop(waiting=True)

    def check_heart(self) -> None:
        """Raise `HeadLostError` when one of the private cluster's own processes has ended."""
        for process in self.heart:
            if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
                raise HeadLostError(f"{process.name()} has ended")


class HeadLostError(Exception):
    """The cluster has lost a process it cannot live without."""


class _HungUpError(Exception):
    """The driver wants the work to end."""
