"""The folder that an export writes: what a killed one has left there, and how far this one is."""

import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from astro_dist.engine.custody import remove, remove_empty, sweep
from astro_dist.engine.errors import show
from astro_dist.engine.files import publish_bytes
from astro_dist.sky.expert_files import BEGUN

T = TypeVar("T")
FIRST_S, EVERY_S = 2.0, 10.0
"""Seconds before the first line of progress, and between two of them."""


class Target:
    """The folder of an export; a context manager.

    While the export is written, a hidden note in the folder says of what it is. A kill leaves the note, and
    the same export goes on: files that are there were renamed to their names when they were whole, and stay.
    A finished export has no note and would be written anew, also over files that somebody has edited.

    Parameters
    ----------
    folder
        It need not exist.
    about
        What the files follow from, as JSON has it: products, forms, numbers.
    quiet
        Whether no line of progress is shown.

    Attributes
    ----------
    total
        Steps of the whole export, as `skips` and `watch` count them; 0 while nobody has counted.
    """

    def __init__(self, folder: Path, about: Mapping[str, Any], *, quiet: bool = True) -> None:
        self.folder, self.quiet, self.total = folder, quiet, 0
        self.text = json.dumps(about, sort_keys=True)
        self.goes_on, self.existed, self.there, self.made = False, True, 0, 0
        self.began = self.said = time.monotonic()

    def __enter__(self) -> "Target":
        note = self.folder / BEGUN
        self.existed = self.folder.is_dir()
        self.goes_on = note.is_file() and note.read_bytes() == self.text.encode()
        if self.goes_on:
            for folder in (self.folder, *(path for path in self.folder.rglob("*") if path.is_dir())):
                sweep(folder)
        else:
            publish_bytes(note, self.text.encode())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # What was refused before its first file leaves nothing.
        if error is None or os.listdir(self.folder) == [BEGUN]:
            remove(self.folder / BEGUN)
            if not self.existed:
                remove_empty(self.folder)

    def skips(self, paths: Iterable[Path], steps: int = 1) -> bool:
        """Return whether files are there already, which counts as ``steps``."""
        there = self.goes_on and all(path.is_file() for path in paths)
        self.there += steps * there
        return there

    def watch(self, items: Iterable[T]) -> Iterator[T]:
        """Yield items, a step each, and say from time to time how far the export is."""
        for item in items:
            yield item
            self.made += 1
            now, left = time.monotonic(), self.total - self.there - self.made
            if self.quiet or left <= 0 or now - self.said <= (EVERY_S if self.said > self.began else FIRST_S):
                continue
            self.said = now
            left_s = round(left * (now - self.began) / self.made)
            show(f"{self.folder}: {1 - left / self.total:.0%} is written, about {left_s} s are left")
