"""Check of a catalogue that is to be handed in: every fault by row and column, in bounded memory.

A file is read some rows at a time; of each row only a digest of its position, of 8 bytes, is kept, to find
doubled ones. At most `MOST_SHOWN` faults are printed, the others are counted by what they are.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astro_dist.challenge.about import About
from astro_dist.challenge.handed_in import unpacked
from astro_dist.challenge.labels import LabelledPixels, is_labels
from astro_dist.challenge.names import MAP, PUBLIC, find_part
from astro_dist.challenge.submission import AS_SDC1, NEEDED, OTHERS, PLACES, WIDTHS, as_option
from astro_dist.engine.arrays import Floats
from astro_dist.engine.errors import ConfigError, printable
from astro_dist.sky.column_names import Chosen, choose_columns
from astro_dist.sky.column_units import ANGLES, convert, to_numbers
from astro_dist.sky.config import MapsConfig
from astro_dist.sky.known_catalogues import find_form
from astro_dist.sky.maps import SkyMap
from astro_dist.sky.table_rows import TableRows, open_rows

MOST_SHOWN = 50
OPTIONAL = (*PLACES, *WIDTHS, *OTHERS)
GALACTIC = frozenset({"glon", "glat", "l", "b", "lii", "bii", "gal_lon", "gal_lat"})
ICRS = frozenset({"", "icrs", "fk5", "eq_fk5"})
"""Systems whose positions are those of ICRS to a hundredth of an arcsec."""
STATED = {**dict.fromkeys(PLACES, "deg"), **dict.fromkeys(WIDTHS[:2], "arcsec"), WIDTHS[2]: "deg"}
"""Units of columns that `convert` does not know by these names."""
LIMITS: dict[str, tuple[float, float, str]] = {
    "ra_deg": (-180, 360, "is no right ascension in degrees"),
    "dec_deg": (-90, 90, "is no declination in degrees"),
    "ra_peak_deg": (-180, 360, "is no right ascension in degrees"),
    "dec_peak_deg": (-90, 90, "is no declination in degrees"),
    "core_fraction": (0, 1, "is not from 0 to 1"),
    "intrinsic_major_arcsec": (0, 36000, "is no width in arcsec"),
    "intrinsic_minor_arcsec": (0, 36000, "is no width in arcsec"),
    "intrinsic_pa_deg": (-360, 360, "is no angle in degrees"),
}
KINDS = {"population": (1, 2, 3), "class": (2, 3), "size": (1, 2, 3)}
Flags = NDArray[np.bool_]


@dataclass
class Faults:
    """The faults of one file: the first ones in words, all of them counted.

    Attributes
    ----------
    shown
        Lines, `MOST_SHOWN` at most.
    counts
        How often each kind of fault was found.
    """

    shown: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    hidden: Counter[str] = field(default_factory=Counter)

    def add(self, where: str, what: str) -> None:
        """Add a fault that has no row."""
        self._count(1, f"{where} {what}", [f"{where}: {what}"])

    def add_rows(self, rows: Sequence[int], column: str, what: str, cells: Sequence[Any]) -> None:
        """Add a fault of some rows, with what their cells hold."""
        room = max(0, MOST_SHOWN - len(self.shown))
        lines = [
            f"row {row}, {column}: {_show(cell)} {what}"
            for row, cell in zip(rows[:room], cells[:room], strict=True)
        ]
        self._count(len(rows), f"{column} {what}", lines)

    def add_doubles(self, column: str, rows: Sequence[int], earlier: Sequence[int]) -> None:
        """Add rows that repeat what an earlier one holds."""
        pairs = zip(rows[:MOST_SHOWN], earlier[:MOST_SHOWN], strict=True)
        lines = [f"row {row}, {column}: is that of row {other}" for row, other in pairs]
        if rows:
            self._count(len(rows), f"{column} is that of an earlier row", lines)

    def _count(self, n: int, kind: str, lines: list[str]) -> None:
        self.counts[kind] += n
        kept = lines[: max(0, MOST_SHOWN - len(self.shown))]
        self.shown += kept
        if n > len(kept):
            self.hidden[kind] += n - len(kept)

    @property
    def total(self) -> int:
        """Number of all faults."""
        return self.counts.total()

    def lines(self) -> Iterator[str]:
        """Yield what is printed."""
        yield from self.shown
        for kind, n in self.hidden.most_common():
            yield f"and {n} more: {kind}"


def _show(cell: object) -> str:
    return (
        repr(cell[:30]) if isinstance(cell, str) else f"{cell:.10g}" if isinstance(cell, float) else str(cell)
    )


def validate_files(
    paths: Sequence[Path],
    package: Path,
    show: Callable[[str], None] = print,
    columns: Mapping[str, str] = MappingProxyType({}),
) -> int:
    """Check files against the public part of a package and print what is wrong with each.

    Parameters
    ----------
    columns
        The table's names by ours, as `astro_dist.sky.column_names.choose_columns` takes them.

    Raises
    ------
    ConfigError
        A file is not there, or there are faults; the message counts them.
    """
    for path in paths:
        if not path.exists():
            raise ConfigError(f"there is no file {path}; mend the name")
    about, field_map = About.read(package), _open_map(package)
    wrong = {}
    for path in paths:
        faults, notes = validate_file(path, about, field_map, columns)
        for note in notes:
            show(printable(f"{path}: {note}"))
        for line in faults.lines():
            show(printable(f"{path}: {line}"))
        if faults.total:
            wrong[path] = faults.total
        else:
            show(printable(f"{path}: can be scored"))
    if wrong:
        counted = ", ".join(f"{path} has {n} fault{'s' if n > 1 else ''}" for path, n in wrong.items())
        raise ConfigError(f"{counted}; hand it in when that is mended")
    return 0


def remark_on_faults(
    paths: Sequence[Path], package: Path, columns: Mapping[str, str] = MappingProxyType({})
) -> Iterator[str]:
    """Yield a line for each file that is scored although `validate_files` would name faults."""
    about, field_map = About.read(package), _open_map(package)
    for path in paths:
        if n := validate_file(path, about, field_map, columns)[0].total:
            counted = f"{n} fault{'s' if n > 1 else ''}"
            yield f"note: {path} has {counted} and was scored all the same; `challenge validate` names them"


def _open_map(package: Path) -> SkyMap:
    return SkyMap.open(find_part(package, PUBLIC) / MAP, MapsConfig(), verify=False)


def validate_file(
    path: Path, about: About, field_map: SkyMap, columns: Mapping[str, str] = MappingProxyType({})
) -> tuple[Faults, list[str]]:
    """Return the faults of one file, and what was taken for granted about it."""
    faults: Faults = Faults()
    try:
        with unpacked(path) as plain:
            if is_labels(plain):
                _read_labels(plain, about)
                return faults, []
            table = open_rows(plain, partial(_has_needed, columns))
            _refuse_xml(table.names)
            notes = _check_table(table, faults, field_map, columns)
            return faults, [as_option(note) for note in notes]
    except ConfigError as error:
        # Errors of readers begin with the path.
        faults.add("the file", as_option(str(error).removeprefix(f"{path}: ")))
        return faults, []


def _refuse_xml(names: Sequence[str]) -> None:
    """Refuse what `open_rows` takes for text and `score` does not read."""
    if names and names[0].lstrip().startswith("<"):
        raise ConfigError("it is XML, but begins as no VOTable; save it without a document type and entities")


def _read_labels(path: Path, about: About) -> None:
    if path.suffix.lower() == ".json":
        LabelledPixels.of_coco(path, about)
    else:
        LabelledPixels.of_images(path, None, about)


def _has_needed(given: Mapping[str, str], names: Sequence[str]) -> bool:
    try:
        return len(choose_columns(names, (), NEEDED, given)) == len(NEEDED)
    except ConfigError:
        # A table without a column that the user names is another one than they mean.
        return False


def _check_table(table: TableRows, faults: Faults, field_map: SkyMap, given: Mapping[str, str]) -> list[str]:
    chosen = _choose(table.names, given)
    columns = {ours: column.name for ours, column in chosen.items()}
    missing = [name for name in NEEDED if name not in columns]
    for name in missing:
        faults.add(name, f"is missing; the table has {', '.join(sorted(table.names)[:30])}")
    if GALACTIC & {name.lower() for name in table.names} and {"ra_deg", "dec_deg"} & {*missing}:
        faults.add("positions", "are galactic; give right ascension and declination, ICRS")
    system = table.system.lower()
    if system not in ICRS:
        faults.add("positions", f"are in {table.system}; give right ascension and declination, ICRS")
    for ours in [ours for ours in columns if ours in STATED]:
        _check_unit(ours, columns[ours], table, faults)
    numbers = {"id": "id"} if _is_sdc1(table.names) else {}
    wanted = list(dict.fromkeys([*columns.values(), *numbers.values()]))
    checks = _Checks(faults, field_map, chosen, table)
    n = 0
    for rows, cells in table.read(wanted):
        checks.check(rows, cells, numbers.get("id"))
        n += len(rows)
    for row, found in table.bad_rows:
        faults.add_rows([row], "row", f"cells where {len(table.names)} are wanted", [found])
    if not n and not table.bad_rows:
        faults.add("the file", "holds no row")
    checks.find_doubles()
    return [note for note in (table.note, *checks.notes) if note]


def _is_sdc1(names: Sequence[str]) -> bool:
    form = find_form(names)
    return form is not None and form.name == "SDC1"


def _choose(names: Sequence[str], given: Mapping[str, str]) -> dict[str, Chosen]:
    """Return the table's column for each of ours that it has."""
    found = choose_columns(names, (), (*NEEDED, *OPTIONAL), given)
    if _is_sdc1(names):
        lower = {name.lower(): name for name in names}
        found.pop("class", None)
        found |= {ours: Chosen(lower[theirs]) for ours, theirs in AS_SDC1.items() if theirs in lower}
    return found


