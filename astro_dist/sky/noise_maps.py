"""Maps of the noise that users bring (``maps.rms_files``), in the place of the noise that is measured."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from astro_dist.engine.arrays import Image
from astro_dist.engine.errors import ConfigError
from astro_dist.engine.work import Run
from astro_dist.sky.config import MapsConfig, SurveyConfig
from astro_dist.sky.files import find_maps, find_noise
from astro_dist.sky.map_files import UNPACKED
from astro_dist.sky.maps import SkyMap
from astro_dist.sky.windows import bands

# Below this part of a cell with noise of the user, the noise is measured.
MIN_FILLED = 1 / 3
# Pixels of the two maps may lie this far apart, in pixels: the rounding of CRVAL and CRPIX.
MOST_APART_PIX = 0.1
CHECK_ROWS = 256
Cells = list[tuple[Image, Image]]


def open_noise(run: Run, maps: Sequence[SkyMap]) -> list[SkyMap | None]:
    """Return the map of the noise of each map, None where it is to be measured.

    A map of the noise belongs to the map whose pixels it shares.

    Raises
    ------
    ConfigError
        See `SkyMap.open`; also when the pixels of a map of the noise are those of none of the survey's maps,
        of a map that has one already, or a map of such a survey has none.
    """
    found: dict[Path, SkyMap] = {}
    config = run.section(MapsConfig)
    entries = dict(find_maps(config)) if config.files else {}
    for survey in config.surveys if config.files else ():
        # By file: maps of backgrounds share the name of a survey.
        own = [sky_map for sky_map in maps if entries.get(sky_map.path) is survey]
        for path in find_noise(survey):
            noise = _open(path, survey, own[0], run.root / UNPACKED)
            owner = next((one for one in own if _share_pixels(one, noise)), None)
            if owner is None:
                raise ConfigError(
                    f"{path}: its pixels are those of none of the maps of {survey.survey}; regrid it, or "
                    "take it out of maps.rms_files"
                )
            if owner.path in found:
                raise ConfigError(
                    f"{owner.path}: {found[owner.path].path} and {path} are both maps of its noise; take one "
                    "out of maps.rms_files"
                )
            found[owner.path] = noise
        if survey.rms_files and (missing := [one for one in own if one.path not in found]):
            raise ConfigError(f"{missing[0].path}: none of maps.rms_files has its pixels; add one that does")
    return [found.get(sky_map.path) for sky_map in maps]


def check_noise(maps: Sequence[SkyMap | None]) -> None:
    """Refuse maps of the noise in which no pixel is positive; a map is read up to the first that is."""
    for noise in maps:
        if noise and not any((noise.read(window) > 0).any() for window in bands(noise.shape, CHECK_ROWS)):
            raise ConfigError(
                f"{noise.path}: none of its pixels is positive, so that it gives no noise; mend it, "
                "or take it out of maps.rms_files"
            )


def _open(path: Path, survey: SurveyConfig, sky_map: SkyMap, unpacked_in: Path) -> SkyMap:
    # Zeros are no data where their region exceeds a beam area. Maps of the noise seldom have a beam, so that
    # the map lends its own.
    beam = {
        "beam_major_arcsec": sky_map.beam.major_arcsec,
        "beam_minor_arcsec": sky_map.beam.minor_arcsec,
        "frequency_hz": sky_map.frequency_hz,
    }
    settings = survey.model_copy(update={**beam, "hdu": None, "plane": None, "stokes": "any"})
    return SkyMap.open(path, settings, unpacked_in=unpacked_in)


def _share_pixels(one: SkyMap, other: SkyMap) -> bool:
    if one.shape != other.shape:
        return False
    ny, nx = one.shape
    y, x = np.array([0, 0, ny - 1, ny - 1, ny / 2]), np.array([0, nx - 1, 0, nx - 1, nx / 2])
    there = other.pixel_of(*one.sky_of(y, x))
    # NaN, a corner off the sky, is far from everything.
    return bool(all(np.abs(np.asarray(there) - (y, x)).ravel() <= MOST_APART_PIX))


def replace_noise(
    measured: list[tuple[Image, Image]], noise: Image, cell_pix: int
) -> list[tuple[Image, Image]]:
    """Return background and rms of rows of cells with the noise of the user.

    Parameters
    ----------
    measured
        Background and rms of each row of cells, NaN = no data.
    noise
        The user's noise in the pixels of these rows, Jy/beam.
    """
    starts = range(0, len(noise), cell_pix)
    rows = zip(measured, (noise[y : y + cell_pix] for y in starts), strict=True)
    return [(background, _medians(rms, part, cell_pix)) for (background, rms), part in rows]


def _medians(rms: Image, noise: Image, cell_pix: int) -> Image:
    replaced = rms.copy()
    for cell in range(math.ceil(noise.shape[1] / cell_pix)):
        values = noise[:, cell * cell_pix : (cell + 1) * cell_pix]
        known = values[values > 0]
        # A cell without pixels of the map stays empty, whatever the noise there.
        if len(known) >= MIN_FILLED * values.size and rms[cell] > 0:
            replaced[cell] = np.median(known)
    return replaced
