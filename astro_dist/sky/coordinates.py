"""The coordinates of a map: its WCS from a header in any usual spelling, and axes turned or mirrored.

A header that says the same as a valid one in other words is mended here; one that says nothing certain is
refused in words of ours. Beams are kept in the frame of the image, see `astro_dist.sky.tangent.frame_step`.
"""

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS
from astropy.wcs.utils import wcs_to_celestial_frame
from numpy.typing import ArrayLike, NDArray

from astro_dist.engine.errors import ConfigError
from astro_dist.sky.beams import Beam, Pixel
from astro_dist.sky.tangent import frame_step, local_axes, turn_beam

FRAMES = ("icrs", "fk5", "fk4", "galactic")
REGRID = "regrid it first, for example with reproject (pip install 'astro_dist[reproject]')"
# Spellings of RADESYS without blanks, dots and hyphens: the valid value, and the equinox that it implies.
SYSTEMS = {
    **dict.fromkeys(("ICRS", "ICRF", "ICRF2", "ICRF3", "ICRSJ2000", "ICRS2000"), ("ICRS", None)),
    **dict.fromkeys(("FK5", "FK52000"), ("FK5", None)),
    **dict.fromkeys(("J2000", "J20000", "FK5J2000", "FK5J20000", "2000", "20000"), ("FK5", 2000.0)),
    "FK4": ("FK4", None),
    **dict.fromkeys(("B1950", "B19500", "FK4B1950", "FK4B19500", "1950", "19500"), ("FK4", 1950.0)),
}
# Off-diagonal over diagonal terms of axes that are called straight: the rounding of a CD matrix.
STRAIGHT = 1e-9
FIRST_YEAR, LAST_YEAR = 1700.0, 2200.0
WRITE_YEAR = "write 2000.0 or 1950.0"
MOST_OTHER = 0.01
SAME_DEG = 1e-9
# Cards of the coordinates that hold numbers, and the matrix as AIPS++ and old versions of CASA write it.
_NUMBERS = re.compile(r"(CRVAL|CRPIX|CDELT|CROTA)[12]|(PC|CD)[12]_[12]|PV[12]_\d+|PROJP\d+|LONPOLE|LATPOLE")
_OLD_MATRIX = re.compile(r"(PC|CD)0*([12])_?0+([12])")
_DISTORTION = re.compile(r"(CTYPE|CDELT)[12]|PC[12]_[12]|PV[12]_\d+|[AB]P?_(ORDER|DMAX|\d_\d)")
Matrix = NDArray[np.float64]
Coordinates = tuple[NDArray[np.float64], NDArray[np.float64]]


def read_wcs(header: fits.Header) -> WCS:
    """Return the WCS of a header, whatever the spelling of its CTYPE, RADESYS and EQUINOX.

    Raises
    ------
    ConfigError
        The header has no valid coordinates, or a RADESYS or EQUINOX that stands for nothing known.
    """
    mended = _mend(_mend_numbers(header))
    try:
        return WCS(mended)
    except Exception:
        types = " and ".join(repr(mended.get(f"CTYPE{i}", "")) for i in (1, 2))
        raise ConfigError(
            f"its coordinates (CTYPE {types}, CUNIT, CRVAL, CRPIX, CDELT, CROTA, PC or CD) are not those of "
            "a map of the sky; mend these cards, CTYPE being for example 'RA---SIN' and 'DEC--SIN'"
        ) from None


def check_frame(celestial: WCS) -> None:
    """Refuse a celestial WCS without projection, in a frame that is not read, or whose axes are one."""
    lon_type, lat_type = (str(name) for name in celestial.wcs.ctype)
    # FITS makes such axes linear in longitude, whatever the latitude, while their writers mean a projection.
    if not (lon_type[5:].strip("-") and lat_type[5:].strip("-")):
        raise ConfigError(
            f"its axes CTYPE {lon_type!r} and {lat_type!r} have no projection; write it into both cards, for "
            f"example 'RA---SIN' and 'DEC--SIN' as interferometers have it (astropy: fits.setval(FILE, "
            "'CTYPE1', value='RA---SIN')), or with CAR for axes that are linear in longitude and latitude"
        )
    try:
        # Astropy takes ecliptic and unknown longitudes for ICRS.
        known = lon_type.startswith(("RA", "GLON"))
        frame = wcs_to_celestial_frame(celestial).name if known else lon_type
    except ValueError:
        frame = f"{lon_type}, {celestial.wcs.radesys or 'without RADESYS'}"
    if frame not in FRAMES:
        raise ConfigError(f"its sky is in the frame {frame}, not one of {', '.join(FRAMES)}; {REGRID}")
    scale = celestial.pixel_scale_matrix
    sides = np.hypot(*scale)
    if not abs(np.linalg.det(scale)) > 1e-3 * sides[0] * sides[1]:
        raise ConfigError("its two axes have one direction (CDELT, CROTA, PC or CD); mend these cards")


