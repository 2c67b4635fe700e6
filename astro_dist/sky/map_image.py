"""Which image of a FITS file is the map: the HDU, the plane of a cube, the Stokes parameter.

The image is chosen by what it holds: the one HDU with celestial axes or, among several, the one with a unit
of brightness. Several are refused with a list, and ``maps.hdu`` chooses. An image in an extension takes the
unit, the beam and the frequency that it lacks from the first header, unless its INHERIT is F.
"""

import contextlib
import math
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from astropy.io import fits

from astro_dist.engine.errors import ConfigError
from astro_dist.sky.fits_columns import check_columns
from astro_dist.sky.fits_headers import Hdu, holds_image
from astro_dist.sky.fits_reader import Layout, describe_image, open_checked, parse_header
from astro_dist.sky.fits_survey import beam_lines, check_chosen, holds_sky, survey_hdus
from astro_dist.sky.frequency import axis_value
from astro_dist.sky.header_beams import ARCSEC, CARDS, REMEDY, BeamRow, beam_of_cards
from astro_dist.sky.units import parse_unit

STOKES = {
    **{1: "I", 2: "Q", 3: "U", 4: "V", -1: "RR", -2: "LL", -3: "RL", -4: "LR"},
    **{-5: "XX", -6: "YY", -7: "XY", -8: "YX"},
}
INHERITED = (
    *("BUNIT", "RESTFRQ", "RESTFREQ", "FREQ", "OBSFREQ", "CASAMBM"),
    *(card for cards in CARDS for card in cards),
)
# Frames are inherited only where the extension asks for it: without the cards a map is in ICRS.
FRAMES = ("RADESYS", "RADECSYS", "EQUINOX", "EPOCH")
BEAMS_BYTES = 1 << 26
BEAM_UNITS = {"BMAJ": "arcsec", "BMIN": "arcsec", "BPA": "deg"}
_COORDINATES = re.compile(
    r"NAXIS[12]|(CTYPE|CRVAL|CRPIX|CDELT|CUNIT|CROTA|CPDIS|D2IMDIS|CQDIS)[12]|(PC|CD)0*[12]_?0*[12]|"
    r"PV[12]_\d+|PROJP\d+|LONPOLE|LATPOLE|RADESYS|RADECSYS|EQUINOX|EPOCH|DATE-OBS|MJD-OBS|DATE-AVG|MJD-AVG|"
    r"[AB]P?_(ORDER|DMAX|\d_\d)"
)
# Values of BTYPE, as CASA and MIRIAD write them, of maps in Jy/beam that are none of a Stokes parameter.
_POLARISED = re.compile(
    r"((TOTAL|(LINEAR|CIRCULAR)(LY)?)[\s_])?POLARI[SZ]ED[\s_]INTENSITY|P|PI|PFLUX|PF?(LINEAR|TOTAL)|PANGLE|"
    r"FRACTIONAL[\s_]((LINEAR|CIRCULAR)[\s_])?POLARI[SZ]ATION|POLARI[SZ]ATION[\s_](FRACTION|ANGLE)"
)
POLARISATIONS = ("STOKES", "POL", "POLN", "POLARIZ", "POLTYPE", "POLAR", "BTYPE")
HANDS = {"RCP": "RR", "LCP": "LL"}
# Most values of an axis that an error lists.
MOST_LISTED = 8


@dataclass(frozen=True)
class MapImage:
    """The image of a map: its header, completed from the first, and all that is kept outside the header.

    Attributes
    ----------
    header
        Without COMMENT and HISTORY.
    layout
        Place and coding of the pixels of the plane.
    plane
        Index along the third and further axes of the header.
    history
        The lines of HISTORY that may hold the beam.
    beams
        The rows of a table of beams that belong to the plane; all where none is said to.
    """

    header: fits.Header
    layout: Layout
    plane: tuple[int, ...]
    history: list[str]
    beams: list[BeamRow]


