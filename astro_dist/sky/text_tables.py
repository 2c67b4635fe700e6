"""Tables in text: columns divided by blanks, commas, semicolons or tabs, as most programs write them.

The names of the columns are in the first line, or in a comment with as many words as a row. A line of units
may follow either, as SoFiA, Selavy and VizieR write it. Rows without any names and with 12 or 15 numbers that
fit an SDC1 catalogue are one.
"""

import csv
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.config import parse_yaml
from astro_dist.engine.errors import ConfigError
from astro_dist.sky.column_names import Choose, Floats, Found
from astro_dist.sky.column_units import ANGLES, FLUXES, NO_UNIT, is_number
from astro_dist.sky.sexagesimal import GAPS

LINE_BYTES = 1 << 20
MOST_COMMENTS = 10_000
SDC1 = (
    "id ra_core dec_core ra_cent dec_cent flux core_frac b_maj b_min pa size class".split()  # noqa: SIM905
)
# The released truth has three more.
SDC1_MORE = [*SDC1, "selection", "x", "y"]
SDC1_LIMITS = {
    **{"ra_core": (-180, 360), "ra_cent": (-180, 360), "dec_core": (-90, 90), "dec_cent": (-90, 90)},
    **{"flux": (0, 1e4), "core_frac": (0, 1), "b_maj": (0, 1e4), "b_min": (0, 1e4), "pa": (-360, 360)},
    **{"size": (1, 3), "class": (1, 3)},
}
SDC1_NOTE = "its columns have no names and are taken as those of SDC1, flux in Jy"
REMARKS = ("comment", "comments", "note", "notes", "remark", "remarks")
MARKS = ",;\t|"
_DASHES = re.compile(r"-+")
_RDB = re.compile(r"\d*[SNMsnm]")


@dataclass(frozen=True)
class Line:
    """A line before the rows or the first row, and its number from 0."""

    number: int
    text: str


@dataclass(frozen=True)
class Head:
    """The beginning of a text table: lines before the first row, its names, and how they are divided."""

    skip: int
    names: list[str]
    delimiter: str | None
    units: dict[str, str | None]
    note: str = ""


def read_text_table(path: Path, choose: Choose, check_size: Callable[[int, int], None]) -> Found:
    """Return the chosen columns of a text table.

    Parameters
    ----------
    check_size
        Refuses too many rows and columns.

    Raises
    ------
    ConfigError
        In one line without the path: see `choose_columns`; or the names of columns are missing or others than
        a row has, or a row is too short.
    """
    head = read_head(path)
    with path.open("rb") as raw:
        check_size(sum(part.count(b"\n") for part in iter(partial(raw.read, 1 << 24), b"")), len(head.names))
    chosen = choose(head.names)
    # ECSV may say in a column of its own which cells are masked.
    masks = {o: f"{c.name}.mask" for o, c in chosen.items() if f"{c.name}.mask" in head.names}
    places = {o: head.names.index(column.name) for o, column in chosen.items()}
    places |= {f"{o}.mask": head.names.index(name) for o, name in masks.items()}
    columns = dict(zip(places, _read_rows(path, head, [*places.values()]), strict=True))
    for ours in masks:
        gaps = [str(word).strip().lower() in ("true", "1", "1.0") for word in columns.pop(f"{ours}.mask")]
        columns[ours] = np.where(gaps, np.nan, columns[ours])
    return Found(columns, {ours: head.units.get(c.name) for ours, c in chosen.items()}, head.note)


def read_head(path: Path) -> Head:
    """Return how a text table begins; see `read_text_table` for what is refused."""
    comments: list[str] = []
    lines: list[Line] = []
    with path.open("rb") as handle:
        for number, raw in enumerate(iter(partial(handle.readline, LINE_BYTES), b"")):
            if len(raw) == LINE_BYTES or number > MOST_COMMENTS:
                raise ConfigError("its first lines are too long or too many; is it a table?")
            line = _decode(raw).rstrip("\r\n")
            if line.lstrip().startswith("#"):
                comments += [] if lines else [line.lstrip()[1:]]
            elif line.strip():
                lines.append(Line(number, line))
            # Names, units, dashes and a row.
            if len(lines) == 4:
                break
    if not lines:
        raise ConfigError("it has no rows")
    return _describe(lines, comments)


def _decode(raw: bytes) -> str:
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        # Names with accents, as Windows and older programs write them; a byte without a meaning there too is
        # that of no text.
        try:
            text = raw.decode("cp1252")
        except UnicodeDecodeError:
            raise ConfigError("it is no text; is it a table?") from None
    if "\0" in text:
        raise ConfigError("it is no text; is it a table?")
    return text