def keeps_beam_in_pixels(celestial: WCS) -> bool:
    """Return whether a beam has one shape in the pixels of a map, and not on the sky.

    It has in the orthographic projection (SIN, and NCP, which is the same about a pole), in which
    interferometers make images: these add one restoring beam everywhere. All other maps are regridded.
    """
    return str(celestial.wcs.ctype[0])[5:8] in ("SIN", "NCP")


def pixel_scale(celestial: WCS, shape: Sequence[int]) -> Matrix:
    """Return the arcsec towards east and north (rows) per pixel along x and y (columns) of a map.

    They are those of `WCS.pixel_scale_matrix`, at the reference point, where the map may not reach: where the
    pixel in the middle of the map has another size or shape by more than 1 %, they are those of that pixel.
    """
    scale = celestial.pixel_scale_matrix * 3600
    if keeps_beam_in_pixels(celestial):
        return scale

    def sky_of(y: Matrix, x: Matrix) -> Coordinates:
        lon, lat = celestial.pixel_to_world_values(x, y)
        return np.asarray(lon), np.asarray(lat)

    middle = np.asarray(local_axes(sky_of, (shape[0] - 1) / 2, (shape[1] - 1) / 2)[0, ::-1, ::-1])
    # The metric does not see north turn, which is no other pixel.
    here, there = middle.T @ middle, scale.T @ scale
    # NaN, where the middle is off the sky, is below.
    return middle if np.abs(here - there).max() > 2 * MOST_OTHER * np.linalg.norm(there, 2) else scale


def pixel_size(scale_arcsec: Matrix) -> Pixel:
    """Return the size of a pixel from `pixel_scale`."""
    if _is_straight(scale_arcsec):
        return Pixel(float(scale_arcsec[1, 1]), -float(scale_arcsec[0, 0]))
    dx, dy = np.hypot(*scale_arcsec)
    return Pixel(float(dy), float(dx))


def beam_in_image(beam: Beam, scale_arcsec: Matrix) -> Beam:
    """Return a beam in the frame of the image from one whose angle is east of the map's north.

    North is that of the map's own coordinates at the reference point, galactic north in a galactic map.
    """
    if _is_straight(scale_arcsec):
        return beam
    return turn_beam(beam, np.asarray(np.linalg.inv(_from_image(scale_arcsec)), np.float64))


def beam_on_sky(beam: Beam, scale_arcsec: Matrix) -> Beam:
    """Return a beam with its angle east of the map's north, as BPA states it; undoes `beam_in_image`."""
    return beam if _is_straight(scale_arcsec) else turn_beam(beam, _from_image(scale_arcsec))


def sky_in_icrs(celestial: WCS, y: ArrayLike, x: ArrayLike) -> Coordinates:
    """Return ``(ra_deg, dec_deg)`` in ICRS of pixel positions, RA in [0, 360), NaN off the sky."""
    lon, lat = celestial.pixel_to_world_values(x, y)
    frame = wcs_to_celestial_frame(celestial)
    if frame.name == "icrs":
        # Longitudes are near CRVAL1, which some imagers write below zero.
        return wrap_ra(lon), np.asarray(lat)
    sky = SkyCoord(lon, lat, unit="deg", frame=frame).icrs
    return wrap_ra(sky.ra.deg), np.asarray(sky.dec.deg)


def pixel_in_icrs(celestial: WCS, ra_deg: ArrayLike, dec_deg: ArrayLike) -> Coordinates:
    """Return the pixel positions ``(y, x)`` of ICRS positions, NaN where they do not project."""
    x, y = celestial.world_to_pixel(SkyCoord(ra_deg, dec_deg, unit="deg", frame="icrs"))
    return np.asarray(y), np.asarray(x)


