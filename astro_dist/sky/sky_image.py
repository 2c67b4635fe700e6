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
from astro_dist.sky.config import FilesConfig
from astro_dist.sky.coordinates import pixel_scale, pixel_size, read_wcs
from astro_dist.sky.doubled import COORDINATES, refuse_unscalable
from astro_dist.sky.fits_file import add_history
from astro_dist.sky.fits_headers import check_cards
from astro_dist.sky.fits_reader import Layout, explained, parse_header, read_exact, read_pixels
from astro_dist.sky.fits_survey import beam_lines
from astro_dist.sky.header_beams import BeamRow, beam_of_cards, find_beam, states_beam
from astro_dist.sky.map_files import plain_name, unpacked
from astro_dist.sky.map_image import FRAMES, celestial_cards, choose_plane, mend_unit, open_chosen, read_beams
from astro_dist.sky.units import choose_unit, counts_for
from astro_dist.sky.windows import Window

LEAST_PIX = 4
"""Shortest side of an image."""
Kept = Literal["mean", "sum"]
"""What of 2 x 2 new pixels is the old one: their mean (brightness) or their sum (flux in a pixel)."""
_CELESTIAL = re.compile(r"(RA|DEC|[A-Z]LON|[A-Z]LAT)(-|$)")
FILES = FilesConfig()


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
    plane
        The plane that was chosen of a cube, in numpy's order, or None for all.
    """

    path: Path
    name: str
    layout: Layout
    cards: str
    unit: str
    fwhm_pix: float | None
    unpacked: Path | None = None
    plane: tuple[int, ...] | None = None

    @classmethod
    def open(cls, path: Path, config: FilesConfig = FILES, unpacked_in: Path | None = None) -> "SkyImage":
        """Describe the image in a FITS file.

        Parameters
        ----------
        config
            HDU, plane, unit, a value that means no data, and beam, where given.
        unpacked_in
            Folder that a file packed with gzip is unpacked into when its pixels are first read.

        Raises
        ------
        ConfigError
            The file is missing, cut short, holds no image (but tables) or several, complex values, a cube of
            neither one nor three planes, less than 4 x 4 pixels, or no coordinates of the sky. The message
            names the file.
        """
        with explained(path, ConfigError):
            hdus, chosen, _, layout = open_chosen(path, config.hdu)
            check_cards([chosen], True)
            header = parse_header(chosen, whole=True)
            history = beam_lines(chosen)
            if chosen.index and not hdus[0].image_axes and header.get("INHERIT", True):
                header = _inherit(header, parse_header(hdus[0], whole=True))
                history = [*beam_lines(hdus[0]), *history]
            mend_unit(header, chosen, hdus[0])
            _check_sky(layout.axes, header)
            wcs = read_wcs(celestial_cards(header))
            if not wcs.has_celestial:
                raise ConfigError(
                    "there is no celestial WCS (CTYPE, CRVAL, CRPIX, CDELT) in its header; add one"
                )
            plane = _choose(header, layout, config)
            if config.blank is not None:
                layout = replace(layout, marks=(*layout.marks, config.blank))
            unit = choose_unit(config.unit, str(header.get("BUNIT", "")).strip())
            if config.unit is not None:
                header["BUNIT"] = unit
            rows: list[BeamRow] = []
            if beam_of_cards(header) is None:
                index = None if plane is None else plane[::-1]
                rows = read_beams(path, hdus, header, index, layout.axes)
            beam = _find_beam(header, rows, history, config)
            # The table is none of the image's.
            header.remove("CASAMBM", ignore_missing=True)
            pixel = pixel_size(pixel_scale(wcs.celestial, layout.axes[-2:]))
            fwhm_pix = None if beam is None else beam.fwhm_pix(pixel)
            if chosen.index:
                name = " ".join(filter(None, (str(chosen.index), chosen.name)))
                add_history(header, [f"The image of HDU {name}; other HDUs of its file are not here"])
            text = _clean(header).tostring()
        return cls(path, plain_name(path), layout, text, unit, fwhm_pix, unpacked_in, plane)

    @property
    def axes(self) -> tuple[int, ...]:
        """Lengths of all axes in numpy's order; those before the last two are 1, or one of them 3."""
        if self.plane is None:
            return self.layout.axes
        return (*(1 for _ in self.plane), *self.layout.axes[-2:])

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
        """What the unit makes of smaller pixels: flux in a pixel is divided, brightness stays.

        What is not known to count for a pixel is taken for a brightness.
        """
        return "sum" if counts_for(self.unit) == "pixel" else "mean"

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
        places = [self.plane] if self.plane is not None else list(np.ndindex(*self.axes[:-2]))
        planes = [self._read_plane(path, replace(self.layout, plane=place), window) for place in places]
        image = np.stack(planes)
        image[~np.isfinite(image)] = np.nan
        return image

    def _read_plane(self, path: Path, layout: Layout, window: Window) -> AnyImage:
        if self.dtype == "f4":
            return read_pixels(path, layout, window)
        exact = np.asarray(read_exact(path, layout, window), np.float64)
        if layout.bitpix > 0 and (layout.blank is not None or layout.marks):
            # Among whole numbers, which have no NaN, what is no data is 0.
            exact[np.isnan(read_pixels(path, layout, window))] = np.nan
        return exact


