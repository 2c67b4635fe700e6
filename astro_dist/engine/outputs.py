"""Comparison of the files of an output with the results of its tasks, in one reading of every file.

A result states what its task wrote below the stage's output in one of two forms, or both:

* ``sha256``: ``{relative name: sha256}`` of whole files (``.`` where the output is a single file),
* ``ranges``: ``{relative name: {"offset": o, "bytes": n, "crc32": c}}`` of a byte range of a file that many
  tasks fill, such as rows of an image; a list of these where there are several in a file.

The digests of that reading go into the publication, so that the published bytes are the compared ones. A file
that `finish` changes or adds after the comparison is read again.
"""

import hashlib
import zlib
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from astro_dist.engine.custody import remove
from astro_dist.engine.errors import IntegrityError
from astro_dist.engine.files import sha256_file, tree_digests, tree_files
from astro_dist.engine.ledger import Ledger, Result
from astro_dist.engine.work import Stage

PIECE_BYTES = 1 << 20
"""Most bytes of a file that are held in memory at once."""
Identity = tuple[int, int, int, int]
"""Inode, size, mtime and ctime of a file, see `_identify`."""


@dataclass(frozen=True)
class _Range:
    """A byte range that a task wrote."""

    task: str
    offset: int
    bytes: int
    crc32: int


def ranges_of(result: Mapping[str, Any], name: str) -> list[dict[str, int]]:
    """Return the byte ranges of a file that a task's result states."""
    stated = result.get("ranges", {}).get(name, [])
    return stated if isinstance(stated, list) else [stated]


class Reading:
    """Digests of the files below an output; a file is read once, and again only when it has changed."""

    def __init__(self, output: Path) -> None:
        self.output = output
        self.seen: dict[str, tuple[Identity, str]] = {}
        self.unstated: set[str] = set()

    def find_damage(self, results: Mapping[str, Result]) -> set[str]:
        """Read every file once and return the tasks whose files or byte ranges differ from their results."""
        damaged = set[str]()
        wholes: dict[str, dict[str, str]] = defaultdict(dict)
        ranges: dict[str, list[_Range]] = defaultdict(list)
        for task in results:
            for name, digest in results[task].get("sha256", {}).items():
                wholes[name][task] = digest
            for name in results[task].get("ranges", {}):
                for part in ranges_of(results[task], name):
                    ranges[name].append(_Range(task, part["offset"], part["bytes"], part["crc32"]))
        there = self._names()
        self.unstated = there - wholes.keys() - ranges.keys()
        for name in wholes.keys() | ranges.keys() | there:
            if name not in there:
                damaged |= wholes[name].keys() | {part.task for part in ranges[name]}
                continue
            digest, broken = self._read(name, sorted(ranges[name], key=lambda part: part.offset))
            damaged |= broken | {task for task, wanted in wholes[name].items() if wanted != digest}
        return damaged

    def drop_unstated(self) -> None:
        """Remove files that no result states; a killed `finish` left them, the next one writes them anew."""
        for name in self.unstated:
            remove(self.output / name)

    def digests(self, without: Collection[str] = ()) -> dict[str, str]:
        """Return ``{relative name: sha256}`` of all present files except those below ``without``."""
        found = {}
        for name in sorted(self._names()):
            if name.partition("/")[0] in without:
                continue
            identity, digest = self.seen.get(name, (None, ""))
            # `finish` may have changed a compared file, or added one.
            if identity != _identify(self.output / name):
                digest, _ = self._read(name, [])
            found[name] = digest
        return found

    def _names(self) -> set[str]:
        return {path.relative_to(self.output).as_posix() for path in tree_files(self.output)}

    def _read(self, name: str, ranges: list[_Range]) -> tuple[str, set[str]]:
        """Return the sha256 of a file and the tasks whose ranges differ; ranges ascend and do not overlap."""
        path = self.output / name
        digest, broken, place = hashlib.sha256(), set(), 0
        # Unbuffered: pieces of 1 MiB are read straight into memory, and a buffer would only copy them.
        with path.open("rb", buffering=0) as handle:
            # Taken before the bytes are read: after a write in between it differs, and `digests` reads again.
            identity = _identify(path)
            for part in ranges:
                # The bytes between two ranges belong to no task; they enter the sha256 alone.
                place += _hash(handle, part.offset - place, digest)[0]
                length, crc = _hash(handle, part.bytes, digest)
                place += length
                # The length too: the crc32 of a file cut short covers fewer bytes.
                if (length, crc) != (part.bytes, part.crc32):
                    broken.add(part.task)
            _hash(handle, None, digest)
        self.seen[name] = identity, digest.hexdigest()
        return digest.hexdigest(), broken