def find_map(path: Path, hdu: int | str | None, plane: int | Sequence[int] | None, stokes: str) -> MapImage:
    """Return the image of a file that is the map.

    Parameters
    ----------
    hdu
        Number from 0 or EXTNAME of the image; None chooses by what it holds.
    plane
        Number of the plane of a cube, from 0; one for each axis longer than 1 where there are several.
    stokes
        The Stokes parameter that is wanted; ``any`` takes all.

    Raises
    ------
    ConfigError
        In one line without the path: the file is no FITS image, several or none of its images fit, it is a
        cube and the plane is not chosen, or the Stokes parameter is another one.
    """
    hdus, chosen, header, layout = open_chosen(path, hdu)
    history = beam_lines(chosen)
    if chosen.index and _inherits(hdus[0], header):
        _complete(header, parse_header(hdus[0]))
        history = [*beam_lines(hdus[0]), *history]
    mend_unit(header, chosen, hdus[0])
    index = choose_plane(header, layout.axes, plane)
    _check_stokes(header, index, stokes)
    # Numpy's order is the reverse of the header's.
    layout = replace(layout, plane=tuple(reversed(index)))
    beams = [] if beam_of_cards(header) else read_beams(path, hdus, header, index, layout.axes)
    return MapImage(header, layout, index, history, beams)


def find_canvas(path: Path, hdu: int | str | None = None) -> tuple[fits.Header, Layout]:
    """Return header and layout of the image that `find_map` takes, whatever its planes are of.

    An ``hdu`` that the file does not have counts as none.
    """
    if hdu is not None and not _named(list(survey_hdus(path)), hdu):
        hdu = None
    return open_chosen(path, hdu)[2:]


def find_plane(
    path: Path, hdu: int | str | None, plane: int | Sequence[int] | None
) -> tuple[fits.Header, Layout]:
    """Return header and layout of one plane of the image of `find_canvas`.

    ``plane`` is that of a cube, see `find_map`, and counts as none for an image of one plane.
    """
    header, layout = find_canvas(path, hdu)
    index = choose_plane(header, layout.axes, plane if max(layout.axes[:-2], default=1) > 1 else None)
    return header, replace(layout, plane=tuple(reversed(index)))


def open_chosen(path: Path, hdu: int | str | None = None) -> tuple[list[Hdu], Hdu, fits.Header, Layout]:
    """Return the HDUs of a file, the one that `find_map` takes, and its header and layout."""
    hdus = list(survey_hdus(path, _is_enough if hdu is None else None))
    chosen = _choose(hdus, hdu)
    check_chosen(path, hdus, chosen)
    return hdus, chosen, *describe_image(path, chosen)


def celestial_cards(header: fits.Header) -> fits.Header:
    """Return the cards of a header from which the coordinates of its first two axes follow.

    The others are left out because astropy refuses all coordinates for one bad card of a spectral or Stokes
    axis.
    """
    kept = fits.Header([card for card in header.cards if _COORDINATES.fullmatch(card.keyword)])
    kept["NAXIS"] = 2
    return kept


def _is_enough(hdu: Hdu) -> bool:
    return holds_sky(hdu) and hdu.card("CASAMBM") != "T"


def _choose(hdus: Sequence[Hdu], wanted: int | str | None) -> Hdu:
    images = [one for one in hdus if holds_image(one)]
    if not images:
        raise ConfigError("no image in this FITS file; leave it out or give another")
    if wanted is not None:
        fits_name = _named(images, wanted)
        if len(fits_name) != 1:
            raise ConfigError(f"maps.hdu: {wanted} is none of its images ({_list(images)}); choose one")
        return fits_name[0]
    skies = [one for one in images if holds_sky(one)]
    # Without any sky the first image is taken, whose header then says what is missing.
    candidates = skies or images[:1]
    if len(candidates) > 1:
        with_unit = [one for one in candidates if parse_unit(_unit(one, hdus[0])) is not None]
        candidates = with_unit if len(with_unit) == 1 else candidates
    if len(candidates) > 1:
        raise ConfigError(f"it holds several maps: {_list(candidates)}; choose one with maps.hdu")
    return candidates[0]


def _named(hdus: Sequence[Hdu], wanted: int | str) -> list[Hdu]:
    name = str(wanted).strip().upper()
    return [one for one in hdus if holds_image(one) and name in (str(one.index), one.name)]


def mend_unit(header: fits.Header, hdu: Hdu, first: Hdu) -> None:
    """Write u for a micro sign in the BUNIT of an HDU's header.

    Astropy writes a question mark for each byte beyond ASCII.
    """
    if "?" in str(header.get("BUNIT", "")):
        header["BUNIT"] = _unit(hdu, first).encode("ascii", "replace").decode()


