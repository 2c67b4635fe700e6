"""Files that are either whole or absent, and the lock and identity of a run directory.

A file is written under a hidden name in its own folder, flushed to the disk and renamed. A reader never sees
half a file, and a kill leaves at most hidden leftovers, which `astro_dist.engine.custody` removes.
"""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from astro_dist.engine.errors import ConfigError, IntegrityError, StoppedError

PART = ".part"
"""Ending of hidden names whose files or folders are not finished."""
_OWNER = re.compile(r"(pid \d+ on .*\n?)?")
"""What a lock file of this package holds; an empty one is left by a kill."""
LOST_STORAGE = {errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.EHOSTDOWN, errno.ETIMEDOUT, errno.EREMOTEIO}
"""Error numbers of storage that fails or went away, such as a lost network mount."""


def sha256_file(path: Path) -> str:
    """Return the sha256 of a file as hexadecimal text."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def tree_files(path: Path) -> list[Path]:
    """List the finished files at or below ``path``, sorted by their relative name."""
    if path.is_file():
        return [path]
    found = []
    # Not `rglob`, which takes a folder that may not be read for an empty one.
    for folder, _, names in os.walk(path, onerror=_refuse_hidden):
        paths = (Path(folder, name) for name in names if not name.endswith(PART))
        found += [p for p in paths if p.is_file()]
    return sorted(found, key=lambda p: p.relative_to(path).as_posix())


def _refuse_hidden(error: OSError) -> None:
    # Another process may remove a folder meanwhile.
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise error


def tree_digests(path: Path) -> dict[str, str]:
    """Return ``{relative name: sha256}`` of a file (named ``.``) or of all files of a folder."""
    return {p.relative_to(path).as_posix(): sha256_file(p) for p in tree_files(path)}


def digest_text(text: str) -> str:
    """Return the sha256 of a text as hexadecimal text."""
    return hashlib.sha256(text.encode()).hexdigest()


def fsync_folder(path: Path) -> None:
    """Flush a folder to the disk, so that a rename in the folder survives a power cut."""
    # A rename changes the folder, not the file: a flush of the file alone would not keep the new name.
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def publish_file(path: Path) -> Iterator[Path]:
    """Yield a hidden path to write to; rename the file to ``path`` on success, remove it on failure."""
    path.parent.mkdir(parents=True, exist_ok=True)
    hidden = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}{PART}")
    try:
        yield hidden
        # The flush precedes the rename: otherwise a power cut could leave the final name with an empty file.
        with hidden.open("rb+") as handle:
            os.fsync(handle.fileno())
        os.replace(hidden, path)
    # BaseException, because a Ctrl-C must leave no hidden file either.
    except BaseException:
        discard(hidden)
        raise
    fsync_folder(path.parent)


def follow_umask(folder: Path) -> None:
    """Give everything below a folder the permissions of the umask; safetensors makes its files private."""
    # The umask can only be read by setting it.
    mask = os.umask(0)
    os.umask(mask)
    for path in folder.rglob("*"):
        path.chmod((0o777 if path.is_dir() else 0o666) & ~mask)


def forget_folders(folder: Path) -> None:
    """Remove from the settings of published networks the folder that each was read from.

    diffusers and transformers note it in ``config.json``. It differs between machines, and the same training
    must end in the same bytes.
    """
    for path in sorted(folder.rglob("config.json")):
        settings = json.loads(path.read_text())
        if settings.pop("_name_or_path", None) is not None:
            # As both libraries write it.
            path.write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n")


def publish_bytes(path: Path, data: bytes | bytearray | memoryview) -> str:
    """Write ``data`` to ``path`` whole or not at all, and return its sha256."""
    with publish_file(path) as hidden:
        hidden.write_bytes(data)
    return hashlib.sha256(data).hexdigest()


def replace_bytes(path: Path, data: bytes) -> None:
    """Write a note whole or not at all, without a flush: cheap, and a power cut may lose the note."""
    path.parent.mkdir(parents=True, exist_ok=True)
    hidden = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}{PART}")
    try:
        hidden.write_bytes(data)
        os.replace(hidden, path)
    except BaseException:
        discard(hidden)
        raise


def check_new(path: Path, instead: str = "another file") -> None:
    """Refuse a file to write that is there already, or whose folder cannot be written into.

    Parameters
    ----------
    instead
        What the user is to name.
    """
    if os.path.lexists(path):
        raise ConfigError(f"{path} is there already; name {instead}")
    check_writable(path, instead)


def check_writable(path: Path, instead: str) -> None:
    """Refuse a file to write where its folder, or that in which the folder would be made, takes none."""
    there = next(folder for folder in path.absolute().parents if os.path.lexists(folder))
    try:
        # A trial, since no permission says what /proc and a disk that is read only refuse.
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise ConfigError(f"{path} cannot be written ({there}: {error.strerror}); name {instead}") from None


def publish_json(path: Path, value: Any) -> None:
    """Write ``value`` as sorted, indented JSON, whole or not at all."""
    publish_bytes(path, (json.dumps(value, indent=1, sort_keys=True) + "\n").encode())


def publish_folder(hidden: Path, final: Path) -> None:
    """Rename a finished hidden file or folder to its final name; do nothing where that is done already."""
    if not hidden.exists() and final.exists():
        return
    # Zarr and other libraries write without a flush, so every file is flushed here, before the one rename.
    for path in tree_files(hidden):
        with path.open("rb") as handle:
            os.fsync(handle.fileno())
    os.replace(hidden, final)
    fsync_folder(final.parent)


@contextlib.contextmanager
def publish_new_folder(path: Path) -> Iterator[Path]:
    """Yield a hidden folder to fill; rename the folder to ``path`` on success, remove it on failure."""
    hidden = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}{PART}")
    try:
        hidden.mkdir(parents=True)
        yield hidden
        publish_folder(hidden, path)
    # BaseException, because a Ctrl-C must leave no hidden folder either.
    except BaseException:
        discard(hidden)
        raise


def discard(path: Path) -> None:
    """Delete a hidden file, folder or link of this package; what a link points to stays.

    Nothing else may be deleted below a run directory: see `astro_dist.engine.custody.remove`.
    """
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def require_space(folder: Path, needed_bytes: int) -> None:
    """Raise `ConfigError` when the disk below ``folder`` has less than ``needed_bytes`` free."""
    free = shutil.disk_usage(folder).free
    if needed_bytes > free:
        raise ConfigError(
            f"too little disk: this run needs up to {_show_gb(needed_bytes)} GB and {folder} has "
            f"{_show_gb(free)} GB free; free some space or choose another folder with --out"
        )


def _show_gb(size: int) -> str:
    """Return gigabytes with two decimals, or with two digits where those would be zeros."""
    return f"{size / 1e9:.2f}" if size >= 1e8 else f"{size / 1e9:.2g}"


def is_disk_full(error: BaseException) -> bool:
    """Return whether an error means that the disk or the quota is exhausted."""
    # A quota has its own number (EDQUOT), and so has a limit on the size of one file (EFBIG).
    return isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextlib.contextmanager
def lock_folder(folder: Path, patience_s: float = 0.3) -> Iterator[None]:
    """Hold the driver lock of a run directory; a second driver in the same folder is refused.

    The lock is tried for ``patience_s`` seconds, because `find_owner` holds the lock for a moment. Folders
    that were made for the lock are removed again when an error leaves nothing else in them.

    Raises
    ------
    ConfigError
        The folder cannot be written to, or another driver holds the lock.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    lock = folder / ".lock"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Not truncated, because a refused driver shows the owner in it. A link in its place is not followed.
        handle = os.fdopen(
            os.open(lock, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o666), "a+", errors="replace"
        )
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConfigError(
            f"cannot write to the run directory {folder} ({reason}); choose another with --out"
        ) from None
    with handle:
        # Before anything else: the name may be that of a pipe or of a file of the user's.
        if not stat.S_ISREG(os.fstat(handle.fileno()).st_mode):
            raise ConfigError(f"{lock} is no file; move it away, or choose another directory with --out")
        if not _lock(handle, patience_s):
            handle.seek(0)
            raise ConfigError(
                f"another astro-dist works in {folder} ({handle.read().strip() or 'unknown'}); "
                "wait for it to end, or choose another directory with --out"
            )
        # The last owner may have removed the lock file after it was opened here.
        if os.fstat(handle.fileno()).st_nlink == 0:
            raise ConfigError(f"another astro-dist has just ended in {folder}; run the command again")
        handle.seek(0)
        if not _OWNER.fullmatch(handle.read(1000)):
            raise ConfigError(f"{lock} was not made by a run; move it away, or choose another with --out")
        # Only the holder of the lock changes the text, which names that holder for refused drivers.
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
    """Take an exclusive lock on an open file; return whether the lock was free within ``patience_s``."""
    deadline = time.monotonic() + patience_s
    while True:
        try:
            # Non-blocking and repeated, because a blocking `flock` has no time limit.
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
    """Return the owner of the driver lock of a run (``pid 12 on host``), None when the lock is free."""
    lock = folder / ".lock"
    # A pipe of that name would never answer.
    if not lock.is_file():
        return None
    with contextlib.suppress(OSError), lock.open(errors="replace") as handle:
        try:
            # A shared lock: two simultaneous calls must not take each other for a driver.
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return handle.read().strip() or "unknown"
    return None


class Anchor:
    """Device and inode of a folder, kept to notice when a mount is lost or replaced."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.identity = folder, self._identify(folder)

    def check(self) -> None:
        """Raise `StoppedError` when the path leads to another folder now, or to none."""
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
    """Raise `StoppedError` for a full disk, failing storage or a lost run directory."""
    anchor = Anchor(folder)
    try:
        yield anchor
    except (OSError, IntegrityError) as error:
        # A lost mount causes errors of many kinds; the loss of the folder is the true reason.
        anchor.check()
        if not isinstance(error, OSError):
            raise
        where = error.filename or "while writing"
        if error.errno in LOST_STORAGE:
            raise StoppedError(
                f"the storage below {folder} failed ({error.strerror}: {where}); "
                "published products are safe: run the same command again when the storage works"
            ) from None
        if not is_disk_full(error):
            raise
        raise StoppedError(
            f"the disk is full ({where}); published products are safe: "
            "free some space and run the same command again"
        ) from None
