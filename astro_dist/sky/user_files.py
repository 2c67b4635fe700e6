"""Small files that a user hands over beside maps: tables of sources, and images of any unit and sky.

Files are read whole, after their rows, columns and bytes are bounded by their first or last bytes.
A fault is reported in one line that names the file.
"""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
from astropy.io import fits
from numpy.typing import NDArray

from astro_dist.engine.errors import ConfigError
from astro_dist.engine.foreign import check_regular
from astro_dist.sky.ascii_tables import find_fixed_form, read_fixed_table
from astro_dist.sky.column_names import Choose, Chosen, Found, choose_columns
from astro_dist.sky.column_units import convert, to_numbers
from astro_dist.sky.config import TABLE
from astro_dist.sky.files import find_readme
from astro_dist.sky.fits_headers import Hdu, holds_plane, holds_table, is_gzip
from astro_dist.sky.fits_reader import open_whole
from astro_dist.sky.fits_survey import survey_hdus
from astro_dist.sky.known_catalogues import find_form
from astro_dist.sky.model_lists import find_format, read_model_list
from astro_dist.sky.sexagesimal import PARTS, SIGN, join_parts
from astro_dist.sky.tables import open_table
from astro_dist.sky.text_tables import LINE_BYTES, read_text_table
from astro_dist.sky.votables import read_votable

LIMITS = {"ra_deg": (-180, 360), "dec_deg": (-90, 90)}
TEXTS = ("ra_deg", "dec_deg", "source", SIGN)
"""The columns that may be texts in a file that says what its columns are."""
MOST_LISTED = 5
MOST_ROWS, MOST_COLUMNS = 10_000_000, 999
TABLE_BYTES = 1 << 29
"""Most bytes of a table that is read whole."""
FORMATS = "FITS, CSV, parquet, VOTable, ECSV, IPAC, machine-readable or text"
TEXT_SUFFIXES = frozenset(
    {
        *(".txt", ".dat", ".cat", ".gaul", ".srl", ".ecsv", ".tab", ".tsv", ".asc", ".ascii", ".tbl"),
        # BBS.
        *(".skymodel", ".sky", ".bbs", ".model"),
    }
)
PACKED_SUFFIXES = frozenset({".csv", ".vot", ".votable", ".xml", ".parquet"})
NUMBERS = (
    *(pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal),
    # A CSV column of nothing but gaps has the type null.
    *(pa.types.is_boolean, pa.types.is_null),
)
HEAD_BYTES = 1 << 13
FOOTER_BYTES = 1 << 25
"""Most bytes of a parquet file's description of itself."""
PLANE_BYTES = 1 << 31
"""Most bytes of an image that is read whole."""
MOST_PACKED_PIXELS = 1 << 26
"""Most pixels of a packed image that is read whole: its file's size says nothing of them."""


@dataclass(frozen=True)
class UserTable:
    """Columns of a user's table by our names, and sentences on what was taken for granted about it.

    Attributes
    ----------
    form
        The program or survey whose columns these are, see `known_catalogues`; empty for no known one.
    """

    columns: dict[str, NDArray[np.float64]]
    notes: tuple[str, ...]
    form: str = ""


def read_columns(
    path: Path,
    required: Sequence[str],
    optional: Sequence[str] = (),
    names: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, NDArray[np.float64]]:
    """Return the columns of `read_table`."""
    return read_table(path, required, optional, names).columns


