"""A folder of pictures: a folder per class, or a table of names and classes; split folders, or none."""

import csv
import fnmatch
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from numpy.typing import NDArray

from astro_dist.engine.config import nearest
from astro_dist.engine.errors import ConfigError
from astro_dist.engine.foreign import check_regular
from astro_dist.pictures.config import COLUMNS, SUFFIXES, TABLE, PicturesConfig
from astro_dist.pictures.decode import read_picture
from astro_dist.pictures.source import Entry

SPLIT_WORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "eval"), "test"),
}
"""Names of folders that are splits, in any case of letters."""
MOST_TABLE_BYTES = 1 << 28
NO_CLASS = "pictures"
"""Class of the pictures in no folder of a class, where pictures need none."""


class FolderSource:
    """The pictures of a folder; a `astro_dist.pictures.source.Source`."""

    suffixes = SUFFIXES

    def __init__(self, config: PicturesConfig) -> None:
        self.config, self.folder = config, config.folder
        self.notes: list[str] = []
        if not config.classed and self.folder.is_file():
            if self.folder.suffix.lower() not in self.suffixes:
                raise ConfigError(
                    f"pictures.path: {self.folder} is no picture by its name; give one of "
                    f"{', '.join(sorted(self.suffixes))}, or name FITS maps in maps.files"
                )
            self.files, self.others = [self.folder.name], list[str]()
            self.folder = self.folder.parent
            return
        if not self.folder.is_dir():
            kind = "folder" if config.classed else "picture or folder"
            raise ConfigError(
                f"pictures.path: there is no {kind} {self.folder}; mend the path, or give yours with "
                "--set pictures.path=PATH"
            )
        self.files, self.others = _list_files(self.folder, self.suffixes)
        if self.others:
            first = self.others[0]
            self.notes.append(f"{len(self.others)} files are no pictures by their names, such as {first}")

    @cached_property
    def tables(self) -> list[str]:
        """Tables of names and classes, relative to the folder: the one of the settings, or all found."""
        if self.config.by_name:
            return []
        if self.config.table is not None:
            if not (self.folder / self.config.table).exists() and any("/" in name for name in self.files):
                raise ConfigError(
                    f"pictures.table: there is no {self.config.table} in {self.folder}; mend its name, or "
                    "give pictures.table=null where each class has a folder of pictures"
                )
            return [self.config.table]
        return [name for name in self.others if PurePosixPath(name).name == TABLE]

    @cached_property
    def entries(self) -> list[Entry]:
        """All pictures with a class, by name."""
        if self.config.by_name:
            found = list(self._of_names())
        else:
            found = self._of_tables() if self.tables else list(self._of_folders())
        numbers = {name: number for number, name in enumerate(self.files)}
        return [(name, label, split, numbers[name]) for name, label, split in sorted(found)]

    @property
    def paths(self) -> list[Path]:
        """The pictures and the tables."""
        return [self.folder / name for name in (*self.tables, *(entry[0] for entry in self.entries))]

    def read(self, number: int) -> NDArray[Any]:
        """Return a picture by its number among the files."""
        name = self.files[number]
        return read_picture(self.folder / name, name, self.config)

    def _of_names(self) -> Iterator[tuple[str, str, str]]:
        for label, patterns in self.config.by_name.items():
            if not any(has_name(name, patterns) for name in self.files):
                raise ConfigError(
                    f"pictures.by_name: no file in {self.folder} is a {', '.join(patterns)}; mend {label}"
                )
        for name in self.files:
            labels = [label for label, patterns in self.config.by_name.items() if has_name(name, patterns)]
            if len(labels) > 1:
                raise ConfigError(f"pictures.by_name: {name} is {labels[0]} and {labels[1]}; choose one")
            yield from ((name, label, "") for label in labels)

    def _of_folders(self) -> Iterator[tuple[str, str, str]]:
        tops = {parts[0] for name in self.files if len(parts := PurePosixPath(name).parts) > 1}
        # Only where all are: a class may be called "test".
        split_at = 1 if tops and all(top.lower() in SPLIT_WORDS for top in tops) else 0
        loose = 0
        for name in self.files:
            parts = PurePosixPath(name).parts
            if len(parts) < split_at + 2:
                loose += 1
                if not self.config.classed:
                    yield name, NO_CLASS, SPLIT_WORDS[parts[0].lower()] if split_at else ""
                continue
            yield name, parts[split_at], SPLIT_WORDS[parts[0].lower()] if split_at else ""
        if not self.config.classed:
            return
        if loose == len(self.files):
            raise ConfigError(
                f"pictures.path: {self.folder} has no folder of a class with pictures in it; make one per "
                f"class, or give a table of names and classes ({TABLE})"
            )
        if loose:
            self.notes.append(f"{loose} pictures lie in no folder of a class and are left out")
        if empty := sorted(self._empty_classes(split_at)):
            self.notes.append(f"no picture is in the folder {', '.join(empty[:3])}: no class is made of it")

    def _empty_classes(self, split_at: int) -> set[str]:
        """Return the names of folders that would be classes if they had pictures."""
        full = {PurePosixPath(name).parts[split_at] for name in self.files if name.count("/") > split_at}
        there = self.folder.glob("*/" * (split_at + 1))
        return {path.name for path in there if path.is_dir() and not path.name.startswith(".")} - full

    def _of_tables(self) -> list[tuple[str, str, str]]:
        found: dict[str, tuple[str, str]] = {}
        files = set(self.files)
        # A table may name the files from which those in the folder were made: a.png for a.jpg.
        stems = {str(PurePosixPath(name).with_suffix("")): name for name in self.files}
        unlabelled, absent = 0, list[str]()
        for table in self.tables:
            base = PurePosixPath(table).parent
            for line, row in _read_rows(self.folder / table, self._names()):
                name, label = str(base / row["file_name"].strip()), row["label"].strip()
                if not label:
                    unlabelled += 1
                    continue
                known = name if name in files else stems.get(str(PurePosixPath(name).with_suffix("")))
                if known is None:
                    absent.append(name)
                    continue
                split = SPLIT_WORDS.get((row.get("split") or "").strip().lower(), "")
                split = split or SPLIT_WORDS.get(PurePosixPath(known).parts[0].lower(), "")
                if found.setdefault(known, (label, split))[0] != label:
                    raise ConfigError(f"{table} line {line}: {known} has two classes; leave one out")
        if absent and not found:
            raise ConfigError(
                f"pictures.table: no picture that it names is in {self.folder}, such as {absent[0]}; mend "
                "the names, or say in pictures.columns which column has them"
            )
        if absent:
            self.notes.append(f"{len(absent)} pictures of the table are not there, such as {absent[0]}")
        if unlabelled:
            self.notes.append(f"{unlabelled} pictures have no class in the table and are left out")
        return [(name, label, split) for name, (label, split) in found.items()]

    def _names(self) -> Mapping[str, str]:
        if unknown := sorted(set(self.config.columns) - set(COLUMNS)):
            raise ConfigError(f"pictures.columns: unknown key {unknown[0]!r}; {nearest(unknown[0], COLUMNS)}")
        return {**COLUMNS, **self.config.columns}


