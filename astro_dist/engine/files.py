"""Files that are whole or absent, and the folder of a run.

Everything is written under a hidden name in the folder where it belongs, flushed to the disk and
renamed; a reader never sees half a file, and a kill leaves at most hidden rubbish that is swept.
"""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from astro_dist.engine.errors import ConfigError, IntegrityError, StoppedError

PART = ".part"
LOST_STORAGE = {errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.EHOSTDOWN, errno.ETIMEDOUT, errno.EREMOTEIO}


def sha256_file(path: Path) -> str:
    """Return the sha256 of a file as hexadecimal text."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def tree_files(path: Path) -> list[Path]:
    """List the visible files at or below ``path``, sorted by their relative name."""
    if path.is_file():
        return [path]
    found = [p for p in path.rglob("*") if p.is_file() and not p.name.endswith(PART)]
    return sorted(found, key=lambda p: p.relative_to(path).as_posix())


def tree_digests(path: Path) -> dict[str, str]:
    """Return ``{relative name: sha256}`` of a file (named ``.``) or of all files of a folder."""
    return {p.relative_to(path).as_posix(): sha256_file(p) for p in tree_files(path)}


def digest_text(text: str) -> str:
    """Return the sha256 of a text as hexadecimal text."""
    return hashlib.sha256(text.encode()).hexdigest()


def fsync_folder(path: Path) -> None:
    """Make a rename in this folder durable."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def publish_file(path: Path) -> Iterator[Path]:
    """Yield a hidden path to write; on success it becomes ``path``, on failure it is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    hidden = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}{PART}")
    try:
        yield hidden
        with hidden.open("rb+") as handle:
            os.fsync(handle.fileno())
        os.replace(hidden, path)
    except BaseException:
        remove(hidden)
        raise
    fsync_folder(path.parent)


def publish_bytes(path: Path, data: bytes | bytearray | memoryview) -> str:
    """Write ``data`` to ``path`` whole or not at all, and return its sha256."""
    with publish_file(path) as hidden:
        hidden.write_bytes(data)
    return hashlib.sha256(data).hexdigest()


def replace_bytes(path: Path, data: bytes) -> None:
    """Write a note whole or not at all; a power cut may take it, and writing costs next to nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    hidden = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}{PART}")
    try:
        hidden.write_bytes(data)
        os.replace(hidden, path)
    except BaseException:
        hidden.unlink(missing_ok=True)
        raise


def publish_json(path: Path, value: Any) -> None:
    """Write ``value`` as sorted, indented JSON, whole or not at all."""
    publish_bytes(path, (json.dumps(value, indent=1, sort_keys=True) + "\n").encode())


def publish_folder(hidden: Path, final: Path) -> None:
    """Rename a finished hidden file or folder to its final name; harmless when already done."""
    if not hidden.exists() and final.exists():
        return
    for path in tree_files(hidden):
        with path.open("rb") as handle:
            os.fsync(handle.fileno())
    os.replace(hidden, final)
    fsync_folder(final.parent)


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there, so that its name vanishes at once."""
    if not path.exists():
        return
    doomed = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}{PART}")
    os.replace(path, doomed)
    if doomed.is_dir():
        shutil.rmtree(doomed)
    else:
        doomed.unlink()


def sweep(folder: Path, keep: set[Path]) -> int:
    """Remove hidden leftovers of killed writers directly in ``folder``, except ``keep``; count them."""
    doomed = [p for p in folder.glob(f".*{PART}") if p not in keep]
    for path in doomed:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    return len(doomed)


def require_space(folder: Path, needed_bytes: int) -> None:
    """Refuse early when the disk below ``folder`` cannot hold ``needed_bytes`` more."""
    free = shutil.disk_usage(folder).free
    if needed_bytes > free:
        raise ConfigError(
            f"too little disk: this run needs up to {needed_bytes / 1e9:.2f} GB and {folder} has "
            f"{free / 1e9:.2f} GB free; free some space or choose another folder with --out"
        )


def is_disk_full(error: BaseException) -> bool:
    """Tell whether an error means that the disk or the quota is exhausted."""
    return isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextlib.contextmanager
def lock_folder(folder: Path, patience_s: float = 0.3) -> Iterator[None]:
    """Hold the driver lock of a run; a second driver in the same folder is refused.

    Not before ``patience_s``: who asks whether it is held (`find_owner`) holds it for a moment.
    Folders that were made for it are removed again when an error leaves nothing else in them.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    lock = folder / ".lock"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = lock.open("a+")
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConfigError(
            f"cannot write to the run directory {folder} ({reason}); choose another with --out"
        ) from None
    with handle:
        if not _lock(handle, patience_s):
            handle.seek(0)
            raise ConfigError(
                f"another astro-dist works in {folder} ({handle.read().strip() or 'unknown'}); "
                "wait for it to end, or choose another directory with --out"
            )
        if os.fstat(handle.fileno()).st_nlink == 0:
            raise ConfigError(f"another astro-dist has just ended in {folder}; run the command again")
        handle.truncate(0)
        handle.write(f"pid {os.getpid()} on {os.uname().nodename}\n")
        handle.flush()
        try:
            yield
        except BaseException:
            with contextlib.suppress(OSError):
                if [path.name for path in folder.iterdir()] == [lock.name]:
                    lock.unlink()
                    _remove_empty(made)
            raise


def _lock(handle: IO[str], patience_s: float) -> bool:
    """Lock an open file as its only owner; return whether that came about in time."""
    deadline = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.1)
        else:
            return True


def _remove_empty(folders: Sequence[Path]) -> None:
    """Remove folders, the innermost first, up to the first that holds something."""
    with contextlib.suppress(OSError):
        for folder in folders:
            folder.rmdir()


def find_owner(folder: Path) -> str | None:
    """Return who holds the driver lock of a run (``pid 12 on host``), None when nobody does."""
    with contextlib.suppress(OSError), (folder / ".lock").open() as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return handle.read().strip() or "unknown"
    return None


class Anchor:
    """Remembers which folder a path names, to notice when a mount is lost or replaced."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.identity = folder, self._identify(folder)

    def check(self) -> None:
        """Raise `StoppedError` when the folder is no longer there."""
        if self._identify(self.folder) != self.identity:
            raise StoppedError(self._lost("another is in its place"))

    def _identify(self, folder: Path) -> tuple[int, int]:
        try:
            status = folder.stat()
        except OSError as error:
            raise StoppedError(self._lost(error.strerror or str(error))) from None
        return status.st_dev, status.st_ino

    def _lost(self, reason: str) -> str:
        return (
            f"the run directory {self.folder} cannot be reached any more ({reason}); "
            "bring it back and run the same command again"
        )


@contextlib.contextmanager
def stop_when_storage_fails(folder: Path) -> Iterator[Anchor]:
    """Turn an exhausted disk or a lost run directory into a stop that the same command resumes from."""
    anchor = Anchor(folder)
    try:
        yield anchor
    except (OSError, IntegrityError) as error:
        anchor.check()
        if not isinstance(error, OSError):
            raise
        where = error.filename or "while writing"
        if error.errno in LOST_STORAGE:
            raise StoppedError(
                f"the storage below {folder} failed ({error.strerror}: {where}); "
                "what was published is safe: run the same command again when it is well"
            ) from None
        if not is_disk_full(error):
            raise
        raise StoppedError(
            f"the disk is full ({where}); what was published is safe: "
            "free some space and run the same command again"
        ) from None
