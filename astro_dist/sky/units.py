"""The brightness units of radio maps, in the spellings that are met, and their conversion to Jy/beam."""

import math
import re
import unicodedata

from astropy import units as u

from astro_dist.engine.errors import ConfigError
from astro_dist.sky.beams import Beam, Pixel

KNOWN = "Jy/beam, Jy/pixel, Jy/sr, Jy/arcsec2 or K, with m, u, n, k or M before them"
# M is not among these: it is mega before solid angles only (MJy/sr comes from the infrared), while no beam
# holds a million Jy and MJY/BEAM is mJy/beam in capitals.
_PREFIXES = {"": 1.0, "k": 1e3, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_PER = {
    "beam": u.beam,
    **dict.fromkeys(("beams", "bm", "b", "bem", "restoredbeam", "cleanbeam", "psf"), u.beam),
    **dict.fromkeys(("synthbeam", "synthesizedbeam", "synthesisedbeam"), u.beam),
    **dict.fromkeys(("pixel", "pixels", "pix", "px", "cell"), u.pix),
    **dict.fromkeys(("sr", "ster", "str", "steradian", "steradians"), u.sr),
    **dict.fromkeys(("arcsec2", "sqarcsec", "asec2"), u.arcsec**2),
    **dict.fromkeys(("arcmin2", "sqarcmin", "amin2"), u.arcmin**2),
    **dict.fromkeys(("deg2", "sqdeg", "degree2"), u.deg**2),
}
_FLUX = re.compile(r"([munk]?)(?:jy|jansky|janskys|janskies)(?:/|per)(.+)")
_FLUX_LAST = re.compile(r"(beam|bm|pixel|pix|px|sr|arcsec|arcmin|deg)(-\d)([munk]?)jy")
_POWER = re.compile(r"([a-z]+?)(2?)-([12])$")
_SHORT = {"milli": "m", "micro": "u", "mu": "u", "nano": "n", "kilo": "k"}
_WORDS = re.compile(r"(micro|milli|nano|kilo|mu)-?(?=jy|jansky|k)")
# What LaTeX adds to a unit, and points and minus signs of Unicode: names of fonts, spaces, the micro sign.
_TEX = re.compile(r"\\(?:mathrm|mathit|textrm|text|rm|it)\b|\\[,;: ]|[$~\u00b7\u22c5\u2219]")
_TEX_MICRO = re.compile(r"\\(?:up|u)?mu(?![a-z])|\\mu(?=jy)|&mu;", re.IGNORECASE)
_MINUS = str.maketrans("\u2212\u2010\u2011\u2013\u2014", "-----")
# A factor as the FITS standard (4.0, section 4.3.1) has it, or as a plain number.
_FACTOR = re.compile(
    r"\s*(?:10\s*(?:\*\*|\^)\s*\(?([+-]?\d+)\)?|(\d+\.?\d*(?:[eE][+-]?\d+)?))[\s*]*(?=[A-Za-z])"
)
_KELVIN = re.compile(r"([munk]?)k(?:elvins?)?(?:rj|tb|\(tb\)|\(rj\)|tmb|brightness)?")


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
    if match := _KELVIN.fullmatch(plain):
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
    if is_angle and "mjy" in given:
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
        The two are known and differ.
    """
    if setting is None:
        return card
    stated = parse_unit(card)
    if stated is not None and stated != parse_unit(setting):
        raise ConfigError(
            f"maps.unit is {setting} and its own unit (BUNIT) is {card.strip()}; leave maps.unit out, or "
            "mend BUNIT in the file if that is wrong"
        )
    return setting
