"""The names of the user's maps, and files of them that are packed with gzip."""

import gzip
import hashlib
import re
import stat
import zlib
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from astro_dist.engine.errors import ConfigError
from astro_dist.engine.files import digest_text, publish_bytes, publish_file, sha256_file
from astro_dist.sky.fits_headers import is_gzip, open_raw

# Folder of a run directory for the bytes of maps that are packed with gzip.
UNPACKED = ".unpacked"
PIECE_BYTES = 1 << 22
RECORD_BYTES = 100
"""More than the record of a copy takes: its sha256 and its size in bytes, on one line."""
MOVE_AWAY = "move it away and run the same command again, or choose another directory with --out"
_RECORD = re.compile(r"(?P<sha256>[0-9a-f]{64}) (?P<size>[0-9]{1,18})\n")
# Copies that this process compared with their records, and the version of each.
_compared: dict[Path, tuple[int, ...]] = {}


def plain_name(path: Path) -> str:
    """Return a file's name without ``.fits`` (``.fit``, ``.fts``), ``.fz`` and ``.gz``."""
    return re.sub(r"(\.(fits?|fts|fz|gz))+$", "", path.name, flags=re.IGNORECASE)


def own_names(paths: Sequence[Path]) -> dict[Path, str]:
    """Return the names of maps, of which no two are alike.

    Files of one name take as much of their folders into the names as tells them apart.

    Raises
    ------
    ConfigError
        Two files of one folder differ in their suffixes alone.
    """
    names = {path: plain_name(path) for path in paths}
    for depth in range(1, 1 + max((len(path.absolute().parts) for path in paths), default=1)):
        taken = Counter(names.values())
        if max(taken.values(), default=1) == 1:
            return names
        for path, name in names.items():
            if taken[name] > 1:
                names[path] = "-".join((*path.absolute().parent.parts[-depth:], plain_name(path)))
    taken = Counter(names.values())
    alike = [path for path, name in names.items() if taken[name] > 1]
    raise ConfigError(
        f"two maps are named {plain_name(alike[0])!r}: {alike[0]} and {alike[1]}; rename one or take one out"
    )


def unpacked(path: Path, folder: Path) -> Path:
    """Return a file with the bytes of a file packed with gzip, or the file itself where it is not packed.

    The bytes are unpacked once for all processes that share the folder. Each process compares an earlier copy
    with the record beside it (``NAME.sha256``) once. A file of another size or time of change, and one whose
    copy is damaged or has no record, is unpacked anew.

    Raises
    ------
    ConfigError
        When the packed bytes break off, so that no window of the map can be read, or when something that is
        no file lies under the name of the copy or of its record.
    """
    status = path.stat()
    if not _is_packed(path, status.st_mtime_ns):
        return path
    version = digest_text(f"{path.absolute()} {status.st_mtime_ns} {status.st_size}")[:16]
    target = folder / f"{plain_name(path)}-{version}.fits"
    record = target.with_name(f"{target.name}.sha256")
    if not _is_sound(target, record):
        _unpack(path, target, record)
    return target


def _is_sound(copy: Path, record: Path) -> bool:
    """Return whether a copy is what its record says, compared once per process and version of the copy."""
    version = _find_version(copy)
    if version is None:
        return False
    if _compared.get(copy) != version:
        found = _RECORD.fullmatch(_read_record(record))
        if found is None or int(found["size"]) != version[-1] or sha256_file(copy) != found["sha256"]:
            return False
        _compared[copy] = version
    return True


def _find_version(path: Path) -> tuple[int, ...] | None:
    """Return numbers that differ between versions of a file, None where there is no file; open nothing."""
    try:
        status = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    # A pipe that is opened never answers, and a rename cannot replace a folder.
    if not stat.S_ISREG(status.st_mode):
        raise ConfigError(f"{path} is no file of this run; {MOVE_AWAY}")
    return status.st_ino, status.st_ctime_ns, status.st_mtime_ns, status.st_size


def _read_record(record: Path) -> str:
    if _find_version(record) is None:
        return ""
    with record.open("rb") as handle:
        return handle.read(RECORD_BYTES).decode("ascii", "replace")


def _unpack(path: Path, target: Path, record: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise ConfigError(f"{target.parent} is no folder; {MOVE_AWAY}") from None
    _find_version(record)
    digest, size = hashlib.sha256(), 0
    try:
        # Two processes that do so at once write hidden files of their own and the same bytes.
        with publish_file(target) as hidden:
            with open_raw(path) as source, hidden.open("wb") as handle:
                while piece := source.read(PIECE_BYTES):
                    handle.write(piece)
                    digest.update(piece)
                    size += len(piece)
            # Before the copy has its name: a copy that another process finds has its record.
            publish_bytes(record, f"{digest.hexdigest()} {size}\n".encode())
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ConfigError(f"{path}: its packed bytes break off ({error}); fetch it again") from None
    # Its bytes went through the digest just now.
    if (version := _find_version(target)) is not None:
        _compared[target] = version


@lru_cache(maxsize=4096)
def _is_packed(path: Path, mtime_ns: int) -> bool:
    return is_gzip(path)
