"""Tables of users read some rows at a time: FITS, parquet, CSV and other text in bounded memory.

What a cell holds is given as it is, numbers or texts; whoever reads decides what is wrong with it. VOTables
and tables of fixed columns are read whole, as far as `astro_dist.sky.user_files` reads them.
"""

import contextlib
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
from numpy.typing import NDArray

from astro_dist.engine.errors import ConfigError
from astro_dist.engine.foreign import check_regular
from astro_dist.sky.ascii_tables import find_fixed_form, read_fixed_table
from astro_dist.sky.column_names import Chosen
from astro_dist.sky.fits_headers import holds_table, is_gzip
from astro_dist.sky.fits_reader import open_checked
from astro_dist.sky.fits_survey import survey_hdus
from astro_dist.sky.tables import open_table
from astro_dist.sky.text_tables import Head, read_head
from astro_dist.sky.votables import read_votable

ROWS_AT_ONCE = 1 << 16
BLOCK_BYTES = 1 << 23
HEAD_BYTES = 1 << 13
MOST_ROWS, MOST_COLUMNS = 10_000_000, 999
LONGEST_LINE = 1 << 20
_SYSTEM = re.compile(rb"<COOSYS\b[^>]*\bsystem\s*=\s*[\"']([^\"']{1,40})[\"']")
Cells = NDArray[Any]
Block = tuple[NDArray[np.int64], dict[str, Cells]]
"""Numbers of rows, from 1, and their cells by column."""


@dataclass(frozen=True)
class TableRows:
    """A table that is open for reading.

    Attributes
    ----------
    names
        Its columns.
    units
        The units that it states.
    system
        The coordinate system that it states, empty for none.
    read
        ``(names) -> blocks``: these columns, some rows at a time, float64 or texts as objects.
    bad_rows
        Rows, from 1, that have not as many cells as there are columns, with the number of cells; they are
        left out of the blocks and known once these are read.
    note
        What was taken for granted.
    """

    names: list[str]
    units: dict[str, str | None]
    system: str
    read: Callable[[Sequence[str]], Iterator[Block]]
    bad_rows: list[tuple[int, int]] = field(default_factory=list)
    note: str = ""


def open_rows(path: Path, needed: Callable[[Sequence[str]], bool]) -> TableRows:
    """Open a table.

    Parameters
    ----------
    needed
        Whether some names are those of the table that is wanted, where a FITS file has several.

    Raises
    ------
    ConfigError
        In one line without the path: the file is missing or no table.
    """
    check_regular(path)
    with path.open("rb") as handle:
        first = handle.read(HEAD_BYTES)
    text = first.removeprefix(b"\xef\xbb\xbf").lstrip()
    if first.startswith(b"SIMPLE"):
        return _open_fits(path, needed)
    if first.startswith(b"PAR1"):
        return _open_parquet(path)
    if first.startswith(b"\x1f\x8b"):
        raise ConfigError("it is packed with gzip; unpack it")
    if text.startswith((b"<?xml", b"<VOTABLE")):
        found = _SYSTEM.search(first)
        return _open_whole(path, read_votable, "" if found is None else found[1].decode("utf-8", "replace"))
    if form := find_fixed_form(text.decode("utf-8", "replace")):
        return _open_whole(path, lambda *given: read_fixed_table(given[0], form, *given[1:]), "")
    return _open_text(path)


