"""The ledger: immutable JSON records of finished tasks and of published products.

``ledger/STAGE/FINGERPRINT/TASK.json`` records that one task of one version of a stage is done, and its
result; the worker writes the record after the task's data are on the disk. ``ledger/STAGE.json`` records that
the whole product is published. Records are written once and whole, so no lock is needed: two workers that do
the same task publish the same result.
"""

import contextlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from astro_dist.engine.custody import remove
from astro_dist.engine.errors import ConfigError, IntegrityError
from astro_dist.engine.files import PART
from astro_dist.engine.record import is_protected, read_record, write_record

VERSION = 16 * "[0-9a-f]"
"""Glob of the folders of a stage's versions; whatever else lies beside them is left alone."""
Result = dict[str, Any]
"""Small, JSON-able result of a task."""

DAMAGED = "damaged"
"""What the basis of a product says of an input that may have been damaged when it was read."""


def states_output(result: Mapping[str, Any]) -> bool:
    """Return whether a result states the task's files in a form of `astro_dist.engine.outputs`."""
    forms = [result[name] for name in ("sha256", "ranges") if name in result]
    return bool(forms) and all(isinstance(form, Mapping) for form in forms)


@dataclass(frozen=True)
class Published:
    """Record of the product of a stage and of all that the product was made from.

    Attributes
    ----------
    fingerprint
        Digest of ``basis``.
    basis
        The settings, inputs, sources, seed and schema version that the product was made from; kept in
        readable form, so that later changes can be named.
    product
        Name of the product in the run directory.
    files
        ``{relative file name: sha256}`` below the product (``.`` for a single file).
    facts
        The small figures that ``finish`` returned.
    stable
        Whether the product must be equal byte for byte when it is made again.
    compared
        Whether the inputs were compared with their publications before and after; version 0.1.0 did not.
    """

    fingerprint: str
    basis: dict[str, Any]
    product: str
    files: dict[str, str]
    facts: dict[str, Any] = field(default_factory=dict)
    stable: bool = True
    compared: bool = False

    @property
    def is_doubted(self) -> bool:
        """Whether an input may have been damaged when it was read, see `integrity.repair_run`."""
        return DAMAGED in self.basis.get("inputs", {}).values()


@dataclass(frozen=True)
class Finished:
    """Figures and digests of a product that is whole and not yet published."""

    facts: dict[str, Any]
    files: dict[str, str]


class Ledger:
    """The records of one run directory."""

    def __init__(self, root: Path) -> None:
        self.root = root / "ledger"

    def records(self, stage: str, fingerprint: str) -> "Records":
        """Return the task records of one version of a stage."""
        return Records(self.root / stage, stage, fingerprint)

    def begin(self, stage: str, fingerprint: str) -> None:
        """Record the version of a stage that the workers of an array work on."""
        write_record(self.root / stage / "begun.json", {"fingerprint": fingerprint})

    def begun(self, stage: str) -> str | None:
        """Return the fingerprint that `begin` recorded, None when there is no such record."""
        path = self.root / stage / "begun.json"
        return _read_part(path, "fingerprint", str) if path.exists() else None

    def published(self, stage: str) -> Published | None:
        """Return the publication of a stage, None when there is none."""
        path = self.root / f"{stage}.json"
        return _published(path) if path.exists() else None

    def all_published(self) -> dict[str, Published]:
        """Return the publications of all stages by stage name."""
        # `[!.]` leaves out hidden files: records that are being written.
        names = sorted(path.stem for path in self.root.glob("[!.]*.json") if path.is_file())
        return {name: found for name in names if (found := self.published(name)) is not None}

    def publish(self, stage: str, published: Published) -> None:
        """Record that the whole product of a stage is published."""
        write_record(self.root / f"{stage}.json", asdict(published))

    def unprotected(self) -> list[str]:
        """Return the stages whose publications are of format 1, which no sha256 protects."""
        paths = sorted(path for path in self.root.glob("[!.]*.json") if path.is_file())
        return [path.stem for path in paths if self.published(path.stem) and not is_protected(path)]

    def retract(self, stage: str) -> None:
        """Delete the publication of a stage and the task records of what was published."""
        published = self.published(stage)
        remove(self.root / f"{stage}.json")
        if published is not None:
            records = self.records(stage, published.fingerprint)
            records.forget_all()
            # An empty folder stays, by which this is still known as the ledger of a run.
            records.folder.mkdir(parents=True, exist_ok=True)
        remove(self.root / stage / "begun.json")

    def marks(self, stage: str) -> set[str]:
        """Return the marks, the first 12 digits, of all versions of a stage that were begun."""
        return {folder.name[:12] for folder in (self.root / stage).glob(VERSION)}

    def drop_versions(self, stage: str, keep: str) -> None:
        """Delete all task records of a stage except those of one fingerprint."""
        for folder in (self.root / stage).glob(VERSION):
            if folder != self.records(stage, keep).folder:
                remove_records(folder)
        remove(self.root / stage / "begun.json")


