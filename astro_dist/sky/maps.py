"""Radio maps of users and of `simulate`, read through windows and never whole.

`SkyMap.open` checks everything that can be wrong with a file and reports a fault in one line. An opened map
is a small picklable description without a file handle. `SkyMap.read` returns Jy/beam, whatever the unit of
the file, with NaN where there are no data (see `nodata`). The first two axes must be celestial, in any
direction; of a cube one plane is the map.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from numpy.typing import ArrayLike, NDArray

from astro_dist.engine.errors import ConfigError, IntegrityError
from astro_dist.engine.work import Run
from astro_dist.sky.beams import Beam, Pixel
from astro_dist.sky.config import FilesConfig, MapsConfig, SurveyConfig
from astro_dist.sky.coordinates import (
    REGRID,
    Coordinates,
    beam_in_image,
    check_frame,
    keeps_beam_in_pixels,
    pixel_in_icrs,
    pixel_scale,
    pixel_size,
    read_wcs,
    sky_in_icrs,
)
from astro_dist.sky.files import find_maps
from astro_dist.sky.fits_headers import is_gzip
from astro_dist.sky.fits_reader import Layout, explained, read_pixels, verify_checksum
from astro_dist.sky.frequency import find_frequency_hz
from astro_dist.sky.header_beams import REMEDY, find_beam, states_beam
from astro_dist.sky.map_files import UNPACKED, own_names, plain_name, unpacked
from astro_dist.sky.map_image import MapImage, celestial_cards, find_map
from astro_dist.sky.marks import PACKED_PIX, SAMPLED_PIX, hidden_fills, is_sparse, judge_fill
from astro_dist.sky.nodata import Scan, blank_fills, blank_zeros, refuse_absurd
from astro_dist.sky.tangent import local_axes
from astro_dist.sky.units import JY_BEAM, choose_unit, is_per_pixel, to_jy_beam, zeros_of
from astro_dist.sky.windows import Window

# Larger files are checked by `SkyMap.verify` only, since every worker opens every map.
CHECK_AT_OPEN_BYTES = 1 << 30
# A piece of a larger map may lie far from its reference point, and longitudes of several turns are written.
MOST_PIX, MOST_DEG = 1e9, 1000.0
Judge = Callable[..., Any]


@dataclass(frozen=True)
class SkyMap:
    """A radio map on disk.

    Attributes
    ----------
    path, name
        The file, and its name without ``.fits``, ``.fz`` and ``.gz``.
    shape
        ``(ny, nx)``.
    beam, pixel
        The restoring beam, its angle from +y towards -x, and the size of a pixel, see `pixel_scale`.
    frequency_hz
        None when neither the settings nor the header give one.
    to_jy_beam
        Factor from the file's values to Jy/beam.
    cards
        The header, as text.
    layout
        Place and coding of the pixels in the file.
    survey
        The name of its survey.
    background_only
        Whether it gives backgrounds alone, and holds no sources.
    unpacked
        Folder for the unpacked bytes of a file packed with gzip, or None.
    notes
        Sentences on what was assumed of the header.
    beam_in_pixels
        Whether the beam is one in pixels all over the map, see `keeps_beam_in_pixels`, or one on the sky.
    unit
        What `read` returns: Jy/beam for every map but a plane in another unit, see `planes`.
    zeros
        Whether large regions of zeros are data; counts: where `is_sparse` says so.
    """

    path: Path
    name: str
    shape: tuple[int, int]
    beam: Beam
    pixel: Pixel
    frequency_hz: float | None
    to_jy_beam: float
    cards: str
    layout: Layout
    survey: str
    unpacked: Path | None = None
    background_only: bool = False
    notes: tuple[str, ...] = ()
    beam_in_pixels: bool = True
    unit: str = JY_BEAM
    zeros: Literal["data", "blank", "counts"] = "blank"

    @classmethod
    def open(
        cls,
        path: Path,
        config: SurveyConfig,
        *,
        verify: bool = True,
        unpacked_in: Path | None = None,
        is_weight: bool = False,
    ) -> "SkyMap":
        """Describe the map in a FITS file.

        Parameters
        ----------
        config
            Unit, beam and frequency, where given, take the place of the header's.
        verify
            Check CHECKSUM and DATASUM of a file that has them and is not above 1 GiB.
        unpacked_in
            Folder that a file packed with gzip is unpacked into when its pixels are first read. Without one,
            each read unpacks the file from its start.
        is_weight
            The pixels are no brightness: their unit, which any text may name, is taken as nJy/beam.

        Raises
        ------
        ConfigError
            The file is missing, cut short, no FITS image, several maps or a cube without a choice, without a
            celestial WCS or with an impossible place in it, without a known unit or frame, or its beam is
            missing, narrower than a pixel or wider than a third of the map. The message names the file.
        IntegrityError
            When a checksum is wrong.
        """
        with explained(path, ConfigError):
            # The noise of any Stokes parameter is a background, and I is only the default.
            stokes = "any" if config.background_only and config.stokes == "I" else config.stokes
            found = find_map(path, config.hdu, config.plane, stokes)
            opened, beam = describe_map(path, found, config, needs_beam=True)
            # Small, because weights of 1/sigma^2 are far above any brightness in Jy/beam.
            card = str(found.header.get("BUNIT", ""))
            unit = "nJy/beam" if is_weight else choose_unit(config.unit, card)
            assert beam is not None
            opened = replace(
                opened,
                to_jy_beam=to_jy_beam(unit, beam, opened.pixel, opened.frequency_hz),
                survey=config.survey,
                unpacked=unpacked_in,
                background_only=config.background_only,
                zeros="blank" if is_weight else config.zeros or zeros_of(unit),
                # What a model image has in Jy/pixel adds up to the flux whatever the size of its pixels.
                beam_in_pixels=opened.beam_in_pixels or is_per_pixel(unit),
            )
            opened.check_beam()
        if verify and opened.layout.extent.data_bytes <= CHECK_AT_OPEN_BYTES:
            opened.verify()
        return opened

    def check_beam(self) -> None:
        """Refuse a beam that is narrower than a pixel or wider than a third of the map."""
        beam, pixel = self.beam, self.pixel
        finest = min(pixel.dy_arcsec, pixel.dx_arcsec)
        side = min(self.shape[0] * pixel.dy_arcsec, self.shape[1] * pixel.dx_arcsec)
        remedy = f"BMAJ and BMIN in a header are in degrees: mend them, or {REMEDY} in arcsec and degrees"
        if beam.minor_arcsec < finest:
            raise ConfigError(
                f"its beam of {beam.minor_arcsec:.4g} arcsec is narrower than a pixel of "
                f"{finest:.4g} arcsec; {remedy}"
            )
        if beam.major_arcsec > side / 3:
            raise ConfigError(
                f"its beam of {beam.major_arcsec:.4g} arcsec is wider than a third of the map, whose shorter "
                f"side is {side:.4g} arcsec; {remedy}"
            )

    @cached_property
    def wcs(self) -> WCS:
        """The celestial WCS, two axes, longitude first."""
        with explained(self.path, ConfigError):
            return celestial_wcs(fits.Header.fromstring(self.cards))

    def __getstate__(self) -> dict[str, Any]:
        """Leave the WCS out: astropy rounds a pickled WCS, and `wcs` makes it again from the cards."""
        return {key: value for key, value in self.__dict__.items() if key != "wcs"}

    def read(self, window: Window) -> NDArray[np.float32]:
        """Return the pixels of a window inside the map, Jy/beam, NaN where there are no data.

        Only the rows of the window are read. The array is native float32, contiguous and the caller's own.

        Raises
        ------
        DataError
            When the file ends too early or cannot be decoded.
        ConfigError
            When a pixel holds a value that no sky has, see `nodata`.
        """
        whole = Window.of_shape(self.shape)
        # Raises ValueError for a window that reaches over the edge.
        window.within(whole)
        image, scan = self._read_values(window)
        region_pix = self.beam.area_pix(self.pixel)
        # The pixels at hand say it of a map that is read whole.
        hidden = hidden_fills(math.inf, whole, lambda part: image[part.slices]) if window == whole else None
        if scan.zero and self.zeros != "data":
            blank_zeros(image, window, whole, self._values, region_pix, self._are_zeros_blank)
        if hidden is None:
            hidden = self._judge(hidden_fills, PACKED_PIX if self.layout.compressed else SAMPLED_PIX)
        ends = scan.ends(image, self.to_jy_beam)
        blank_fills(image, ends, window, whole, self._values, region_pix, self._is_fill, hidden)
        return image

    def _is_fill(self, value: float) -> bool:
        return bool(self._judge(judge_fill, value))

    def _are_zeros_blank(self) -> bool:
        return self.zeros == "blank" or not self._judge(is_sparse)

    def _judge(self, judge: Judge, *value: float) -> Any:
        return _judge_once(self, *file_age(self.path), judge, *value)

    def _values(self, window: Window) -> NDArray[np.float32]:
        return self._read_values(window)[0]

    def _read_values(self, window: Window) -> tuple[NDArray[np.float32], Scan]:
        """Return the pixels of a window, Jy/beam, with their zeros, and what they hold."""
        path = self.path if self.unpacked is None else unpacked(self.path, self.unpacked)
        scan = Scan(self.to_jy_beam)
        image = read_pixels(path, self.layout, window, scan.look)
        if self.to_jy_beam != 1:
            image *= np.float32(self.to_jy_beam)
        if scan.beyond and self.unit != JY_BEAM:
            # Only of Jy/beam is it known what no sky has.
            image[np.isinf(image)] = np.nan
        elif scan.beyond:
            with explained(self.path, ConfigError):
                refuse_absurd(image, self.to_jy_beam)
        return image, scan

    def beam_area_pix(self, y: ArrayLike, x: ArrayLike) -> NDArray[np.float64]:
        """Return the beam's solid angle in the pixels at some positions, shape (n,).

        A sum in Jy/beam over it is a flux in Jy. Off the sky it is that of `pixel`.
        """
        area = np.full(np.shape(y), self.beam.area_pix(self.pixel))
        if self.beam_in_pixels:
            return area
        here = np.abs(np.linalg.det(local_axes(self.sky_of, y, x)))
        ratio = abs(float(np.linalg.det(pixel_scale(self.wcs, self.shape)))) / here
        return np.where(np.isfinite(ratio), area * ratio, area)

    @property
    def unpacked_bytes(self) -> int:
        """Bytes of the unpacked file up to the end of the image; 0 for a file that is not packed."""
        extent = self.layout.extent
        return extent.data_start + extent.data_bytes if is_gzip(self.path) else 0

    def verify(self) -> None:
        """Compare the file with its checksums, where present; raise `IntegrityError` when one is wrong."""
        verify_checksum(self.path, self.layout)

    def sky_of(self, y: ArrayLike, x: ArrayLike) -> Coordinates:
        """Return ``(ra_deg, dec_deg)`` in ICRS of pixel positions, RA in [0, 360), NaN off the sky."""
        return sky_in_icrs(self.wcs, np.asarray(y, np.float64), np.asarray(x, np.float64))

    def pixel_of(self, ra_deg: ArrayLike, dec_deg: ArrayLike) -> Coordinates:
        """Return the pixel positions ``(y, x)`` of ICRS positions, NaN where they do not project."""
        return pixel_in_icrs(self.wcs, ra_deg, dec_deg)


def describe_map(
    path: Path, found: MapImage, config: FilesConfig, *, needs_beam: bool
) -> tuple[SkyMap, Beam | None]:
    """Return the map in an image of a file, its values taken as they are, and its beam, east of its north.

    A map without a beam that needs none has a pixel for a beam, and None is returned.
    """
    layout, wcs = found.layout, celestial_wcs(found.header)
    _check_place(wcs, layout.axes[-2:])
    scale = pixel_scale(wcs, layout.axes[-2:])
    pixel = pixel_size(scale)
    sides = sorted([pixel.dy_arcsec, pixel.dx_arcsec])
    said = found.header, found.beams, found.history, config.widths
    beam, notes = find_beam(*said) if needs_beam or states_beam(*said) else (None, ())
    if config.blank is not None:
        layout = replace(layout, marks=(*layout.marks, config.blank))
    sky_map = SkyMap(
        path=path,
        name=plain_name(path),
        shape=(layout.axes[-2], layout.axes[-1]),
        beam=Beam(sides[1], sides[0]) if beam is None else beam_in_image(beam, scale),
        pixel=pixel,
        frequency_hz=config.frequency_hz or find_frequency_hz(found.header, found.plane),
        to_jy_beam=1.0,
        cards=found.header.tostring(),
        layout=layout,
        survey="",
        notes=notes,
        beam_in_pixels=keeps_beam_in_pixels(wcs),
    )
    return sky_map, beam


def open_maps(run: Run) -> list[SkyMap]:
    """Open the user's maps in the order of their paths, or those that `simulate` published.

    Raises
    ------
    ConfigError
        See `SkyMap.open`; also when a pattern matches nothing or two maps have one name.
    """
    config = run.section(MapsConfig)
    if config.files:
        unpacked_in = run.root / UNPACKED
        maps = [_open_once(path, survey, unpacked_in, *file_age(path)) for path, survey in find_maps(config)]
        # Tables, stores and random streams address a map by its name.
        names = own_names([sky_map.path for sky_map in maps])
        maps = [replace(sky_map, name=names[sky_map.path]) for sky_map in maps]
    else:
        maps = _open_simulated(run)
    return maps


def _open_simulated(run: Run) -> list[SkyMap]:
    """Open the maps that `simulate` published; each process compares them with their DATASUM once more.

    The driver has compared their sha256 before the stage opens (`astro_dist.engine.outputs.Inputs`). The sum
    over the pixels, of a GB in half a second, finds what a disk has done to them since.
    """
    folder = run.product("maps")
    try:
        paths = [folder / name for name in run.facts("simulate")["maps"]]
        return [_open_once(path, MapsConfig(), run.root / UNPACKED, *file_age(path)) for path in paths]
    except (ConfigError, IntegrityError) as error:
        # The file is ours, so that nothing in the settings mends it.
        raise IntegrityError(
            f"{error}; simulate published it: `astro-dist repair {run.root}` and run the same command again"
        ) from None


@lru_cache(maxsize=4096)
def _open_once(path: Path, config: SurveyConfig, unpacked_in: Path, mtime_ns: int, size: int) -> SkyMap:
    """Open a user's map once per process and version of the file, since a checksum reads the whole file."""
    return SkyMap.open(path, config, unpacked_in=unpacked_in)


