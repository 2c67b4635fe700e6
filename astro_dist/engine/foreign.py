"""Files of others, looked at before a library reads them: what kind of file, how large, which JSON."""

import contextlib
import json
import os
import stat
from pathlib import Path
from typing import Any

from astro_dist.engine.errors import ConfigError

JSON_BYTES = 1 << 20
"""Most bytes of a JSON file that is read whole."""
MAGICS = {
    b"BZh": "packed with bzip2; unpack it (bunzip2)",
    b"\xfd7zXZ": "packed with xz; unpack it (unxz)",
    b"\x28\xb5\x2f\xfd": "packed with zstd; unpack it (unzstd)",
    b"\x1f\x9d": "packed with compress; unpack it (uncompress)",
    b"PK\x03\x04": "a zip archive; unpack it (unzip)",
    b"\x89HDF": "an HDF5 file; convert it to FITS",
}
"""How files of other kinds begin, and what to do with them."""


def expand_home(text: str | Path) -> Path:
    """Return a path with its ``~`` replaced; raise `ConfigError` for a user whose home is not known."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise ConfigError(f"{text}: there is no such user here; give the whole path") from None


def require_file(path: Path, setting: str) -> None:
    """Refuse a path of a setting under which there is no regular file."""
    if path.is_file():
        return
    if path.exists():
        raise ConfigError(f"{setting}: {path} is a folder, a pipe or a device; give a regular file")
    raise ConfigError(f"{setting}: there is no file {path}; mend the path")


def check_regular(path: Path, instead_of_folder: str = "name a file") -> None:
    """Refuse what is not a regular file of a disk; links to one are followed.

    Pipes and devices never end, and files of ``/proc`` and ``/sys`` have no size that can be trusted.

    Parameters
    ----------
    instead_of_folder
        What to do about a folder, for the message.

    Raises
    ------
    ConfigError
        In one line without the path.
    """
    try:
        status = path.stat()
    except FileNotFoundError:
        raise ConfigError("there is no such file; mend the path") from None
    # ValueError comes from a path with a null character.
    except (OSError, ValueError):
        raise ConfigError("not a file that can be read; mend the path or its permissions") from None
    if stat.S_ISDIR(status.st_mode):
        raise ConfigError(f"it is a folder, not a file; {instead_of_folder}")
    if not stat.S_ISREG(status.st_mode) or not os.access(path, os.R_OK):
        raise ConfigError("not a file that can be read; mend the path or its permissions")
    # Compared by device, because a link or a bind mount may lead there under any name.
    for system in ("/proc", "/sys"):
        with contextlib.suppress(OSError):
            if os.stat(system).st_dev == status.st_dev:
                raise ConfigError(f"not a file of a disk but one of {system}; give a copy of it")


def remedy_for(start: bytes) -> str:
    """Return what to do with a file that begins so, where it is of a kind that is known; else empty text."""
    return next((text for magic, text in MAGICS.items() if start.startswith(magic)), "")


def read_mapping(path: Path, most_bytes: int = JSON_BYTES) -> dict[str, Any]:
    """Return the mapping that a JSON file holds.

    Raises
    ------
    ConfigError
        In one line without the path: the file is missing, too large, not JSON or not a mapping.
    """
    check_regular(path)
    if path.stat().st_size > most_bytes:
        raise ConfigError(f"more than {most_bytes >> 10} kB of JSON; fetch it again")
    return parse_mapping(path.read_bytes())


def parse_mapping(text: bytes) -> dict[str, Any]:
    """Return the mapping in JSON text; see `read_mapping`."""
    try:
        value = json.loads(text)
    # Deeply nested brackets exhaust the stack of the JSON parser: a RecursionError, not a ValueError.
    except (ValueError, RecursionError):
        raise ConfigError("not readable as JSON; fetch it again") from None
    if not isinstance(value, dict):
        raise ConfigError(f"a JSON mapping is needed, not a {type(value).__name__}; fetch it again")
    return value
