"""The brightness units of radio maps, in the spellings that are met, and their conversion to Jy/beam."""

import math
import re
import unicodedata
import warnings
from dataclasses import dataclass
from typing import Literal

from astropy import units as u

from astro_dist.engine.errors import ConfigError
from astro_dist.sky.beams import Beam, Pixel

JY_BEAM = "Jy/beam"
KNOWN = "Jy/beam, Jy/pixel, Jy/sr, Jy/arcsec2 or K, with m, u, n, k or M before them"
# M is not among these: it is mega before solid angles only (MJy/sr comes from the infrared), while no beam
# holds a million Jy and MJY/BEAM is mJy/beam in capitals.
_PREFIXES = {"": 1.0, "k": 1e3, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_PER = {
    "beam": u.beam,
    **dict.fromkeys(("beams", "bm", "b", "bem", "restoredbeam", "cleanbeam", "psf"), u.beam),
    **dict.fromkeys(("synthbeam", "synthesizedbeam", "synthesisedbeam", "ba", "beamarea"), u.beam),
    **dict.fromkeys(("pixel", "pixels", "pix", "px", "cell"), u.pix),
    **dict.fromkeys(("sr", "ster", "str", "steradian", "steradians"), u.sr),
    **dict.fromkeys(("arcsec2", "sqarcsec", "squarearcsec", "asec2"), u.arcsec**2),
    **dict.fromkeys(("arcmin2", "sqarcmin", "squarearcmin", "amin2"), u.arcmin**2),
    **dict.fromkeys(("deg2", "sqdeg", "squaredegree", "degree2"), u.deg**2),
}
_FLUX = re.compile(r"([munk]?)(?:jy|jansky|janskys|janskies)(?:/|per)(.+)")
_FLUX_LAST = re.compile(r"(beam|bm|pixel|pix|px|sr|arcsec|arcmin|deg)(-\d)([munk]?)jy")
_POWER = re.compile(r"([a-z]+?)(2?)-([12])$")
# MYJY/BEAM is what Effelsberg writes for microjansky.
_SHORT = {"milli": "m", "micro": "u", "mu": "u", "my": "u", "nano": "n", "kilo": "k"}
_WORDS = re.compile(r"(micro|milli|nano|kilo|mu|my)-?(?=jy|jansky|k)")
# What LaTeX adds to a unit, and points and minus signs of Unicode: names of fonts, spaces, the micro sign.
_TEX = re.compile(r"\\(?:mathrm|mathit|textrm|text|rm|it)\b|\\[,;: ]|[$~\u00b7\u22c5\u2219]")
_TEX_MICRO = re.compile(r"\\(?:up|u)?mu(?![a-z])|\\mu(?=jy)|&mu;", re.IGNORECASE)
_MINUS = str.maketrans("\u2212\u2010\u2011\u2013\u2014", "-----")
# A factor as the FITS standard (4.0, section 4.3.1) has it, or as a plain number.
_FACTOR = re.compile(
    r"\s*(?:10\s*(?:\*\*|\^)\s*\(?([+-]?\d+)\)?|(\d+\.?\d*(?:[eE][+-]?\d+)?))[\s*]*(?=[A-Za-z])"
)
_KELVIN = re.compile(r"([munk]?)k(?:elvins?)?(?:rj|tm?b|\((?:tm?b|rj)\)|brightness)?")
# The quantity and its unit in brackets, as in "Tb [K]".
_QUANTITY = re.compile(r"tm?b[\[(](.+)[\])]")
# What no setting turns into a brightness: a velocity, a frequency or an angle, alone or as a factor.
_OTHER_KIND = re.compile(
    r"\bk?m\s*(/\s*s\b|[\s.*]*s\b\s*[\^*({]*-1)|hz\b|^\s*deg(ree)?s?\s*$|\brad(ian)?s?\b", re.IGNORECASE
)


def parse_unit(text: str) -> tuple[float, u.UnitBase] | None:
    """Return the factor and the unit, without prefix, that a text stands for; None where it is not known.

    The unit is Jy per beam, pixel or solid angle, or K. M is milli before Jy/beam, Jy/pixel and K; before
    Jy/sr it is mega, and m is milli, but with jy in small letters it may be either and is not known.
    """
    # Compatibility forms are plain ones then: raised digits, and one of the two micro signs for both.
    text = unicodedata.normalize("NFKC", text).translate(_MINUS)
    text = _TEX.sub(" ", _TEX_MICRO.sub("u", text)).replace("\u03bc", "u")
    if (number := _FACTOR.match(text)) is None:
        return _parse_plain(text)
    scale, found = float(f"1e{number[1]}" if number[1] else number[2]), _parse_plain(text[number.end() :])
    return (scale * found[0], found[1]) if found and 0 < scale < math.inf else None


def _parse_plain(text: str) -> tuple[float, u.UnitBase] | None:
    given = re.sub(r"[\s.*^{}\"'_\\]", "", text)
    plain = _WORDS.sub(lambda match: _SHORT[match[1]], given.lower())
    if match := _KELVIN.fullmatch(_QUANTITY.sub(r"\1", plain)):
        return _PREFIXES[match[1]], u.K
    plain = re.sub(r"[()\[\]]", "", plain)
    if match := _FLUX_LAST.fullmatch(plain):
        plain = f"{match[3]}jy{match[1]}{match[2]}"
    # beam-1 and arcsec-2, with or without the stroke, as /beam and /arcsec2.
    if (power := _POWER.search(plain)) and "/" not in plain:
        head = re.fullmatch(r"([munk]?(?:jy|jansky))(.+?)-([12])", plain)
        if head is None:
            return None
        plain = f"{head[1]}/{head[2]}{'2' if power[3] == '2' else ''}"
    match = _FLUX.fullmatch(plain)
    per = _PER.get(match[2]) if match else None
    if match is None or per is None:
        return None
    is_angle = per not in (u.beam, u.pix)
    # In capitals MJY/SR is that of infrared archives, while nothing is measured in megajansky per arcsec2.
    if is_angle and ("mjy" in given or (per != u.sr and "MJY" in given)):
        return None
    factor = 1e6 if is_angle and re.search("M[Jj]", given) else _PREFIXES[match[1]]
    return factor, u.Jy / per


def to_jy_beam(text: str, beam: Beam, pixel: Pixel, frequency_hz: float | None) -> float:
    """Return the factor from a unit to Jy/beam for a beam, a pixel and a frequency.

    Raises
    ------
    ConfigError
        The unit is empty or not known, or is K and the frequency is not known.
    """
    factor, unit = known_unit(text)
    if unit == u.Jy / u.beam:
        # Exact: a conversion through solid angles would leave a rounding error in every pixel.
        return factor
    pixel_area = pixel.dy_arcsec * pixel.dx_arcsec * u.arcsec**2
    beam_area = beam.area_pix(pixel) * pixel_area
    if unit == u.K:
        if frequency_hz is None:
            raise ConfigError(
                f"its unit is {text.strip()} and Jy/beam follows from it only with the frequency, which its "
                "header does not give; give it as maps.frequency_hz"
            )
        # Rayleigh-Jeans: 2 k nu^2 / c^2 times the beam's solid angle.
        same = u.brightness_temperature(frequency_hz * u.Hz, beam_area)
        return float((factor * u.K).to_value(u.Jy / u.beam, same))
    if unit == u.Jy / u.pix:
        factor, unit = factor / pixel_area.value, u.Jy / u.arcsec**2
    return float((factor * unit).to_value(u.Jy / u.beam, u.beam_angular_area(beam_area)))


def is_per_pixel(text: str) -> bool:
    """Return whether a known unit is Jy per pixel."""
    return known_unit(text)[1] == u.Jy / u.pix


def zeros_of(text: str) -> Literal["data", "blank"]:
    """Return what zeros are by a known unit: those between the components of a model (Jy/pixel) are data."""
    return "data" if is_per_pixel(text) else "blank"


def known_unit(text: str) -> tuple[float, u.UnitBase]:
    """Return what `parse_unit` does; raise `ConfigError` with the remedy where the unit is not known."""
    if not text.strip():
        raise ConfigError(f"the map has no unit (BUNIT); give maps.unit as {KNOWN}")
    found = parse_unit(text)
    if found is None:
        raise ConfigError(
            f"the unit {text.strip()[:40]!r} is not known; convert the map or give maps.unit as {KNOWN}"
        )
    return found


def choose_unit(setting: str | None, card: str) -> str:
    """Return the unit of a map from ``maps.unit`` and its BUNIT.

    Raises
    ------
    ConfigError
        The two are known and differ, or the card is of another kind, such as a velocity or a sum over a line.
    """
    if setting is None:
        return card
    stated = parse_unit(card)
    is_other = stated is not None or _OTHER_KIND.search(card) or _LOGARITHM.search(card)
    if is_other and stated != parse_unit(setting):
        raise ConfigError(
            f"maps.unit is {setting} and its own unit (BUNIT) is {card.strip()}; leave maps.unit out, or "
            "mend BUNIT in the file if that is wrong"
        )
    return setting


Per = Literal["beam", "angle", "pixel"]
_LOGARITHM = re.compile(r"\b(mag|mmag|dex|db)\b|^log|^ln\b", re.IGNORECASE)
_PER_BEAM = re.compile(r"(?:/|\bper)\s*\(?\s*(?:beam|bm)\b|\b(?:beam|bm)[\s^*{(]*-1", re.IGNORECASE)
_NUMBER = re.compile(
    r"^\s*(?:10\s*(?:\*\*|\^)?\s*\(?[+-]?\d+\)?|\d+\.?\d*(?:[eE][+-]?\d+)?)[\s*x]*(?=[A-Za-z])"
)
_STROKE = re.compile(r"-(?=(?:sr|ster|arcsec|arcmin)\b)")
_SCALE_OF_K = re.compile(r"(?<=K)[ _]?\(?(?:CMB|RJ|tb)\b\)?", re.IGNORECASE)
_WORD = re.compile(r"[A-Za-z]+")
_AMOUNTS = {
    **dict.fromkeys(("cts", "counts"), "ct"),
    **dict.fromkeys(("photons", "phot"), "photon"),
    **dict.fromkeys(("electrons", "e", "photoelectron", "photoelectrons"), "electron"),
    **dict.fromkeys(("maggie", "maggies", "nanomaggie", "nanomaggies"), "mgy"),
    **dict.fromkeys(("millijy", "microjy", "nanojy", "sfu"), "Jy"),
    "dn": "DN",
    "adu": "adu",
}
_OTHERS = {
    **dict.fromkeys(("ster", "steradian", "steradians"), "sr"),
    **dict.fromkeys(("pixel", "pixels", "px", "spaxel", "spaxels"), "pix"),
    **dict.fromkeys(("dimensionless", "fraction", "ratio"), "percent"),
    **dict.fromkeys(("sec", "second", "seconds"), "s"),
    **dict.fromkeys(("a", "ang", "angstroms"), "Angstrom"),
}
# What is written in words or with a hyphen; a letter alone may be tesla or temperature, gauss or giga.
_PHRASES = (
    (re.compile(r"\b(?:detector|raw)\s+(?=counts?\b)", re.IGNORECASE), ""),
    (re.compile(r"\bdata\s+numbers?\b", re.IGNORECASE), "DN"),
    (re.compile(r"\bphoto-(?=electrons?\b)", re.IGNORECASE), ""),
    (re.compile(r"\be-(?![-+\d])", re.IGNORECASE), "electron"),
    (re.compile(r"\bcps\b", re.IGNORECASE), "ct/s"),
    (re.compile(r"\bper\b", re.IGNORECASE), "/"),
)
_UNCLEAR = re.compile(r"\s*[TG]\s*")
_SAME_IN_CAPITALS = {"K", "W", "R", "J", "JY", "HZ"}
_COUNTED = {"DN", "adu", "ct", "electron", "ph", "mgy"}
_FLUXES = (u.Jy, u.Jy * u.Hz, u.Jy * u.km / u.s, u.W, u.W / u.m**2 / u.m, u.kg)
_INTENSIVE = (u.kg / u.m**2, u.kg / u.m**3, u.Pa, u.T)


@dataclass(frozen=True)
class PlaneUnit:
    """The unit of a plane.

    Attributes
    ----------
    name
        As stores have it.
    factor
        From the file's values to this unit.
    per
        What a value counts for: a beam, a pixel, or neither (angle): brightness per solid angle, K, and what
        a place has whatever the size of a pixel, such as km/s or cm-2.
    """

    name: str
    factor: float
    per: Per


def plane_unit(text: str, per: Per | None = None) -> PlaneUnit:
    """Return the unit of a plane: mJy/beam and the like become Jy/beam, any other stays what it is.

    Parameters
    ----------
    per
        What a value counts for, in place of what the unit says; None takes that.

    Raises
    ------
    ConfigError
        There is no unit, it is a logarithm, or what a value counts for is not known.
    """
    plain = " ".join(text.split())
    if not plain:
        raise ConfigError("it has no unit (BUNIT); give its unit")
    if _LOGARITHM.search(plain):
        raise ConfigError(f"its unit {plain[:40]!r} is a logarithm; give the map in a linear unit")
    known = parse_unit(plain)
    if known is not None and known[1] == u.Jy / u.beam:
        if per not in (None, "beam"):
            raise ConfigError(f"its unit {plain[:40]!r} counts for a beam and per is {per}; leave per out")
        return PlaneUnit(JY_BEAM, known[0], "beam")
    per = per or counts_for(plain)
    if per is None:
        raise ConfigError(
            f"its unit {plain[:40]!r} does not say whether a value counts for a beam, a pixel or neither; "
            "give per: beam, per: pixel (the sum stays on other pixels) or per: angle (the value stays)"
        )
    return PlaneUnit(plain, 1.0, per)


def counts_for(text: str) -> Per | None:
    """Return what a value in a unit counts for; None for a logarithm, and where it is not known."""
    plain = " ".join(text.split())
    if not plain or _LOGARITHM.search(plain):
        return None
    known = parse_unit(plain)
    if known is not None:
        return "beam" if known[1] == u.Jy / u.beam else _counts_for(known[1])
    return _text_counts_for(plain)


def _text_counts_for(text: str) -> Per | None:
    text = unicodedata.normalize("NFKC", text).translate(_MINUS)
    text = _TEX.sub(" ", _TEX_MICRO.sub("u", text)).replace("\u03bc", "u")
    if _PER_BEAM.search(text):
        return "beam"
    text = _SCALE_OF_K.sub("", _STROKE.sub("/", _NUMBER.sub("", text)))
    for phrase, meant in _PHRASES:
        text = phrase.sub(meant, text)
    if _UNCLEAR.fullmatch(text):
        return None
    in_capitals = text.upper() == text

    def spell(match: re.Match[str]) -> str:
        word, small = match[0], match[0].lower()
        if small in _AMOUNTS or small in _OTHERS:
            return _AMOUNTS.get(small) or _OTHERS[small]
        if in_capitals:
            return word.capitalize() if word in _SAME_IN_CAPITALS else small
        return re.sub("^(?:micro)(?=Jy$)", "u", re.sub("^(?:milli)(?=Jy$)", "m", word))

    try:
        with warnings.catch_warnings():
            # Astropy warns of two strokes, as in W/m2/sr, and reads them as they are meant.
            warnings.simplefilter("ignore")
            return _counts_for(u.Unit(_WORD.sub(spell, text)))
    except (ValueError, TypeError):
        return None


def _counts_for(unit: u.UnitBase) -> Per | None:
    """Return what a value in a unit other than one per beam counts for; None where that is not known."""
    whole = unit.decompose()
    powers = {base.name: power for base, power in zip(whole.bases, whole.powers, strict=True)}
    if powers.get("pix") == -1:
        return "pixel"
    per_area = powers.get("rad") == -2 or (u.pc, -2) in zip(unit.bases, unit.powers, strict=True)
    if per_area or "K" in powers or set(powers) <= {"m", "s", "rad"}:
        return "angle"
    if any(powers.get(name) == 1 for name in _COUNTED) or any(map(unit.is_equivalent, _FLUXES)):
        return "pixel"
    return "angle" if any(map(unit.is_equivalent, _INTENSIVE)) else None