def has_name(name: str, patterns: Sequence[str]) -> bool:
    """Return whether a picture's whole name, or the name of its file, fits one of some patterns."""
    names = (name, PurePosixPath(name).name)
    return any(one == pattern or fnmatch.fnmatchcase(one, pattern) for one in names for pattern in patterns)


def _list_files(folder: Path, suffixes: Collection[str]) -> tuple[list[str], list[str]]:
    """Return the pictures and the other files of a folder by name, hidden ones left out."""
    pictures: list[str] = []
    others: list[str] = []
    for here, folders, names in os.walk(folder):
        folders[:] = sorted(one for one in folders if not one.startswith("."))
        for name in names:
            if name.startswith("."):
                continue
            whole = Path(here, name).relative_to(folder)
            (pictures if whole.suffix.lower() in suffixes else others).append(whole.as_posix())
    return sorted(pictures), sorted(others)


def _read_rows(path: Path, names: Mapping[str, str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield number of the line and ``{file_name, label, split}`` of the rows of a table."""
    try:
        check_regular(path)
        if path.stat().st_size > MOST_TABLE_BYTES:
            raise ConfigError(f"more than {MOST_TABLE_BYTES >> 20} MB")
        # utf-8-sig: spreadsheets begin a file with a mark of the byte order.
        with path.open(newline="", encoding="utf-8-sig") as handle:
            reader = csv.DictReader(handle)
            there = reader.fieldnames or []
            for key in ("file_name", "label"):
                if names[key] not in there:
                    raise ConfigError(
                        f"it has no column {names[key]!r}; {nearest(names[key], there)}; "
                        f"pictures.columns: {{{key}: NAME}} names the column"
                    )
            keys = {**names, "split": "split"}
            for row in reader:
                yield reader.line_num, {key: row.get(column) or "" for key, column in keys.items()}
    except (ConfigError, OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"pictures.table {path}: {error}") from None
