"""Radio maps of users and of `simulate`, read through windows and never whole.

`SkyMap.open` checks everything that can be wrong with a file and reports a fault in one line. An opened map
is a small picklable description without a file handle. `SkyMap.read` returns Jy/beam, whatever the unit of
the file. The first two axes must be celestial, in any direction; further axes must have length 1.
"""

import math
import re
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from numpy.typing import ArrayLike, NDArray

from astro_dist.engine.errors import ConfigError, IntegrityError
from astro_dist.engine.work import Run
from astro_dist.sky.beams import Beam, Pixel
from astro_dist.sky.config import MapsConfig, SurveyConfig, unit_factor
from astro_dist.sky.coordinates import (
    REGRID,
    Coordinates,
    beam_in_image,
    check_frame,
    pixel_in_icrs,
    pixel_size,
    read_wcs,
    sky_in_icrs,
)
from astro_dist.sky.files import find_maps
from astro_dist.sky.fits_reader import Layout, explained, find_image, read_pixels, verify_checksum
from astro_dist.sky.windows import Window

# Larger files are checked by `SkyMap.verify` only, since every worker opens every map.
CHECK_AT_OPEN_BYTES = 1 << 30
HERTZ = {"khz": 1e3, "mhz": 1e6, "ghz": 1e9}
AIPS_BEAM = re.compile(r"BMAJ\s*=\s*(\S+)\s+BMIN\s*=\s*(\S+)\s+BPA\s*=\s*(\S+)")


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
        The restoring beam, its angle from +y towards -x, and the size of a pixel at the reference point.
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

    @classmethod
    def open(cls, path: Path, config: SurveyConfig, *, verify: bool = True) -> "SkyMap":
        """Describe the map in a FITS file.

        Parameters
        ----------
        config
            Unit, beam and frequency, where given, take the place of the header's.
        verify
            Check CHECKSUM and DATASUM of a file that has them and is not above 1 GiB.

        Raises
        ------
        ConfigError
            The file is missing, cut short, no FITS image, a cube, without a celestial WCS, without a known
            unit or frame, or its beam is missing, narrower than a pixel or wider than a
            third of the map. The message names the file.
        IntegrityError
            When a checksum is wrong.
        """
        with explained(path, ConfigError):
            header, layout = find_image(path)
            scale = _celestial(header).pixel_scale_matrix * 3600
            opened = cls(
                path=path,
                name=re.sub(r"(\.(fits?|fz|gz))+$", "", path.name, flags=re.IGNORECASE),
                shape=(layout.axes[-2], layout.axes[-1]),
                beam=beam_in_image(config.beam or _header_beam(header), scale),
                pixel=pixel_size(scale),
                frequency_hz=config.frequency_hz or _header_frequency_hz(header),
                to_jy_beam=unit_factor(config.unit or str(header.get("BUNIT", ""))),
                cards=header.tostring(),
                layout=layout,
                survey=config.survey,
            )
            opened._check_beam()
        if verify and layout.extent.data_bytes <= CHECK_AT_OPEN_BYTES:
            opened.verify()
        return opened

    def _check_beam(self) -> None:
        beam, pixel = self.beam, self.pixel
        finest = min(pixel.dy_arcsec, pixel.dx_arcsec)
        side = min(self.shape[0] * pixel.dy_arcsec, self.shape[1] * pixel.dx_arcsec)
        remedy = "BMAJ and BMIN in a header are in degrees, maps.beam_major_arcsec in arcsec; mend them"
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
            return _celestial(fits.Header.fromstring(self.cards))

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
        """
        # Raises ValueError for a window that reaches over the edge.
        window.within(Window.of_shape(self.shape))
        image = read_pixels(self.path, self.layout, window)
        if self.to_jy_beam != 1:
            image *= np.float32(self.to_jy_beam)
        # One mark for missing data: code that leaves out NaN would let infinities through.
        image[np.isinf(image)] = np.nan
        return image

    def verify(self) -> None:
        """Compare the file with its checksums, where present; raise `IntegrityError` when one is wrong."""
        verify_checksum(self.path, self.layout)

    def sky_of(self, y: ArrayLike, x: ArrayLike) -> Coordinates:
        """Return ``(ra_deg, dec_deg)`` in ICRS of pixel positions, RA in [0, 360), NaN off the sky."""
        return sky_in_icrs(self.wcs, np.asarray(y, np.float64), np.asarray(x, np.float64))

    def pixel_of(self, ra_deg: ArrayLike, dec_deg: ArrayLike) -> Coordinates:
        """Return the pixel positions ``(y, x)`` of ICRS positions, NaN where they do not project."""
        return pixel_in_icrs(self.wcs, ra_deg, dec_deg)


def open_maps(run: Run) -> list[SkyMap]:
    """Open the user's maps in the order of their paths, or those that `simulate` published.

    Raises
    ------
    ConfigError
        See `SkyMap.open`; also when a pattern matches nothing or two maps have one name.
    """
    config = run.section(MapsConfig)
    if config.files:
        maps = [_open_once(path, survey, *_age(path)) for path, survey in find_maps(config)]
    else:
        maps = _open_simulated(run)
    # Tables, stores and random streams address a map by its name.
    by_name: dict[str, Path] = {}
    for sky_map in maps:
        other = by_name.setdefault(sky_map.name, sky_map.path)
        if other != sky_map.path:
            raise ConfigError(
                f"two maps are named {sky_map.name!r}: {other} and {sky_map.path}; rename one or take one out"
            )
    return maps


def _open_simulated(run: Run) -> list[SkyMap]:
    """Open the maps that `simulate` published, without a sum over their pixels.

    The driver compares the sha256 of these files before the stage opens and looks for writes after its last
    task (`astro_dist.engine.outputs.Inputs`). A DATASUM belongs to a whole map: each worker would read the
    whole map for it once more, and still not know of the rows that it reads later.
    """
    folder = run.product("maps")
    try:
        return [
            SkyMap.open(folder / name, MapsConfig(), verify=False) for name in run.facts("simulate")["maps"]
        ]
    except ConfigError as error:
        # The file is ours, so that nothing in the settings mends it.
        raise IntegrityError(
            f"{error}; simulate published it: `astro-dist repair {run.root}` and run the same command again"
        ) from None


@lru_cache(maxsize=4096)
def _open_once(path: Path, config: SurveyConfig, mtime_ns: int, size: int) -> SkyMap:
    """Open a user's map once per process and version of the file, since a checksum reads the whole file."""
    return SkyMap.open(path, config)


