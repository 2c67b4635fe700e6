"""The private folder of a Ray cluster and all processes that belong to it; both are removed together.

Ray's own clean-up is done by Ray's processes and fails when one of them was killed. Here a process belongs to
a cluster when its environment, its command line or an open file names the cluster's folder, whatever its
parent is.
"""

import contextlib
import os
import re
import secrets
import shutil
import tempfile
import time
from pathlib import Path

import psutil

PREFIX = "astro_dist-"
NAME = re.compile(rf"{PREFIX}(\d+)-[a-z0-9_]{{8}}")
TOKEN = "token"
# One letter, because every character counts towards the length of a socket's name.
INNER = "r"
ROOM_FOR_NAMES = 12
"""Longest path of a temporary folder below which Ray's sockets fit into the 107 bytes of a socket name."""


def make_folder(token: str | None = None) -> Path:
    """Make the private folder of a cluster (0700), with its token (by default a new one) in a file (0600).

    The name holds the pid of this process: the folder is in use as long as that process exists. Ray opens
    the folder it is given to every user, so it is given an inner one, which nobody else can reach.
    """
    # `mkdtemp` makes the folder with mode 0700.
    folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=short_folder()))
    # The mode is given at creation: a chmod afterwards would leave a moment in which others can read it.
    with open(os.open(folder / TOKEN, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as handle:
        handle.write(token or secrets.token_hex(32))
    (folder / INNER).mkdir()
    return folder


def short_folder() -> Path:
    """Return the temporary folder, or /tmp where its path is too long for Ray's sockets."""
    chosen = tempfile.gettempdir()
    return Path(chosen if len(chosen) <= ROOM_FOR_NAMES else "/tmp")


def find_processes(folder: Path) -> list[psutil.Process]:
    """Return the processes of this user that belong to the cluster in a folder, except this process."""
    found = []
    for pid in psutil.pids():
        with contextlib.suppress(psutil.Error, OSError):
            entry = Path("/proc", str(pid))
            if pid != os.getpid() and entry.stat().st_uid == os.getuid() and _names(entry, f"{folder}/"):
                found.append(psutil.Process(pid))
    return found


def _names(entry: Path, folder: str) -> bool:
    """Return whether the environment, the command line or an open file of a process names ``folder``.

    Ray's processes rename themselves, which overwrites the first two; their log files stay open.
    """
    if any(folder.encode() in (entry / name).read_bytes() for name in ("environ", "cmdline")):
        return True
    for link in (entry / "fd").iterdir():
        with contextlib.suppress(OSError):
            if folder in os.readlink(link):
                return True
    return False


def remove_cluster(folder: Path, patience_s: float = 10.0) -> None:
    """Kill every process of a cluster and remove its folder, in at most ``patience_s`` seconds."""
    deadline, quiet = time.monotonic() + patience_s, 0
    # Two empty looks in a row, because a process that is just being started shows no environment yet.
    while quiet < 2 and time.monotonic() < deadline:
        processes = find_processes(folder)
        quiet = 0 if processes else quiet + 1
        for process in processes:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(processes, timeout=1.0)
        time.sleep(0.1)
    # Repeated, because this process may be part of the cluster itself and write a log into the folder.
    while folder.exists() and time.monotonic() < deadline:
        shutil.rmtree(folder, ignore_errors=True)


def sweep_clusters() -> None:
    """Remove the clusters that killed drivers of this user left; folders with other names are not touched."""
    for path in short_folder().glob(f"{PREFIX}*"):
        found = NAME.fullmatch(path.name)
        with contextlib.suppress(OSError):
            if found and not psutil.pid_exists(int(found[1])) and path.stat().st_uid == os.getuid():
                remove_cluster(path)