def _open_fits(path: Path, needed: Callable[[Sequence[str]], bool]) -> TableRows:
    assert not is_gzip(path)
    hdus = survey_hdus(path, wanted=holds_table)
    tables = [hdu for hdu in hdus if holds_table(hdu)]
    if not tables:
        raise ConfigError("no table in this FITS file; give another")
    names = {
        t.index: [t.text(f"TTYPE{i + 1}") for i in range(min(t.number("TFIELDS"), MOST_COLUMNS))]
        for t in tables
    }
    chosen = next((table for table in tables if needed(names[table.index])), tables[0])
    with open_checked(path, hdus, disable_image_compression=True) as opened:
        hdu = opened[chosen.index]
        columns, n, start = hdu.columns, int(hdu.header["NAXIS2"]), hdu.fileinfo()["datLoc"]
        scales = {c.name: (c.bscale or 1, c.bzero or 0, c.null) for c in columns}
        units = {c.name: c.unit for c in columns}
        kind = columns.dtype.newbyteorder(">")
        system = str(hdu.header.get("RADESYS", hdu.header.get("RADECSYS", "")))

    def read(wanted: Sequence[str]) -> Iterator[Block]:
        with path.open("rb") as handle:
            handle.seek(start)
            for done in range(0, n, ROWS_AT_ONCE):
                rows = np.fromfile(handle, kind, min(ROWS_AT_ONCE, n - done))
                cells = {name: _fits_cells(rows[name], *scales[name]) for name in wanted}
                yield np.arange(done + 1, done + len(rows) + 1), cells

    return TableRows(list(columns.names), units, system, read)


def _fits_cells(cells: Cells, scale: float, zero: float, null: object) -> Cells:
    if cells.dtype.kind == "S":
        return np.array([text.decode("utf-8", "replace").strip() for text in cells.tolist()], object)
    if cells.ndim != 1 or cells.dtype.kind not in "biuf":
        raise ConfigError("a column of arrays stands where one of numbers is wanted; divide it")
    values = cells.astype(np.float64)
    # TNULL is a value of the stored integers, before TSCAL and TZERO.
    gaps = cells == null if isinstance(null, int) else np.zeros(len(cells), bool)
    return np.where(gaps, np.nan, values * scale + zero)


def _open_parquet(path: Path) -> TableRows:
    with _parquet_faults(), open_table(path) as file:
        schema = file.schema_arrow
    units = {
        name: (schema.field(name).metadata or {}).get(b"unit", b"").decode("utf-8", "replace")
        for name in schema.names
    }

    def read(wanted: Sequence[str]) -> Iterator[Block]:
        with _parquet_faults(), open_table(path) as file:
            done = 0
            for batch in file.iter_batches(ROWS_AT_ONCE, columns=list(wanted), use_threads=False):
                cells = {name: _arrow_cells(batch.column(name)) for name in wanted}
                yield np.arange(done + 1, done + batch.num_rows + 1), cells
                done += batch.num_rows

    return TableRows(list(schema.names), units, "", read)


@contextlib.contextmanager
def _parquet_faults() -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError):
        # What pyarrow says of a damaged file helps nobody to mend it.
        raise ConfigError("no parquet file, or one cut short; fetch it again") from None


def _arrow_cells(column: pa.Array) -> Cells:
    """Return numbers where all cells are, texts otherwise; gaps are NaN or empty."""
    try:
        return np.asarray(column.cast(pa.float64()).to_numpy(zero_copy_only=False), np.float64)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return np.array(["" if cell is None else str(cell) for cell in column.to_pylist()], object)


def _open_whole(path: Path, reader: Callable[..., Any], system: str) -> TableRows:
    seen: list[str] = []

    def look(names: Sequence[str]) -> dict[str, Chosen]:
        seen[:] = names
        return {}

    reader(path, look, _check_size)
    found = reader(path, lambda names: {name: Chosen(name) for name in names}, _check_size)

    def read(wanted: Sequence[str]) -> Iterator[Block]:
        cells = {name: _whole_cells(found.values[name]) for name in wanted}
        yield np.arange(1, len(next(iter(cells.values()), ())) + 1), cells

    return TableRows(list(seen), dict(found.units), system, read)


def _whole_cells(cells: Cells) -> Cells:
    return cells.astype(object) if cells.dtype.kind in "OSU" else cells.astype(np.float64)


def _check_size(rows: int, columns: int) -> None:
    if rows > MOST_ROWS or columns > MOST_COLUMNS:
        raise ConfigError(
            f"{rows} rows and {columns} columns, at most {MOST_ROWS} and {MOST_COLUMNS} are read"
        )


