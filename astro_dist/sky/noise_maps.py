"""Maps of the noise that users bring (``maps.rms_files``), in the place of the noise that is measured.

Maps of weights (``maps.weight_files``) say how the noise changes from place to place, and not how large it
is: ``rms = k / weight^power``, with one k for each map, the median over its cells of what is measured.

The mesh has the medians of its cells. Pixels are compared with the map itself, since at the rim of a primary
beam or between pointings the noise changes within a cell.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.arrays import Image
from astro_dist.engine.errors import ConfigError
from astro_dist.engine.work import Run
from astro_dist.sky.config import MapsConfig, SurveyConfig
from astro_dist.sky.files import find_maps, find_noise, find_survey, noise_setting
from astro_dist.sky.map_files import UNPACKED
from astro_dist.sky.maps import SkyMap
from astro_dist.sky.mesh import Mesh
from astro_dist.sky.windows import Window, bands

# Below this part of a cell with noise of the user, the noise is measured.
MIN_FILLED = 1 / 3
# Pixels of the two maps may lie this far apart, in pixels: the rounding of CRVAL and CRPIX.
MOST_APART_PIX = 0.1
CHECK_ROWS = 256


@dataclass(frozen=True)
class NoiseMap:
    """A map of the noise, or of weights.

    Attributes
    ----------
    sky_map
        The pixels: Jy/beam of noise, or weights in any unit.
    power
        Of weights, `SurveyConfig.weight_power`; None for noise.
    setting
        The setting that names the file.
    """

    sky_map: SkyMap
    power: float | None
    setting: str

    @property
    def path(self) -> Path:
        """The file."""
        return self.sky_map.path

    def read(self, window: Window) -> Image:
        """Return the pixels of a window, see `SkyMap.read`."""
        try:
            return self.sky_map.read(window)
        except ConfigError as error:
            if self.power is None or "no brightness of the sky" not in str(error):
                raise
            raise ConfigError(
                f"{self.path}: it holds weights beyond 1e18; divide all of {self.setting} by one number, as "
                "their scale does not matter, or write NaN where such a value marks missing data"
            ) from None


@dataclass(frozen=True, eq=False)
class NoisyMesh(Mesh):
    """A mesh whose rms is that of a map of the user, pixel by pixel, where this map has a positive value.

    Attributes
    ----------
    noise
        The map of the noise or of weights.
    size
        k of the weights, see `weights_size`; 1 for noise.
    """

    noise: NoiseMap
    size: float = 1.0

    @classmethod
    def of(cls, mesh: Mesh, noise: NoiseMap, size: float) -> "NoisyMesh":
        """Return a mesh with the noise of the user."""
        return cls(mesh.shape, mesh.cell_pix, mesh.background, mesh.rms, noise, size, wide=mesh.wide)

    def evaluate(self, window: Window) -> tuple[Image, Image]:
        """See `Mesh.evaluate`."""
        background, rms = super().evaluate(window)
        return background, self._given(self.noise.read(window), rms)

    def evaluate_at(self, y: NDArray[np.integer], x: NDArray[np.integer]) -> tuple[Image, Image]:
        """See `Mesh.evaluate_at`; the map is read by bands of rows."""
        background, rms = super().evaluate_at(y, x)
        band, values = np.asarray(y) // CHECK_ROWS, np.full(len(rms), np.nan, np.float32)
        for one in np.unique(band):
            own = np.flatnonzero(band == one)
            rows, columns = y[own], x[own]
            y0, x0 = int(rows.min()), int(columns.min())
            window = Window(y0, int(rows.max()) + 1, x0, int(columns.max()) + 1)
            values[own] = self.noise.read(window)[rows - y0, columns - x0]
        return background, self._given(values, rms)

    def _given(self, values: Image, rms: Image) -> Image:
        known = values > 0
        if self.noise.power is None:
            return np.where(known, values, rms)
        # 1 where nothing is known: a negative number has no root.
        relative = np.where(known, values, 1).astype(np.float64) ** -self.noise.power
        return np.where(known, self.size * relative, rms).astype(np.float32)


def open_noise(run: Run, maps: Sequence[SkyMap]) -> list[NoiseMap | None]:
    """Return the map of the noise of each map, None where it is to be measured.

    A map of the noise belongs to the map whose pixels it shares.

    Raises
    ------
    ConfigError
        See `SkyMap.open`; also when the pixels of a map of the noise are those of none of the survey's maps,
        of a map that has one already, or a map of such a survey has none.
    """
    found: dict[Path, NoiseMap] = {}
    config = run.section(MapsConfig)
    entries = dict(find_maps(config)) if config.files else {}
    for survey in config.surveys if config.files else ():
        # By file: maps of backgrounds share the name of a survey.
        own, setting = [one for one in maps if entries.get(one.path) is survey], noise_setting(survey)
        paths = find_noise(survey)
        for path in paths:
            noise = _open(path, survey, own[0], run.root / UNPACKED)
            owner = next((one for one in own if _share_pixels(one, noise.sky_map)), None)
            if owner is None:
                raise ConfigError(
                    f"{path}: its pixels are those of none of the maps of {survey.survey}; regrid it, or "
                    f"take it out of {setting}"
                )
            if owner.path in found:
                raise ConfigError(
                    f"{owner.path}: {found[owner.path].path} and {path} are both maps of its noise; take one "
                    f"out of {setting}"
                )
            found[owner.path] = noise
        if paths and (missing := [one for one in own if one.path not in found]):
            raise ConfigError(f"{missing[0].path}: none of {setting} has its pixels; add one that does")
    return [found.get(sky_map.path) for sky_map in maps]


def check_noise(maps: Sequence[NoiseMap | None]) -> None:
    """Refuse maps of the noise in which no pixel is positive; a map is read up to the first that is."""
    for noise in maps:
        if noise is None:
            continue
        windows = bands(noise.sky_map.shape, CHECK_ROWS)
        if not any((noise.read(window) > 0).any() for window in windows):
            raise ConfigError(
                f"{noise.path}: none of its pixels is positive, so that it gives no noise; mend it, "
                f"or take it out of {noise.setting}"
            )


def _open(
    path: Path, survey: SurveyConfig, sky_map: SkyMap, unpacked_in: Path, *, verify: bool = True
) -> NoiseMap:
    # Zeros are no data where their region exceeds a beam area. Maps of the noise seldom have a beam, so that
    # the map lends its own.
    beam = {
        "beam_major_arcsec": sky_map.beam.major_arcsec,
        "beam_minor_arcsec": sky_map.beam.minor_arcsec,
        "frequency_hz": sky_map.frequency_hz,
    }
    settings = survey.model_copy(
        update={**beam, "hdu": None, "plane": None, "stokes": "any", "zeros": "blank"}
    )
    weighs = bool(survey.weight_files)
    try:
        noise = SkyMap.open(path, settings, verify=verify, unpacked_in=unpacked_in, is_weight=weighs)
    except ConfigError as error:
        # Neither setting is for these files: the maps may be in another HDU or plane.
        if not re.search(r" maps\.(hdu|plane)\b", str(error)):
            raise
        raise ConfigError(
            f"{path}: it holds several images; save the one of {noise_setting(survey)} into a file of its own"
        ) from None
    return NoiseMap(noise, survey.weight_power if weighs else None, noise_setting(survey))


def _share_pixels(one: SkyMap, other: SkyMap) -> bool:
    if one.shape != other.shape:
        return False
    ny, nx = one.shape
    y, x = np.array([0, 0, ny - 1, ny - 1, ny / 2]), np.array([0, nx - 1, 0, nx - 1, nx / 2])
    there = other.pixel_of(*one.sky_of(y, x))
    # NaN, a corner off the sky, is far from everything.
    return bool(all(np.abs(np.asarray(there) - (y, x)).ravel() <= MOST_APART_PIX))


def noise_of(run: Run, sky_map: SkyMap) -> NoiseMap | None:
    """Return the map of the noise of any map, None where none has its pixels.

    Those of the map's own survey are looked at, or of all where it is in none. No checksum is compared.
    """
    config = run.section(MapsConfig)
    if not config.files or not any(survey.rms_files or survey.weight_files for survey in config.surveys):
        return None
    own = find_survey(config, sky_map.path)
    for survey in config.surveys if own is None else (own,):
        for path in find_noise(survey):
            noise = _open(path, survey, sky_map, run.root / UNPACKED, verify=False)
            if _share_pixels(sky_map, noise.sky_map):
                return noise
    return None


def take_noise(
    measured: list[tuple[Image, Image]], noise: NoiseMap | None, block: Window, cell_pix: int
) -> tuple[list[tuple[Image, Image]], list[Image] | None]:
    """Return background and rms of the cells of a block with the noise of the user, and their weights.

    Parameters
    ----------
    measured
        Background and rms of each row of cells.
    """
    if noise is None:
        return measured, None
    pixels = noise.read(block)
    if noise.power is None:
        return replace_noise(measured, pixels, cell_pix), None
    return measured, cell_medians(pixels, cell_pix)


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
    known = cell_medians(noise, cell_pix)
    rows = zip(measured, known, strict=True)
    # A cell without pixels of the map stays empty, whatever the noise there.
    return [(background, np.where((new > 0) & (rms > 0), new, rms)) for (background, rms), new in rows]


def cell_medians(values: Image, cell_pix: int) -> list[Image]:
    """Return the medians of the positive pixels of each row of cells, NaN below `MIN_FILLED` of a cell."""
    rows = []
    for y in range(0, len(values), cell_pix):
        row = values[y : y + cell_pix]
        medians = np.full(math.ceil(row.shape[1] / cell_pix), np.nan, np.float32)
        for cell in range(len(medians)):
            part = row[:, cell * cell_pix : (cell + 1) * cell_pix]
            known = part[part > 0]
            if len(known) >= MIN_FILLED * part.size:
                medians[cell] = np.median(known)
        rows.append(medians)
    return rows


def weights_size(rms: Image, weight: Image, power: float) -> float | None:
    """Return k of ``rms = k / weight^power``, the median over the cells; None where no cell has both.

    Parameters
    ----------
    rms, weight
        What is measured and the weight of each cell, NaN = not known.
    """
    relative = weight.astype(np.float64) ** -power
    known = np.isfinite(relative) & (rms > 0)
    # One odd cell, full of sources, moves no median.
    return float(np.median(rms[known] / relative[known])) if known.any() else None


def follow_weights(rms: Image, weight: Image, power: float) -> Image:
    """Return the noise of cells from their weights, its size from the noise that is measured.

    Parameters
    ----------
    rms, weight
        See `weights_size`; cells without a weight stay.
    """
    size = weights_size(rms, weight, power)
    if size is None:
        return rms
    relative = weight.astype(np.float64) ** -power
    known = np.isfinite(relative) & (rms > 0)
    return np.where(known, size * relative, rms).astype(np.float32)