def _describe(lines: Sequence[Line], comments: Sequence[str]) -> Head:
    counts = {mark: lines[0].text.count(mark) for mark in MARKS}
    delimiter = max(counts, key=lambda mark: counts[mark]) if any(counts.values()) else None
    words = _split(lines[0].text, delimiter)
    if any(is_number(word) for word in words):
        return _describe_row(lines[0].number, words, delimiter, comments)
    names, start, units = words, 1, _ecsv_units(comments)
    rows = [_split(line.text, delimiter) for line in lines[1:3]]
    if len(rows) > 1 and len(rows[0]) == len(names) and all(map(_DASHES.fullmatch, rows[1])):
        units, start = dict(zip(names, rows[0], strict=True)), 3
    elif rows and len(rows[0]) > 1 and all(_DASHES.fullmatch(w) or _RDB.fullmatch(w) for w in rows[0]):
        start = 2
    if start < len(lines):
        row = _split(lines[start].text, delimiter)
        if _is_sdc1(row) and "core" in lines[0].text.lower():
            # The released catalogues have names of two words.
            names = (SDC1 if len(row) == len(SDC1) else SDC1_MORE) if len(row) != len(names) else names
        elif not _fits(names, row) and (delimiter is None or any(row[len(names) :])):
            raise ConfigError(
                f"its first line names {len(names)} columns and the first row has {len(row)}; quote names "
                "and texts that hold blanks, or divide the columns by commas"
            )
    return Head(lines[start - 1].number + 1, names, delimiter, units)


def _describe_row(number: int, words: list[str], delimiter: str | None, comments: Sequence[str]) -> Head:
    """Describe a table that begins with its first row: names are in a comment, or it is of SDC1."""
    for place in reversed(range(len(comments))):
        names = _split(comments[place], delimiter)
        if _fits(names, words) and _are_names(names):
            below = comments[place + 1] if place + 1 < len(comments) else ""
            units = _ecsv_units(comments) | _units_below(comments[place], below, names)
            if any(re.search("Generated by PyBDS[FM]", comment) for comment in comments):
                units |= {name: "Jy" for name in names if name in ("Total_flux", "Isl_Total_flux")}
            return Head(number, names, delimiter, units)
    for names in (SDC1, SDC1_MORE):
        if len(words) == len(names):
            if not _is_sdc1(words):
                raise ConfigError(
                    f"its {len(words)} columns have no names and its first row does not fit those of SDC1; "
                    "write their names into the first line"
                )
            return Head(number, names, delimiter, {}, SDC1_NOTE)
    raise ConfigError(f"its {len(words)} columns have no names; write them into the first line")


def _fits(names: Sequence[str], row: Sequence[str]) -> bool:
    # Selavy leaves the comment, its last column, blank.
    last = names[-1].lower() if names else ""
    return len(names) == len(row) or (last in REMARKS and len(row) >= len(names) - 1)


def _are_names(words: Sequence[str]) -> bool:
    units = NO_UNIT | set(FLUXES) | set(ANGLES)
    return (
        len(set(words)) == len(words)
        and not any(map(is_number, words))
        and not all(word.strip("[]()").lower() in units for word in words)
    )


def _units_below(names_line: str, line: str, names: Sequence[str]) -> dict[str, str | None]:
    """Return the units of a comment under that of the names: for each one, or ending where its name ends."""
    words = line.split()
    if len(words) == len(names) and len(set(words)) < len(words):
        return dict(zip(names, words, strict=True))
    ends = {match.end(): match[0] for match in re.finditer(r"\S+", names_line)}
    found = {match.end(): match[0] for match in re.finditer(r"\[[^\s\[\]]+\]", line)}
    return {ends[end]: unit for end, unit in found.items() if end in ends}


def _is_sdc1(row: Sequence[str]) -> bool:
    if len(row) not in (len(SDC1), len(SDC1_MORE)) or not all(map(is_number, row)):
        return False
    values = dict(zip(SDC1_MORE, map(float, row), strict=False))
    return all(low <= values[name] <= high for name, (low, high) in SDC1_LIMITS.items())


def _split(line: str, delimiter: str | None) -> list[str]:
    if delimiter is None:
        words = re.findall(r'"[^"]*"|\S+', line)
    else:
        words = next(csv.reader([line], delimiter=delimiter, skipinitialspace=True), [])
    return [word.strip().strip("\"'") for word in words]


def _read_rows(path: Path, head: Head, places: Sequence[int]) -> list[NDArray[Any]]:
    """Return columns of numbers, or of texts as far as these are no numbers."""

    def read(handle: IO[str], **options: Any) -> NDArray[Any]:
        return np.loadtxt(
            handle,
            comments="#",
            delimiter=head.delimiter,
            skiprows=head.skip,
            usecols=places,
            quotechar='"',
            ndmin=2,
            **options,
        )

    # A handle and not the path: numpy unpacks and fetches what a name's end or beginning suggests. The second
    # time gaps are looked at, word by word.
    texts = {"dtype": object, "converters": _number_or_text}
    for encoding, options in product(("utf-8-sig", "cp1252"), ({}, texts)):
        with path.open(encoding=encoding) as handle, warnings.catch_warnings(action="ignore"):
            try:
                return [_numbers(column) for column in read(handle, **options).T]
            except (ValueError, IndexError):
                continue
    names = ", ".join(head.names[place] for place in places)
    raise ConfigError(f"a row has no number in one of its columns {names}, or too few columns; mend it")


def _number_or_text(word: str) -> float | str:
    if word.strip().lower() in GAPS:
        return float("nan")
    try:
        return float(word)
    except ValueError:
        return word


def _numbers(column: NDArray[Any]) -> Floats | NDArray[np.object_]:
    try:
        return column.astype(np.float64)
    except ValueError:
        return column


def _ecsv_units(comments: Sequence[str]) -> dict[str, str | None]:
    """Return the units of the columns from the header of an ECSV file; none of other files."""
    comments = [comment.strip() for comment in comments]
    if not comments or not comments[0].startswith("%ECSV"):
        return {}
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
