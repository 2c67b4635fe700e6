"""Checkpoints that are whole or absent: hidden folder, manifest of sha256, rename; two are kept."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from astro_dist.files import PART, publish_folder, publish_json, remove, sweep, tree_digests

MANIFEST = "manifest.json"
KEPT = 2


class Checkpoints:
    """The checkpoints of one training, one folder ``step-NNNNNNNN`` each.

    With several ranks each writes its part into the same hidden folder: ``meet`` is called between
    the moments that need all of them, and only the rank with ``leads`` names and removes folders.
    """

    def __init__(self, folder: Path, leads: bool = True, meet: Callable[[], None] = lambda: None) -> None:
        self.folder, self.leads, self.meet = folder, leads, meet
        if leads:
            folder.mkdir(parents=True, exist_ok=True)
            sweep(folder, set())
        meet()

    def save(self, step: int, write: Callable[[Path], None]) -> None:
        """Let ``write`` fill a folder and make it visible as the checkpoint of ``step``."""
        final = self.folder / f"step-{step:08d}"
        hidden = self.folder / f".{final.name}{PART}"
        if self.leads:
            shutil.rmtree(hidden, ignore_errors=True)
            hidden.mkdir()
        self.meet()
        write(hidden)
        self.meet()
        if self.leads:
            publish_json(hidden / MANIFEST, {"step": step, "files": tree_digests(hidden)})
            remove(final)
            publish_folder(hidden, final)
            for old in self._all()[:-KEPT]:
                remove(old)
        self.meet()

    def newest(self) -> tuple[int, Path] | None:
        """Return step and folder of the newest checkpoint that is what its manifest says, if any."""
        for path in reversed(self._all()):
            try:
                manifest = json.loads((path / MANIFEST).read_text())
                files = tree_digests(path)
                files.pop(MANIFEST)
                if files == manifest["files"]:
                    return int(manifest["step"]), path
                reason = "a file differs from its manifest"
            except (OSError, ValueError, KeyError) as error:
                reason = str(error)
            print(f"warning: the checkpoint {path} is damaged and left out ({reason})", file=sys.stderr)
        return None

    def _all(self) -> list[Path]:
        return sorted(self.folder.glob("step-*"))