def _age(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        # `SkyMap.open` reports the missing file, with its remedy.
        return 0, 0
    return status.st_mtime_ns, status.st_size


def _celestial(header: fits.Header) -> WCS:
    """Return the celestial part of a header's WCS after checking that the image is a plain sky map."""
    wcs = read_wcs(header)
    if not wcs.has_celestial:
        raise ConfigError("there is no celestial WCS (CTYPE, CRVAL, CRPIX, CDELT) in its header; add one")
    lengths = [int(header[f"NAXIS{i + 1}"]) for i in range(header["NAXIS"])]
    lon, lat = wcs.wcs.lng, wcs.wcs.lat
    long_axes = [i for i, n in enumerate(lengths) if n > 1 and i not in (lon, lat)]
    if long_axes:
        named = ", ".join(f"{header.get(f'CTYPE{i + 1}', f'axis {i + 1}')} ({lengths[i]})" for i in long_axes)
        raise ConfigError(f"it is a cube with more than one plane along {named}; write one plane as a map")
    if (lon, lat) != (0, 1):
        raise ConfigError(f"its first two axes are not longitude and latitude; {REGRID}")
    check_frame(wcs.celestial)
    return wcs.celestial


def _header_beam(header: fits.Header) -> Beam:
    if "BMAJ" in header:
        values = [header["BMAJ"], header.get("BMIN", header["BMAJ"]), header.get("BPA", 0.0)]
    else:
        # AIPS appends a HISTORY line with each cleaning; the last line has the beam of this image.
        found = AIPS_BEAM.findall("\n".join(header.get("HISTORY", [])))
        if not found:
            raise ConfigError(
                "there is no beam (BMAJ, BMIN, BPA) in its header; give it as maps.beam_major_arcsec, "
                "maps.beam_minor_arcsec and maps.beam_pa_deg"
            )
        values = found[-1]
    major, minor, pa = map(float, values)
    return Beam(major * 3600, minor * 3600, pa)


def _header_frequency_hz(header: fits.Header) -> float | None:
    values = [header.get(key) for key in ("RESTFRQ", "RESTFREQ", "FREQ", "OBSFREQ")]
    # A frequency axis comes before the cards, and axis 3 before axis 4.
    for number in (4, 3):
        if str(header.get(f"CTYPE{number}", "")).startswith("FREQ"):
            factor = HERTZ.get(str(header.get(f"CUNIT{number}", "")).strip().lower(), 1.0)
            values.insert(0, header.get(f"CRVAL{number}", 0.0) * factor)
    return next((float(v) for v in values if isinstance(v, int | float) and 0 < v < math.inf), None)