def wrap_ra(ra_deg: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return right ascensions in [0, 360)."""
    # Twice: the first makes 360 of a number so little below zero that the sum rounds to it.
    return np.asarray(np.asarray(ra_deg) % 360 % 360)


def wcs_cards(wcs: WCS) -> dict[str, str | float]:
    """Return the FITS cards of a celestial WCS as plain values, in degrees, for a header or JSON."""
    w = wcs.wcs
    scale = wcs.pixel_scale_matrix
    steps = _steps(scale)
    cards: dict[str, str | float] = {}
    for i in (0, 1):
        cards[f"CTYPE{i + 1}"] = str(w.ctype[i])
        cards[f"CUNIT{i + 1}"] = "deg"
        cards[f"CRVAL{i + 1}"] = float(w.crval[i])
        cards[f"CRPIX{i + 1}"] = float(w.crpix[i])
        cards[f"CDELT{i + 1}"] = float(steps[i])
        if steps[i] != scale[i, i]:
            cards[f"PC{i + 1}_{i + 1}"] = float(scale[i, i] / steps[i])
        if scale[i, 1 - i]:
            cards[f"PC{i + 1}_{2 - i}"] = float(scale[i, 1 - i] / steps[i])
    cards |= {f"PV{i}_{m}": float(value) for i, m, value in w.get_pv()}
    if distortion := _distortion_cards(wcs):
        # The terms belong to one split of the matrix into PC and CDELT.
        cards = {key: value for key, value in cards.items() if not key.startswith("PC")} | distortion
    if math.isfinite(w.lonpole):
        cards["LONPOLE"] = float(w.lonpole)
    # In projections about the equator two latitudes of the pole fit, and LATPOLE chooses.
    if abs(w.latpole - _set_latpole(cards)) > SAME_DEG:
        cards["LATPOLE"] = float(w.latpole)
    equinox = float(w.equinox)
    if str(w.ctype[0]).startswith("RA"):
        # FITS standard 4.0, RADESYSa: without the card the equinox decides, and without both it is ICRS.
        old = "FK5" if equinox >= 1984 else "FK4"
        cards["RADESYS"] = str(w.radesys) or ("ICRS" if math.isnan(equinox) else old)
        if cards["RADESYS"] != "ICRS" and math.isfinite(equinox):
            cards["EQUINOX"] = equinox
    return cards


def _distortion_cards(wcs: WCS) -> dict[str, str | float]:
    """Return CTYPE, CDELT, PC and the terms of SIP and TPV, which move pixels from their places without."""
    if wcs.sip is None and str(wcs.wcs.ctype[0])[5:8] != "TAN":
        return {}
    # A set WCS has TAN for TPV, and its terms nowhere but in this header.
    header = wcs.to_header(relax=True)
    if not str(header["CTYPE1"]).endswith(("-TPV", "-SIP")):
        return {}
    cards = {key: value for key, value in header.items() if _DISTORTION.fullmatch(key)}
    # Terms of SIP come as numbers of numpy, which JSON does not have.
    return {key: float(value) if isinstance(value, float) else value for key, value in cards.items()}


def _set_latpole(cards: dict[str, str | float]) -> float:
    """Return the latitude of the native pole that follows from cards."""
    w = WCS(fits.Header(cards)).wcs
    w.set()
    return float(w.latpole)


def _steps(scale: Matrix) -> Matrix:
    """Return CDELT1 and CDELT2: the sizes of a pixel, which other programs take from them in turned maps."""
    diagonal = np.diag(scale)
    off = max(abs(scale[0, 1]), abs(scale[1, 0]))
    if off <= STRAIGHT * np.abs(diagonal).min():
        return diagonal
    dx, dy = np.hypot(*scale)
    # With the sign of the determinant the PC matrix is a turn without a mirror.
    return np.array([np.copysign(dx, np.linalg.det(scale)), dy])


def _is_straight(scale: Matrix) -> bool:
    """Return whether north is up and east left, without a turn."""
    off = max(abs(scale[0, 1]), abs(scale[1, 0]))
    return bool(scale[0, 0] < 0 < scale[1, 1] and off <= STRAIGHT * min(-scale[0, 0], scale[1, 1]))


def _from_image(scale: Matrix) -> Matrix:
    """Return the matrix from the frame of the image to (north, east) at the reference point."""
    # `scale` has rows (longitude, latitude) and columns (x, y).
    return np.asarray(scale[::-1, ::-1] / frame_step(pixel_size(scale)))


def _mend_numbers(header: fits.Header) -> fits.Header:
    """Return the header with numbers that are written as text, and PC01_01 and the like, as FITS has them.

    Astropy leaves out what it does not read so: the map would have other coordinates without a word.
    """
    cards: dict[str, Any] = {}
    for key in header:
        if match := _OLD_MATRIX.fullmatch(key):
            cards.setdefault(f"{match[1]}{match[2]}_{match[3]}", header[key])
        elif _NUMBERS.fullmatch(key) and not isinstance(header[key], float):
            cards[key] = header[key]
    changed = {key: _plain_number(key, value) for key, value in cards.items() if value is not None}
    if not changed:
        return header
    mended = fits.Header([card for card in header.cards if not _OLD_MATRIX.fullmatch(card.keyword)])
    mended.update(changed)
    return mended


def _plain_number(key: str, value: object) -> float:
    try:
        number = math.nan if isinstance(value, bool) else float(str(value).strip().upper().replace("D", "E"))
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ConfigError(
            f"its {key} is {str(value).strip()[:20]!r}, which is no number; write one into this "
            "card, of degrees where it is an angle"
        )
    return number


def _mend(header: fits.Header) -> fits.Header:
    """Return the header with valid spellings of CTYPE, RADESYS and EQUINOX."""
    cards: dict[str, Any] = {}
    for key in ("CTYPE1", "CTYPE2"):
        if isinstance(value := header.get(key), str) and value != value.strip().upper():
            cards[key] = value.strip().upper()
        # Astropy applies the terms with and without the suffix; other programs need the suffix to apply them.
        if "A_ORDER" in header and len(kind := str(cards.get(key, value))) == 8:
            cards[key] = f"{kind}-SIP"
    for key in ("EQUINOX", "EPOCH"):
        if isinstance(value := header.get(key), str):
            cards[key] = _equinox(key, value)
        elif isinstance(value, int | float) and not FIRST_YEAR < value < LAST_YEAR and _needs_year(header):
            raise ConfigError(f"its {key} is {value:g}, which is no year; {WRITE_YEAR}")
    stated = next((key for key in ("RADESYS", "RADECSYS") if str(header.get(key, "")).strip()), None)
    if stated is not None:
        cards |= _system(stated, str(header[stated]), header, cards)
    if not cards:
        return header
    mended = header.copy()
    mended.update({key: value for key, value in cards.items() if value is not None})
    for key in (key for key, value in cards.items() if value is None):
        mended.remove(key, ignore_missing=True, remove_all=True)
    return mended


def _system(key: str, value: str, header: fits.Header, cards: dict[str, Any]) -> dict[str, Any]:
    if str(cards.get("CTYPE1", header.get("CTYPE1", ""))).startswith(("GLON", "GLAT")):
        # Galactic coordinates have no equinox; what the card says is of no use.
        return {key: None}
    if value.strip().upper() in ("ICRS", "FK5", "FK4") and value.strip() == value.strip().upper():
        return {}
    known = SYSTEMS.get(re.sub(r"[\s.\-_()/,'\"]", "", value.upper()))
    if known is None:
        raise ConfigError(
            f"its {key} is {value.strip()[:20]!r}; ICRS, FK5 (J2000) and FK4 (B1950) are read: mend the "
            f"card, or {REGRID}"
        )
    system, equinox = known
    stated = next((cards.get(k, header.get(k)) for k in ("EQUINOX", "EPOCH") if k in header), equinox)
    if equinox is not None and stated != equinox:
        raise ConfigError(f"its {key} is {value.strip()!r} and its EQUINOX {stated}; mend one of the two")
    return {key: system} | ({"EQUINOX": equinox} if equinox is not None else {})


def _equinox(key: str, value: str) -> float:
    match = re.fullmatch(r"[JjBb]?\s*(\d{4}(?:\.\d{0,6})?)", value.strip())
    if match is None:
        raise ConfigError(f"its {key} is {value.strip()[:20]!r}, which is no year; {WRITE_YEAR}")
    return float(match[1])


def _needs_year(header: fits.Header) -> bool:
    """Return whether the equinox matters: in ICRS and in galactic coordinates it does not."""
    system = str(header.get("RADESYS", header.get("RADECSYS", ""))).strip().upper()
    return str(header.get("CTYPE1", "")).strip().upper().startswith(("RA", "DEC")) and system != "ICRS"
