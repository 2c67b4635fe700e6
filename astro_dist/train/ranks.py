"""Starts the ranks of a training as child processes and speaks for them.

Children are `python -m astro_dist.train.ranks`: the worker of a stage may be a daemonic process, which
may not use multiprocessing itself. They end with their parent, and with each other. In a Slurm job of
several nodes they are spread evenly over all of them, the first ones on this node. Where torchrun,
`accelerate launch` or Ray Train started this process as one rank of several (`launched_rank`), nothing
is started: every rank runs the same `astro-dist train`.
"""

import contextlib
import json
import math
import os
import pickle
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from astro_dist.engine import errors
from astro_dist.engine.stopping import check_stop, stop_on_signals
from astro_dist.train.recipe import Cell
from astro_dist.workers.allocation import Allocation, address_towards, find_allocation, interface_of
from astro_dist.workers.processes import ALL_GPUS, die_with_parent, ignoring_ctrl_c

FIRST_TASK = "ASTRO_DIST_FIRST_TASK"
"""Names the task of `srun` that is the first rank: one on the node of the process that started them."""
SAVE_S = 60.0
"""How long ranks may take over the checkpoint that a stop asks for."""


def launched_rank() -> int | None:
    """Return which rank of a launcher's this process is; None where no launcher started it."""
    return int(os.environ["RANK"]) if {"RANK", "WORLD_SIZE"} <= os.environ.keys() else None


def train_on_ranks(cell: Cell) -> dict[str, Any]:
    """Train on several processes and return the first rank's result.

    Raises
    ------
    AstroDistError
        What a rank raised, of the same class. The other ranks are ended.
    """
    allocation, ranks = find_allocation(), cell.config.ranks
    logs = cell.run.root / "logs"
    logs.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".ranks-", dir=logs if allocation else None) as name:
        folder, port = Path(name), free_port()
        if allocation is None:
            children = [_start(cell, rank, ranks, port, folder) for rank in range(ranks)]
        else:
            children = [_start_on_nodes(cell, allocation, ranks, port, folder)]
        try:
            asked = _watch(children)
        finally:
            _end(children)
        try:
            _raise_first(folder, ranks, children)
        except (errors.StoppedError, RuntimeError) as error:
            # Ranks know that they were to stop, not why; and one that was just starting knows nothing.
            raise asked or error from None
        return dict(json.loads((folder / "0.json").read_text())["result"])


def _watch(children: list[subprocess.Popen[bytes]]) -> errors.StoppedError | None:
    """Wait until all ranks have ended or one has failed; pass a stop on, give it time, and return it."""
    deadline_s, asked = math.inf, None
    while any(child.poll() is None for child in children) and time.monotonic() < deadline_s:
        if any(child.poll() for child in children) and deadline_s == math.inf:
            break
        try:
            check_stop()
        except errors.StoppedError as stop:
            if asked is None:
                asked, deadline_s = stop, time.monotonic() + SAVE_S
                for child in children:
                    _ask_to_stop(child)
        time.sleep(0.1)
    return asked


def _ask_to_stop(child: subprocess.Popen[bytes]) -> None:
    """Ask ranks for a clean stop through their input: `srun` answers a signal by killing them."""
    assert child.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        child.stdin.write(b"s")
        child.stdin.flush()


def _start(cell: Cell, rank: int, ranks: int, port: int, folder: Path) -> subprocess.Popen[bytes]:
    own = {"RANK": str(rank), "LOCAL_RANK": str(rank), **_meeting(cell, "127.0.0.1", port, ranks, ranks)}
    if ALL_GPUS in os.environ:
        # The worker that starts them may be pinned to one; each rank takes the one of its number.
        own["CUDA_VISIBLE_DEVICES"] = os.environ[ALL_GPUS]
    return _launch([], {**os.environ, **own}, folder, cell)