class Records:
    """Task records of one version of a stage: results, tasks given up, the kind of machine.

    A recorded result never changes, so each is read from the disk once. A result that does not state the
    task's files, as in version 0.1.0, is ignored and the task is done again.
    """

    def __init__(self, parent: Path, stage: str, fingerprint: str) -> None:
        self.stage, self.fingerprint = stage, fingerprint
        # 64 bits of the fingerprint separate the few versions of one run and keep paths short.
        self.folder = parent / fingerprint[:16]
        self._known: dict[str, Result] = {}

    def results(self) -> dict[str, Result]:
        """Return ``{task name: result}`` of every finished task."""
        names = {path.stem for path in self.folder.glob("[!.]*.json")}
        # Records vanish too: `forget` in another process deletes those of damaged tasks.
        self._known = {task: result for task, result in self._known.items() if task in names}
        for name in names - self._known.keys():
            # Another process may delete a record between the listing and the reading.
            with contextlib.suppress(FileNotFoundError):
                record = _task_record(self.folder / f"{name}.json")
                if states_output(record["result"]):
                    self._known[name] = record["result"]
        return dict(sorted(self._known.items()))

    def result(self, task: str) -> Result | None:
        """Return the result of one task, None when the task is not done."""
        path = self.folder / f"{task}.json"
        result = _task_record(path)["result"] if path.exists() else {}
        return result if states_output(result) else None

    def record(self, task: str, result: Result, log: Result) -> None:
        """Record that a task is done; no result depends on ``log`` (host, seconds)."""
        write_record(self.folder / f"{task}.json", {"task": task, "result": result, "log": log})

    def logs(self) -> list[Result]:
        """Return the log parts of all task records."""
        return [_read_part(path, "log", dict) for path in sorted(self.folder.glob("[!.]*.json"))]

    def record_finish(self, finished: Finished) -> None:
        """Record figures and digests of a whole product: a kill before the publication then loses nothing."""
        write_record(self._finished, {"finished": asdict(finished)})

    def finished(self) -> Finished | None:
        """Return the record of `record_finish`, None when there is none."""
        # Version 0.1.0 recorded the facts alone; ``finish`` is then run again.
        found = read_record(self._finished).get("finished") if self._finished.exists() else None
        return Finished(**found) if isinstance(found, dict) and found.keys() == FINISHED else None

    def forget(self, tasks: Iterable[str]) -> None:
        """Delete the records of some tasks and of ``finish``, so that all of them run again."""
        # First, because after a kill in between this record would vouch for files that run again.
        remove(self._finished)
        for task in tasks:
            remove(self.folder / f"{task}.json")
            self._known.pop(task, None)

    def forget_all(self) -> None:
        """Delete all records of this version."""
        remove_records(self.folder)
        self._known.clear()

    def give_up(self, task: str, reason: str) -> None:
        """Record that a task failed for good, so that no worker tries it before the next command."""
        write_record(self.folder / GIVEN_UP / f"{task}.json", {"reason": reason})

    def given_up(self) -> dict[str, str]:
        """Return ``{task name: reason}`` of the tasks that were given up."""
        # Marks lie in a hidden folder of their own, which the listing of done tasks leaves out.
        paths = sorted((self.folder / GIVEN_UP).glob("[!.]*.json"))
        return {path.stem: _read_part(path, "reason", str) for path in paths}

    def try_again(self) -> None:
        """Delete the marks of tasks that were given up, so that these run again."""
        remove(self.folder / GIVEN_UP)

    @property
    def claims(self) -> Path:
        """Folder with the claims of workers that share the tasks."""
        return self.folder / CLAIMS

    def settle_numerics(self, numerics: Result, afresh: str) -> None:
        """Record the kind of machine of the first worker; refuse every other kind later.

        ``afresh`` is the part of the error message that says how to start the stage anew.

        Raises
        ------
        ConfigError
            This machine is of another kind than the recorded one.
        """
        path = self.folder / ".numerics.json"
        if not path.exists():
            own = path.with_name(f".numerics.{uuid4().hex}{PART}")
            write_record(own, numerics)
            # Two workers may write at once. A link fails where the name exists, so the first record stays;
            # a rename would replace it.
            with contextlib.suppress(FileExistsError):
                os.link(own, path)
            remove(own)
        # Read back in any case: the record of another worker may have been first.
        if (known := read_record(path)) != numerics:
            pairs = ", ".join(
                f"{key}: {known.get(key, 'none')} then, {numerics.get(key, 'none')} now"
                for key in sorted(set(known) | set(numerics))
                if known.get(key) != numerics.get(key)
            )
            raise ConfigError(
                f"{self.stage} was begun on another kind of machine and its bytes would mix ({pairs}); "
                f"go on there, or start the stage afresh: {afresh}"
            )

    @property
    def _finished(self) -> Path:
        return self.folder / ".finished.json"


