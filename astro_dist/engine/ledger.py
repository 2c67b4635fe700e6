"""Which task is done, and what a stage has published: immutable JSON records on the disk.

``ledger/STAGE/FINGERPRINT/TASK.json`` says that one task of one version of a stage is done and
what came out; it is written by the worker after its data are safe. ``ledger/STAGE.json`` says that
the whole product is published. Records are written once and whole, so no lock is needed: two
workers that do one task publish the same result.
"""

import contextlib
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from astro_dist.engine.errors import ConfigError, IntegrityError
from astro_dist.engine.files import PART, publish_json, remove

Result = dict[str, Any]


@dataclass(frozen=True)
class Published:
    """What a stage has published and from what.

    Attributes
    ----------
    fingerprint
        Of the settings, inputs and schema version it was made from.
    basis
        The readable form of the same, to say later what changed.
    product
        Name of the product in the run directory.
    files
        ``{relative file name: sha256}`` below the product (``.`` for a single file).
    facts
        The small figures that ``finish`` returned.
    stable
        Whether the product must be equal byte for byte when it is made again.
    """

    fingerprint: str
    basis: dict[str, Any]
    product: str
    files: dict[str, str]
    facts: dict[str, Any] = field(default_factory=dict)
    stable: bool = True


class Ledger:
    """The records of one run directory."""

    def __init__(self, root: Path) -> None:
        self.root = root / "ledger"

    def task_folder(self, stage: str, fingerprint: str) -> Path:
        """Return the folder that holds the task records of one version of a stage."""
        return self.root / stage / fingerprint[:16]

    def results(self, stage: str, fingerprint: str) -> dict[str, Result]:
        """Return ``{task name: result}`` of every finished task."""
        folder = self.task_folder(stage, fingerprint)
        records = (_load(path) for path in sorted(folder.glob("[!.]*.json")))
        return {record["task"]: record["result"] for record in records}

    def result(self, stage: str, fingerprint: str, task: str) -> Result | None:
        """Return the result of one task, None when it is not done."""
        path = self.task_folder(stage, fingerprint) / f"{task}.json"
        return _load(path)["result"] if path.exists() else None

    def record(self, stage: str, fingerprint: str, task: str, result: Result, log: Result) -> None:
        """Say that a task is done; ``log`` (host, seconds) is for people, never for results."""
        path = self.task_folder(stage, fingerprint) / f"{task}.json"
        publish_json(path, {"task": task, "result": result, "log": log})

    def logs(self, stage: str, fingerprint: str) -> list[Result]:
        """Return the log parts of all task records."""
        folder = self.task_folder(stage, fingerprint)
        return [_load(path)["log"] for path in sorted(folder.glob("[!.]*.json"))]

    def record_finish(self, stage: str, fingerprint: str, facts: Result) -> None:
        """Keep what ``finish`` returned, so that a kill before the publication loses nothing."""
        publish_json(self.task_folder(stage, fingerprint) / ".finished.json", facts)

    def finished(self, stage: str, fingerprint: str) -> Result | None:
        """Return what ``finish`` returned, None when it has not ended."""
        path = self.task_folder(stage, fingerprint) / ".finished.json"
        return _load(path) if path.exists() else None

    def forget(self, stage: str, fingerprint: str, tasks: tuple[str, ...] | None = None) -> None:
        """Drop the records of some tasks (of all of them by default): they will run again."""
        folder = self.task_folder(stage, fingerprint)
        if tasks is None:
            remove(folder)
        else:
            for task in tasks:
                (folder / f"{task}.json").unlink(missing_ok=True)

    def give_up(self, stage: str, fingerprint: str, task: str, reason: str) -> None:
        """Say that a task failed for good, so that nobody tries it again before the next command."""
        publish_json(self.given_up_folder(stage, fingerprint) / f"{task}.json", {"reason": reason})

    def given_up(self, stage: str, fingerprint: str) -> dict[str, str]:
        """Return ``{task name: reason}`` of the tasks that were given up."""
        paths = sorted(self.given_up_folder(stage, fingerprint).glob("[!.]*.json"))
        return {path.stem: _load(path)["reason"] for path in paths}

    def given_up_folder(self, stage: str, fingerprint: str) -> Path:
        """Return the folder with the marks of the tasks that were given up."""
        return self.task_folder(stage, fingerprint) / ".given-up"

    def begin(self, stage: str, fingerprint: str) -> None:
        """Say which version of a stage the workers of an array are to work on."""
        publish_json(self.root / stage / "begun.json", {"fingerprint": fingerprint})

    def begun(self, stage: str) -> str | None:
        """Return the fingerprint that workers are to work on, None when there is nothing to do."""
        path = self.root / stage / "begun.json"
        return str(_load(path)["fingerprint"]) if path.exists() else None

    def published(self, stage: str) -> Published | None:
        """Return what the stage has published, or None."""
        path = self.root / f"{stage}.json"
        return Published(**_load(path)) if path.exists() else None

    def all_published(self) -> dict[str, Published]:
        """Return what every stage has published, by stage."""
        names = sorted(path.stem for path in self.root.glob("[!.]*.json"))
        return {name: found for name in names if (found := self.published(name)) is not None}

    def publish(self, stage: str, published: Published) -> None:
        """Say that the whole product of a stage is visible."""
        publish_json(self.root / f"{stage}.json", asdict(published))

    def retract(self, stage: str, keep: str = "") -> None:
        """Take the publication of a stage back, with all task records but those of one fingerprint."""
        (self.root / f"{stage}.json").unlink(missing_ok=True)
        for folder in (self.root / stage).glob("[!.]*"):
            if folder != self.task_folder(stage, keep):
                remove(folder)

    def settle_numerics(self, stage: str, fingerprint: str, numerics: Result, afresh: str) -> None:
        """Record on what kind of machine the first worker computes; refuse another kind later.

        ``afresh`` says how to start the stage anew.
        """
        path = self.task_folder(stage, fingerprint) / ".numerics.json"
        if not path.exists():
            own = path.with_name(f".numerics-{uuid4().hex}{PART}")
            publish_json(own, numerics)
            # Unlike a rename, a link never replaces what another worker was first to say.
            with contextlib.suppress(FileExistsError):
                os.link(own, path)
            own.unlink()
        if (known := _load(path)) != numerics:
            pairs = ", ".join(
                f"{key}: {known.get(key)} then, {numerics.get(key)} now"
                for key in sorted(set(known) | set(numerics))
                if known.get(key) != numerics.get(key)
            )
            raise ConfigError(
                f"{stage} was begun on another kind of machine and its bytes would mix ({pairs}); "
                f"go on there, or start the stage afresh: {afresh}"
            )


def _load(path: Path) -> dict[str, Any]:
    try:
        value: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise IntegrityError(
            f"the record {path} cannot be read ({error}); delete it to redo the task"
        ) from None
    return value