@lru_cache(maxsize=4096)
def _judge_once(sky_map: SkyMap, mtime_ns: int, size: int, judge: Judge, *value: float) -> Any:
    """Judge the whole map once per process and version of the file, since that reads it."""
    return judge(*value, Window.of_shape(sky_map.shape), sky_map._values)


def file_age(path: Path) -> tuple[int, int]:
    """Return time of change in ns and size in bytes of a file, zeros where it is missing."""
    try:
        status = path.stat()
    except OSError:
        # `SkyMap.open` reports the missing file, with its remedy.
        return 0, 0
    return status.st_mtime_ns, status.st_size


def _check_place(wcs: WCS, shape: Sequence[int]) -> None:
    """Refuse a map whose numbers place none of its pixels on the sky."""
    w = wcs.wcs
    # Of the set WCS: angles are in degrees, whatever CUNIT says.
    w.set()
    values = {"CRPIX1": w.crpix[0], "CRPIX2": w.crpix[1], "CRVAL1": w.crval[0], "CRVAL2": w.crval[1]}
    for card, value in {**values, "LONPOLE": w.lonpole, "LATPOLE": w.latpole}.items():
        most = MOST_PIX if card.startswith("CRPIX") else MOST_DEG
        if not abs(value) <= most:
            raise ConfigError(f"its {card} is {value:g}, beyond {most:g}; mend the card")
    # A coarse mesh from edge to edge: the corners and the middle of a map of the whole sky may lie off it.
    y, x = np.meshgrid(*(np.linspace(0, n - 1, 9) for n in shape), indexing="ij")
    if not np.isfinite(wcs.pixel_to_world_values(x, y)).all(axis=0).any():
        raise ConfigError(
            "its coordinates place none of its pixels on the sky; mend CRPIX, CRVAL and CDELT (or CD) in "
            "its header"
        )


def celestial_wcs(header: fits.Header) -> WCS:
    """Return the celestial part of a header's WCS after checking that the image is a plain sky map."""
    wcs = read_wcs(celestial_cards(header))
    if not wcs.has_celestial:
        raise ConfigError("there is no celestial WCS (CTYPE, CRVAL, CRPIX, CDELT) in its header; add one")
    lon, lat = wcs.wcs.lng, wcs.wcs.lat
    if (lon, lat) != (0, 1):
        raise ConfigError(f"its first two axes are not longitude and latitude; {REGRID}")
    check_frame(wcs.celestial)
    return wcs.celestial
