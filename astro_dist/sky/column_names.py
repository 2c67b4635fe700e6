"""Which column of a user's table is meant: the names that catalogues use, or the user's own."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.config import nearest
from astro_dist.engine.errors import ConfigError
from astro_dist.sky.known_catalogues import find_form
from astro_dist.sky.sexagesimal import FIRST_PARTS, PARTS

KNOWN = {
    # Ours; PyBDSF; Aegean; SDC1; SoFiA, whose sum over a cube has another unit.
    "flux_jy": ("flux_jy", "total_flux", "int_flux", "flux", "f_sum"),
    # Ours; VizieR's own in degrees; PyBDSF, Aegean and most others; Selavy; SDC1, whose core is another
    # position; VizieR; astropy's tables of SkyCoord; SExtractor; the same as text.
    "ra_deg": (
        *("ra_deg", "_raj2000", "ra", "ra_deg_cont", "ra_cent", "raj2000", "radeg", "_ra"),
        *("ra_icrs", "_ra.icrs", "coord.ra", "skycoord.ra", "sky_centroid.ra", "alpha_j2000", "ra(2000)"),
        *("ra_hms_cont", "ra_str"),
    ),
    "dec_deg": (
        *("dec_deg", "_dej2000", "dec", "dec_deg_cont", "dec_cent", "dej2000", "decj2000", "dedeg", "_de"),
        *("de_icrs", "_de.icrs", "coord.dec", "skycoord.dec", "sky_centroid.dec", "delta_j2000"),
        *("dec(2000)", "dec_dms_cont", "dec_str"),
    ),
    "source": ("source", "parent_source", "source_id", "source_name"),
    "spectral_index": ("spectral_index", "spec_indx", "alpha"),
}
"""The names that are looked for, in any case of letters, the first one first."""
# Most columns that an error names.
MOST_NAMED = 30
LONGEST_NAME = 200
_UNIT_IN_NAME = re.compile(
    r"(.*\S)\s*[\[(]\s*([mun\u00b5\u03bc]?jy|deg|degrees?|arcsec|arcmin|rad|h|hours?)\s*[\])]|(.*)_([mun]?jy)",
    re.IGNORECASE,
)
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Chosen:
    """A column of a table: its name there, and the unit that the user states for it."""

    name: str
    unit: str | None = None


Choose = Callable[[Sequence[str]], dict[str, Chosen]]
"""``(names of a table) -> {our name: column}``; raises `ConfigError` where a required one is missing."""


@dataclass(frozen=True)
class Found:
    """Columns of a table by our names, numbers or texts, and the units that the table states.

    Attributes
    ----------
    note
        What was taken for granted about the table, in one sentence; empty for nothing.
    """

    values: Mapping[str, NDArray[np.generic]]
    units: Mapping[str, str | None]
    note: str = ""


_OTHER_FRAME = re.compile(r"_?(g|e|sg|s)(lon|lat).*|[lb](_?(deg|ii))?|(ra|de|dec)\w*b?1950\w*", re.IGNORECASE)


def choose_columns(
    names: Sequence[str], required: Sequence[str], optional: Sequence[str], given: Mapping[str, str]
) -> dict[str, Chosen]:
    """Return the column of a table for each of our names that it has one for.

    A position in columns of hours, minutes and so on has the names of `sexagesimal.PARTS` instead of its own.

    Parameters
    ----------
    given
        Names of the user by ours, each with its unit in brackets where the table states none: ``S [mJy]``.

    Raises
    ------
    ConfigError
        A required column, or one that the user names, is missing, or a wanted one is there twice.
    """
    lower = {split_unit(name)[0].lower(): name for name in reversed(names)}
    # Whole names come before those that are left without their units.
    lower |= {name.lower(): name for name in reversed(names)}
    found = {}
    for ours in (*required, *optional):
        if ours in given:
            found[ours] = _named(given[ours], names, lower, ours)
            _refuse_other_frame(ours, found[ours].name)
        elif hits := [lower[name] for name in _usual(ours, lower) if name in lower]:
            found[ours] = Chosen(hits[0])
        elif parts := _parts(ours, lower):
            found |= parts
        elif ours in required:
            shown = ", ".join(sorted(names)[:MOST_NAMED]) or "none"
            remedy = f"; name one as columns: {{{ours}: ...}}" if names and ours in KNOWN else ""
            raise ConfigError(f"no column {ours}; it has {shown}{remedy}")
    for one in found.values():
        if names.count(one.name) > 1:
            raise ConfigError(f"the column {one.name} comes twice; leave one of them out")
    return found


def split_unit(name: str) -> tuple[str, str]:
    """Return the name of a column and the unit that it ends with, as ``S (mJy)`` and ``S_mJy``, or none."""
    if len(name) > LONGEST_NAME or not (found := _UNIT_IN_NAME.fullmatch(name)):
        return name, ""
    return found[1] or found[3], found[2] or found[4]


def _usual(ours: str, names: Collection[str]) -> tuple[str, ...]:
    form = find_form(names)
    own, usual = form.columns.get(ours, ()) if form else (), KNOWN.get(ours, (ours,))
    # Aegean's source is the number of a component within its island; a table of ours, of whole sources.
    return (*usual, *own) if "ra_deg" in names else (*own, *usual)


def _parts(ours: str, lower: Mapping[str, str]) -> dict[str, Chosen]:
    found = {}
    for part, theirs in PARTS.get(ours, {}).items():
        if hits := [lower[name] for name in theirs if name in lower]:
            found[part] = Chosen(hits[0])
    return found if any(part in found for part in FIRST_PARTS) else {}


def _refuse_other_frame(ours: str, name: str) -> None:
    """Refuse a column of the user for our positions whose name says that it is of another frame than ICRS."""
    if ours in ("ra_deg", "dec_deg") and _OTHER_FRAME.fullmatch(name):
        raise ConfigError(
            f"columns.{ours}: {name} is galactic, ecliptic or of the equinox 1950 by its name, and positions "
            "are in ICRS; convert the table (astropy: SkyCoord(...).icrs), or rename the column"
        )


def _named(text: str, names: Sequence[str], lower: Mapping[str, str], ours: str) -> Chosen:
    bare = re.fullmatch(r"(.*\S)\s*\[\s*(\S+)\s*\]", text)
    for name, unit in ((text, None), *([(bare[1], bare[2])] if bare else [])):
        if name in names or name.lower() in lower:
            return Chosen(name if name in names else lower[name.lower()], unit)
    raise ConfigError(f"columns.{ours}: it has no column {text!r}; {nearest(text, list(names)[:MOST_NAMED])}")
