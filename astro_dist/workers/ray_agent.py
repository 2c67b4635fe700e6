"""One node of a private Ray cluster over an allocation: ``python -m astro_dist.workers.ray_agent``.

It reads where the head is and the cluster's token from standard input, joins, and lives until that input
ends, Ray ends or a signal comes; then nothing of the cluster is left on the node.
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
from astro_dist.workers.ray_leftovers import INNER, TOKEN, make_folder, remove_cluster, sweep_clusters

OBJECT_STORE_BYTES = 80_000_000
QUIET = {
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_enable_metrics_collection": "0",
    "RAY_BACKEND_LOG_LEVEL": "error",
    "RAY_gcs_rpc_server_reconnect_timeout_s": "20",
    "RAY_worker_niceness": "0",
}
JOIN_LIMIT_S = 300.0
"""How long the nodes may take to join; a cold shared file system is slow to give Ray's files."""
FAREWELL_S = 20.0


@contextlib.contextmanager
def joined(allocation: Allocation, head: str, token: str, machine: Machine) -> Iterator[None]:
    """Let every other node of the allocation join the head at ``head``; part with them at the end."""
    import ray

    call = [*allocation.srun(allocation.others), sys.executable, "-m", "astro_dist.workers.ray_agent"]
    # What names the head's folder would count as part of it.
    environment = {k: v for k, v in allocation.environment().items() if not k.startswith("RAY_AUTH")}
    agents = subprocess.Popen(call, env=environment, stdin=subprocess.PIPE)
    assert agents.stdin is not None
    try:
        order = {"head": head, "token": token, "fake_gpus": machine.fake_gpus}
        agents.stdin.write(json.dumps(order).encode() + b"\n")
        agents.stdin.flush()
        deadline = time.monotonic() + JOIN_LIMIT_S
        wanted = len(allocation.nodes)
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
            agents.stdin.close()
        try:
            agents.wait(FAREWELL_S)
        except subprocess.TimeoutExpired:
            agents.terminate()


def main() -> None:
    """Live as the agent of one node."""
    order = json.loads(_read_line())
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    sweep_clusters()
    deadline = time.monotonic() + JOIN_LIMIT_S
    # Ray gives a node 30 s to start, which a busy one may need more than once.
    while not _join(order) and time.monotonic() < deadline:
        pass


def _join(order: dict[str, Any]) -> bool:
    """Be part of the cluster, and leave nothing of it; tell whether that ended as it was asked to."""
    folder = make_folder(order["token"])
    try:
        environment = {**os.environ, **QUIET, "RAY_AUTH_TOKEN_PATH": str(folder / TOKEN)}
        return _live(order, environment, str(folder / INNER))
    finally:
        before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
        remove_cluster(folder)
        signal.signal(signal.SIGTERM, before)


def _live(order: dict[str, Any], environment: dict[str, str], folder: str) -> bool:
    """Live until the input ends (True) or Ray does (False)."""
    machine = Machine(count_cores(), 0, None, fake_gpus=order["fake_gpus"])
    options = {
        "address": order["head"],
        "node-ip-address": address_towards(order["head"].rpartition(":")[0]),
        "temp-dir": folder,
        "num-cpus": machine.cores,
        "num-gpus": machine.gpus_here(),
        "object-store-memory": OBJECT_STORE_BYTES,
        # Else it would be a fixed range, which two clusters on one node would share.
        "min-worker-port": 0,
        "max-worker-port": 0,
    }
    call = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block"]
    call += [f"--{name}={value}" for name, value in options.items()]
    node = subprocess.Popen(call, env=environment, stdin=subprocess.DEVNULL)
    while node.poll() is None:
        ready, _, _ = select.select([0], [], [], 0.5)
        if ready and not os.read(0, 1):
            return True
    return False


def _read_line() -> bytes:
    """Read one line from standard input and not a byte more."""
    line = b""
    while not line.endswith(b"\n"):
        line += os.read(0, 1) or b"\n"
    return line


if __name__ == "__main__":
    main()
