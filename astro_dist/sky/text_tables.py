"""Tables in text: columns divided by blanks, commas or tabs, as PyBDSF, Aegean, SDC1 and ECSV write them.

The names of the columns are in the first line, or in the last comment with as many words as a row; rows
without any names and with 12 or 15 numbers are an SDC1 catalogue.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

import numpy as np

from astro_dist.engine.config import parse_yaml
from astro_dist.engine.errors import ConfigError
from astro_dist.sky.column_names import Choose, Floats, Found

LINE_BYTES = 1 << 20
MOST_COMMENTS = 10_000
SDC1 = (
    "id ra_core dec_core ra_cent dec_cent flux core_frac b_maj b_min pa size class".split()  # noqa: SIM905
)
# The released truth has three more.
SDC1_MORE = [*SDC1, "selection", "x", "y"]
GAPS = frozenset({"", "--", "-", "null", "none", "nan", "n/a", "na", "masked", '""'})


@dataclass(frozen=True)
class Head:
    """The beginning of a text table: lines before the first row, its names, and how they are divided."""

    skip: int
    names: list[str]
    delimiter: str | None
    comments: list[str]


def read_text_table(path: Path, choose: Choose, check_size: Callable[[int, int], None]) -> Found:
    """Return the chosen columns of a text table.

    Parameters
    ----------
    check_size
        Refuses too many rows and columns.

    Raises
    ------
    ConfigError
        In one line without the path: see `choose_columns`; or the names of columns are missing, or a row
        holds no number where one is wanted.
    """
    head = _read_head(path)
    with path.open("rb") as raw:
        check_size(sum(part.count(b"\n") for part in iter(partial(raw.read, 1 << 24), b"")), len(head.names))
    chosen = choose(head.names)
    places = [head.names.index(column.name) for column in chosen.values()]
    rows = _read_rows(path, head, places)
    units = _ecsv_units(head.comments) if head.comments and head.comments[0].startswith("%ECSV") else {}
    return Found(
        {ours: rows[:, i] for i, ours in enumerate(chosen)},
        {ours: units.get(column.name) for ours, column in chosen.items()},
    )


def _read_head(path: Path) -> Head:
    comments: list[str] = []
    with path.open("rb") as handle:
        for number, raw in enumerate(iter(partial(handle.readline, LINE_BYTES), b"")):
            if len(raw) == LINE_BYTES or number > MOST_COMMENTS:
                raise ConfigError("its first lines are too long or too many; is it a table?")
            line = _decode(raw).strip()
            if line.startswith("#"):
                comments.append(line[1:].strip())
            elif line:
                return _describe(line, number, comments)
    raise ConfigError("it has no rows")


def _decode(raw: bytes) -> str:
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigError("it is no text; is it a table?") from None
    if "\0" in text:
        raise ConfigError("it is no text; is it a table?")
    return text


def _describe(line: str, number: int, comments: list[str]) -> Head:
    delimiter = next((mark for mark in ",\t" if mark in line), None)
    words = _split(line, delimiter)
    if not any(_is_number(word) for word in words):
        return Head(number + 1, words, delimiter, comments)
    for comment in reversed(comments):
        names = _split(comment, delimiter)
        if len(names) == len(words) and not any(_is_number(name) for name in names):
            return Head(number, names, delimiter, comments)
    for names in (SDC1, SDC1_MORE):
        if len(words) == len(names):
            return Head(number, names, delimiter, comments)
    raise ConfigError(f"its {len(words)} columns have no names; write them into the first line")


def _split(line: str, delimiter: str | None) -> list[str]:
    return [word.strip().strip("\"'") for word in line.split(delimiter)]


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _read_rows(path: Path, head: Head, places: Sequence[int]) -> Floats:
    def read(handle: IO[str], convert: Callable[[str], float] | None) -> Floats:
        return np.loadtxt(
            handle,
            comments="#",
            delimiter=head.delimiter,
            skiprows=head.skip,
            usecols=places,
            converters=convert,
            quotechar='"',
            ndmin=2,
        )

    # A handle and not the path: numpy unpacks and fetches what a name's end or beginning suggests.
    for convert in (None, _number_or_gap):
        with path.open(encoding="utf-8-sig") as handle, warnings.catch_warnings(action="ignore"):
            try:
                return read(handle, convert)
            except (ValueError, IndexError):
                # The second time gaps are looked at, word by word.
                continue
    names = ", ".join(head.names[place] for place in places)
    raise ConfigError(f"a row has no number in one of its columns {names}, or too few columns; mend it")


def _number_or_gap(word: str) -> float:
    return float("nan") if word.strip().lower() in GAPS else float(word)


def _ecsv_units(comments: list[str]) -> dict[str, str | None]:
    """Return the units of the columns from the header of an ECSV file."""
    try:
        start = comments.index("datatype:")
    except ValueError:
        raise ConfigError("its ECSV header lists no columns; write it again") from None
    lines = []
    for comment in comments[start + 1 :]:
        if not comment.startswith("-"):
            break
        lines.append(comment)
    columns = parse_yaml("\n".join(lines), "its ECSV header")
    if not isinstance(columns, list) or not all(isinstance(c, dict) and "name" in c for c in columns):
        raise ConfigError("its ECSV header does not describe columns by their names; write it again")
    return {str(column["name"]): str(column.get("unit") or "") for column in columns}
