"""A catalogue as it is handed in: its columns by the names of a challenge, whichever program wrote it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np

from astro_dist.challenge.finders import DECONVOLVED, OBSERVED, read_caesar, remove_beam
from astro_dist.challenge.sdc1 import SDC1_NAMES
from astro_dist.engine.arrays import Columns
from astro_dist.engine.errors import ConfigError
from astro_dist.sky.user_files import read_table

NEEDED = ("ra_deg", "dec_deg", "flux_jy")
PLACES = ("ra_peak_deg", "dec_peak_deg")
WIDTHS = ("intrinsic_major_arcsec", "intrinsic_minor_arcsec", "intrinsic_pa_deg")
OTHERS = ("core_fraction", "population", "class", "size", "peak_jy_beam")
AS_SDC1 = {
    "ra_peak_deg": "ra_core",
    "dec_peak_deg": "dec_core",
    "core_fraction": "core_frac",
    "intrinsic_major_arcsec": "b_maj",
    "intrinsic_minor_arcsec": "b_min",
    "intrinsic_pa_deg": "pa",
    "size": "size",
    "population": "class",
}
"""Columns of SDC1 by ours; its class is our population."""
PEAKS = ("peak_flux",)
_AS_SETTING = re.compile(r"columns: \{(\w+): ([^}]*)\}")
MOST = 1e10
"""Largest number of any column: no flux, width, angle or number of a source is above it."""
SEE = "`challenge validate` names every such row"
OF_ROWS = (" row", "cannot be read as a table of numbers;")
"""What a reader of tables says of rows, without their numbers."""


@dataclass(frozen=True)
class Submission:
    """A catalogue that was handed in.

    Attributes
    ----------
    name
        Name of its file.
    columns
        `NEEDED`, and of `PLACES`, `WIDTHS` and `OTHERS` those that it has; and ``id``: that of SDC1, else
        the number of the row.
    notes
        Sentences on what was taken for granted.
    """

    name: str
    columns: Columns
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.columns["flux_jy"])

    def has(self, name: str) -> bool:
        """Return whether the catalogue has a column."""
        return name in self.columns

    def as_sdc1(self, least_arcsec: float) -> Columns:
        """Return the columns of SDC1.

        Cores are centroids, and widths, shares and classes 0, where they are not given. Widths are at least
        ``least_arcsec``, as those of the truth: the rules divide by them.
        """
        n, given = len(self), self.columns
        table = {name: np.zeros(n) for name in SDC1_NAMES}
        table |= {"size": np.full(n, 2.0), "id": given["id"], "flux": given["flux_jy"]}
        table |= {"ra_cent": given["ra_deg"], "dec_cent": given["dec_deg"]}
        table |= {"ra_core": given["ra_deg"], "dec_core": given["dec_deg"]}
        table |= {theirs: given[ours] for ours, theirs in AS_SDC1.items() if ours in given}
        for name in ("b_maj", "b_min"):
            table[name] = np.maximum(table[name], least_arcsec)
        return {name: np.asarray(table[name], np.float64) for name in SDC1_NAMES}


def as_option(text: str) -> str:
    """Return a sentence of a reader of tables with the option of `challenge` for the setting ``columns``."""
    return _AS_SETTING.sub(r"--columns '\1=\2'", text)


def read_submission(path: Path, columns: Mapping[str, str] = MappingProxyType({})) -> Submission:
    """Read a catalogue: FITS, VOTable, CSV, parquet, text, or SDC1's 12 columns.

    Rows without a position or a flux are left out; `astro_dist.challenge.validate` counts them.

    Parameters
    ----------
    columns
        The table's names by ours, as `astro_dist.sky.column_names.choose_columns` takes them.

    Raises
    ------
    ConfigError
        In one line: the file cannot be read, lacks one of `NEEDED`, or holds a number beyond `MOST`.
    """
    if path.is_file() and (table := read_caesar(path)) is not None:
        return _finish(path, table, ("read as CAESAR's components",))
    deconvolved = [name for *names, _ in DECONVOLVED for name in map(str, names)]
    wanted = dict.fromkeys([*PLACES, *WIDTHS, *OTHERS, *AS_SDC1.values(), *PEAKS, *deconvolved, *OBSERVED])
    try:
        read = read_table(path, required=NEEDED, optional=tuple(wanted), names=columns)
    except ConfigError as error:
        said = as_option(str(error))
        raise ConfigError(f"{said}; {SEE}" if any(word in said for word in OF_ROWS) else said) from None
    table, given = {**read.columns}, read.columns
    if read.form == "SDC1":
        # Elsewhere rows are numbered: names of sources are texts, and Aegean's numbers begin in every island.
        table["id"] = read_table(path, required=("id",)).columns["id"]
        table.pop("class", None)
        table |= {ours: given[theirs] for ours, theirs in AS_SDC1.items() if theirs in given}
    for major, minor, angle, factor in DECONVOLVED:
        if WIDTHS[0] not in table and all(name in table for name in (major, minor, angle)):
            table |= {WIDTHS[0]: given[major] * factor, WIDTHS[1]: given[minor] * factor}
            table[WIDTHS[2]] = given[angle]
    if WIDTHS[0] not in table and all(name in table for name in OBSERVED):
        beam = [given[name] for name in OBSERVED[3:]]
        widths = remove_beam(given["a"], given["b"], given["pa"], beam)
        table |= dict(zip(WIDTHS, widths, strict=True))
    if PEAKS[0] in table and "peak_jy_beam" not in table:
        table["peak_jy_beam"] = table[PEAKS[0]]
    return _finish(path, table, tuple(as_option(note) for note in read.notes))


def _finish(path: Path, table: Columns, given_notes: tuple[str, ...]) -> Submission:
    """Return the rows with a position and a flux, after a look at their numbers."""
    kept = np.logical_and.reduce([np.isfinite(table[name]) for name in NEEDED])
    if not kept.any():
        raise ConfigError(f"{path}: none of its {len(kept)} rows has a position and a flux; mend them")
    table.setdefault("id", np.arange(1, len(kept) + 1, dtype=np.float64))
    names = ("id", *NEEDED, *PLACES, *WIDTHS, *OTHERS)
    # A gap in a column that may be left out is a 0, as where the whole column is left out.
    columns = {
        name: np.nan_to_num(table[name][kept], posinf=np.inf, neginf=-np.inf)
        for name in names
        if name in table
    }
    for name, values in columns.items():
        if (far := np.abs(values) > MOST).any():
            row = int(np.flatnonzero(kept)[far][0]) + 1
            raise ConfigError(f"{path}: {name} is {values[far][0]:g} in row {row}, beyond {MOST:g}; {SEE}")
    dropped = len(kept) - int(kept.sum())
    notes = (
        *given_notes,
        *([f"{path.name}: {dropped} rows without a position or a flux"] if dropped else []),
    )
    return Submission(path.name, columns, notes)