def read_table(
    path: Path,
    required: Sequence[str],
    optional: Sequence[str] = (),
    names: Mapping[str, str] = MappingProxyType({}),
) -> UserTable:
    """Return columns of numbers of a user's table, under our names and in the units that these say.

    FITS, parquet, VOTable and tables of fixed columns are known by their first bytes, CSV, ECSV and other
    text by the file's suffix. Right ascensions come out in [0, 360), from degrees, hours or texts; sources
    that are named and not numbered, numbered by their names.

    Parameters
    ----------
    names
        The table's names by ours, where they are not among those of `column_names.KNOWN`; under `TABLE` the
        number from 0 or the EXTNAME of the HDU, where several tables of a FITS file have the columns.

    Raises
    ------
    ConfigError
        When the file is missing, unreadable or of another kind, a required column is absent,
        its unit is not the one in its name, or a position is off the sphere.
    """
    if not path.is_file():
        raise ConfigError(f"there is no table {path}")
    chosen: dict[str, Chosen] = {}
    seen: list[str] = []
    try:
        check_regular(path)

        def choose(found: Sequence[str]) -> dict[str, Chosen]:
            seen[:] = found
            chosen.clear()
            chosen.update(choose_columns(found, required, optional, names))
            return chosen

        columns, notes = _convert(_read_table(path, choose, names.get(TABLE)), chosen, seen)
        for name, values in columns.items():
            _check_limits(name, values)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    except Exception:
        # What pyarrow, numpy and astropy say of a strange file helps nobody to mend it.
        shown = ", ".join(column.name for column in chosen.values()) or "named"
        raise ConfigError(
            f"{path}: cannot be read as a table of numbers; is it whole, {FORMATS} as its name says, and are "
            f"its columns {shown} of numbers?"
        ) from None
    if "ra_deg" in columns:
        columns["ra_deg"] = columns["ra_deg"] % 360 % 360
    form = find_form(seen)
    said = tuple(f"{path.name}: {note}" for note in notes if note)
    return UserTable(columns, said, form.name if form else "")


def _convert(
    table: Found, chosen: Mapping[str, Chosen], names: Sequence[str]
) -> tuple[dict[str, NDArray[np.float64]], list[str]]:
    columns, notes = {}, [table.note]
    numbers = {
        ours: to_numbers(ours, chosen[ours].name, values, chosen[ours].unit or table.units.get(ours))
        for ours, values in table.values.items()
    }
    for ours, values in numbers.items():
        if any(ours in parts for parts in PARTS.values()):
            continue
        # Texts of positions have become degrees.
        unit = None if table.values[ours].dtype.kind in "OUS" else table.units.get(ours)
        one = Chosen(chosen[ours].name) if table.values[ours].dtype.kind in "OUS" else chosen[ours]
        done = convert(ours, one, unit, np.asarray(values, np.float64), names)
        columns[ours] = done.values
        notes.append(done.note)
    return columns | join_parts(numbers), notes


def _read_table(path: Path, choose: Choose, wanted: str | None = None) -> Found:
    with path.open("rb") as handle:
        first = handle.read(HEAD_BYTES)
    suffix = path.suffix.lower()
    text = first.removeprefix(b"\xef\xbb\xbf").lstrip()
    if first.startswith(b"SIMPLE"):
        return _read_fits_table(path, choose, wanted)
    if wanted is not None:
        raise ConfigError(f"columns: {TABLE} chooses one of several tables of a FITS file; leave it out")
    if first.startswith(b"PAR1") or suffix == ".parquet":
        return _read_parquet(path, choose)
    if text.startswith((b"<?xml", b"<VOTABLE")) or suffix in (".vot", ".votable", ".xml"):
        return read_votable(path, choose, _check_size)
    if form := find_fixed_form(text.decode("utf-8", "replace")):
        return read_fixed_table(path, form, choose, _check_size)
    if readme := find_readme(path):
        return read_fixed_table(path, "cds", choose, _check_size, readme)
    if suffix in TEXT_SUFFIXES or suffix == ".csv":
        if path.stat().st_size > TABLE_BYTES:
            raise ConfigError(f"it is larger than {TABLE_BYTES >> 20} MB; leave columns or rows out")
        if names := find_format(text.decode("utf-8", "replace")):
            return read_model_list(path, names, choose, _check_size)
        # Other CSV than with names in the first line, in UTF-8, and rows below it is text as any.
        line = text.split(b"\n")[0].decode("utf-8", "replace")
        if suffix == ".csv" and "," in line and not line.startswith("#") and "\ufffd" not in line:
            return _read_csv(path, choose)
        return read_text_table(path, choose, _check_size)
    if is_gzip(path) and Path(path.stem).suffix.lower() in {*TEXT_SUFFIXES, *PACKED_SUFFIXES}:
        raise ConfigError("of tables packed with gzip those of FITS are read; unpack it (gunzip)")
    return _read_fits_table(path, choose, wanted)


