"""Small files that a user hands over beside maps: tables of sources, and images of any unit and sky.

Files are read whole. A fault is reported in one line that names the file.
"""

import math
import warnings
from collections.abc import Sequence
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

UNITS = {"flux_jy": "Jy", "ra_deg": "deg", "dec_deg": "deg"}
LIMITS = {"ra_deg": (0, 360), "dec_deg": (-90, 90)}


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
    readers = {".csv": _read_csv, ".parquet": pa.parquet.read_table}
    if not path.is_file():
        raise ConfigError(f"there is no table {path}")
    reader = readers.get(path.suffix.lower(), _read_fits_table)
    try:
        table: Any = reader(path)
        names = set(table.column_names)
        if missing := [name for name in required if name not in names]:
            found = ", ".join(sorted(names))
            raise ConfigError(f"{path}: no column {missing[0]}; it has {found or 'none'}")
        wanted = [*required, *(name for name in optional if name in names)]
        columns = {name: np.asarray(table.column(name), np.float64) for name in wanted}
        for name, values in columns.items():
            _check_column(path, name, getattr(table, "units", {}).get(name), values)
        return columns
    except ConfigError:
        raise
    except Exception as error:
        text = " ".join(str(error).split())
        raise ConfigError(f"{path}: cannot be read as a table of numbers ({text})") from None


def _check_column(path: Path, name: str, unit: str | None, values: NDArray[np.float64]) -> None:
    expected = UNITS.get(name)
    if unit and expected and Unit(unit, parse_strict="silent") != Unit(expected):
        raise ConfigError(f"{path}: the column {name} has the unit {unit} instead of {expected}; convert it")
    low, high = LIMITS.get(name, (-math.inf, math.inf))
    if (off := (values < low) | (values > high)).any():
        raise ConfigError(
            f"{path}: {name} is {values[off][0]:g} in a row, not within {low} to {high}; mend it"
        )


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
        with warnings.catch_warnings(action="ignore"), fits.open(path, memmap=False) as hdus:
            for hdu in hdus:
                data = hdu.data if hdu.is_image else None
                if data is not None and data.ndim >= 2 and data.size == math.prod(data.shape[-2:]):
                    return np.asarray(data.reshape(data.shape[-2:]), np.float64)
    except Exception as error:
        text = " ".join(str(error).split())
        raise ConfigError(f"{path}: cannot be read as a FITS image ({text})") from None
    raise ConfigError(f"{path}: holds no image of two axes")


class _FitsTable:
    """A FITS table with the two members of a pyarrow table that `read_columns` uses, and units."""

    def __init__(self, data: Any) -> None:
        self.data = data
        self.units = {column.name.lower(): column.unit for column in data.columns}
        # Lower case, since FITS names have no case and catalogues are often in capitals.
        self.column_names = [name.lower() for name in data.names]

    def column(self, name: str) -> NDArray[Any]:
        return np.asarray(self.data[self.data.names[self.column_names.index(name)]])


def _read_fits_table(path: Path) -> _FitsTable:
    with fits.open(path, memmap=False) as hdus:
        for hdu in hdus:
            if isinstance(hdu, fits.BinTableHDU | fits.TableHDU):
                return _FitsTable(hdu.data)
    raise ValueError("it has no table")


def _read_csv(path: Path) -> pa.Table:
    return pa.csv.read_csv(path)
