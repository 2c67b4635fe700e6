"""FITS cutouts as pictures: one float plane or three from -1 to 1, and groups of those that share sky."""

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from astro_dist.engine.arrays import Image as Pixels
from astro_dist.engine.arrays import Integers
from astro_dist.engine.errors import DataError
from astro_dist.pictures.config import FITS_SUFFIXES
from astro_dist.pictures.decode import resize_plane
from astro_dist.pictures.folder import FolderSource
from astro_dist.sky.cutout_files import read_colour_file, read_cutout_file
from astro_dist.sky.stretch import stretch

LOW, HIGH = -0.6, 3.6
"""Stretched brightness that becomes -1 and 1: 2.6 sigma below the background and 670 sigma above it."""
SIGMA_PER_MAD = 1.4826


class FitsSource(FolderSource):
    """The FITS files of a folder; a `astro_dist.pictures.source.Source`."""

    suffixes = FITS_SUFFIXES

    def read(self, number: int) -> Pixels:
        """Return a cutout by its number among the files, shape (planes, s, s), float32 from -1 to 1."""
        values, name = self._open(number)[0], self.files[number]
        middle = _middle(values, self.config.crop_pix)
        if middle.ndim == 3:
            return scale_colours(middle, name, self.config.size_pix)
        return scale_cutout(middle, name, self.config.size_pix)

    def place(self, number: int) -> tuple[float, float]:
        """Return right ascension and declination, in degrees, of the centre of a cutout."""
        return self._open(number)[1]

    def _open(self, number: int) -> tuple[Pixels, tuple[float, float]]:
        read = read_colour_file if self.config.planes == 3 else read_cutout_file
        return read(self.folder / self.files[number], self.config.largest_pix)


def scale_cutout(values: Pixels, name: str, size_pix: int) -> Pixels:
    """Return a cutout as a network sees it, shape (1, s, s), float32 from -1 to 1.

    Parameters
    ----------
    values
        Brightness, shape (y, x), any unit; NaN where there are no data, which become background.

    Raises
    ------
    DataError
        Fewer than half of the pixels have data, or all have one value; the message begins with ``name``.
    """
    return _scale(values, *_measure(values, name), size_pix)[None]


def scale_colours(values: Pixels, name: str, size_pix: int) -> Pixels:
    """Return a cutout of three planes as a network sees it, shape (3, s, s), float32 from -1 to 1.

    Each plane is taken above its own background in units of the median noise of the three, so that what is as
    bright in all of them, in the unit of the file, is grey. Raises as `scale_cutout`.
    """
    measured = [_measure(plane, name) for plane in values]
    rms = float(np.median([noise for _, noise in measured]))
    planes = zip(values, measured, strict=True)
    return np.stack([_scale(plane, background, rms, size_pix) for plane, (background, _) in planes])


def _measure(values: Pixels, name: str) -> tuple[float, float]:
    """Return background and noise of a plane."""
    known = values[np.isfinite(values)].astype(np.float64)
    background = float(np.median(known)) if known.size else 0.0
    rms = SIGMA_PER_MAD * float(np.median(np.abs(known - background))) if known.size else 0.0
    if 2 * known.size < values.size or rms <= 0:
        raise DataError(f"{name}: blank or constant; nothing tells its noise")
    return background, rms


def _scale(values: Pixels, background: float, rms: float, size_pix: int) -> Pixels:
    filled = np.where(np.isfinite(values), values, background)
    scaled = (stretch(filled, background, rms) - LOW) / (HIGH - LOW) * 2 - 1
    return np.clip(resize_plane(scaled.astype(np.float32), size_pix), -1, 1)


def _middle(values: Pixels, crop_pix: int | None) -> Pixels:
    """Return the middle square of a cutout, of its shorter side or of ``crop_pix`` pixels."""
    sides = values.shape[-2:]
    side = min(*sides, crop_pix or max(sides))
    y, x = ((length - side) // 2 for length in sides)
    return values[..., y : y + side, x : x + side]


def link_places(places: NDArray[np.float64], separation_arcmin: float) -> Integers:
    """Return pairs (2, m) of positions, shape (n, 2) in degrees, that are nearer than a separation."""
    ra, dec = np.radians(places).T
    units = np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=1)
    chord = 2 * np.sin(np.radians(separation_arcmin / 60) / 2)
    return np.asarray(cKDTree(units).query_pairs(chord, output_type="ndarray"), np.int64).reshape(-1, 2).T