def _open_text(path: Path) -> TableRows:
    head = read_head(path)
    bad: list[tuple[int, int]] = []
    reader = _read_blanks if head.delimiter is None else _read_divided

    def read(wanted: Sequence[str]) -> Iterator[Block]:
        bad.clear()
        return reader(path, head, wanted, bad)

    return TableRows(head.names, dict(head.units), "", read, bad, head.note)


def _read_divided(
    path: Path, head: Head, wanted: Sequence[str], bad: list[tuple[int, int]]
) -> Iterator[Block]:
    """Yield the columns of a table that is divided by commas, semicolons or tabs."""

    def skip(row: Any) -> str:
        # Numbers of rows are known to a reader of one thread alone; they count the lines before the rows.
        bad.append((int(row.number or 0) - head.skip, int(row.actual_columns)))
        return "skip"

    options = pa.csv.ReadOptions(
        use_threads=False, block_size=BLOCK_BYTES, skip_rows=head.skip, column_names=head.names
    )
    parse = pa.csv.ParseOptions(delimiter=head.delimiter, invalid_row_handler=skip)
    convert = pa.csv.ConvertOptions(
        include_columns=list(wanted),
        column_types=dict.fromkeys(wanted, pa.string()),
        strings_can_be_null=False,
    )
    try:
        # Opened here: pyarrow would unpack a file by what its name ends with.
        with path.open("rb") as handle, pa.csv.open_csv(handle, options, parse, convert) as stream:
            done = 0
            for batch in stream:
                rows = _good_rows(done, batch.num_rows, bad)
                yield rows, {name: _text_cells(batch.column(name)) for name in wanted}
                done = int(rows[-1]) if len(rows) else done
    except pa.ArrowInvalid as error:
        raise ConfigError(
            f"it cannot be read as text in columns ({' '.join(str(error).split())[:200]})"
        ) from None


def _good_rows(done: int, n: int, bad: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
    """Return the numbers of the next ``n`` rows after row ``done`` that are not among the bad ones."""
    skipped = np.array([number for number, _ in bad if number > done], np.int64)
    rows = np.setdiff1d(np.arange(done + 1, done + n + len(skipped) + 1), skipped, assume_unique=True)
    return rows[:n]


def _text_cells(column: pa.Array) -> Cells:
    try:
        return np.asarray(column.cast(pa.float64()).to_numpy(zero_copy_only=False), np.float64)
    except pa.ArrowInvalid:
        return np.array([cell.strip().strip("\"'") for cell in column.to_pylist()], object)


def _read_blanks(
    path: Path, head: Head, wanted: Sequence[str], bad: list[tuple[int, int]]
) -> Iterator[Block]:
    """Yield the columns of a table that is divided by blanks."""
    places, row = [head.names.index(name) for name in wanted], 0
    with path.open(encoding="utf-8-sig", errors="replace") as handle:
        lines = (line for line in itertools.islice(handle, head.skip, None) if _holds_row(line))
        while some := list(itertools.islice(lines, ROWS_AT_ONCE)):
            words = [line.split() if '"' not in line else re.findall(r'"[^"]*"|\S+', line) for line in some]
            good = [number for number, cells in enumerate(words) if len(cells) >= len(head.names)]
            bad += [
                (row + i + 1, len(cells)) for i, cells in enumerate(words) if len(cells) < len(head.names)
            ]
            table = np.array([[words[i][place] for place in places] for i in good], object)
            table = table.reshape(-1, len(places))
            rows = np.array(good, np.int64) + row + 1
            yield rows, {name: _numbers(table[:, i]) for i, name in enumerate(wanted)}
            row += len(some)


def _holds_row(line: str) -> bool:
    if len(line) > LONGEST_LINE:
        raise ConfigError(f"a line of it is longer than {LONGEST_LINE >> 20} MB")
    return bool(line.strip()) and not line.lstrip().startswith("#")


def _numbers(cells: Cells) -> Cells:
    try:
        return cells.astype(np.float64)
    except ValueError:
        return cells