def _unit(hdu: Hdu, first: Hdu) -> str:
    inherits = hdu.card("INHERIT") or ("F" if first.image_axes else "T")
    text = hdu.card("BUNIT") or (first.card("BUNIT") if inherits == "T" else "")
    # Cards come as latin-1, which has a character for every byte; UTF-8 is as common beyond ASCII.
    with contextlib.suppress(UnicodeDecodeError):
        text = text.encode("latin-1").decode()
    return unicodedata.normalize("NFKC", text).replace("\u03bc", "u")


def _list(hdus: Sequence[Hdu]) -> str:
    parts = []
    for one in hdus[:MOST_LISTED]:
        size = " x ".join(str(n) for n in reversed(one.image_axes))
        facts = " ".join(part for part in (one.name, size, one.card("BUNIT")) if part)
        parts.append(f"HDU {one.index} {facts}")
    return "; ".join(parts)


def _inherits(first: Hdu, header: fits.Header) -> bool:
    # FITS has INHERIT for a first HDU without data; that such a header is meant for all is usual without it.
    return header.get("INHERIT", not first.image_axes) is True


def _complete(header: fits.Header, first: fits.Header) -> None:
    keys = (*INHERITED, *FRAMES) if header.get("INHERIT") is True else INHERITED
    # Together or not at all: a width of one header with an angle of another is no beam.
    own = {key for cards in CARDS if cards[0] in header for key in cards}
    for key in keys:
        if key in first and key not in header and key not in own:
            # The comment may say the unit.
            header[key] = (first[key], first.comments[key])


def choose_plane(
    header: fits.Header, axes: Sequence[int], wanted: int | Sequence[int] | None
) -> tuple[int, ...]:
    """Return the index of the plane along the third and further axes of the header, see `find_map`."""
    lengths = tuple(reversed(axes[:-2]))
    long = [i for i, length in enumerate(lengths) if length > 1]
    given = [wanted] if isinstance(wanted, int) else list(wanted or ())
    if long and not given:
        named = " and ".join(_describe_axis(header, i + 3, lengths[i]) for i in long)
        example = "0" if len(long) == 1 else str([0] * len(long))
        raise ConfigError(
            f"it is a cube with more than one plane along {named}; choose one, counted from 0, with "
            f"maps.plane (such as maps.plane: {example})"
        )
    # One number for each long axis, or none for a map of one plane among cubes.
    if not long and any(given):
        raise ConfigError("it has one plane, which is taken by itself; leave maps.plane out or at 0")
    if len(given) != len(long) and any(given):
        raise ConfigError(
            f"maps.plane has {len(given)} numbers and {len(long)} of its axes are longer than 1"
        )
    index = [0] * len(lengths)
    for i, place in zip(long, given, strict=False):
        if not 0 <= place < lengths[i]:
            named = _describe_axis(header, i + 3, lengths[i])
            raise ConfigError(f"maps.plane: {place} is none of its planes along {named}, counted from 0")
        index[i] = place
    return tuple(index)


def _describe_axis(header: fits.Header, axis: int, length: int) -> str:
    kind = str(header.get(f"CTYPE{axis}", f"axis {axis}")).strip()
    try:
        first, last = (axis_value(header, axis, i) for i in (0, length - 1))
    except (ValueError, TypeError):
        return f"{kind} ({length})"
    if kind.upper() == "STOKES":
        names = [STOKES.get(round(axis_value(header, axis, i)), "?") for i in range(min(length, MOST_LISTED))]
        return f"{kind} ({length}: {', '.join(names)})"
    unit = str(header.get(f"CUNIT{axis}", "")).strip()
    return f"{kind} ({length}, {first:.6g} to {last:.6g} {unit}".rstrip() + ")"


def _check_stokes(header: fits.Header, plane: Sequence[int], wanted: str) -> None:
    found = _stokes_of_axis(header, plane) or _stokes_of_cards(header)
    if found is None or wanted in ("any", found):
        return
    remedy = f"maps.stokes: {found}" if found in STOKES.values() else "maps.stokes: any"
    raise ConfigError(
        f"it is a map of Stokes {found}, not {wanted}; give another map or plane (maps.plane), or "
        f"{remedy} to take it as it is, or background_only: true to take its noise alone"
    )


