"""The text of DS9 region files and of CASA's (CRTF)."""

import math
import re
from collections.abc import Iterator

from astro_dist.engine.errors import ConfigError
from astro_dist.sky.region_shapes import MOST_SHAPES, Length, Shape, System

ARCSEC = {"deg": 3600.0, "arcmin": 60.0, "arcsec": 1.0, "rad": 206264.80624709636}
NUMBER = r"[-+]?(?:\d{1,15}\.?\d{0,20}|\.\d{1,20})(?:[eE][-+]?\d{1,3})?"
_VALUE = re.compile(rf"({NUMBER})\s*(deg|arcmin|arcsec|rad|pix|[\"'dripDRIP]?)")
# Hours or degrees, minutes, seconds: 12:34:56.7, 12h34m56.7s, -30d12m34s, and CASA's -30.12.34.5 for degrees.
_SEXAGESIMAL = re.compile(
    r"([-+]?)(\d{1,3})\s*([:hd])\s*(\d{1,2})\s*[:m']\s*(\d{1,2}(?:\.\d{0,12})?)\s*[s\"]?"
)
_DOTTED = re.compile(r"([-+]?)(\d{1,3})\.(\d{1,2})\.(\d{1,2}(?:\.\d{0,12})?)")

DS9_SYSTEMS: dict[str, System] = {
    **dict.fromkeys(("image", "physical"), "image"),
    **dict.fromkeys(("fk5", "j2000"), "fk5"),
    **dict.fromkeys(("fk4", "b1950"), "fk4"),
    **{"icrs": "icrs", "galactic": "galactic", "wcs": "map"},
}
CRTF_SYSTEMS: dict[str, System] = {
    **{"j2000": "fk5", "fk5": "fk5", "b1950": "fk4", "fk4": "fk4", "icrs": "icrs"},
    **{"galactic": "galactic", "": "map"},
}
AREAS = ("circle", "ellipse", "box", "polygon")
CRTF_AREAS = ("circle", "ellipse", "box", "centerbox", "rotbox", "poly")
FLAT = frozenset(
    {"point", "line", "text", "vector", "ruler", "compass", "projection", "segment", "symbol", "tile"}
)
"""Regions without an area."""
_DS9 = re.compile(r"\s*([-+!]?)\s*([A-Za-z]+)\s*[( ]?\s*([^)#]*)\)?\s*(?:\|\|)?\s*(#.*)?")
_PROPERTY = re.compile(r"\b(text|tag)\s*=\s*(?:\{([^}]*)\}|\"([^\"]*)\"|'([^']*)')")
# Brackets in brackets are the places; further ones, such as those of corr=[I, V], belong to the properties.
_CRTF = re.compile(r"\s*([-+]?)\s*([A-Za-z]+)\s*(\[(?:[^\[\]]|\[[^\[\]]*\])*\])\s*,?\s*(.*)")
_CRTF_PROPERTY = re.compile(r"(\w+)\s*=\s*(?:'([^']*)'|\"([^\"]*)\"|([^,\s\]]+))")


def parse_ds9(text: str) -> Iterator[Shape]:
    """Yield the regions of a DS9 file."""
    # DS9 writes the frame into every file; without one, places are pixels.
    system: System = "image"
    for number, line in _lines(text):
        # A semicolon divides regions, unless it stands in a name.
        for part in re.split(r";(?![^{]*\})", line):
            word = part.strip().split("(")[0].split("#")[0].strip().lower()
            if not word or part.lstrip().startswith("#") or word.startswith("global"):
                continue
            if word in DS9_SYSTEMS:
                system = DS9_SYSTEMS[word]
            elif (shape := _ds9_shape(part, system, number)) is not None:
                yield shape


def _lines(text: str) -> Iterator[tuple[int, str]]:
    lines = text.splitlines()
    if len(lines) > MOST_SHAPES:
        raise ConfigError(f"{len(lines)} lines of regions, at most {MOST_SHAPES} are read")
    yield from enumerate(lines, 1)


