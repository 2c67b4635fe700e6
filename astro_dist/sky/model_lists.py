"""Lists of model components as WSClean and BBS (DP3, makesourcedb) write them: names in a format line.

The line is ``Format = Name, Type, Ra, Dec, I, MajorAxis`` or ``# (Name, Type, ...) = format``; a name may
have the value that gaps of its column stand for, as in ``I='1.0'``. Declinations are divided by points
(``-00.12.34.5``), lists stand in square brackets, and a row with neither name nor type describes a patch. An
angle that is one number is in radians where it has no unit (``1.2``, ``68.75deg``); under RaD and DecD, which
OSKAR knows too, in degrees.
"""

import math
import re
from collections.abc import Callable
from functools import partial
from itertools import zip_longest
from pathlib import Path

import numpy as np

from astro_dist.engine.errors import ConfigError
from astro_dist.sky.column_names import Choose, Found

UNITS = {"I": "Jy", "MajorAxis": "arcsec", "MinorAxis": "arcsec", "Orientation": "deg", "Dec": "deg"}
NOTE = "it is a list of model components, each of which is taken for a source"
_FORMAT = re.compile(r"#?[ \t]*(?:format[ \t]*=(.+)|\((.+)\)[ \t]*=[ \t]*format[ \t]*)", re.IGNORECASE)
# Commas inside quotes and brackets divide nothing.
_CELL = re.compile(r"""((?:"[^"]*"|'[^']*'|\[[^\]]*\]|[^,"'\[])*)(?:,|$)""")
_NAME = re.compile(r"\s*([\w:]+)\s*(?:=\s*['\"]?([^'\"]*)['\"]?)?\s*")
_POINTS = re.compile(r"([+-]?\d{1,3})\.(\d{1,2})\.(\d{1,2}(?:\.\d*)?)")
_ANGLE = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)\s*(deg|rad)?", re.IGNORECASE)
DEGREES = {"rad": "Ra", "decd": "Dec"}
"""The usual names of positions by those, in small letters, under which they are in degrees."""
LINE_BYTES = 1 << 16
MOST_NAMES = 200


def find_format(text: str) -> str | None:
    """Return the names and values of the format line that begins a text, None where none does."""
    for line in text.splitlines():
        if found := _FORMAT.fullmatch(line.strip()[:LINE_BYTES]):
            return (found[1] or found[2]).strip().removeprefix("(").removesuffix(")")
        if line.strip() and not line.lstrip().startswith("#"):
            return None
    return None


def read_model_list(path: Path, form: str, choose: Choose, check_size: Callable[[int, int], None]) -> Found:
    """Return the chosen columns of a list of components, as texts; gaps have the value of the format line.

    Parameters
    ----------
    form
        What `find_format` found.

    Raises
    ------
    ConfigError
        In one line without the path: see `choose_columns`; or a row has more values than there are names.
    """
    named = [match for cell in _cells(form) if (match := _NAME.fullmatch(cell))]
    names, usual = [match[1] for match in named], [match[2] or "" for match in named]
    # The unit of an angle that is one number, by its place.
    angles = {i: "deg" if name.lower() in DEGREES else "rad" for i, name in enumerate(names)}
    names = [DEGREES.get(name.lower(), name) for name in names]
    if len(names) != len(_cells(form)) or len(names) > MOST_NAMES:
        raise ConfigError("its format line is not understood; divide its names by commas")
    with path.open("rb") as raw:
        check_size(sum(part.count(b"\n") for part in iter(partial(raw.read, 1 << 24), b"")), len(names))
    chosen = choose(names)
    places = {ours: names.index(column.name) for ours, column in chosen.items()}
    columns: dict[str, list[str]] = {ours: [] for ours in places}
    with path.open("rb") as handle:
        for raw_line in iter(partial(handle.readline, LINE_BYTES), b""):
            line = raw_line.decode("utf-8-sig", "replace").strip()
            if not line or line.startswith("#") or _FORMAT.fullmatch(line):
                continue
            cells = _cells(line)
            if len(cells) > len(names):
                raise ConfigError(f"its format line names {len(names)} values and a row has {len(cells)}")
            if not any(cells[:2]):
                continue
            row = [cell or value for cell, value in zip_longest(cells, usual, fillvalue="")]
            for ours, place in places.items():
                is_angle = names[place].lower() in ("ra", "dec")
                columns[ours].append(_degrees(row[place], angles[place]) if is_angle else row[place])
    texts = {ours: np.array(values, object) for ours, values in columns.items()}
    units = {ours: UNITS.get(column.name) for ours, column in chosen.items()}
    return Found(texts, units, NOTE)


def _degrees(cell: str, unit: str) -> str:
    """Return a position in the way of other tables: one number in degrees, or parts divided by colons."""
    if not (found := _ANGLE.fullmatch(cell)):
        return _POINTS.sub(r"\1:\2:\3", cell)
    return found[1] if (found[2] or unit).lower() == "deg" else repr(math.degrees(float(found[1])))


def _cells(line: str) -> list[str]:
    """Return the values of a line, without blanks and quotes round them."""
    cells = [match[1].strip() for match in _CELL.finditer(line) if match[0] or match.start() < len(line)]
    # A comma at the end is followed by one more, empty value.
    cells += [""] if line.rstrip().endswith(",") else []
    return [cell if "=" in cell else cell.strip("'\"") for cell in cells]