GIVEN_UP, CLAIMS = ".given-up", ".claims"
HIDDEN = (".finished.json", ".numerics.json")
FINISHED = {"facts", "files"}


def remove_records(folder: Path) -> None:
    """Remove the records of one version of a stage; what else lies among them stays, with its folder."""
    if not folder.is_dir():
        return
    ours = [path for path in folder.iterdir() if _is_record(path)]
    # At once where nothing else is there: a kill must not leave some of the records.
    if len(ours) == len(os.listdir(folder)):
        remove(folder)
        return
    for path in ours:
        remove(path)


def _is_record(path: Path) -> bool:
    """Return whether a name in the folder of a version is one that records are written under."""
    if path.name in (GIVEN_UP, CLAIMS):
        return path.is_dir()
    is_named = path.suffix == ".json" and (not path.name.startswith(".") or path.name in HIDDEN)
    return path.is_file() and (is_named or path.name.endswith(PART))


def _published(path: Path) -> Published:
    """Read a publication; its product must lie below the run directory."""
    try:
        published = Published(**read_record(path))
        # `repair` and `--redo` rename what the record names, so a forged path must not lead outside.
        parts = Path(published.product).parts
        if not parts or Path(published.product).is_absolute() or ".." in parts:
            raise ValueError(f"{published.product!r} does not lie below the run directory")
        if not all(isinstance(digest, str) for digest in published.files.values()):
            raise ValueError("a digest is no text")
        if not isinstance(published.basis.get("inputs", {}), dict) or not isinstance(published.facts, dict):
            raise ValueError("its inputs or facts are no mapping")
    except (TypeError, ValueError, AttributeError) as error:
        raise IntegrityError(
            f"the record {path} is damaged ({error}); `astro-dist repair {path.parents[1]}` sets it aside"
        ) from None
    return published


def _read_part(path: Path, name: str, kind: type) -> Any:
    """Return one value of a record; a record without it was not written by this package."""
    value = read_record(path).get(name)
    if not isinstance(value, kind):
        root = next(folder.parent for folder in path.parents if folder.name == "ledger")
        raise IntegrityError(
            f"the record {path} is damaged (no {name}); `astro-dist repair {root}` sets it aside"
        )
    return value


def _task_record(path: Path) -> Result:
    """Read the record of a task, whose name is that of its file."""
    record = read_record(path)
    if record.get("task") != path.stem or not isinstance(record.get("result"), dict):
        raise IntegrityError(
            f"the record {path} is damaged (it is not of that task); `astro-dist repair {path.parents[3]}` "
            "sets it aside"
        )
    return record
