"""Numbers in the units of our names, from what a table, its known kind or the user says of its units.

A flux whose unit nobody states may be wrong by a factor of 1000: it is taken as Jy and that is said, or,
where it would then be brighter than the sources of surveys, the user is asked.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.errors import ConfigError
from astro_dist.sky.classes import CLASS_NAMES
from astro_dist.sky.column_names import Chosen, Floats, split_unit
from astro_dist.sky.known_catalogues import Form, find_form
from astro_dist.sky.sexagesimal import GAPS, SIGN, parse_angles

UNITS = {
    **{"flux_jy": "Jy", "ra_deg": "deg", "dec_deg": "deg", "pa_deg": "deg"},
    **{"major_arcsec": "arcsec", "minor_arcsec": "arcsec"},
}
FLUXES = {"jy": 1.0, "mjy": 1e-3, "ujy": 1e-6, "njy": 1e-9, "jansky": 1.0}
ANGLES = {
    **dict.fromkeys(("deg", "degs", "degree", "degrees"), 1.0),
    **{"arcmin": 1 / 60, "arcsec": 1 / 3600, "mas": 1 / 3.6e6, "rad": float(180 / np.pi)},
    **dict.fromkeys(("hourangle", "hour", "h", "hr"), 15.0),
}
CLASS_NUMBERS = {name: number for number, name in enumerate(CLASS_NAMES)}
NO_UNIT = frozenset({"", "-", "--", "---", "none", "null"})
ASK_JY = 0.1
"""Where half of the fluxes are above it and no unit is stated, they are hardly in Jy: surveys go deeper."""
BRIGHT_JY = 1.0


@dataclass(frozen=True)
class Converted:
    """A column in the unit of our name, and what was taken for granted about it in one sentence."""

    values: Floats
    note: str = ""


def to_numbers(ours: str, name: str, values: NDArray[np.generic], unit: str | None) -> NDArray[np.generic]:
    """Return a column as numbers: texts of positions as degrees, of sources as numbers of their own.

    Raises
    ------
    ConfigError
        A text is no number where one is wanted.
    """
    if values.dtype.kind not in "OUST" or ours == SIGN:
        return values
    texts = np.array(["" if text is None else str(text) for text in values.tolist()], object)
    if ours in ("ra_deg", "dec_deg"):
        return parse_angles(ours, texts, unit)
    words = CLASS_NUMBERS if ours == "class" else {}
    plain = [text.strip().lower() for text in texts]
    try:
        return np.array([np.nan if one in GAPS else float(words.get(one, one)) for one in plain], np.float64)
    except ValueError:
        if ours != "source":
            raise ConfigError(_tell_text(ours, name, texts.tolist(), [*GAPS, *words])) from None
    numbers = np.unique(np.char.strip(texts.astype(str)), return_inverse=True)[1].astype(np.float64)
    numbers[[text.strip().lower() in GAPS for text in texts]] = np.nan
    return numbers


def _tell_text(ours: str, name: str, texts: Sequence[str], known: Collection[str]) -> str:
    """Return the line that names the first text that is no number."""
    row, text = next(
        (row, text.strip())
        for row, text in enumerate(texts, 1)
        if text.strip().lower() not in known and not is_number(text)
    )
    remedy = "write compact or extended, or 2 or 3, or leave the column out" if ours == "class" else "mend it"
    return f"row {row} has {text[:40]!r} in the column {name}, which is no number; {remedy}"


def is_number(text: str) -> bool:
    """Return whether a text is a number as `float` reads it."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def convert(
    ours: str, chosen: Chosen, unit: str | None, numbers: Floats, names: Collection[str]
) -> Converted:
    """Return a column in the unit of our name for it.

    Parameters
    ----------
    unit
        The unit that the table states, None or empty for none.
    names
        All columns of the table, which may tell what kind it is.

    Raises
    ------
    ConfigError
        The unit is not one of brightness or of angle, contradicts the column's own name, or is not stated for
        fluxes that are implausible in Jy.
    """
    if ours not in UNITS:
        return Converted(numbers)
    stated = (word.strip().strip("[]()") for word in (chosen.unit, unit, split_unit(chosen.name)[1]) if word)
    text = next((word for word in stated if word.lower() not in NO_UNIT), "")
    if text:
        return Converted(numbers * _factor(ours, chosen, text), _remark(ours, chosen, numbers, text))
    form = find_form(names)
    if ours == "flux_jy" and chosen.name.lower() != ours:
        if form is not None and form.is_flux(chosen.name):
            return _as_known(form, chosen.name, numbers)
        return Converted(numbers, _assume_jy(chosen.name, numbers))
    return Converted(numbers, _remark(ours, chosen, numbers, "Jy"))


def _as_known(form: Form, name: str, numbers: Floats) -> Converted:
    fluxes_jy = numbers * FLUXES[form.unit.lower()]
    if 0 < (middle := _median(fluxes_jy)) < form.least_jy:
        raise ConfigError(
            f"nothing states the unit of {name}; in {form.unit}, as {form.name} has it, half of the fluxes "
            f"would be below {middle:.2g} Jy, too faint for it; state it as columns: {{flux_jy: {name} [Jy]}}"
        )
    if form.unit == "Jy":
        return Converted(fluxes_jy, _remark("flux_jy", Chosen(name), numbers, "Jy"))
    return Converted(
        fluxes_jy, f"nothing states the unit of {name}, which is taken as {form.unit}, as {form.name} has it"
    )


def _factor(ours: str, chosen: Chosen, text: str) -> float:
    known = FLUXES if UNITS[ours] == "Jy" else ANGLES
    factor = known.get(text.lower().replace("\u00b5", "u").replace("\u03bc", "u"))
    # MJy is a million of them by the rule and a thousandth in some catalogues in capitals.
    if factor is None or text == "MJy":
        raise ConfigError(
            f"the column {chosen.name} has the unit {text[:30]} instead of {UNITS[ours]}; convert it, or "
            f"state its unit as columns: {{{ours}: {chosen.name} [{next(iter(known))}]}}"
        )
    factor /= ANGLES["arcsec"] if UNITS[ours] == "arcsec" else 1
    if factor != 1 and chosen.name.lower() == ours:
        raise ConfigError(f"the column {ours} has the unit {text} instead of {UNITS[ours]}; convert it")
    return factor


def _assume_jy(name: str, numbers: Floats) -> str:
    middle = _median(numbers)
    if middle > ASK_JY:
        raise ConfigError(
            f"nothing states the unit of {name}, and half of its fluxes are above {middle:.3g}, too "
            f"bright for Jy; state it as columns: {{flux_jy: {name} [mJy]}}, or [Jy], or rename the column so"
        )
    return (
        f"nothing states the unit of {name}, which is taken as Jy (half of the fluxes above {middle:.3g}); "
        f"another is stated as columns: {{flux_jy: {name} [mJy]}}, or by renaming the column {name} [mJy]"
    )


def _remark(ours: str, chosen: Chosen, numbers: Floats, text: str) -> str:
    if ours != "flux_jy":
        return ""
    middle = _median(numbers) * FLUXES.get(text.lower(), 0)
    if middle <= BRIGHT_JY:
        return ""
    return f"half of the fluxes in {chosen.name} are above {middle:.3g} Jy; is its unit {text}?"


def _median(numbers: Floats) -> float:
    known = numbers[np.isfinite(numbers)]
    return float(np.median(known)) if len(known) else 0.0
