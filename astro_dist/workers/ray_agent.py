"""One node of a private Ray cluster over an allocation: ``python -m astro_dist.workers.ray_agent``.

The agent reads the head's address and the cluster's token from standard input and joins the node to the
cluster. When that input closes, Ray ends or SIGTERM comes, the agent ends all processes of the cluster on
the node, removes its folder and exits.
"""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

from astro_dist.engine.errors import ConfigError
from astro_dist.workers.allocation import Allocation, address_towards
from astro_dist.workers.machine import Machine, count_cores
from astro_dist.workers.processes import module_command
from astro_dist.workers.ray_leftovers import INNER, TOKEN, make_folder, remove_cluster, sweep_clusters

# Just above Ray's minimum of 75 MiB: no array passes through the object store.
OBJECT_STORE_BYTES = 80_000_000
QUIET = {
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
    # 0: an actor without a GPU keeps CUDA_VISIBLE_DEVICES as it is; Ray's older behaviour emptied it.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_enable_metrics_collection": "0",
    "RAY_BACKEND_LOG_LEVEL": "error",
    "RAY_gcs_rpc_server_reconnect_timeout_s": "20",
    # Ray starts its workers with a lower priority otherwise, which would slow them beside other processes.
    "RAY_worker_niceness": "0",
}
JOIN_LIMIT_S = 300.0
"""Seconds that the nodes may take to join; reading Ray's files from a cold shared file system is slow."""
LEAVE_S = 20.0
"""Seconds that the agents have to clean up their nodes before `srun` is terminated."""


@contextlib.contextmanager
def joined(allocation: Allocation, head: str, token: str, machine: Machine) -> Iterator[None]:
    """Join every other node of the allocation to the head at ``head``; take the nodes out again at the end.

    Raises
    ------
    ConfigError
        When not all nodes have joined after `JOIN_LIMIT_S`.
    """
    import ray

    call = [*allocation.srun(allocation.others), *module_command("astro_dist.workers.ray_agent")]
    # A process whose environment names the head's folder is killed with it: see `ray_leftovers`.
    environment = {k: v for k, v in allocation.environment().items() if not k.startswith("RAY_AUTH")}
    # One pipe to all: `srun` passes its standard input on to every task, and so its end.
    agents = subprocess.Popen(call, env=environment, stdin=subprocess.PIPE)
    assert agents.stdin is not None
    try:
        # Through the pipe, because every user of a node can read command lines.
        order = {"head": head, "token": token, "fake_gpus": machine.fake_gpus}
        agents.stdin.write(json.dumps(order).encode() + b"\n")
        agents.stdin.flush()
        deadline = time.monotonic() + JOIN_LIMIT_S
        wanted = len(allocation.nodes)
        # All nodes, because the number of workers follows from the resources of the whole cluster.
        while sum(node["Alive"] for node in ray.nodes()) < wanted:  # type: ignore[no-untyped-call]
            if agents.poll() is not None or time.monotonic() > deadline:
                raise ConfigError(
                    f"Ray did not start on all {wanted} nodes of the job within {JOIN_LIMIT_S:.0f} s; "
                    "see logs/ray.log, and run the same command again"
                )
            time.sleep(0.1)
        yield
    finally:
        with contextlib.suppress(OSError):
            # The closed input is the order to leave.
            agents.stdin.close()
        try:
            agents.wait(LEAVE_S)
        except subprocess.TimeoutExpired:
            agents.terminate()


def main() -> None:
    """Join this node to the cluster and stay until there is a reason to leave."""
    order = json.loads(_read_line())
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    sweep_clusters()
    deadline = time.monotonic() + JOIN_LIMIT_S
    # Ray gives up after 30 s when a node is slow to start, so the start is repeated within our own limit.
    while not _join(order) and time.monotonic() < deadline:
        pass


def _join(order: dict[str, Any]) -> bool:
    """Join the cluster; afterwards remove all of it from this node. Return False when Ray ended by itself."""
    folder = make_folder(order["token"])
    try:
        environment = {**os.environ, **QUIET, "RAY_AUTH_TOKEN_PATH": str(folder / TOKEN)}
        return _live(order, environment, str(folder / INNER))
    finally:
        # A second SIGTERM must not interrupt the removal.
        before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
        remove_cluster(folder)
        signal.signal(signal.SIGTERM, before)


def _live(order: dict[str, Any], environment: dict[str, str], folder: str) -> bool:
    """Run the node until standard input closes (return True) or Ray ends (return False)."""
    machine = Machine(count_cores(), 0, None, fake_gpus=order["fake_gpus"])
    options = {
        "address": order["head"],
        "node-ip-address": address_towards(order["head"].rpartition(":")[0]),
        "temp-dir": folder,
        "num-cpus": machine.cores,
        # Counted on this node: the head cannot see which GPUs Slurm assigned here.
        "num-gpus": machine.gpus_here(),
        "object-store-memory": OBJECT_STORE_BYTES,
        # 0 lets the kernel choose. Ray's default is a fixed range, which collides with other clusters here.
        "min-worker-port": 0,
        "max-worker-port": 0,
    }
    call = module_command("ray.scripts.scripts", "start", "--block")
    call += [f"--{name}={value}" for name, value in options.items()]
    node = subprocess.Popen(call, env=environment, stdin=subprocess.DEVNULL)
    while node.poll() is None:
        # Nothing is sent after the order; readable input with no byte in it is the end of the pipe.
        ready, _, _ = select.select([0], [], [], 0.5)
        if ready and not os.read(0, 1):
            return True
    return False


def _read_line() -> bytes:
    """Read one line from standard input and not a byte more.

    A buffered reader would take the bytes after the line, which `select` could not see any more.
    """
    line = b""
    while not line.endswith(b"\n"):
        line += os.read(0, 1) or b"\n"
    return line


if __name__ == "__main__":
    main()