def _start_on_nodes(
    cell: Cell, allocation: Allocation, ranks: int, port: int, folder: Path
) -> subprocess.Popen[bytes]:
    """Start all ranks with one `srun`, which ends them all when one fails."""
    nodes = len(allocation.nodes)
    if ranks % nodes:
        raise errors.ConfigError(
            f"{cell.run.settings.own}.ranks: {ranks} ranks cannot be spread evenly over the {nodes} nodes of "
            f"this job; make it a multiple of {nodes}, best one per GPU"
        )
    on_each = ranks // nodes
    call = [*allocation.srun(allocation.nodes, on_each), "--kill-on-bad-exit=1"]
    meeting = _meeting(cell, allocation.address(), port, ranks, on_each)
    environment = {**allocation.environment(), **meeting, FIRST_TASK: str(allocation.here * on_each)}
    return _launch(call, environment, folder, cell)


def _meeting(cell: Cell, address: str, port: int, ranks: int, on_each: int) -> dict[str, str]:
    """Return what all ranks must know to find each other."""
    return {
        "WORLD_SIZE": str(ranks),
        "LOCAL_WORLD_SIZE": str(on_each),
        "MASTER_ADDR": address,
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": str(cell.config.threads),
    }


def _launch(
    call: list[str], environment: dict[str, str], folder: Path, cell: Cell
) -> subprocess.Popen[bytes]:
    """Start a process and send it the training; the pipe stays open, and its end is the rank's end."""
    command = [*call, sys.executable, "-m", "astro_dist.train.ranks", str(folder)]
    with ignoring_ctrl_c():
        child = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE)
    assert child.stdin is not None
    message = pickle.dumps(cell)
    # One that has died already is noticed by `_watch`.
    with contextlib.suppress(BrokenPipeError):
        child.stdin.write(len(message).to_bytes(8, "big") + message)
        child.stdin.flush()
    return child


def _end(children: list[subprocess.Popen[bytes]]) -> None:
    for child in children:
        child.terminate()
    for child in children:
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        assert child.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            child.stdin.close()


def _raise_first(folder: Path, ranks: int, children: list[subprocess.Popen[bytes]]) -> None:
    for rank in range(ranks):
        path = folder / f"{rank}.json"
        outcome = json.loads(path.read_text()) if path.exists() else {}
        if "error" in outcome:
            raise getattr(errors, outcome["error"], RuntimeError)(outcome["message"])
    codes = [child.returncode for child in children]
    if any(codes):
        raise RuntimeError(f"a rank died (exit codes {codes}); the worker's log in logs/ has its last words")


def free_port() -> int:
    """Return a port that nothing listens on now."""
    with socket.socket() as listener:
        listener.bind(("", 0))
        return int(listener.getsockname()[1])


def _join_nodes() -> None:
    """Find out which rank this task of `srun` is, and through which network it reaches the others."""
    world, first = int(os.environ["WORLD_SIZE"]), int(os.environ[FIRST_TASK])
    rank = (int(os.environ["SLURM_PROCID"]) - first) % world
    os.environ["RANK"] = str(rank)
    os.environ["LOCAL_RANK"] = os.environ["SLURM_LOCALID"]
    interface = interface_of(address_towards(os.environ["MASTER_ADDR"]))
    for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
        if interface is not None:
            os.environ.setdefault(name, interface)
    print(f"rank {rank} of {world} is on {os.uname().nodename}, interface {interface}", flush=True)


def _end_with_pipe() -> None:
    """Obey the process that started this rank, on whichever node that is, and live no longer than it."""
    while os.read(0, 1):
        os.kill(os.getpid(), signal.SIGTERM)
    os._exit(1)


def main(folder: Path) -> int:
    """Live as one rank: read the training from standard input, train, leave the outcome in a file."""
    die_with_parent()
    pipe = sys.stdin.buffer
    cell = pickle.loads(pipe.read(int.from_bytes(pipe.read(8), "big")))
    threading.Thread(target=_end_with_pipe, daemon=True).start()
    try:
        if FIRST_TASK in os.environ:
            _join_nodes()
        from astro_dist.train.loop import train

        with stop_on_signals():
            answer: dict[str, Any] = {"result": train(cell)}
    except Exception as error:
        answer = {"error": type(error).__name__, "message": str(error)}
    (folder / f"{os.environ['RANK']}.json").write_text(json.dumps(answer))
    return 1 if "error" in answer else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
