"""The ranks of a training as child processes: start, stop and outcome.

Children are started as `python -m astro_dist.train.ranks`, not by multiprocessing: the worker of a stage may
be a daemonic process, and daemonic processes may not use multiprocessing. Children end with their parent, and
all end when one fails. In a Slurm job of several nodes the ranks are spread evenly over all nodes, the first
ranks on this node. Where torchrun, `accelerate launch` or Ray Train started this process as a rank
(`launched_rank`), no child is started: every rank runs the same `astro-dist train`.
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
import threading
import time
from pathlib import Path
from typing import Any

from astro_dist.engine import errors
from astro_dist.engine.stopping import check_stop, stop_on_signals
from astro_dist.train.config import OWN_STORE
from astro_dist.train.recipe import Cell
from astro_dist.workers.allocation import Allocation, address_towards, find_allocation, interface_of
from astro_dist.workers.processes import (
    ALL_GPUS,
    cannot_start,
    die_with_parent,
    exit_text,
    ignoring_ctrl_c,
    module_command,
)
from astro_dist.workers.scratch import private_folder

FIRST_TASK = "ASTRO_DIST_FIRST_TASK"
"""Variable with the number of the `srun` task that is rank 0, on the node of the parent process."""
SAVE_S = 60.0
"""Seconds that ranks have after a stop request to write their checkpoint."""


def launched_rank() -> int | None:
    """Return the rank that a launcher gave this process; None where no launcher started the process."""
    return int(os.environ["RANK"]) if {"RANK", "WORLD_SIZE"} <= os.environ.keys() else None


def train_on_ranks(cell: Cell) -> dict[str, Any]:
    """Train on several processes and return the first rank's result.

    Raises
    ------
    AstroDistError
        An error of a rank, of the same class. The other ranks are ended first.
    """
    allocation, ranks = find_allocation(), cell.config.ranks
    logs = cell.run.root / "logs"
    logs.mkdir(exist_ok=True)
    # Ranks on other nodes write their outcomes too, and `logs` is on storage that all nodes share.
    with private_folder("ranks", logs if allocation else None) as folder:
        port = free_port()
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
            # Ranks receive a bare stop request, and a rank that is still importing is killed without an
            # outcome. The reason (stopped or out of time) is in the stop that this process was asked for.
            raise asked or error from None
        return dict(json.loads((folder / "0.json").read_text())["result"])


def _watch(children: list[subprocess.Popen[bytes]]) -> errors.StoppedError | None:
    """Wait until all ranks have ended or one has failed.

    A stop request is passed to the ranks once; they have `SAVE_S` to end. Returns that stop, None without
    one.
    """
    deadline_s, asked = math.inf, None
    while any(child.poll() is None for child in children) and time.monotonic() < deadline_s:
        # After a stop request exit codes other than 0 are expected, and the other ranks may still be saving.
        if any(child.poll() for child in children) and deadline_s == math.inf:
            # The other ranks could wait for the failed one in a collective call for ever.
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
    """Request a clean stop through standard input: `srun` would answer a signal by killing the ranks."""
    assert child.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        child.stdin.write(b"s")
        child.stdin.flush()


def _start(cell: Cell, rank: int, ranks: int, port: int, folder: Path) -> subprocess.Popen[bytes]:
    own = {"RANK": str(rank), "LOCAL_RANK": str(rank), **_meeting(cell, "127.0.0.1", port, ranks, ranks)}
    own[OWN_STORE] = str(folder / "store")
    # Without a name gloo listens on the address of the host's name, which may be that of an outside network.
    own |= dict.fromkeys(("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"), "lo")
    if ALL_GPUS in os.environ:
        # This worker may be pinned to one GPU. Each rank takes the GPU of its number among all GPUs of the
        # run.
        own["CUDA_VISIBLE_DEVICES"] = os.environ[ALL_GPUS]
    return _launch([], {**os.environ, **own}, folder, cell)


def _start_on_nodes(
    cell: Cell, allocation: Allocation, ranks: int, port: int, folder: Path
) -> subprocess.Popen[bytes]:
    """Start all ranks with one `srun`; `--kill-on-bad-exit` ends all ranks when one fails."""
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
    """Return the variables by which torch.distributed connects the ranks."""
    return {
        OWN_STORE: "",
        "WORLD_SIZE": str(ranks),
        "LOCAL_WORLD_SIZE": str(on_each),
        "MASTER_ADDR": address,
        "MASTER_PORT": str(port),
        # OpenMP reads this once, when torch is loaded; the number of threads changes the last bits of sums.
        "OMP_NUM_THREADS": str(cell.config.threads),
    }


def _launch(
    call: list[str], environment: dict[str, str], folder: Path, cell: Cell
) -> subprocess.Popen[bytes]:
    """Start a rank (or `srun`) and send the cell; the pipe stays open, and ranks end when it closes."""
    command = [*call, *module_command("astro_dist.train.ranks", str(folder))]
    try:
        with ignoring_ctrl_c():
            child = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE)
    except OSError as error:
        raise cannot_start("a rank", error) from None
    assert child.stdin is not None
    message = pickle.dumps(cell)
    # A broken pipe means that the child has ended; `_watch` reports that.
    with contextlib.suppress(BrokenPipeError):
        # The length comes first: the pipe stays open, so that its end cannot mark the end of the cell.
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
            # Last: ranks exit at once when the pipe closes, and the wait above lets them end by themselves.
            child.stdin.close()


def _raise_first(folder: Path, ranks: int, children: list[subprocess.Popen[bytes]]) -> None:
    for rank in range(ranks):
        path = folder / f"{rank}.json"
        outcome = json.loads(path.read_text()) if path.exists() else {}
        if "error" in outcome:
            # Errors of ours keep their class; an error of any other class becomes a RuntimeError.
            raise getattr(errors, outcome["error"], RuntimeError)(outcome["message"])
    codes = [child.returncode for child in children]
    if any(codes):
        shown = ", ".join(f"rank {rank} by {exit_text(code)}" for rank, code in enumerate(codes) if code)
        raise RuntimeError(f"ranks ended ({shown}); see the end of the worker's log in logs/")


def free_port() -> int:
    """Return a port on which no process listens now."""
    with socket.socket() as listener:
        listener.bind(("", 0))
        return int(listener.getsockname()[1])


def _join_nodes() -> None:
    """Set the rank of this `srun` task, and the network interface through which the first rank is reached."""
    world, first = int(os.environ["WORLD_SIZE"]), int(os.environ[FIRST_TASK])
    # Slurm numbers tasks by node. Rank 0 must be on the parent's node, whose address is MASTER_ADDR.
    rank = (int(os.environ["SLURM_PROCID"]) - first) % world
    os.environ["RANK"] = str(rank)
    os.environ["LOCAL_RANK"] = os.environ["SLURM_LOCALID"]
    interface = interface_of(address_towards(os.environ["MASTER_ADDR"]))
    for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
        if interface is not None:
            # A name that the site has set wins.
            os.environ.setdefault(name, interface)
    print(f"rank {rank} of {world} is on {os.uname().nodename}, interface {interface}", flush=True)


def _end_with_pipe() -> None:
    """Stop cleanly when a byte arrives on standard input, and exit at once when standard input closes.

    The parent may be on another node, where neither signals nor `prctl` connect the two processes.
    """
    while os.read(0, 1):
        os.kill(os.getpid(), signal.SIGTERM)
    # At once and without cleaning up: the main thread may be in a collective call that never returns.
    os._exit(1)


def main(folder: Path) -> int:
    """Read a cell from standard input, train it, write the outcome to a file; the main function of a rank."""
    die_with_parent()
    pipe = sys.stdin.buffer
    message = pipe.read(int.from_bytes(pipe.read(8), "big"))
    # Before torch is imported and ranks are connected: the parent may end during these seconds.
    threading.Thread(target=_end_with_pipe, daemon=True).start()
    try:
        if FIRST_TASK in os.environ:
            _join_nodes()
        # Here, because it imports the recipe's module, which may fail.
        cell = pickle.loads(message)
        # Imported here, because the parent imports this module and must not load torch.
        from astro_dist.train.loop import train

        with stop_on_signals():
            answer: dict[str, Any] = {"result": train(cell)}
    except Exception as error:
        answer = {"error": type(error).__name__, "message": str(error)}
    (folder / f"{os.environ['RANK']}.json").write_text(json.dumps(answer))
    return 1 if "error" in answer else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
