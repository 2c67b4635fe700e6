"""The sources of a user's catalogue: fluxes and, where the table has them, places, sizes, classes, spectra.

Whatever is wrong with a row is one sentence that counts such rows and names the first ones, counted from 1.
"""

from collections.abc import Callable, Mapping, Sequence
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
from astro_dist.sky.user_files import read_columns

PixelOf = Callable[[Floats, Floats], Coordinates]
# Far above the sources of any survey (Cassiopeia A has 1e4 Jy), and far below the end of float32 at 3e38.
MOST_JY = 1e9
MOST_ARCSEC = 36_000.0
OPTIONAL = (
    *("ra_deg", "dec_deg", "major_arcsec", "minor_arcsec", "pa_deg", "class", "spectral_index"),
    # T-RECS gives star-forming galaxies widths and -100, and radio galaxies -100 and a size.
    "size",
)
MOST_NAMED = 5
BY_SIZE = SourceClass.BACKGROUND
"""Stands for sources whose class follows from their size."""


@dataclass(frozen=True)
class SourceCatalogue:
    """The rows of a user's catalogue in columns of one length.

    Attributes
    ----------
    flux_jy
        Positive, at the catalogue's frequency.
    sky_deg
        Right ascension and declination, shape (2, n), ICRS; None when the catalogue has no positions.
    major_arcsec, minor_arcsec, pa_deg
        Intrinsic full widths, and the angle of the major axis east of north on the sky. Rows without a size
        are points, those without a minor axis or an angle have NaN there.
    source_class
        `SourceClass` of each, `BY_SIZE` where the catalogue says nothing.
    spectral_index
        Alpha in S ~ frequency^alpha, NaN where the catalogue says nothing.
    has_shapes
        Whether it has a column of sizes or of classes.
    """

    flux_jy: Floats
    sky_deg: Floats | None
    major_arcsec: Floats
    minor_arcsec: Floats
    pa_deg: Floats
    source_class: NDArray[np.uint8]
    spectral_index: Floats
    has_shapes: bool

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
            Names of these columns in the table, see `read_columns`.
        classes
            Our classes by the table's numbers; by default the numbers are those of `SourceClass`.

        Raises
        ------
        ConfigError
            When the file or the column is missing, a flux is not positive or above `MOST_JY`, a position is
            not finite, only one of the two position columns is there, or a class is unknown.
        """
        table = read_columns(path, required=("flux_jy",), optional=OPTIONAL, names=names)
        try:
            return cls._check(table, ClassWords(classes))
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from None

    @classmethod
    def _check(cls, table: Mapping[str, Floats], words: ClassWords) -> "SourceCatalogue":
        flux = table["flux_jy"]
        _refuse_rows(~(np.isfinite(flux) & (flux > 0)), "a flux_jy that is no positive number", flux)
        _refuse_rows(flux > MOST_JY, f"a flux_jy above {MOST_JY:g} Jy", flux)
        sky = [table[name] for name in ("ra_deg", "dec_deg") if name in table]
        if len(sky) == 1:
            raise ConfigError("it has one of ra_deg and dec_deg; give both columns or neither")
        for values in sky:
            _refuse_rows(~np.isfinite(values), "a position that is not finite", values)
        nothing = np.full(len(flux), np.nan)
        major, minor = _sizes(table, nothing)
        return cls(
            flux,
            np.array(sky) if sky else None,
            major,
            minor,
            _finite(table.get("pa_deg", nothing)) % 180,
            _classes(table.get("class", nothing), words),
            _finite(table.get("spectral_index", nothing)),
            not {"major_arcsec", "size", "class"}.isdisjoint(table),
        )

    def __len__(self) -> int:
        return len(self.flux_jy)

    def rows_in(self, shape: Sequence[int], pixel_of: PixelOf) -> Integers:
        """Return the rows whose position is in a field, in order; all rows when there are no positions.

        Parameters
        ----------
        pixel_of
            ``(ra_deg, dec_deg) -> (y, x)``, NaN where a position does not project.

        Raises
        ------
        ConfigError
            When there is none.
        """
        rows = np.arange(len(self))
        if self.sky_deg is not None:
            spots = np.stack(pixel_of(*self.sky_deg), axis=1)
            # From half a pixel before the first centre to half a pixel behind the last; NaN is outside.
            inside = ((spots >= -0.5) & (spots < np.array(shape) - 0.5)).all(axis=1)
            rows = rows[inside]
        if not len(rows):
            raise ConfigError(self._elsewhere())
        return rows

    def _elsewhere(self) -> str:
        if not len(self) or self.sky_deg is None:
            return "it has no rows; give a table that has"
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
        by_size = self.major_arcsec > largest_compact_arcsec
        return np.where(self.source_class == BY_SIZE, by_size, self.source_class == SourceClass.EXTENDED)


def _sizes(table: Mapping[str, Floats], nothing: Floats) -> tuple[Floats, Floats]:
    major = _finite(table.get("major_arcsec", nothing))
    minor = _finite(table.get("minor_arcsec", nothing))
    size = _finite(table.get("size", nothing))
    # Catalogues mark what they did not measure by negative numbers or NaN.
    minor = np.where((major > 0) & (minor >= 0), minor, np.nan)
    major = np.where(major > 0, major, np.where(size > 0, size, 0))
    _refuse_rows(major > MOST_ARCSEC, f"a major_arcsec above {MOST_ARCSEC:g}, ten degrees", major)
    _refuse_rows(minor > major, "a minor_arcsec above its major_arcsec", minor)
    return major, minor


def _classes(numbers: Floats, words: ClassWords) -> NDArray[np.uint8]:
    found = np.full(len(numbers), int(BY_SIZE), np.uint8)
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
    return found


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
