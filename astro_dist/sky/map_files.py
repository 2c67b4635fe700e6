"""The names of the user's maps, and files of them that are packed with gzip."""

import gzip
import re
import zlib
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from astro_dist.engine.errors import ConfigError
from astro_dist.engine.files import digest_text, publish_file
from astro_dist.sky.fits_headers import is_gzip, open_raw

# Folder of a run directory for the bytes of maps that are packed with gzip.
UNPACKED = ".unpacked"
PIECE_BYTES = 1 << 22


def plain_name(path: Path) -> str:
    """Return a file's name without ``.fits``, ``.fz`` and ``.gz``."""
    return re.sub(r"(\.(fits?|fz|gz))+$", "", path.name, flags=re.IGNORECASE)


def own_names(paths: Sequence[Path]) -> dict[Path, str]:
    """Return the names of maps, of which no two are alike.

    Files of one name take as much of their folders into the names as tells them apart.

    Raises
    ------
    ConfigError
        Two files of one folder differ in their suffixes alone.
    """
    names = {path: plain_name(path) for path in paths}
    for depth in range(1, 1 + max((len(path.absolute().parts) for path in paths), default=0)):
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

    The bytes are unpacked once for all processes that share the folder. A file of another size or time of
    change is unpacked anew.

    Raises
    ------
    ConfigError
        When the packed bytes break off: no window of the map can be read then.
    """
    status = path.stat()
    if not _is_packed(path, status.st_mtime_ns):
        return path
    version = digest_text(f"{path.absolute()} {status.st_mtime_ns} {status.st_size}")[:16]
    target = folder / f"{plain_name(path)}-{version}.fits"
    if not target.exists():
        folder.mkdir(parents=True, exist_ok=True)
        try:
            # Two processes that do so at once write hidden files of their own and the same bytes.
            with publish_file(target) as hidden, open_raw(path) as source, hidden.open("wb") as handle:
                while piece := source.read(PIECE_BYTES):
                    handle.write(piece)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise ConfigError(f"{path}: its packed bytes break off ({error}); fetch it again") from None
    return target


@lru_cache(maxsize=4096)
def _is_packed(path: Path, mtime_ns: int) -> bool:
    return is_gzip(path)
