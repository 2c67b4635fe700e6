"""The private folder of a Ray cluster and all processes that belong to it; ends both together.

Ray's own clean-up trusts that its processes are alive to do it. Here a process belongs to a cluster
when its environment, command line or an open file is in the cluster's folder, whoever is its parent.
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
INNER = "r"
ROOM_FOR_NAMES = 12
"""Longest path of a temporary folder below which Ray's sockets fit into the 107 bytes of a socket name."""


def make_folder(token: str | None = None) -> Path:
    """Make the private folder of a cluster (0700), with its token, a new one or this, in a file (0600).

    The name holds the pid of this process, so that a later run knows whether it is still in use. Ray
    opens the folder it is given to everyone; it gets one inside this, where nobody else can reach it.
    """
    folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=short_folder()))
    with open(os.open(folder / TOKEN, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as handle:
        handle.write(token or secrets.token_hex(32))
    (folder / INNER).mkdir()
    return folder


def short_folder() -> Path:
    """Return the temporary folder, or /tmp where its path is too long for Ray's sockets."""
    chosen = tempfile.gettempdir()
    return Path(chosen if len(chosen) <= ROOM_FOR_NAMES else "/tmp")


def find_processes(folder: Path) -> list[psutil.Process]:
    """Return this user's processes that belong to the cluster of a folder, except this one."""
    found = []
    for pid in psutil.pids():
        with contextlib.suppress(psutil.Error, OSError):
            entry = Path("/proc", str(pid))
            if pid != os.getpid() and entry.stat().st_uid == os.getuid() and _names(entry, f"{folder}/"):
                found.append(psutil.Process(pid))
    return found


def _names(entry: Path, folder: str) -> bool:
    """Tell whether a process has ``folder`` in its environment, its command line or its open files.

    Ray's processes rename themselves, which overwrites the first two; the log files stay open.
    """
    if any(folder.encode() in (entry / name).read_bytes() for name in ("environ", "cmdline")):
        return True
    for link in (entry / "fd").iterdir():
        with contextlib.suppress(OSError):
            if folder in os.readlink(link):
                return True
    return False


def remove_cluster(folder: Path, patience_s: float = 10.0) -> None:
    """End every process of a cluster and remove its folder."""
    deadline, quiet = time.monotonic() + patience_s, 0
    # Twice quiet, because a process that is just being started shows no environment.
    while quiet < 2 and time.monotonic() < deadline:
        processes = find_processes(folder)
        quiet = 0 if processes else quiet + 1
        for process in processes:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(processes, timeout=1.0)
        time.sleep(0.1)
    # More than once, because this process may be part of the cluster and still write its log.
    while folder.exists() and time.monotonic() < deadline:
        shutil.rmtree(folder, ignore_errors=True)


def sweep_clusters() -> None:
    """Remove the clusters of this user's drivers that were killed; what `make_folder` did not name stays."""
    for path in short_folder().glob(f"{PREFIX}*"):
        found = NAME.fullmatch(path.name)
        with contextlib.suppress(OSError):
            if found and not psutil.pid_exists(int(found[1])) and path.stat().st_uid == os.getuid():
                remove_cluster(path)