def _ds9_shape(text: str, system: System, line: int) -> Shape | None:
    match = _DS9.fullmatch(text)
    kind = match[2].lower() if match else ""
    if match is None or (kind not in AREAS and kind not in FLAT):
        raise ConfigError(
            f"line {line}: {text.strip()[:40]!r} is not read; circle, ellipse, box and polygon are, in "
            "image, fk4, fk5, icrs or galactic coordinates"
        )
    if kind in FLAT:
        return None
    if match[1] in ("-", "!"):
        raise ConfigError(f"line {line}: regions that are excluded (-) are not read; take it out")
    words = tuple(next(filter(None, found[1:]), "") for found in _PROPERTY.findall(match[4] or ""))
    numbers = [part for part in re.split(r"[\s,]+", match[3].strip()) if part]
    # In an image DS9 counts pixels from 1, and directions from +x; ours are from up, which is +y.
    shift = -1.0 if system == "image" else 0.0
    try:
        if kind == "polygon":
            places = [_angle(part, system, i % 2 == 0) + shift for i, part in enumerate(numbers)]
            return _polygon(places, system, words, line)
        place = tuple(_angle(part, system, i == 0) + shift for i, part in enumerate(numbers[:2]))
        sizes = [_length(part, system) for part in numbers[2 : 3 if kind == "circle" else 4]]
        rest = numbers[2 + len(sizes) :]
        if len(rest) > (kind != "circle"):
            raise ConfigError(f"line {line}: rings and sectors are not read; draw it as a polygon")
        direction = (_turn(rest[0]) if rest else 0.0) - 90
    except (ValueError, IndexError):
        raise ConfigError(f"line {line}: {text.strip()[:40]!r} has a number that is none") from None
    return _round(kind, place, sizes, direction, system, words, line)


def parse_crtf(text: str) -> Iterator[Shape]:
    """Yield the regions of a CASA region file."""
    common: dict[str, str] = {}
    for number, line in _lines(text):
        word = line.strip().split(" ")[0].lower()
        if not word or word.startswith("#") or word == "ann":
            continue
        if word == "global":
            common = _properties(line)
        elif (shape := _crtf_shape(line, common, number)) is not None:
            yield shape


def _properties(text: str) -> dict[str, str]:
    return {found[0].lower(): next(filter(None, found[1:]), "") for found in _CRTF_PROPERTY.findall(text)}


def _crtf_shape(text: str, common: dict[str, str], line: int) -> Shape | None:
    match = _CRTF.fullmatch(text)
    kind = match[2].lower() if match else ""
    if match is None or (kind not in CRTF_AREAS and kind not in FLAT):
        raise ConfigError(
            f"line {line}: {text.strip()[:40]!r} is not read; circle, ellipse, box, centerbox, rotbox and "
            "poly are"
        )
    if kind in FLAT:
        return None
    if match[1] == "-":
        raise ConfigError(f"line {line}: regions that are excluded (-) are not read; take it out")
    own = common | _properties(match[4])
    stated = CRTF_SYSTEMS.get(own.get("coord", "").lower())
    if stated is None:
        raise ConfigError(
            f"line {line}: the frame {own['coord'][:20]!r} is none of {', '.join(CRTF_SYSTEMS)}"
        )
    words = (own["label"],) if "label" in own else ()
    numbers = [part for part in re.split(r"[\s,\[\]]+", match[3]) if part]
    system: System = "image" if all(part.endswith("pix") for part in numbers[:2]) else stated
    try:
        if kind in ("poly", "box"):
            places = [_angle(part, system, i % 2 == 0) for i, part in enumerate(numbers)]
            if kind == "box":
                x0, y0, x1, y1 = places
                places = [x0, y0, x1, y0, x1, y1, x0, y1]
            return _polygon(places, system, words, line)
        place = tuple(_angle(part, system, i == 0) for i, part in enumerate(numbers[:2]))
        sizes = [_length(part, system) for part in numbers[2 : 3 if kind == "circle" else 4]]
        rest = numbers[2 + len(sizes) :]
        turn = _turn(rest[0]) if rest else 0.0
        if len(rest) > (kind in ("ellipse", "rotbox")):
            raise ValueError
    except (ValueError, IndexError):
        raise ConfigError(f"line {line}: {text.strip()[:40]!r} has a number or unit that is none") from None
    # The first axis of an ellipse points north; the first side of a box lies along x.
    return _round(kind, place, sizes, turn if kind == "ellipse" else turn - 90, system, words, line)


