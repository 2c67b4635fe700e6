"""Which column of a user's table is meant: the names that catalogues use, the user's own, and their units."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.config import nearest
from astro_dist.engine.errors import ConfigError

KNOWN = {
    # Ours; PyBDSF; Aegean; SDC1.
    "flux_jy": ("flux_jy", "total_flux", "int_flux", "flux"),
    # Ours; PyBDSF, Aegean and most others; SDC1, whose core is another position; VizieR.
    "ra_deg": ("ra_deg", "ra", "ra_cent", "raj2000"),
    "dec_deg": ("dec_deg", "dec", "dec_cent", "dej2000", "decj2000"),
    "source": ("source", "source_id"),
}
"""The names that are looked for, in any case of letters, the first one first."""
UNITS = {"flux_jy": "Jy", "ra_deg": "deg", "dec_deg": "deg"}
FLUXES = {"jy": 1.0, "mjy": 1e-3, "ujy": 1e-6, "njy": 1e-9, "jansky": 1.0}
ANGLES = {
    **dict.fromkeys(("deg", "degree", "degrees"), 1.0),
    **{"arcmin": 1 / 60, "arcsec": 1 / 3600, "mas": 1 / 3.6e6, "rad": float(180 / np.pi)},
    **dict.fromkeys(("hourangle", "hour", "h", "hr"), 15.0),
}
# Most columns that an error names.
MOST_NAMED = 30
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
    """Columns of a table by our names, and the units that the table states."""

    values: Mapping[str, NDArray[np.generic]]
    units: Mapping[str, str | None]


def choose_columns(
    names: Sequence[str], required: Sequence[str], optional: Sequence[str], given: Mapping[str, str]
) -> dict[str, Chosen]:
    """Return the column of a table for each of our names that it has one for.

    Parameters
    ----------
    given
        Names of the user by ours, each with its unit in brackets where the table states none: ``S [mJy]``.

    Raises
    ------
    ConfigError
        A required column, or one that the user names, is missing.
    """
    lower = {name.lower(): name for name in reversed(names)}
    found = {}
    for ours in (*required, *optional):
        if ours in given:
            found[ours] = _named(given[ours], names, lower, ours)
        elif hits := [lower[name] for name in _usual(ours, lower) if name in lower]:
            found[ours] = Chosen(hits[0])
        elif ours in required:
            shown = ", ".join(sorted(names)[:MOST_NAMED]) or "none"
            remedy = f"; name one as columns: {{{ours}: ...}}" if names and ours in KNOWN else ""
            raise ConfigError(f"no column {ours}; it has {shown}{remedy}")
    return found


def _usual(ours: str, names: Collection[str]) -> tuple[str, ...]:
    # Aegean's source is the number of a component within its island; a table of ours, of whole sources.
    if ours == "source" and {"island", "source"} <= set(names) and "ra_deg" not in names:
        return ("island",)
    return KNOWN.get(ours, (ours,))


def _named(text: str, names: Sequence[str], lower: Mapping[str, str], ours: str) -> Chosen:
    bare = re.fullmatch(r"(.*\S)\s*\[\s*(\S+)\s*\]", text)
    for name, unit in ((text, None), *([(bare[1], bare[2])] if bare else [])):
        if name in names or name.lower() in lower:
            return Chosen(name if name in names else lower[name.lower()], unit)
    raise ConfigError(f"columns.{ours}: it has no column {text!r}; {nearest(text, list(names)[:MOST_NAMED])}")


def convert(ours: str, chosen: Chosen, unit: str | None, values: NDArray[np.generic]) -> Floats:
    """Return a column in the unit of our name for it.

    Parameters
    ----------
    unit
        The unit that the table states, None or empty for none.

    Raises
    ------
    ConfigError
        The unit is not one of brightness or of angle, or contradicts the column's own name.
    """
    numbers = np.asarray(values, np.float64)
    text = (chosen.unit or unit or "").strip()
    if not text or ours not in UNITS:
        return numbers
    known = FLUXES if UNITS[ours] == "Jy" else ANGLES
    factor = known.get(text.lower().replace("\u00b5", "u").replace("\u03bc", "u"))
    # MJy is a million of them by the rule and a thousandth in some catalogues in capitals.
    if factor is None or text == "MJy":
        raise ConfigError(
            f"the column {chosen.name} has the unit {text[:30]} instead of {UNITS[ours]}; convert it, or "
            f"state its unit as columns: {{{ours}: {chosen.name} [{next(iter(known))}]}}"
        )
    if factor != 1 and chosen.name.lower() == ours:
        raise ConfigError(f"the column {ours} has the unit {text} instead of {UNITS[ours]}; convert it")
    return numbers * factor
