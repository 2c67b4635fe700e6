"""Files that are handed in: their names, and those packed with gzip unpacked for the time of one call."""

import contextlib
import gzip
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from astro_dist.engine.errors import ConfigError
from astro_dist.engine.foreign import remedy_for
from astro_dist.sky.fits_headers import check_gzip_name, is_gzip, open_raw
from astro_dist.workers.scratch import private_folder

MOST_BYTES = 1 << 32
"""Most bytes that come out of a packed file: 10 million rows of all columns are less."""
PIECE_BYTES = 1 << 22
Given = TypeVar("Given", Path, Path | None)


def score_name(path: Path) -> str:
    """Return the name of a file's score: that of the file without its suffix, and without ``.gz``."""
    return Path(path.name.removesuffix(".gz")).stem


def refuse_same_names(paths: Sequence[Path]) -> None:
    """Raise `ConfigError` where two files have one name: their scores would have one as well."""
    names = [score_name(path) for path in paths]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ConfigError(f"two files are called {twice!r}; rename one: scores are listed by that name")


@contextlib.contextmanager
def unpacked(path: Given) -> Iterator[Given]:
    """Yield a file or, of one packed with gzip, a copy that is not packed; errors name the file itself.

    Raises
    ------
    ConfigError
        It is packed otherwise, its bytes break off, or more than `MOST_BYTES` come out of them.
    """
    if path is None or not path.is_file():
        yield path
        return
    if not is_gzip(path):
        _refuse_packed_otherwise(path)
        yield path
        return
    with private_folder("handed") as folder:
        copy = folder / path.name.removesuffix(".gz")
        try:
            _unpack(path, copy)
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from None
        try:
            yield copy
        except ConfigError as error:
            raise ConfigError(str(error).replace(str(copy), str(path))) from None


def _refuse_packed_otherwise(path: Path) -> None:
    if path.suffix.lower() == ".gz":
        raise ConfigError(f"{path}: it is not packed with gzip; take .gz out of its name")
    with path.open("rb") as handle:
        if remedy := remedy_for(handle.read(8)):
            raise ConfigError(f"{path}: {remedy}")


def _unpack(path: Path, copy: Path) -> None:
    check_gzip_name(path)
    done = 0
    try:
        with open_raw(path) as source, copy.open("wb") as handle:
            while piece := source.read(PIECE_BYTES):
                done += len(piece)
                if done > MOST_BYTES:
                    raise ConfigError(f"more than {MOST_BYTES >> 20} MB are packed in it; hand in fewer rows")
                handle.write(piece)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise ConfigError("its packed bytes break off or are damaged; pack it again") from None
    except OSError as error:
        raise ConfigError(
            f"it cannot be unpacked into {copy.parent.parent} ({error.strerror}); set TMPDIR to a folder "
            "with room, or unpack it yourself"
        ) from None