def _check_limits(name: str, values: NDArray[np.float64]) -> None:
    # NaN, a gap in the table, is neither below nor above and passes.
    low, high = LIMITS.get(name, (-math.inf, math.inf))
    if (off := (values < low) | (values > high)).any():
        raise ConfigError(f"{name} is {values[off][0]:g} in a row, not within {low} to {high}; mend it")


def read_plane(path: Path) -> NDArray[np.float64]:
    """Return the first two-dimensional image of a FITS file, axes (y, x), whatever its unit and sky.

    Raises
    ------
    ConfigError
        When the file is missing, unreadable, or holds no such image.
    """
    if not path.is_file():
        raise ConfigError(f"there is no image {path}")
    try:
        # Astropy warns of a truncated file before it raises; the error alone is reported.
        with warnings.catch_warnings(action="ignore"), open_whole(path, holds_plane, PLANE_BYTES) as hdus:
            for hdu in hdus:
                data = _image_data(hdu, path) if hdu.is_image else None
                if data is not None and data.ndim >= 2 and data.size == math.prod(data.shape[-2:]):
                    return np.asarray(data.reshape(data.shape[-2:]), np.float64)
    except Exception as error:
        text = " ".join(str(error).split())[:200]
        raise ConfigError(f"{path}: cannot be read as a FITS image ({text})") from None
    raise ConfigError(f"{path}: holds no image of two axes")