class DamagedInputError(IntegrityError):
    """A file of an input has other bytes than were published."""


class Inputs:
    """The published products of a run directory, compared with their publications around each stage.

    The driver compares the inputs of a stage before it opens and once more after its last task. A file with
    the inode, size and times of its last comparison is taken as it is, so that the second look costs a `stat`
    per file, and yet whatever was written into an input while workers read it is found. Readers add what
    they can: every page of a parquet file, every image and column of a store and every model is checked as
    it is loaded, and a simulated or assembled map is compared with its DATASUM when it is opened. Rows of a
    map have no sums of their own: those that change without a write (a failing disk) after that are found by
    `verify`.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.seen: dict[Path, tuple[Identity, str]] = {}

    def note(self, reading: Reading) -> None:
        """Take over what was read of an output."""
        for name, known in reading.seen.items():
            self.seen[reading.output / name] = known

    def rename(self, output: Path, final: Path) -> None:
        """Keep what is known of an output that has its final name now."""
        for path in [path for path in self.seen if path.is_relative_to(output)]:
            identity, digest = self.seen.pop(path)
            place = final / path.relative_to(output)
            # Scratch files are gone. A rename changes the ctime of a file alone, a write the mtime too.
            if place.exists() and (now := _identify(place))[:3] == identity[:3]:
                self.seen[place] = now, digest

    def digests(self, product: Path) -> dict[str, str]:
        """Return ``{relative name: sha256}`` of all files of a product."""
        return {path.relative_to(product).as_posix(): self._digest(path) for path in tree_files(product)}

    def compare(self, stage: Stage) -> None:
        """Compare everything that the inputs of a stage published.

        Raises
        ------
        DamagedInputError
            A file has other bytes; what would be made from it would not be what its record says.
        IntegrityError
            A file is gone or was added.
        """
        ledger = Ledger(self.root)
        for name in stage.inputs:
            published = ledger.published(name)
            if published is None:
                continue
            product = self.root / published.product
            found = self.digests(product)
            changed = [
                file for file in sorted(found) if published.files.get(file, found[file]) != found[file]
            ]
            # Added files count as well: a stage that lists a folder would read them.
            if wrong := changed or sorted(found.keys() ^ published.files.keys()):
                raise (DamagedInputError if changed else IntegrityError)(
                    f"{product / wrong[0]} is not what {name} published, and {stage.name} would be made from "
                    f"it; put it back, or `astro-dist repair {self.root}` and run the same command again"
                )

    def _digest(self, path: Path) -> str:
        """Return the sha256 of a file, empty where there is none any more."""
        try:
            identity = _identify(path)
        except OSError:
            return ""
        known, digest = self.seen.get(path, (None, ""))
        if known != identity:
            digest = sha256_file(path)
            self.seen[path] = identity, digest
        return digest


def check_product(root: Path, stage: str) -> None:
    """Compare a product with its publication, if there is one, where the product is loaded.

    Models are loaded through this by every worker and rank: weights have no sums of their own, and what a
    training learnt from damaged ones would outlast the training in its checkpoints.

    Raises
    ------
    IntegrityError
        A file was changed, added or lost since then.
    """
    published = Ledger(root).published(stage)
    if published is not None and tree_digests(root / published.product) != published.files:
        raise IntegrityError(
            f"{root / published.product} is not what {stage} published; put the files back, or "
            f"`astro-dist repair {root}` and run the same command again"
        )


def _hash(handle: BinaryIO | Any, length: int | None, digest: Any) -> tuple[int, int]:
    """Add ``length`` bytes, None for all that are left, to a digest; return their number and crc32."""
    done, crc = 0, 0
    while length is None or done < length:
        piece = handle.read(PIECE_BYTES if length is None else min(PIECE_BYTES, length - done))
        if not piece:
            break
        digest.update(piece)
        if length is not None:
            crc = zlib.crc32(piece, crc)
        done += len(piece)
    return done, crc


def _identify(path: Path) -> Identity:
    """Return inode, size, mtime and ctime of a file; one of them changes when the file is written again."""
    facts = path.stat()
    return facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns
