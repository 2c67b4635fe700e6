"""The sources of a user's catalogue: fluxes and, where the table has them, places, sizes, classes, spectra.

Whatever is wrong with a row is one sentence that counts such rows and names the first ones, counted from 1.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.arrays import Floats, Integers
from astro_dist.engine.errors import ConfigError
from astro_dist.sky.class_words import ClassWords, label_text
from astro_dist.sky.classes import SourceClass
from astro_dist.sky.coordinates import Coordinates
from astro_dist.sky.model_lists import NOTE as COMPONENTS
from astro_dist.sky.user_files import UserTable, read_table

PixelOf = Callable[[Floats, Floats], Coordinates]
# Far above the sources of any survey (Cassiopeia A has 1e4 Jy), and far below the end of float32 at 3e38.
MOST_JY = 1e9
MOST_ARCSEC = 36_000.0
WIDTHS = ("major_arcsec", "minor_arcsec", "pa_deg")
INTRINSIC = (
    ("intrinsic_major_arcsec", "intrinsic_minor_arcsec", "intrinsic_pa_deg"),
    ("dc_maj", "dc_min", "dc_pa"),
    ("maj_axis_deconv", "min_axis_deconv", "pos_ang_deconv"),
)
"""Columns of widths without the beam, of our truth, PyBDSF and Selavy; they come before `WIDTHS`."""
OBSERVED = ("Selavy", "Aegean")
"""Programs whose `WIDTHS` include the beam."""
OPTIONAL = (
    *("ra_deg", "dec_deg", *WIDTHS, "class", "spectral_index"),
    *(name for names in INTRINSIC for name in names),
    # T-RECS gives star-forming galaxies widths, and radio galaxies widths of -100 and a size.
    "size",
)
DISCS = {"SDC1": (3,), "T-RECS": (1, 2, 3)}
"""Classes of star-forming galaxies, which are smooth at any size; the others are radio galaxies."""
MOST_NAMED = 5
BY_SIZE = SourceClass.BACKGROUND
"""Stands for sources whose class follows from their size."""


@dataclass(frozen=True)
class SourceCatalogue:
    """The rows of a user's catalogue in columns of one length.

    Attributes
    ----------
    flux_jy
        Positive, at the catalogue's frequency; NaN in rows without a flux, which are never placed.
    sky_deg
        Right ascension and declination, shape (2, n), ICRS; None when the catalogue has no positions.
    major_arcsec, minor_arcsec, pa_deg
        Intrinsic full widths, and the angle of the major axis east of north on the sky. Rows without a size
        are points, those without a minor axis or an angle have NaN there.
    source_class
        `SourceClass` of each, `BY_SIZE` where the catalogue says nothing.
    is_smooth
        Whether a source is a Gaussian whatever its size.
    spectral_index
        Alpha in S ~ frequency^alpha, NaN where the catalogue says nothing.
    has_shapes
        Whether it has a column of sizes or of classes.
    notes
        Sentences on what was taken for granted about the table.
    """

    flux_jy: Floats
    sky_deg: Floats | None
    major_arcsec: Floats
    minor_arcsec: Floats
    pa_deg: Floats
    source_class: NDArray[np.uint8]
    is_smooth: NDArray[np.bool_]
    spectral_index: Floats
    has_shapes: bool
    notes: tuple[str, ...]

    @classmethod
    def read(
        cls,
        path: Path,
        names: Mapping[str, str] = MappingProxyType({}),
        classes: Mapping[str, str] = MappingProxyType({}),
    ) -> "SourceCatalogue":
        """Read a table with the column flux_jy and any of `OPTIONAL`.

        Parameters
        ----------
        names
            Names of these columns in the table, see `read_table`.
        classes
            Our classes by the table's numbers; by default the numbers are those of `SourceClass`.

        Raises
        ------
        ConfigError
            When the file or the column is missing, a flux is not positive or above `MOST_JY`, a position is
            not finite, only one of the two position columns is there, or a class is unknown.
        """
        table = read_table(path, required=("flux_jy",), optional=OPTIONAL, names=names)
        try:
            return cls._check(table, ClassWords(classes), path.name)
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from None

    @classmethod
    def _check(cls, read: UserTable, words: ClassWords, name: str) -> "SourceCatalogue":
        table = read.columns
        flux = table["flux_jy"]
        empty = np.isnan(flux)
        if empty.all():
            raise ConfigError("every flux_jy must be a positive number; leave the other rows out")
        wrong = ~empty & ~(np.isfinite(flux) & (flux > 0))
        # Clean components may be negative where their sum, the source, is not.
        is_model = any(COMPONENTS in note for note in read.notes)
        parts = " (components of a model: give a catalogue of sources)" if is_model else ""
        _refuse_rows(wrong, f"a flux_jy that is no positive number{parts}", flux)
        _refuse_rows(flux > MOST_JY, f"a flux_jy above {MOST_JY:g} Jy", flux)
        sky = [table[axis] for axis in ("ra_deg", "dec_deg") if axis in table]
        if len(sky) == 1:
            raise ConfigError("it has one of ra_deg and dec_deg; give both columns or neither")
        for values in sky:
            _refuse_rows(~empty & ~np.isfinite(values), "a position that is not finite", values)
        nothing = np.full(len(flux), np.nan)
        major, minor, angle = _widths(read, nothing)
        kinds, smooth = _classes(table.get("class", nothing), words, read.form)
        return cls(
            flux,
            np.array(sky) if sky else None,
            major,
            minor,
            angle,
            kinds,
            smooth,
            _finite(table.get("spectral_index", nothing)),
            bool(_has_sizes(read) or kinds.any() or smooth.any()),
            (*read.notes, *_tell_empty(empty, name)),
        )

    def __len__(self) -> int:
        return len(self.flux_jy)

    def rows_in(self, shape: Sequence[int], pixel_of: PixelOf) -> Integers:
        """Return the rows with a flux whose position, where there are any, is in a field, in order.

        Parameters
        ----------
        pixel_of
            ``(ra_deg, dec_deg) -> (y, x)``, NaN where a position does not project.

        Raises
        ------
        ConfigError
            When there is none.
        """
        known = ~np.isnan(self.flux_jy)
        if self.sky_deg is not None:
            spots = np.stack(pixel_of(*self.sky_deg), axis=1)
            # From half a pixel before the first centre to half a pixel behind the last; NaN is outside.
            known &= ((spots >= -0.5) & (spots < np.array(shape) - 0.5)).all(axis=1)
        rows = np.flatnonzero(known)
        if not len(rows):
            raise ConfigError(self._elsewhere())
        return rows

    def _elsewhere(self) -> str:
        assert self.sky_deg is not None  # without positions every row with a flux is chosen
        (ra, dec), n = self.sky_deg[:, 0], len(self)
        return (
            f"none of its {n} positions is in the field, the first is at RA {ra:.4f}, Dec {dec:.4f} deg; "
            "move the field (assemble.ra_deg, assemble.dec_deg), or give a catalogue of its sky"
        )

    def flux_at(self, ratio: float | None, index: float) -> Floats:
        """Return the fluxes at another frequency.

        Parameters
        ----------
        ratio
            That frequency over the catalogue's, None where both are the same.
        index
            Spectral index of rows without one.
        """
        if ratio is None:
            return self.flux_jy
        own = np.where(np.isnan(self.spectral_index), index, self.spectral_index)
        return np.asarray(self.flux_jy * ratio**own)

    def is_extended(self, largest_compact_arcsec: float) -> NDArray[np.bool_]:
        """Return which rows are extended, by their class or else by their size."""
        by_size = (self.major_arcsec > largest_compact_arcsec) & ~self.is_smooth
        return np.where(self.source_class == BY_SIZE, by_size, self.source_class == SourceClass.EXTENDED)


def _tell_empty(empty: NDArray[np.bool_], name: str) -> Iterator[str]:
    if empty.any():
        first = np.flatnonzero(empty)[0] + 1
        yield f"{name}: {empty.sum()} rows have no flux, the first is row {first}; none is placed"


def _has_sizes(read: UserTable) -> bool:
    """Return whether a table states sizes without a beam, even where each is that of a point."""
    stated = {names[0] for names in INTRINSIC} | {"size"}
    if read.form not in OBSERVED:
        stated.add(WIDTHS[0])
    return not stated.isdisjoint(read.columns)


def _widths(read: UserTable, nothing: Floats) -> tuple[Floats, Floats, Floats]:
    """Return the intrinsic widths of each row, arcsec (0: a point; minor NaN: unknown), and their angle."""
    table = read.columns
    names = next((names for names in INTRINSIC if names[0] in table), WIDTHS)
    if names == WIDTHS and read.form in OBSERVED:
        return np.zeros(len(nothing)), nothing, nothing
    # PyBDSF writes degrees; the surveys that took over its names write arcsec.
    factor = 3600 if names[0] == "dc_maj" and not read.form else 1
    major, minor, angle = (_finite(table.get(name, nothing)) for name in names)
    major, minor, size = major * factor, minor * factor, _finite(table.get("size", nothing))
    # Catalogues mark what they did not measure by negative numbers or NaN.
    measured = major > 0
    minor, angle = (
        np.where(measured & (one >= least), one, np.nan) for one, least in ((minor, 0), (angle, -360))
    )
    major = np.where(measured, major, np.where(size > 0, size, 0))
    _refuse_rows(major > MOST_ARCSEC, f"a major_arcsec above {MOST_ARCSEC:g}, ten degrees", major)
    _refuse_rows(minor > major, "a minor_arcsec above its major_arcsec", minor)
    return major, minor, angle % 180


def _classes(numbers: Floats, words: ClassWords, form: str) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Return the class of each row, and which rows are smooth."""
    found, smooth = np.full(len(numbers), int(BY_SIZE), np.uint8), np.zeros(len(numbers), bool)
    if form in DISCS and not words.given:
        return found, np.isin(numbers, DISCS[form])
    for number in np.unique(numbers[np.isfinite(numbers)]).tolist():
        here = numbers == number
        kind = words.of_number(number)
        if kind not in (SourceClass.COMPACT, SourceClass.EXTENDED):
            _refuse_rows(
                here,
                f"the class {label_text(number)}, which is neither compact nor extended (set "
                f"assemble.flux.classes: {{{label_text(number)}: extended}})",
                numbers,
            )
        found[here] = int(kind or 0)
    return found, smooth


def _finite(values: Floats) -> Floats:
    return np.where(np.isfinite(values), values, np.nan)


def _refuse_rows(wrong: NDArray[np.bool_], what: str, values: Floats) -> None:
    """Raise `ConfigError` where a row is wrong, with their number, the first rows and the first value."""
    if not wrong.any():
        return
    rows = np.flatnonzero(wrong)
    shown = ", ".join(str(row + 1) for row in rows[:MOST_NAMED])
    more = ", ..." if len(rows) > MOST_NAMED else ""
    raise ConfigError(
        f"{len(rows)} of {len(wrong)} rows have {what}: row {shown}{more} ({values[rows[0]]:.4g}); mend "
        "them or leave them out"
    )