def _image_data(hdu: Any, path: Path) -> Any:
    packed = isinstance(hdu, fits.CompImageHDU) or is_gzip(path)
    n_pixels = math.prod(hdu.shape)
    # Eight bytes a pixel, since `read_plane` returns float64.
    if n_pixels > (MOST_PACKED_PIXELS if packed else PLANE_BYTES // 8):
        raise ConfigError(
            f"{n_pixels} pixels are too many for an image that is read whole; bin it or unpack it"
        )
    return hdu.data


def _read_fits_table(path: Path, choose: Choose, wanted: str | None = None) -> Found:
    index = _find_table(path, choose, wanted)
    with open_whole(path, lambda hdu: hdu.index == index, TABLE_BYTES) as hdus:
        hdu = hdus[index]
        _check_size(hdu.header["NAXIS2"], hdu.header["TFIELDS"])
        data = hdu.data
        chosen = choose(data.names)
        units = {column.name: column.unit for column in data.columns}
        return Found(
            {ours: _column(data, column.name) for ours, column in chosen.items()},
            {ours: units[column.name] for ours, column in chosen.items()},
        )


def _find_table(path: Path, choose: Choose, wanted: str | None) -> int:
    """Return the number of the one HDU with a table that has the wanted columns, or that the user names."""
    hdus = survey_hdus(path, lambda hdu: holds_table(hdu) and _has_columns(hdu, choose), holds_table)
    tables = [hdu for hdu in hdus if holds_table(hdu)]
    if wanted is not None:
        named = [hdu for hdu in tables if wanted.strip().upper() in (str(hdu.index), hdu.name.upper())]
        if len(named) != 1:
            raise ConfigError(f"columns: {TABLE}: {wanted[:30]} is none of its tables ({_list(tables)})")
        return named[0].index
    if not tables:
        raise ConfigError("no table in this FITS file; leave it out or give another")
    # That of one table says what is missing.
    if len(tables) == 1:
        return tables[0].index
    fit = [hdu for hdu in tables if _has_columns(hdu, choose)]
    if len(fit) == 1:
        return fit[0].index
    listed = _list(fit or tables)
    if not fit:
        choose([name for hdu in tables[:MOST_LISTED] for name in _column_names(hdu)])
        raise ConfigError(f"none of its tables has all columns that are wanted ({listed}); give another")
    raise ConfigError(
        f"{len(fit)} of its tables could be meant ({listed}); choose one as columns: "
        f"{{{TABLE}: '{fit[0].index}'}}"
    )


def _list(tables: Sequence[Hdu]) -> str:
    return "; ".join(f"HDU {hdu.index} {hdu.name[:30]}".rstrip() for hdu in tables[:MOST_LISTED]) or "none"


def _has_columns(hdu: Hdu, choose: Choose) -> bool:
    try:
        choose(_column_names(hdu))
    except ConfigError:
        return False
    return True


def _column_names(hdu: Hdu) -> list[str]:
    return [hdu.text(f"TTYPE{i + 1}") for i in range(min(hdu.number("TFIELDS"), MOST_COLUMNS))]


def _column(data: fits.FITS_rec, name: str) -> NDArray[np.generic]:
    """Return a column as numbers, NaN where an integer is the one that TNULL gives for a gap, or as texts."""
    column = np.asarray(data[name])
    if column.dtype.kind in "SU":
        return np.array(column.tolist(), object)
    if column.ndim != 1 or column.dtype.kind not in "biuf":
        raise ConfigError(f"the column {name} holds no single real number in a row; divide it")
    values, null = column.astype(np.float64), data.columns[name].null
    if isinstance(null, int):
        # TNULL is a value of the stored integers, before TSCAL and TZERO.
        values = np.where(data.view(np.ndarray)[name] == null, np.nan, values)
    return values


def _read_csv(path: Path, choose: Choose) -> Found:
    with path.open("rb") as handle:
        line = handle.readline(LINE_BYTES)
        handle.seek(0)
        # Lines may end with a carriage return alone, so that the more frequent mark bounds the rows.
        rows = sum(
            max(part.count(b"\n"), part.count(b"\r")) for part in iter(partial(handle.read, 1 << 24), b"")
        )
    if len(line) == LINE_BYTES:
        raise ConfigError(f"its first line is longer than {LINE_BYTES >> 20} MB; is it CSV?")
    _check_size(rows, line.count(b",") + 1)
    # Opening a stream reads the first block of the file, enough for the names.
    with pa.csv.open_csv(path) as stream:
        written = stream.schema.names
    chosen = choose([name.strip() for name in written])
    names = {name.strip(): name for name in written}
    own = {ours: names[column.name] for ours, column in chosen.items()}
    # Only the columns that are wanted: a digit of the file takes eight bytes of memory.
    options = pa.csv.ConvertOptions(include_columns=[*own.values()])
    table = pa.csv.read_csv(path, convert_options=options)
    # Angles such as 12:34:56 would be taken as times of day.
    texts = [name for name in own.values() if not _is_number(table.schema.field(name).type)]
    if texts:
        options.column_types = dict.fromkeys(texts, pa.string())
        table = pa.csv.read_csv(path, convert_options=options)
    return Found({ours: table.column(name).to_numpy() for ours, name in own.items()}, {})


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_number(kind: pa.DataType) -> bool:
    return any(is_kind(kind) for is_kind in NUMBERS)


def _read_parquet(path: Path, choose: Choose) -> Found:
    with path.open("rb") as handle:
        handle.seek(-min(8, path.stat().st_size), 2)
        tail = handle.read(8)
    if tail[4:] != b"PAR1" or int.from_bytes(tail[:4], "little") > FOOTER_BYTES:
        raise ConfigError("cannot be read as a table of numbers (no parquet file, or one cut short)")
    with open_table(path) as file:
        about, schema = file.metadata, file.schema_arrow
        groups = [about.row_group(i) for i in range(about.num_row_groups)]
        # The total and the sum over row groups may contradict each other in a damaged file.
        _check_size(max(about.num_rows, sum(group.num_rows for group in groups)), about.num_columns)
        chosen = choose(schema.names)
        units = {}
        for ours, column in chosen.items():
            field = schema.field(column.name)
            if not (_is_number(field.type) or (ours in TEXTS and _is_text(field.type))):
                raise ConfigError(f"the column {column.name} is not of numbers but {field.type}; convert it")
            units[ours] = (field.metadata or {}).get(b"unit", b"").decode("utf-8", "replace")
        table = file.read(columns=[column.name for column in chosen.values()], use_threads=False)
        return Found({ours: table.column(column.name).to_numpy() for ours, column in chosen.items()}, units)


def _check_size(rows: int, columns: int) -> None:
    if rows > MOST_ROWS or columns > MOST_COLUMNS:
        raise ConfigError(
            f"{rows} rows and {columns} columns, at most {MOST_ROWS} and {MOST_COLUMNS} are read"
        )
