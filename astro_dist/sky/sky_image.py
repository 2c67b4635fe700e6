"""A FITS image of the sky of any kind: radio or optical, with a beam or without, one plane or three.

`astro_dist.sky.maps` opens radio maps alone, in Jy/beam. Here a value is what the file says, in its own unit.
"""

import math
import re
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

from astro_dist.engine.arrays import AnyImage
from astro_dist.engine.errors import ConfigError
from astro_dist.sky.beams import Beam
from astro_dist.sky.coordinates import pixel_scale, pixel_size, read_wcs
from astro_dist.sky.doubled import refuse_tables
from astro_dist.sky.fits_headers import check_cards
from astro_dist.sky.fits_reader import Layout, explained, parse_header, read_exact, read_pixels
from astro_dist.sky.header_beams import beam_of_cards, find_beam, states_beam
from astro_dist.sky.map_files import plain_name, unpacked
from astro_dist.sky.map_image import celestial_cards, open_chosen
from astro_dist.sky.units import parse_unit
from astro_dist.sky.windows import Window

LEAST_PIX = 4
"""Shortest side of an image."""
Kept = Literal["mean", "sum"]
"""What of 2 x 2 new pixels is the old one: their mean (brightness) or their sum (flux in a pixel)."""
_PER_PIXEL = re.compile(
    r"(.*[^a-z])?(counts?|cts?|adus?|dn|electrons?|e-|photons?|photoelectrons?|nanomagg(y|ies)|njy|[mu]?jy|"
    r"(erg|w|ph).*)([^a-z].*)?"
)
_BRIGHTNESS = re.compile(r".*(/|per )?(beam|sr|arcsec|arcmin|deg|steradian).*|[mun]?k.*|mag.*")


