"""Small files that a user hands over beside maps: tables of sources, and images of any unit and sky.

Files are read whole, after their rows, columns and bytes are bounded by their first or last bytes.
A fault is reported in one line that names the file.
"""

import math
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from astropy.io import fits
from astropy.units import Unit
from numpy.typing import NDArray

from astro_dist.engine.errors import ConfigError
from astro_dist.engine.foreign import check_regular
from astro_dist.sky.fits_headers import holds_plane, holds_table, is_gzip
from astro_dist.sky.fits_reader import open_whole

UNITS = {"flux_jy": "Jy", "ra_deg": "deg", "dec_deg": "deg"}
LIMITS = {"ra_deg": (0, 360), "dec_deg": (-90, 90)}
MOST_ROWS, MOST_COLUMNS = 10_000_000, 999
TABLE_BYTES = 1 << 29
"""Most bytes of a table that is read whole."""
LINE_BYTES = 1 << 20
# Most columns that an error names.
MOST_NAMED = 30
NUMBERS = (
    *(pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal),
    # A CSV column of nothing but gaps has the type null.
    *(pa.types.is_boolean, pa.types.is_null),
)
FOOTER_BYTES = 1 << 25
"""Most bytes of a parquet file's description of itself."""
PLANE_BYTES = 1 << 31
"""Most bytes of an image that is read whole."""
MOST_PACKED_PIXELS = 1 << 26
"""Most pixels of a packed image that is read whole: its file's size says nothing of them."""


def read_columns(
    path: Path, required: Sequence[str], optional: Sequence[str] = ()
) -> dict[str, NDArray[np.float64]]:
    """Return columns of numbers of a FITS, CSV or parquet table, by the file's suffix.

    Raises
    ------
    ConfigError
        When the file is missing, unreadable or of another kind, a required column is absent,
        its unit is not the one in its name, or a position is off the sphere.
    """
    readers = {".csv": _read_csv, ".parquet": _read_parquet}
    if not path.is_file():
        raise ConfigError(f"there is no table {path}")
    reader = readers.get(path.suffix.lower(), _read_fits_table)
    try:
        check_regular(path)
        table: Any = reader(path, {*required, *optional})
        names = set(table.column_names)
        if missing := [name for name in required if name not in names]:
            found = ", ".join(sorted(names)[:MOST_NAMED])
            raise ConfigError(f"no column {missing[0]}; it has {found or 'none'}")
        wanted = [*required, *(name for name in optional if name in names)]
        columns = {name: np.asarray(table.column(name), np.float64) for name in wanted}
        for name, values in columns.items():
            _check_column(name, getattr(table, "units", {}).get(name), values)
        return columns
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    except Exception as error:
        text = " ".join(str(error).split())[:200]
        raise ConfigError(f"{path}: cannot be read as a table of numbers ({text})") from None


def _check_column(name: str, unit: str | None, values: NDArray[np.float64]) -> None:
    expected = UNITS.get(name)
    if unit and expected and not _is_unit(unit, expected):
        raise ConfigError(f"the column {name} has the unit {unit} instead of {expected}; convert it")
    # NaN, a gap in the table, is neither below nor above and passes.
    low, high = LIMITS.get(name, (-math.inf, math.inf))
    if (off := (values < low) | (values > high)).any():
        raise ConfigError(f"{name} is {values[off][0]:g} in a row, not within {low} to {high}; mend it")


def _is_unit(unit: str, expected: str) -> bool:
    # A plain name only: astropy would work out a power such as 10**99999999.
    plain = re.fullmatch(r"[A-Za-z]{1,20}", unit.strip())
    return plain is not None and bool(Unit(plain[0], parse_strict="silent") == Unit(expected))


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


@dataclass(frozen=True)
class _Named:
    """Some columns of a table with the names of all."""

    table: pa.Table
    column_names: list[str]

    def column(self, name: str) -> Any:
        return self.table.column(name)


class _FitsTable:
    """A FITS table with the two members of a pyarrow table that `read_columns` uses, and units."""

    def __init__(self, data: Any) -> None:
        self.data = data
        self.units = {column.name.lower(): column.unit for column in data.columns}
        # Lower case, since FITS names have no case and catalogues are often in capitals.
        self.column_names = [name.lower() for name in data.names]

    def column(self, name: str) -> NDArray[Any]:
        return np.asarray(self.data[self.data.names[self.column_names.index(name)]])


def _image_data(hdu: Any, path: Path) -> Any:
    packed = isinstance(hdu, fits.CompImageHDU) or is_gzip(path)
    n_pixels = math.prod(hdu.shape)
    # Eight bytes a pixel, since `read_plane` returns float64.
    if n_pixels > (MOST_PACKED_PIXELS if packed else PLANE_BYTES // 8):
        raise ConfigError(
            f"{n_pixels} pixels are too many for an image that is read whole; bin it or unpack it"
        )
    return hdu.data


def _read_fits_table(path: Path, wanted: set[str]) -> _FitsTable:
    with open_whole(path, holds_table, TABLE_BYTES) as hdus:
        for hdu in hdus:
            if isinstance(hdu, fits.BinTableHDU | fits.TableHDU):
                _check_size(hdu.header["NAXIS2"], hdu.header["TFIELDS"])
                return _FitsTable(hdu.data)
    raise ValueError("it has no table")


def _read_csv(path: Path, wanted: set[str]) -> _Named:
    if path.stat().st_size > TABLE_BYTES:
        raise ConfigError(f"it is larger than {TABLE_BYTES >> 20} MB; leave columns or rows out")
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
        names = stream.schema.names
    # Only the columns that are wanted: a digit of the file takes eight bytes of memory.
    # `names[:1]` where none is wanted: pyarrow takes an empty list for all columns.
    options = pa.csv.ConvertOptions(include_columns=[name for name in names if name in wanted] or names[:1])
    table = pa.csv.read_csv(path, convert_options=options)
    return _Named(table, names)


def _read_parquet(path: Path, wanted: set[str]) -> _Named:
    with path.open("rb") as handle:
        handle.seek(-min(8, path.stat().st_size), 2)
        tail = handle.read(8)
    if tail[4:] != b"PAR1" or int.from_bytes(tail[:4], "little") > FOOTER_BYTES:
        raise ConfigError("cannot be read as a table of numbers (no parquet file, or one cut short)")
    with pa.parquet.ParquetFile(path) as file:
        about, schema = file.metadata, file.schema_arrow
        groups = [about.row_group(i) for i in range(about.num_row_groups)]
        # The total and the sum over row groups may contradict each other in a damaged file.
        _check_size(max(about.num_rows, sum(group.num_rows for group in groups)), about.num_columns)
        names = [name for name in schema.names if name in wanted]
        for name in names:
            if not any(is_kind(schema.field(name).type) for is_kind in NUMBERS):
                raise ConfigError(
                    f"the column {name} is not of numbers but {schema.field(name).type}; convert it"
                )
        return _Named(file.read(columns=names, use_threads=False), schema.names)


def _check_size(rows: int, columns: int) -> None:
    if rows > MOST_ROWS or columns > MOST_COLUMNS:
        raise ConfigError(
            f"{rows} rows and {columns} columns, at most {MOST_ROWS} and {MOST_COLUMNS} are read"
        )
