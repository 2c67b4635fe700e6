"""The restoring beam of a map as its file gives it: in cards, in a table of beams, or in HISTORY.

Cards are BMAJ, BMIN and BPA, or CLEANBMJ and so on (Obit), or BMMAJ and so on (GIPSY). A table BEAMS (CASA,
spectral-cube) has one row for each plane. Lines of HISTORY are those of AIPS, CASA and MIRIAD; the last one
that gives a beam counts.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from astropy.io import fits

from astro_dist.engine.errors import ConfigError
from astro_dist.sky.beams import Beam

REMEDY = "give it as maps.beam_major_arcsec, maps.beam_minor_arcsec and maps.beam_pa_deg"
# Of BMMAJ (GIPSY) in arcsec, of the others in degrees.
CARDS = (("BMAJ", "BMIN", "BPA"), ("CLEANBMJ", "CLEANBMN", "CLEANBPA"), ("BMMAJ", "BMMIN", "BMPA"))
# Below this difference of the widths, relative, a beam counts as round and its angle does not matter.
ROUND = 1e-3
ARCSEC = {
    **dict.fromkeys(("arcsec", "arcseconds", "arcsecs", "asec", '"', "''", "as"), 1.0),
    **dict.fromkeys(("arcmin", "arcminutes", "amin"), 60.0),
    **dict.fromkeys(("deg", "degrees", "degree"), 3600.0),
    **dict.fromkeys(("mas", "milliarcsec"), 1e-3),
    **dict.fromkeys(("rad", "radians"), math.degrees(3600)),
}
Widths = tuple[float | None, float | None, float | None]
Stated = tuple[float, float, float | None]
"""Widths of a file in arcsec and the angle in degrees, None where the file has no angle."""
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[ed][-+]?\d+)?(?![\d.])"
_UNITS = "|".join(sorted(map(re.escape, ARCSEC), key=len, reverse=True))
# "as" after a space is a word of a sentence; a number that goes on in another way is none.
_AIPS = re.compile(
    r"\b(?P<key>bmaj|bmin|bpa)\s*[=:]\s*"
    rf"(?:({_NUMBER})(?:(?!\s+as\b)\s*({_UNITS})(?![a-z]))?(?![\w\"'.])|[^\s/]+)",
    re.IGNORECASE,
)
# As CASA ("restoration: 0.5 by 0.4 (arcsec) at pa 30 (deg)", "Beam : 0.5 arcsec, 0.4 arcsec, 30 deg") and
# MIRIAD ("RESTOR: Beam =  5.303E+01 x  3.266E+01 arcsec, pa =  6.485E+00 degrees") write it; `>` begins a
# line that CASA continues. A beam in other words may be any: an antenna's, or that before smoothing.
_GAP = r"[\s>,;'()\[\]]*"
_WIDTHS = re.compile(
    r"(?:\brestoration|\brestor(?:ing|ed)[ _]?beam|"
    r"(?:^|[:>]|\brestor)[ \t>]*beam(?:[ ]for[ ]chan\s*:\s*\d+)?(?=\s*[=:]))"
    rf"\s*[=:]?{_GAP}({_NUMBER}){_GAP}({_UNITS})?"
    rf"{_GAP}(?:by|x|\*)?{_GAP}({_NUMBER}){_GAP}({_UNITS})"
    rf"(?:{_GAP}(?:at|@)?{_GAP}(?:b?p\.?a\.?|position[ ]angle)?[\s=:]*({_NUMBER}){_GAP}(deg|rad)?)?",
    re.IGNORECASE | re.MULTILINE,
)
_OTHER_BEAM = re.compile(r"\b(?:primary|antenna|dirty|from)\b", re.IGNORECASE)
_LIKE_A_BEAM = re.compile(
    r"\bbmaj\b|restoration|restor\w*:?\s*beam|\bbeam\s*[=:]|\bbeam\b.*\d", re.IGNORECASE
)
# Tasks of AIPS, whose parameters are in arcsec where its header has degrees.
_IN_ARCSEC = {"APCLN", "CCRES", "CONVL", "IMAGR", "MX", "RESTR", "RSTOR", "SDCLN", "SMOTH", "VTESS"}
# A verb of AIPS that changes cards, one a line, and says what they were before.
_CHANGES, _OLD = "PUTHEAD", re.compile(r"\s*/\s*old\b", re.IGNORECASE)
# Programs that change the beam, after which the beam of an earlier line no longer holds.
_CONVOLVES = re.compile(r"\bimsmooth\b|\bCONVOL:.*\bfwhm|\bconvolved\b|\bsmoothed to\b", re.IGNORECASE)
# FITS has the unit of a card in brackets at the start of its comment.
_UNIT = re.compile(r"\s*\[\s*([a-z]+)\s*\]", re.IGNORECASE)
MOST_DEG = 1000.0


@dataclass(frozen=True)
class BeamRow:
    """A row of a table of beams: the plane along frequency and along Stokes, from 0, and the beam."""

    channel: int
    stokes: int
    major_arcsec: float
    minor_arcsec: float
    pa_deg: float | None


def find_beam(
    header: fits.Header, rows: Sequence[BeamRow], history: Sequence[str], given: Widths
) -> tuple[Beam, tuple[str, ...]]:
    """Return the beam of a map, and sentences on what was assumed.

    A beam without an angle has 0, and of two widths in the wrong order the larger is that of the major axis;
    both are said.

    Parameters
    ----------
    rows
        The rows of its table of beams that belong to the plane.
    history
        The lines of its HISTORY that may hold a beam, with the line after each.
    given
        Width along the major and the minor axis in arcsec and position angle in degrees from the settings,
        None where they leave it to the file.

    Raises
    ------
    ConfigError
        In one line without the path: no beam is found, it is not finite and positive, or it differs from
        plane to plane.
    """
    major, minor, pa = given
    if major is not None:
        return Beam(major, minor or major, pa or 0.0), ()
    found = beam_of_cards(header) or _from_rows(rows) or _from_history("\n".join(history))
    if found is None:
        raise ConfigError(_no_beam(header, history))
    if pa is not None:
        return _plausible(found[0], found[1], pa)
    return _plausible(*found)


def states_beam(header: fits.Header, rows: Sequence[BeamRow], history: Sequence[str], given: Widths) -> bool:
    """Return whether settings or file give a beam, right or wrong; arguments as those of `find_beam`."""
    stated = beam_of_cards(header) or any(row.major_arcsec > 0 for row in rows)
    return bool(given[0] or stated or _from_history("\n".join(history)))


def _plausible(major: float, minor: float, pa: float | None) -> tuple[Beam, tuple[str, ...]]:
    """Return the beam of stated widths and angle, see `find_beam`."""
    notes = []
    is_round = abs(major - minor) <= ROUND * major
    if 0 < major < minor < math.inf:
        major, minor = minor, major
        if not is_round:
            pa = None if pa is None else pa + 90
            notes.append(
                f"BMAJ of {minor:.6g} arcsec is below BMIN of {major:.6g}: they are exchanged, and 90 "
                f"degrees are added to BPA; if that is wrong, {REMEDY}"
            )
    if not 0 < minor <= major < math.inf:
        raise ConfigError(f"its beam of {major:.6g} x {minor:.6g} arcsec is impossible; {REMEDY}")
    widths = f"{major:.6g} x {minor:.6g} arcsec"
    if pa is None and not is_round:
        notes.append(f"its beam of {widths} has no angle (BPA): 0 is taken; give it as maps.beam_pa_deg")
    if pa is not None and not abs(pa) <= MOST_DEG and not is_round:
        raise ConfigError(
            f"the angle of its beam of {widths} (BPA) is no number of degrees; give it as maps.beam_pa_deg"
        )
    return Beam(major, minor, pa if pa is not None and abs(pa) <= MOST_DEG else 0.0), tuple(notes)


def _number(value: object) -> float:
    """Return a card as a number, NaN where it is none."""
    try:
        return math.nan if isinstance(value, bool) else float(str(value).upper().replace("D", "E"))
    except ValueError:
        return math.nan


def beam_of_cards(header: fits.Header) -> Stated | None:
    """Return the beam that the cards of a header state; None without a width."""
    for keys in CARDS:
        major = _number(header.get(keys[0]))
        # 0 and NaN stand for a beam that was not fitted, or that differs from plane to plane.
        if major > 0:
            minor, pa = _number(header.get(keys[1], major)), header.get(keys[2])
            unit = _unit_arcsec(header, keys[0])
            minor *= _unit_arcsec(header, keys[1]) if keys[1] in header else unit
            return major * unit, minor, None if pa is None else _number(pa)
    return None


def _unit_arcsec(header: fits.Header, key: str) -> float:
    """Return the arcsec in the unit of a width."""
    stated = _UNIT.match(str(header.comments[key]))
    usual = "arcsec" if key.startswith("BMM") else "deg"
    return ARCSEC.get(stated[1].lower() if stated else usual, ARCSEC[usual])


def _from_rows(rows: Sequence[BeamRow]) -> Stated | None:
    beams = {(row.major_arcsec, row.minor_arcsec, row.pa_deg) for row in rows if row.major_arcsec > 0}
    if len(beams) > 1:
        raise ConfigError(
            f"its table of beams has {len(beams)} different ones and none is said to be that of the plane; "
            f"convolve the planes to one beam, or {REMEDY}"
        )
    return next(iter(beams), None)


def _from_history(text: str) -> Stated | None:
    found = [*_aips_beams(text), *_worded_beams(text)]
    if not found:
        return None
    place, beam = max(found, key=lambda one: one[0])
    end = text.find("\n", place)
    later = _CONVOLVES.search(text, end) if end >= 0 else None
    unclear = later.start() if later else place
    if later or not all(map(math.isfinite, beam[:2])):
        line = " ".join(text[text.rfind("\n", 0, unclear) + 1 :].partition("\n")[0].split())
        raise ConfigError(f"its HISTORY line {line!r} tells of a beam in words not understood; {REMEDY}")
    return beam


def _aips_beams(text: str) -> list[tuple[int, Stated]]:
    """Return place and beam of each BMAJ= BMIN= BPA= of a text, which may go over two lines."""
    found: dict[int, Stated] = {}
    values: dict[str, re.Match[str]] = {}
    for match in _AIPS.finditer(text):
        key, is_changed = match["key"].upper(), _first_word(match) == _CHANGES
        if is_changed and _OLD.match(text, match.end()):
            continue
        if is_changed:
            values = {**values, key: match}
        else:
            values = {key: match} if key == "BMAJ" else {key: match, **values}
        if {"BMAJ", "BMIN"} <= values.keys():
            # By the place of BMAJ, so that the angle replaces the beam without it.
            found[match.start() if is_changed else values["BMAJ"].start()] = _aips_beam(values)
    # Tasks list the parameters that were not set as 0.
    return [(place, beam) for place, beam in found.items() if not min(beam[:2]) <= 0]


def _aips_beam(values: Mapping[str, re.Match[str]]) -> Stated:
    major, minor, pa = values["BMAJ"], values["BMIN"], values.get("BPA")
    usual = "arcsec" if _first_word(major) in _IN_ARCSEC else "deg"
    widths = [
        _number(one[2]) * ARCSEC[(one[3] or other[3] or usual).lower()]
        for one, other in ((major, minor), (minor, major))
    ]
    angle = _number(pa[2]) * ARCSEC[(pa[3] or "deg").lower()] / 3600 if pa else None
    return widths[0], widths[1], angle


def _first_word(match: re.Match[str]) -> str:
    """Return the first word of the line of a match: other parameters may stand between it and the match."""
    line = match.string[match.string.rfind("\n", 0, match.start()) + 1 : match.start()].split()
    return line[0].upper() if line else ""


def _worded_beams(text: str) -> list[tuple[int, Stated]]:
    found: list[tuple[int, Stated]] = []
    for match in _WIDTHS.finditer(text):
        if _OTHER_BEAM.search(text[text.rfind("\n", 0, match.start()) + 1 : match.start()]):
            continue
        unit = match[4].lower()
        major = _number(match[1]) * ARCSEC[(match[2] or unit).lower()]
        # NaN without an angle: the line may give it in words that are not understood.
        pa = _number(match[5]) * (ARCSEC[(match[6] or "deg").lower()] / 3600)
        found.append((match.start(), (major, _number(match[3]) * ARCSEC[unit], pa)))
    return found


def _no_beam(header: fits.Header, history: Sequence[str]) -> str:
    for keys in CARDS:
        if keys[0] in header:
            return f"its beam is not known ({keys[0]} is {header[keys[0]]}); {REMEDY}"
    if like := [line for line in history if _LIKE_A_BEAM.search(line)]:
        line = " ".join(like[-1].split())
        return f"there is no beam in its header, and its HISTORY line {line!r} is not understood; {REMEDY}"
    return f"there is no beam (BMAJ, BMIN, BPA) in its header; {REMEDY}"
