"""Private folders for the time of one call, below the temporary folder; killed processes' are swept.

A folder is in use as long as its maker holds a lock on it. The kernel releases the lock at any end of that
process, also in another container that shares the temporary folder.
"""

import contextlib
import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

PREFIX = ".astro_dist-"
_NAME = re.compile(rf"{re.escape(PREFIX)}[a-z]+-[a-z0-9_]{{8}}")
CACHES = ("TORCHINDUCTOR_CACHE_DIR",)
"""Variables with the folders of libraries that would leave one in the temporary folder when imported."""


@contextlib.contextmanager
def private_folder(use: str, parent: Path | None = None) -> Iterator[Path]:
    """Make a folder (0700) and remove it at the end; first remove those that killed processes left.

    Parameters
    ----------
    use
        A word for its name, in small letters.
    parent
        Where it is made; by default in the temporary folder.
    """
    parent = Path(tempfile.gettempdir()) if parent is None else parent
    sweep_folders(parent)
    path, handle = _make(f"{PREFIX}{use}-", parent)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(handle)


def _make(prefix: str, parent: Path) -> tuple[Path, int]:
    """Return a new folder and the open descriptor that holds its lock."""
    while True:
        path = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        with contextlib.suppress(FileNotFoundError):
            handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            # NFS locks no folders: there none is ever locked, and `sweep_folders` leaves all.
            with contextlib.suppress(OSError):
                fcntl.flock(handle, fcntl.LOCK_EX)
            # Another process may have swept the folder before it was locked.
            if os.fstat(handle).st_nlink:
                return path, handle
            os.close(handle)


def sweep_folders(parent: Path) -> None:
    """Remove the private folders of this user that no process holds; other names are not touched."""
    for path in parent.glob(f"{PREFIX}*"):
        if not _NAME.fullmatch(path.name):
            continue
        with contextlib.suppress(OSError):
            handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                if os.fstat(handle).st_uid == os.getuid():
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(path)
            finally:
                os.close(handle)


@contextlib.contextmanager
def caches_in_scratch() -> Iterator[None]:
    """Give the libraries of this process and its children a private folder for their caches.

    Variables that are set already, as in a job of a cluster, are left alone.
    """
    absent = [name for name in CACHES if name not in os.environ]
    if not absent:
        yield
        return
    with private_folder("caches") as folder:
        os.environ.update({name: str(folder / name.lower()) for name in absent})
        try:
            yield
        finally:
            for name in absent:
                os.environ.pop(name, None)