@dataclass(frozen=True)
class SkyImage:
    """An image on disk, a small picklable description without a file handle.

    Attributes
    ----------
    path, name
        The file, and its name without ``.fits``.
    layout
        Place and coding of its pixels.
    cards
        Its header, COMMENT and HISTORY included, as text.
    unit
        BUNIT as written; empty without one.
    fwhm_pix
        Width of the beam, or None where the header gives none.
    unpacked
        Folder for the unpacked bytes of a file packed with gzip, or None.
    """

    path: Path
    name: str
    layout: Layout
    cards: str
    unit: str
    fwhm_pix: float | None
    unpacked: Path | None = None

    @classmethod
    def open(cls, path: Path, hdu: int | str | None = None, unpacked_in: Path | None = None) -> "SkyImage":
        """Describe the image in a FITS file.

        Raises
        ------
        ConfigError
            The file is missing, cut short, holds no image (but tables) or several, complex values, a cube of
            neither one nor three planes, less than 4 x 4 pixels, or no coordinates of the sky. The message
            names the file.
        """
        with explained(path, ConfigError):
            hdus, chosen, _, layout = open_chosen(path, hdu)
            check_cards([chosen], True)
            header = parse_header(chosen, whole=True)
            if chosen.index and not hdus[0].image_axes and header.get("INHERIT", True):
                _inherit(header, parse_header(hdus[0], whole=True))
            _check_axes(layout.axes, header)
            refuse_tables(header)
            wcs = read_wcs(celestial_cards(header))
            if not wcs.has_celestial:
                raise ConfigError(
                    "there is no celestial WCS (CTYPE, CRVAL, CRPIX, CDELT) in its header; add one"
                )
            scale = pixel_scale(wcs.celestial, layout.axes[-2:])
            fwhm_pix = None
            if states_beam(header, [], [], (None, None, None)) and beam_of_cards(header):
                beam: Beam = find_beam(header, [], [], (None, None, None))[0]
                fwhm_pix = beam.fwhm_pix(pixel_size(scale))
            text = _clean(header).tostring()
        unit = str(header.get("BUNIT", "")).strip()
        return cls(path, plain_name(path), layout, text, unit, fwhm_pix, unpacked_in)

    @property
    def axes(self) -> tuple[int, ...]:
        """Lengths of all axes in numpy's order; those before the last two are 1, or one of them 3."""
        return self.layout.axes

    @property
    def shape(self) -> tuple[int, int]:
        """``(ny, nx)``."""
        return self.axes[-2], self.axes[-1]

    @property
    def planes(self) -> int:
        """1 or 3."""
        return math.prod(self.axes[:-2])

    @property
    def dtype(self) -> str:
        """Type in which all digits of the file fit: f8 for 64-bit numbers, else f4."""
        return "f8" if self.layout.bitpix in (-64, 64, 32) else "f4"

    @property
    def kept(self) -> Kept:
        """What the unit makes of smaller pixels: flux in a pixel is divided, brightness stays."""
        parsed = parse_unit(self.unit)
        if parsed is not None:
            return "sum" if "pix" in str(parsed[1]) else "mean"
        text = self.unit.lower()
        if not text or (_BRIGHTNESS.fullmatch(text) and "pix" not in text):
            return "mean"
        return "sum" if _PER_PIXEL.fullmatch(text) or "pix" in text else "mean"

    @cached_property
    def header(self) -> fits.Header:
        """The header."""
        return fits.Header.fromstring(self.cards)

    @cached_property
    def wcs(self) -> WCS:
        """The celestial WCS."""
        with explained(self.path, ConfigError):
            return read_wcs(celestial_cards(self.header)).celestial

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what follows from the cards: astropy rounds a pickled WCS."""
        return {key: value for key, value in self.__dict__.items() if key not in ("wcs", "header")}

    def read(self, window: Window) -> AnyImage:
        """Return the pixels of a window inside the image, (planes, h, w), NaN where there are no data.

        The type is `dtype`. Infinite values are no data either.

        Raises
        ------
        DataError
            When the file ends too early or cannot be decoded.
        """
        path = self.path if self.unpacked is None else unpacked(self.path, self.unpacked)
        planes = []
        for i in range(self.planes):
            place = tuple(int(n) for n in np.unravel_index(i, self.axes[:-2])) if self.axes[:-2] else ()
            layout = replace(self.layout, plane=place)
            if self.layout.bitpix == -64 or (self.dtype == "f8" and self.layout.blank is None):
                planes.append(np.asarray(read_exact(path, layout, window), np.float64))
            else:
                planes.append(read_pixels(path, layout, window).astype(self.dtype, copy=False))
        image = np.stack(planes)
        image[~np.isfinite(image)] = np.nan
        return image


def _check_axes(axes: tuple[int, ...], header: fits.Header) -> None:
    ny, nx = axes[-2:]
    if any(str(header.get(f"CTYPE{i + 1}", "")).strip().upper() == "COMPLEX" for i in range(len(axes))):
        raise ConfigError(
            "its values are complex (an axis COMPLEX holds real and imaginary parts); write one plane, such "
            "as the amplitude, to a file of its own"
        )
    if math.prod(axes[:-2]) not in (1, 3):
        raise ConfigError(
            f"it is a cube of {math.prod(axes[:-2])} planes; write one plane, or three colours, to a file of "
            "its own"
        )
    if min(ny, nx) < LEAST_PIX:
        raise ConfigError(f"it has {ny} x {nx} pixels; {LEAST_PIX} x {LEAST_PIX} are the least")


def _inherit(header: fits.Header, first: fits.Header) -> None:
    """Add the cards of an empty first HDU that an extension lacks."""
    for card in first.cards:
        if card.keyword not in header and card.keyword not in ("", "COMMENT", "HISTORY", "SIMPLE", "EXTEND"):
            header.append(card)


def _clean(header: fits.Header) -> fits.Header:
    """Return a header without cards that cannot be written again."""
    kept = fits.Header()
    for card in header.cards:
        try:
            card.verify("silentfix")
            card.image.encode("ascii")
        except Exception:
            continue
        kept.append(card, end=True)
    return kept