def _check_sky(axes: tuple[int, ...], header: fits.Header) -> None:
    """Refuse an image whose first two axes are not the sky, or cannot be scaled."""
    kinds = [str(header.get(f"CTYPE{i + 1}", "")).strip().upper() for i in range(len(axes))]
    if "COMPLEX" in kinds:
        raise ConfigError(
            "its values are complex (an axis COMPLEX holds real and imaginary parts); write one plane, such "
            "as the amplitude, to a file of its own"
        )
    if any(map(_CELESTIAL.match, kinds[2:])):
        raise ConfigError(
            f"its first two axes are {kinds[0] or 'unnamed'} and {kinds[1] or 'unnamed'}, not those of the "
            "sky; write its planes with the sky first"
        )
    ny, nx = axes[-2:]
    if min(ny, nx) < LEAST_PIX:
        raise ConfigError(f"it has {ny} x {nx} pixels; {LEAST_PIX} x {LEAST_PIX} are the least")
    refuse_unscalable(header)


def _choose(header: fits.Header, layout: Layout, config: FilesConfig) -> tuple[int, ...] | None:
    """Return the plane that the settings choose, in numpy's order; its axes in the header begin there.

    None takes all planes, of which there may be one or three.
    """
    planes = math.prod(layout.axes[:-2])
    if config.plane is None or planes == 1:
        if planes not in (1, 3):
            raise ConfigError(
                f"it is a cube of {planes} planes; write one plane, or three colours, to a file of its own"
            )
        return None
    index = choose_plane(header, layout.axes, config.plane)
    for i, place in enumerate(index):
        header[f"CRPIX{i + 3}"] = header.get(f"CRPIX{i + 3}", 0.0) - place
    return tuple(reversed(index))


def _find_beam(
    header: fits.Header, rows: list[BeamRow], history: list[str], config: FilesConfig
) -> Beam | None:
    """Return the beam, and write one of a table or of the settings into the header; None without one.

    Images of any kind are doubled: HISTORY that is not understood and beams that differ from plane to plane
    give none.
    """
    said = header, rows, history, config.widths
    try:
        beam = find_beam(*said)[0] if states_beam(*said) else None
    except ConfigError:
        if beam_of_cards(header) is not None:
            raise
        return None
    if beam is not None and (rows or config.beam_major_arcsec is not None):
        header["BMAJ"] = (beam.major_arcsec / 3600, "[deg] beam, full width at half maximum")
        header["BMIN"] = (beam.minor_arcsec / 3600, "[deg]")
        header["BPA"] = (beam.pa_deg, "[deg] major axis east of north")
    return beam


def _inherit(header: fits.Header, first: fits.Header) -> fits.Header:
    """Return a header with the cards of an empty first HDU that it lacks.

    Coordinates are its own: frames alone are inherited, where it asks for it.
    """
    found = fits.Header()
    for card in first.cards:
        key = card.keyword
        own = key in header and key not in ("COMMENT", "HISTORY", "")
        coordinates = COORDINATES.fullmatch(key) and not (key in FRAMES and header.get("INHERIT") is True)
        if not own and not coordinates and key not in ("", "SIMPLE", "EXTEND", "CASAMBM"):
            found.append(card, end=True)
    return fits.Header([*header.cards, *found.cards])


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