def _stokes_of_axis(header: fits.Header, plane: Sequence[int]) -> str | None:
    for axis in range(1, len(plane) + 5):
        if not re.fullmatch(r"STOKES|POLARI[SZ]ATION", str(header.get(f"CTYPE{axis}", "")).strip().upper()):
            continue
        index = plane[axis - 3] if 0 <= axis - 3 < len(plane) else 0
        if (named := str(header.get(f"CRVAL{axis}", "")).strip().upper()) in STOKES.values():
            return named
        with contextlib.suppress(ValueError, TypeError):
            value = axis_value(header, axis, index)
            return STOKES.get(round(value), f"{value:g}")
    return None


def _stokes_of_cards(header: fits.Header) -> str | None:
    """Return what a card says of the parameter; None for a list of several, and for other words."""
    for key in POLARISATIONS:
        text = str(header.get(key, "")).strip("' \"").upper()
        if _POLARISED.fullmatch(text):
            return text.lower()
        number = re.fullmatch(r"([-+]?\d)(?:\.0*)?", text)
        name = STOKES.get(int(number[1])) if number else re.sub(r"^STOKES[\s_:=]*", "", text)
        if (name := HANDS.get(name or "", name)) in STOKES.values():
            return name
    return None


def read_beams(
    path: Path, hdus: Sequence[Hdu], header: fits.Header, plane: Sequence[int] | None, axes: Sequence[int]
) -> list[BeamRow]:
    """Return the rows of a table of beams that belong to a plane; all for None, and where none is said to."""
    tables = [one for one in hdus if one.is_table and _has_beams(one)]
    if not tables or tables[0].data_bytes > BEAMS_BYTES:
        return []
    table = tables[0]
    check_chosen(path, list(hdus), table, whole=True)
    check_columns(table)
    with open_checked(path, [one for one in hdus if one.index <= table.index]) as opened:
        rows = _beam_rows(opened[table.index])
    if plane is None:
        return rows
    place = {"FREQ": 0, "STOKES": 0}
    for i, index in enumerate(plane):
        kind = str(header.get(f"CTYPE{i + 3}", "")).strip().upper()
        place["STOKES" if kind == "STOKES" else "FREQ"] = index
    own = [row for row in rows if (row.channel, row.stokes) == (place["FREQ"], place["STOKES"])]
    # A plane that was cut out of a cube may have kept the table of all planes.
    return own if own and len(rows) <= math.prod(axes[:-2]) else rows


def _has_beams(hdu: Hdu) -> bool:
    names = {hdu.text(key).upper() for key in hdu.cards if key.startswith("TTYPE")}
    return {"BMAJ", "BMIN"} <= names


def _beam_rows(table: fits.BinTableHDU) -> list[BeamRow]:
    names = {name.upper(): name for name in table.columns.names}
    columns = {}
    for key in ("BMAJ", "BMIN", "BPA", "CHAN", "POL"):
        if key in names:
            unit = str(table.columns[names[key]].unit or "").strip().lower()
            factor = _beam_factor(key, unit) if key in BEAM_UNITS else 1.0
            columns[key] = table.data[names[key]].astype(float).reshape(-1) * factor
    n = len(columns["BMAJ"])
    channel = columns.get("CHAN", range(n))
    stokes, pa = columns.get("POL", [0] * n), columns.get("BPA", [None] * n)
    values = zip(channel, stokes, columns["BMAJ"], columns["BMIN"], pa, strict=True)
    return [
        BeamRow(int(c), int(s), float(a), float(b), None if p is None else float(p))
        for c, s, a, b, p in values
    ]


def _beam_factor(key: str, unit: str) -> float:
    """Return the factor from a unit to the one of `BeamRow`, which CASA means where it writes none."""
    usual = BEAM_UNITS[key]
    if unit and unit not in ARCSEC:
        raise ConfigError(
            f"its table of beams has {key} in {unit[:40]!r}, which is no unit of angles; {REMEDY}"
        )
    return ARCSEC[unit or usual] / ARCSEC[usual]
