"""VOTables of users, looked at by an XML parser that builds nothing before astropy reads them.

Refused are entities, which may stand for gigabytes or for other files, data that lie elsewhere or are packed,
and sizes that rows would be laid out for.
"""

import io
import math
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.parsers import expat

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.errors import ConfigError
from astro_dist.sky.column_names import Choose, Found

VOTABLE_BYTES = 1 << 28
MOST_DEPTH = 40
TABLE_BYTES = 1 << 30
"""Most bytes of the rows, unpacked."""
ENCODINGS = ("utf-8", "utf8", "us-ascii", "ascii", "iso-8859-1", "latin-1", "latin1")


class _Look:
    """What is wanted of a VOTable before it is read: no entities, bounded rows, data in the file itself."""

    def __init__(self, check_size: Callable[[int, int], None]) -> None:
        self.check_size = check_size
        self.depth = self.tables = self.rows = self.columns = self.row_bytes = self.stated = 0

    def parser(self) -> Any:
        parser = expat.ParserCreate()
        parser.StartElementHandler, parser.EndElementHandler = self.start, self.end
        parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = self.refuse_entities
        parser.XmlDeclHandler = self.check_encoding
        return parser

    def refuse_entities(self, *_: Any) -> None:
        raise ConfigError("it declares a document type or entities, which are not read; save it without them")

    def check_encoding(self, version: str, encoding: str | None, standalone: int) -> None:
        if encoding and encoding.lower() not in ENCODINGS:
            raise ConfigError(f"it is written in {encoding[:20]}; save it in UTF-8")

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self.depth += 1
        kind = name.rpartition(":")[2]
        if self.depth > MOST_DEPTH:
            raise ConfigError(f"it is nested more than {MOST_DEPTH} deep")
        if kind == "TR" and self.tables == 1:
            self.rows += 1
        elif kind == "TABLE":
            self.tables += 1
            # Only the first table is read; the number of rows that it states is room that astropy takes.
            self.stated = max(self.stated, _number(attributes.get("nrows", "0")))
        elif kind == "FIELD":
            self.columns += 1
            self.row_bytes += 16 * _items(attributes.get("arraysize", ""))
        elif kind == "FITS" or (kind == "STREAM" and set(attributes) & {"href", "actuate"}):
            raise ConfigError("its rows are not in the file itself; save it as TABLEDATA or BINARY2")
        elif kind == "STREAM" and attributes.get("encoding", "base64") != "base64":
            raise ConfigError("its rows are packed; save it as TABLEDATA or BINARY2")
        rows = max(self.rows, self.stated)
        if self.columns > 1 and rows * self.row_bytes > TABLE_BYTES:
            raise ConfigError(f"{rows} rows of {self.row_bytes} bytes are more than is read; leave some out")
        self.check_size(rows, self.columns)

    def end(self, name: str) -> None:
        self.depth -= 1


def _number(text: str) -> int:
    if not re.fullmatch(r"\d{1,12}", text.strip()):
        raise ConfigError(f"{text[:20]!r} is no number of rows; save it again")
    return int(text)


def _items(arraysize: str) -> int:
    """Return the number of items of a cell; of a length that varies the part that does not."""
    parts = [part for part in arraysize.replace("*", "").lower().split("x") if part.strip()]
    if not all(re.fullmatch(r"\s*\d{1,9}\s*", part) for part in parts):
        raise ConfigError(f"{arraysize[:20]!r} is no size of a cell; save it again")
    return math.prod(map(int, parts))


def read_votable(path: Path, choose: Choose, check_size: Callable[[int, int], None]) -> Found:
    """Return the chosen columns of the first table of a VOTable, NaN in empty cells.

    Parameters
    ----------
    check_size
        Refuses too many rows and columns.

    Raises
    ------
    ConfigError
        In one line without the path: see `choose_columns`; or the file is no VOTable that is read.
    """
    size = path.stat().st_size
    if size > VOTABLE_BYTES:
        raise ConfigError(f"a VOTable of {size >> 20} MB, at most {VOTABLE_BYTES >> 20} are read")
    # Read once: what is checked is what astropy gets.
    text = path.read_bytes()
    try:
        _Look(check_size).parser().Parse(text, True)
    except expat.ExpatError as error:
        raise ConfigError(f"its XML breaks off or contradicts itself in line {error.lineno}") from None
    # Imported here: the parser of astropy is slow to import.
    from astropy.io.votable import parse

    with warnings.catch_warnings(action="ignore"):
        table = parse(io.BytesIO(text), verify="ignore").get_first_table()
    names = [field.name or field.ID for field in table.fields]
    values, units = {}, {}
    for ours, column in choose(names).items():
        place = names.index(column.name)
        cells = table.array[table.array.dtype.names[place]]
        values[ours] = _numbers_or_texts(cells)
        units[ours] = str(table.fields[place].unit or "")
    return Found(values, units)


def _numbers_or_texts(cells: np.ma.MaskedArray[Any, Any]) -> NDArray[np.generic]:
    if cells.dtype.kind in "OSU":
        return np.array(
            [
                "" if gap else str(cell)
                for cell, gap in zip(cells.data, np.ma.getmaskarray(cells), strict=True)
            ],
            object,
        )
    return np.asarray(np.ma.filled(cells.astype(np.float64), np.nan))
