"""Checkpoints that are whole or absent: hidden folder, manifest of sha256, rename. Two are kept."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from astro_dist.engine.config import fingerprint
from astro_dist.engine.custody import remove, remove_empty, sweep
from astro_dist.engine.files import (
    PART,
    digest_text,
    publish_bytes,
    publish_folder,
    sha256_file,
    tree_digests,
)
from astro_dist.train.config import LAYOUT
from astro_dist.train.recipe import Cell
from astro_dist.train.start import start_files

MANIFEST = "manifest.json"
KEPT = 2
"""Checkpoints that are kept, so that one is left when the newest turns out damaged."""


class Checkpoints:
    """The checkpoints of one training, one folder ``step-NNNNNNNN`` each.

    With several ranks each rank writes its part into the same hidden folder. ``meet`` is a barrier of all
    ranks. Only the rank with ``leads`` makes, renames and removes folders.
    """

    def __init__(self, folder: Path, leads: bool = True, meet: Callable[[], None] = lambda: None) -> None:
        self.folder, self.leads, self.meet = folder, leads, meet
        if leads:
            folder.mkdir(parents=True, exist_ok=True)
            sweep(folder)
        meet()

    def save(self, step: int, write: Callable[[Path], None]) -> None:
        """Call ``write`` on a hidden folder and make the folder visible as the checkpoint of ``step``."""
        final = self.at(step)
        hidden = self.hidden(step)
        if self.leads:
            remove(hidden)
            hidden.mkdir()
        self.meet()
        # The barrier before: no rank may write into a folder that the first rank has yet to empty and make.
        write(hidden)
        self.meet()
        if self.leads:
            # After the barrier and last: the manifest has the digests of the files of all ranks.
            publish_bytes(hidden / MANIFEST, _manifest(step, hidden))
            # A training resumes from its newest whole checkpoint. Checkpoints of this and later steps are
            # therefore damaged, and would be tried first by the next resume.
            for other in self._all():
                if other.name >= final.name:
                    remove(other)
            publish_folder(hidden, final)
            for old in self._all()[:-KEPT]:
                remove(old)
        self.meet()

    def hidden(self, step: int) -> Path:
        """Return the folder that a checkpoint is written to; all ranks find the same one."""
        name = self.at(step).name
        # Twelve hexadecimal digits, by which `sweep` finds the folder that a killed save has left.
        return self.folder / f".{name}.{digest_text(name)[:12]}{PART}"

    def at(self, step: int) -> Path:
        """Return the folder of the checkpoint of ``step``."""
        # Zero-padded, because `_all` sorts names and not numbers.
        return self.folder / f"step-{step:08d}"

    def newest(self) -> int:
        """Return the step of the newest checkpoint whose files match its manifest, 0 for none."""
        # All that is called so: a damaged name is shown, but only whole names are ours to remove.
        for path in sorted(self.folder.glob("step-*"), reverse=True):
            try:
                step = int(path.name.removeprefix("step-"))
                # The manifest holds the step too, so that a renamed folder does not match.
                if (path / MANIFEST).read_bytes() == _manifest(step, path):
                    return step
                reason = "its files and its manifest differ"
            except (OSError, ValueError) as error:
                reason = str(error)
            print(f"warning: the checkpoint {path} is damaged and left out ({reason})", file=sys.stderr)
        return 0

    def _all(self) -> list[Path]:
        return _steps(self.folder)


def checkpoint_folder(cell: Cell) -> Path:
    """Return the folder of the checkpoints of a training, the same under all layouts: any resumes any."""
    # All that changes the weights is in the name: after a change the training begins in another folder.
    return cell.run.root / "checkpoints" / f"{cell.name}-{fingerprint(list_causes(cell))[:12]}"


def list_causes(cell: Cell) -> list[Any]:
    """Return all that the weights of a training follow from, but for layout and machine; JSON-able."""
    run, recipe = cell.run, cell.recipe
    settings = cell.config.model_dump(mode="json", exclude=set(LAYOUT))
    published = [_published_files(cell, name) for name in recipe.inputs]
    start_from = cell.config.start_from
    # Digests notice weights that were replaced under the same path.
    start = [] if start_from is None else [sha256_file(path) for path in start_files(recipe, start_from)]
    if recipe.files is not None:
        start += [sha256_file(path) for path in recipe.files(run.having(cell.config))]
    causes = [run.seed, settings, published, start]
    if recipe.sections:
        causes.append([run.settings.sections[name].marks() for name in recipe.sections])
    return [*causes, list(cell.key), cell.rows] if cell.task else causes


def _published_files(cell: Cell, stage: str) -> dict[str, str] | None:
    """Return the digests of the files of an input that a training reads; None for one that it does not."""
    published = cell.run.ledger.published(stage)
    if published is None or (cell.reads is not None and stage not in cell.reads):
        return None
    wanted = cell.reads[stage] if cell.reads is not None else ()
    return {name: digest for name, digest in published.files.items() if not wanted or name in wanted}


def drop_checkpoints(folder: Path) -> None:
    """Remove all checkpoints of a training, and their folder unless it holds anything else."""
    sweep(folder)
    for path in _steps(folder):
        remove(path)
    remove_empty(folder)


def _steps(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"step-{8 * '[0-9]'}"))


def _manifest(step: int, folder: Path) -> bytes:
    """Return the manifest that matches the files of a folder, byte for byte."""
    files = {name: digest for name, digest in tree_digests(folder).items() if name != MANIFEST}
    return (json.dumps({"files": files, "step": step}, indent=1, sort_keys=True) + "\n").encode()