def _check_unit(ours: str, name: str, table: TableRows, faults: Faults) -> None:
    unit = (table.units.get(name) or "").strip()
    wanted = STATED[ours]
    if unit and ANGLES.get(unit.lower()) != ANGLES[wanted]:
        faults.add(name, f"has the unit {unit[:30]} instead of {wanted}; convert it")


class _Checks:
    """The checks of rows, block by block."""

    def __init__(
        self, faults: Faults, field_map: SkyMap, chosen: Mapping[str, Chosen], table: TableRows
    ) -> None:
        self.faults, self.field_map, self.table, self.chosen = faults, field_map, table, chosen
        self.columns = {ours: column.name for ours, column in chosen.items()}
        self.factors: dict[str, float] = {}
        self.notes: list[str] = []
        # Rows, and digests of positions or numbers of sources.
        self.places: list[tuple[NDArray[np.int32], NDArray[np.uint64]]] = []
        self.numbers: list[tuple[NDArray[np.int32], Floats]] = []

    def check(self, rows: NDArray[np.int64], cells: Mapping[str, NDArray[Any]], number: str | None) -> None:
        """Check some rows."""
        values = {ours: self._to_numbers(rows, ours, cells[name]) for ours, name in self.columns.items()}
        for ours in ("ra_deg", "dec_deg", "flux_jy"):
            if ours in values:
                values[ours] = values[ours] * self._factor(ours, values[ours])
        for ours, found in values.items():
            self._check_column(rows, ours, found)
        if "ra_deg" in values and "dec_deg" in values:
            self._check_places(rows, values["ra_deg"], values["dec_deg"])
        if number is not None:
            self.numbers.append((rows.astype(np.int32), self._to_numbers(rows, "id", cells[number])))

    def _to_numbers(self, rows: NDArray[np.int64], ours: str, cells: NDArray[Any]) -> Floats:
        name, stated = self.columns.get(ours, ours), self.chosen.get(ours)
        if cells.dtype != object:
            values = np.asarray(cells, np.float64)
            self._fault(rows, ours, np.isnan(values), "is no number", values)
            return values
        unit = (stated and stated.unit) or self.table.units.get(name)
        try:
            values = np.asarray(to_numbers(ours, name, cells, unit), np.float64)
        except ConfigError:
            values = np.array([self._one(ours, name, cell, unit) for cell in cells], np.float64)
        self._fault(rows, ours, np.isnan(values), "is no number", cells)
        return values

    @staticmethod
    def _one(ours: str, name: str, cell: object, unit: str | None) -> float:
        try:
            return float(to_numbers(ours, name, np.array([cell], object), unit)[0])
        except ConfigError:
            return float("nan")

    def _factor(self, ours: str, values: Floats) -> float:
        """Return the factor to our unit, which the first rows decide; a fault of the unit counts once."""
        if ours not in self.factors:
            name = self.columns[ours]
            self.factors[ours] = 1.0
            # Positions that were texts are degrees by now.
            unit = self.table.units.get(name)
            try:
                done = convert(ours, self.chosen[ours], unit, values, self.table.names)
            except ConfigError as error:
                self.faults.add(name, str(error))
                return 1.0
            self.notes.append(done.note)
            known = np.flatnonzero(np.isfinite(values) & (values != 0))
            if len(known):
                self.factors[ours] = float(done.values[known[0]] / values[known[0]])
        return self.factors[ours]

    def _check_column(self, rows: NDArray[np.int64], ours: str, values: Floats) -> None:
        if ours == "flux_jy":
            self._fault(rows, ours, values <= 0, "is not positive", values)
            self._fault(rows, ours, np.isinf(values), "is infinite", values)
        if ours in LIMITS:
            low, high, what = LIMITS[ours]
            self._fault(rows, ours, (values < low) | (values > high), what, values)
        if ours in KINDS:
            wrong = np.isfinite(values) & ~np.isin(values, KINDS[ours])
            self._fault(rows, ours, wrong, f"is none of {', '.join(map(str, KINDS[ours]))}", values)

    def _check_places(
        self,
        rows: NDArray[np.int64],
        ra: Floats,
        dec: Floats,
    ) -> None:
        known = np.isfinite(ra) & np.isfinite(dec) & (np.abs(dec) <= 90) & (ra >= -180) & (ra <= 360)
        y, x = self.field_map.pixel_of(np.where(known, ra, 0), np.where(known, dec, 0))
        ny, nx = self.field_map.shape
        inside = (y >= -0.5) & (y < ny - 0.5) & (x >= -0.5) & (x < nx - 0.5)
        wrong = np.flatnonzero(known & ~inside)
        if len(wrong):
            places = [(round(float(ra[i]), 6), round(float(dec[i]), 6)) for i in wrong[:MOST_SHOWN]]
            self.faults.add_rows(rows[wrong].tolist(), "position", "is not in the map", places)
        self.places.append((rows[known].astype(np.int32), _digest(ra[known] % 360, dec[known])))

    def _fault(
        self, rows: NDArray[np.int64], ours: str, wrong: Flags, what: str, cells: NDArray[Any]
    ) -> None:
        if wrong.any():
            some = np.flatnonzero(wrong)
            name = self.columns.get(ours, ours)
            self.faults.add_rows(rows[some].tolist(), name, what, cells[some[:MOST_SHOWN]].tolist())

    def find_doubles(self) -> None:
        """Add the rows whose position, or whose number, an earlier row has."""
        for name, parts in (("position", self.places), ("id", self.numbers)):
            if not parts:
                continue
            rows, values = (np.concatenate(some) for some in zip(*parts, strict=True))
            parts.clear()
            ordered = np.sort(values)
            doubled = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
            del ordered
            places = np.flatnonzero(np.isin(values, doubled))
            rows, values = rows[places], values[places]
            order = np.argsort(values, kind="stable")
            again = np.flatnonzero(values[order][1:] == values[order][:-1])
            later, earlier = rows[order[again + 1]], rows[order[again]]
            by_row = np.argsort(later, kind="stable")
            self.faults.add_doubles(name, later[by_row].tolist(), earlier[by_row].tolist())


def _digest(ra_deg: Floats, dec_deg: Floats) -> NDArray[np.uint64]:
    """Return a number for each position, the same for equal ones and else hardly ever."""
    # + 0.0 makes one zero of both.
    one, other = ((values + 0.0).view(np.uint64) for values in (ra_deg, dec_deg))
    # Multiplication by odd constants and shifts, as in splitmix64 (Steele et al. 2014).
    mixed = (one ^ (one >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = mixed ^ (mixed >> np.uint64(27)) ^ (other * np.uint64(0x94D049BB133111EB))
    return np.asarray((mixed ^ (mixed >> np.uint64(31))) * np.uint64(0x9E3779B97F4A7C15))
