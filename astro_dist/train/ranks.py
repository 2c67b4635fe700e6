"""Starts the ranks of a training as child processes and speaks for them.

Children are `python -m astro_dist.train.ranks`: the worker of a stage may be a daemonic process, which
may not use multiprocessing itself. They end with their parent, and with each other. Where torchrun,
`accelerate launch` or Ray Train started this process as one rank of several (`launched_rank`), nothing
is started: every rank runs the same `astro-dist train`.
"""

import json
import math
import os
import pickle
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from astro_dist import errors, work
from astro_dist.processes import die_with_parent

GRACE_S = 60.0
"""How long ranks may take over the checkpoint that a stop asks for."""


def launched_rank() -> int | None:
    """Return which rank of a launcher's this process is; None where no launcher started it."""
    return int(os.environ["RANK"]) if {"RANK", "WORLD_SIZE"} <= os.environ.keys() else None


def train_on_ranks(run: work.Run, ranks: int) -> dict[str, Any]:
    """Train on several processes of this machine and return the first rank's result.

    Raises
    ------
    AstroDistError
        What a rank raised, of the same class. The other ranks are ended.
    """
    with tempfile.TemporaryDirectory() as name:
        folder, port = Path(name), _free_port()
        children = [_start(run, rank, ranks, port, folder) for rank in range(ranks)]
        try:
            _watch(children)
        finally:
            _end(children)
        _raise_first(folder, children)
        return dict(json.loads((folder / "0.json").read_text())["result"])


def _watch(children: list[subprocess.Popen[bytes]]) -> None:
    """Wait until all ranks have ended or one has failed; pass a stop on and give it time."""
    deadline_s = math.inf
    while any(child.poll() is None for child in children) and time.monotonic() < deadline_s:
        if any(child.poll() for child in children) and deadline_s == math.inf:
            break
        try:
            work.check_stop()
        except errors.StoppedError:
            if deadline_s == math.inf:
                deadline_s = time.monotonic() + GRACE_S
                for child in children:
                    child.terminate()
        time.sleep(0.1)


def _start(run: work.Run, rank: int, ranks: int, port: int, folder: Path) -> subprocess.Popen[bytes]:
    threads = str(getattr(run.config, run.stage).threads)
    environment = {
        **os.environ,
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(ranks),
        "LOCAL_WORLD_SIZE": str(ranks),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": threads,
    }
    command = [sys.executable, "-m", "astro_dist.train.ranks", str(folder / f"{rank}.json")]
    child = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE)
    assert child.stdin is not None
    with child.stdin:
        pickle.dump(run, child.stdin)
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


def _raise_first(folder: Path, children: list[subprocess.Popen[bytes]]) -> None:
    for rank in range(len(children)):
        path = folder / f"{rank}.json"
        outcome = json.loads(path.read_text()) if path.exists() else {}
        if "error" in outcome:
            raise getattr(errors, outcome["error"], RuntimeError)(outcome["message"])
    codes = [child.returncode for child in children]
    if any(codes):
        raise RuntimeError(f"a rank died (exit codes {codes}); the worker's log in logs/ has its last words")


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def main(outcome: Path) -> int:
    """Live as one rank: read the run from standard input, train, leave the outcome in a file."""
    die_with_parent()
    run = pickle.load(sys.stdin.buffer)
    try:
        from astro_dist.train.loop import train

        with work.stop_on_signals():
            answer: dict[str, Any] = {"result": train(run)}
    except Exception as error:
        answer = {"error": type(error).__name__, "message": str(error)}
    outcome.write_text(json.dumps(answer))
    return 1 if "error" in answer else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