def _polygon(numbers: list[float], system: System, words: tuple[str, ...], line: int) -> Shape:
    if len(numbers) < 6 or len(numbers) % 2:
        raise ConfigError(f"line {line}: a polygon of {len(numbers) / 2:g} corners; three are needed")
    places = tuple(zip(numbers[::2], numbers[1::2], strict=True))
    return Shape("polygon", system, places, words=words, line=line)


def _round(
    kind: str,
    place: tuple[float, ...],
    sizes: list[Length],
    direction: float,
    system: System,
    words: tuple[str, ...],
    line: int,
) -> Shape:
    if len(place) != 2 or len(sizes) != (1 if kind == "circle" else 2):
        raise ConfigError(f"line {line}: a {kind} with {len(place) + len(sizes)} numbers")
    if not all(map(math.isfinite, (*place, direction, *(size.value for size in sizes)))):
        raise ConfigError(f"line {line}: a {kind} with a number that is too large")
    if kind.endswith("box"):
        halves = tuple(Length(size.value / 2, size.in_pixels) for size in sizes)
        return Shape("box", system, ((place[0], place[1]),), halves, direction, words, line)
    both = (sizes[0], sizes[0]) if kind == "circle" else (sizes[0], sizes[1])
    return Shape("ellipse", system, ((place[0], place[1]),), both, direction, words, line)


def _angle(text: str, system: System, is_longitude: bool) -> float:
    """Return a coordinate in degrees, or in pixels where the frame is that of the image."""
    if system == "image":
        match = _VALUE.fullmatch(text)
        if match is None or match[2] not in ("", "pix", "i", "p"):
            raise ValueError
        return float(match[1])
    if match := _SEXAGESIMAL.fullmatch(text):
        hours = match[3] == "h" or (match[3] == ":" and is_longitude and system != "galactic")
        return _sixties(match[1], match[2], match[4], match[5]) * (15 if hours else 1)
    if match := _DOTTED.fullmatch(text):
        return _sixties(match[1], match[2], match[3], match[4])
    match = _VALUE.fullmatch(text)
    unit = {"": "deg", "d": "deg", "r": "rad"}.get(match[2].lower(), match[2]) if match else ""
    if match is None or unit not in ARCSEC:
        raise ValueError
    return float(match[1]) * ARCSEC[unit] / 3600


def _sixties(sign: str, whole: str, minutes: str, seconds: str) -> float:
    value = int(whole) + int(minutes) / 60 + float(seconds) / 3600
    return -value if sign == "-" else value


def _turn(text: str) -> float:
    """Return an angle in degrees, which is what a number without a unit means."""
    angle = _length(text, "image")
    return angle.value if angle.in_pixels else angle.value / 3600


def _length(text: str, system: System) -> Length:
    match = _VALUE.fullmatch(text)
    if match is None:
        raise ValueError
    unit = {'"': "arcsec", "'": "arcmin", "d": "deg", "r": "rad", "i": "pix", "p": "pix"}.get(
        match[2].lower(), match[2]
    )
    if unit == "pix" or (not unit and system == "image"):
        return Length(float(match[1]), True)
    return Length(float(match[1]) * ARCSEC[unit or "deg"], False)
