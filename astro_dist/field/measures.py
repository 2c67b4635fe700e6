"""What is measured of the pixels that placements add, by the band that holds the row of their anchor.

Every band measures the whole patch of what it paints, because mask and instances depend on its brightness.
The band that owns a placement, whatever the height of bands, writes the measures; `join` puts them in order.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from astro_dist.engine.arrays import Columns
from astro_dist.engine.errors import IntegrityError
from astro_dist.field.truth import moments_of
from astro_dist.sky.tables import read_table_file, write_table_file

TYPES = {
    "row": "i8",
    "component": "i4",
    "sum": "f8",
    "y": "f8",
    "x": "f8",
    "yy": "f8",
    "yx": "f8",
    "xx": "f8",
    "peak": "f4",
    "peak_y": "i4",
    "peak_x": "i4",
    "n_pix": "i4",
    "level_jy_beam": "f4",
    "snr": "f8",
    "integrated_snr": "f8",
    "detectable": "u1",
}
"""Columns of measures: ``row`` in the layout, ``component`` from 1 and 0 for a whole placement."""
OVERLAP_TYPES = {"row": "i8", "other": "i8", "n_pix": "i8"}
Measure = dict[str, Any]


def measure(
    patch: NDArray[np.float32],
    first: tuple[int, int],
    sigma: float,
    beam_pix: NDArray[np.float64],
    mask_snr: float,
    detect_snr: float,
) -> Measure:
    """Return the measures of what a placement adds, places counted from the field's first pixel.

    Parameters
    ----------
    first
        Row and column in the field of the patch's first pixel.
    sigma
        Local rms, Jy/beam.
    """
    found: Measure = dict(moments_of(patch))
    area = 2 * np.pi * np.sqrt(beam_pix[0, 0] * beam_pix[1, 1] - beam_pix[0, 1] ** 2)
    # The area of a Gaussian of these moments over that of the beam; no source is smaller.
    covered = 2 * np.pi * np.sqrt(max(0.0, found["yy"] * found["xx"] - found["yx"] ** 2))
    beams = max(1.0, float(covered / area))
    peak = float(found["peak"])
    found["snr"] = peak / sigma
    # A flux summed over b beams has b independent errors: Condon (1997), eq. 21 and 28, without its factors.
    found["integrated_snr"] = found["sum"] / float(area) / sigma / beams**0.5
    found["detectable"] = max(found["snr"], found["integrated_snr"]) >= detect_snr
    # Half the peak at most, so that sources below mask_snr have pixels as well.
    found["level_jy_beam"] = np.float32(min(mask_snr * sigma, 0.5 * peak))
    for name, start in zip(("y", "x", "peak_y", "peak_x"), first * 2, strict=True):
        found[name] += start
    return found


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]], types: Mapping[str, str]) -> None:
    """Publish rows of measures or overlaps as a parquet file."""
    table = {name: np.array([row[name] for row in rows], kind) for name, kind in types.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_table_file(path, pa.table(table))


def read_all(paths: Sequence[Path]) -> Columns:
    """Return the rows of several files, one after the other."""
    tables = [read_table_file(path) for path in paths]
    return {name: np.concatenate([t[name].to_numpy() for t in tables]) for name in tables[0].column_names}


def join(measures: Columns, n: int) -> tuple[Columns, Columns]:
    """Return the measures of ``n`` placements in the order of the layout, and those of components.

    Raises
    ------
    IntegrityError
        When a placement was measured by no band, or by two.
    """
    whole = measures["component"] == 0
    rows = measures["row"][whole]
    order = np.argsort(rows, kind="stable")
    if not np.array_equal(rows[order], np.arange(n)):
        raise IntegrityError("the measures of the bands are not those of the layout; make the field again")
    one = {name: values[whole][order] for name, values in measures.items()}
    parts = {name: values[~whole] for name, values in measures.items()}
    order = np.lexsort((parts["component"], parts["row"]))
    return one, {name: values[order] for name, values in parts.items()}
