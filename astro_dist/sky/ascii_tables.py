"""Tables of fixed columns in text, read by astropy: those of IPAC, and machine-readable ones of CDS and AAS.

Their headers are looked at first: astropy takes the place of columns and units from them.
"""

import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.errors import ConfigError
from astro_dist.sky.column_names import Choose, Found
from astro_dist.sky.files import described_part
from astro_dist.sky.fits_headers import open_raw

MOST_BYTES = 1 << 26
"""Most bytes of such a table: its rows are cut in Python."""
LAST_BYTE = 1 << 16
"""Most bytes of a row."""
# The time that the patterns for a line of the header take grows with the square of its length.
MOST_HEADER_LINES, LINE_LETTERS = 5_000, 200
MOST_CELLS = 50_000_000
_COLUMN = re.compile(r"\s*(?:\d+\s*-)?\s*(\d+)\s+[\w.]+\s+(\S+)\s+(\S+)")
_RULE = re.compile(r"[-=]{6,}")
_DIGITS = re.compile(r"\d{3}")
_OLD = re.compile(r"\b(RA|DE|Right Ascension|Declination)\w*\b.*\bB?1950\b", re.IGNORECASE)


def find_fixed_form(first: str) -> str | None:
    """Return the name that astropy has for the kind of a table which begins so; None for other tables."""
    lines = [line.strip() for line in first.splitlines()]
    if lines and lines[0].startswith("Title:"):
        return "mrt"
    if any(line.startswith("Byte-by-byte Description") for line in lines):
        return "cds"
    content = [line for line in lines if line and not line.startswith("\\")]
    # The last line of a beginning may be cut.
    if content[:-1] and content[0].startswith("|") and content[0].endswith("|"):
        return "ipac"
    return None


def read_fixed_table(
    path: Path,
    form: str,
    choose: Choose,
    check_size: Callable[[int, int], None],
    readme: Path | None = None,
) -> Found:
    """Return the chosen columns of a table of fixed columns, NaN or empty text in gaps.

    Parameters
    ----------
    form
        What `find_fixed_form` returns.
    check_size
        Refuses too many rows and columns.
    readme
        The file that describes the columns, where the table's own does not.

    Raises
    ------
    ConfigError
        In one line without the path: see `choose_columns`; the file is too large or its header has impossible
        columns or units.
    """
    with open_raw(path) as handle:
        content = handle.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise ConfigError(f"of this kind, at most {MOST_BYTES >> 20} MB are read; leave columns or rows out")
    # Read once: what is checked is what astropy gets.
    lines = content.decode("utf-8-sig", "strict" if readme is None else "replace").splitlines()
    if readme is not None:
        part = described_part(readme, path)
        # Notes behind the description would be taken for rows.
        lines = [*part[: _rules(part)[2] + 1], *lines]
    names = _ipac_names(lines) if form == "ipac" else _described_names(lines)
    check_size(len(lines), len(names))
    if len(lines) * len(names) > MOST_CELLS:
        raise ConfigError(f"{len(lines)} rows of {len(names)} columns are more than is read; leave some out")
    chosen = choose(names)
    if form != "ipac":
        _refuse_1950(lines, [column.name for column in chosen.values()])
    # Imported here: its readers are slow to import.
    from astropy.io import ascii as readers

    with warnings.catch_warnings(action="ignore"):
        # All columns: with `include_names` astropy gives the gaps of one column to another (8.0).
        table = readers.read(lines, format=form, guess=False)
    columns = {ours: table[column.name] for ours, column in chosen.items()}
    return Found(
        {ours: _numbers_or_texts(column) for ours, column in columns.items()},
        {ours: str(column.unit or "") for ours, column in columns.items()},
    )


def _ipac_names(lines: list[str]) -> list[str]:
    header = [line.strip() for line in lines[:MOST_HEADER_LINES] if line.startswith("|")]
    if not 1 <= len(header) <= 4 or max(map(len, header)) > LAST_BYTE:
        raise ConfigError("its header is not that of an IPAC table; write it again")
    if len(header) > 2:
        for unit in header[2].strip("|").split("|"):
            _check_unit(unit.strip())
    return [name.strip(" -") for name in header[0].strip("|").split("|")]


def _described_names(lines: list[str]) -> list[str]:
    names, rules = [], _rules(lines)
    for line in lines[rules[1] : rules[2]]:
        if found := _COLUMN.match(line):
            if len(found[1]) > 6 or int(found[1]) > LAST_BYTE:
                raise ConfigError(f"a column ends at byte {found[1][:20]}; write its description again")
            _check_unit(found[2])
            names.append(found[3])
    return names


def _refuse_1950(lines: list[str], names: list[str]) -> None:
    """Refuse positions of another equinox, which only the explanations of the columns state."""
    for line in lines[: _rules(lines)[2]]:
        if (found := _COLUMN.match(line)) and found[3] in names and _OLD.search(line):
            said = " ".join(line[found.end() :].split())
            raise ConfigError(
                f"its {found[3]} is of the equinox 1950 ({said}); give a table with positions in ICRS or "
                "J2000, as VizieR adds them (_RAJ2000, _DEJ2000)"
            )


def _rules(lines: list[str]) -> list[int]:
    """Return the places of the lines of dashes of a description: before its head, its columns and behind."""
    start = next((i for i, line in enumerate(lines) if line.lstrip().startswith("Byte-by-byte")), len(lines))
    rules = [place for place, line in enumerate(lines[start:], start) if _RULE.match(line)]
    if len(rules) < 3 or rules[2] > MOST_HEADER_LINES or max(map(len, lines[: rules[2]])) > LINE_LETTERS:
        raise ConfigError("its header does not describe its columns byte by byte; write it again")
    return rules


def _check_unit(unit: str) -> None:
    # Astropy raises what a unit says to the power that it says.
    if _DIGITS.search(unit) or len(unit) > 40:
        raise ConfigError(f"{unit[:20]!r} is no unit; write its header again")


def _numbers_or_texts(column: Any) -> NDArray[np.generic]:
    values = np.ma.asarray(column)
    if values.dtype.kind in "US":
        return np.array(np.ma.filled(values, "").tolist(), object)
    return np.asarray(np.ma.filled(values.astype(np.float64), np.nan))
