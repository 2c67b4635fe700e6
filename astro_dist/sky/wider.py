"""Copies of maps as an instrument of a larger beam would have seen them."""

from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.wcs.utils import proj_plane_pixel_scales
from scipy.ndimage import maximum_filter
from scipy.signal import fftconvolve

from astro_dist.engine.arrays import Image
from astro_dist.engine.errors import ConfigError
from astro_dist.sky.beams import Beam, Pixel
from astro_dist.sky.common_beam import beam_of_moments, moments_of_beam
from astro_dist.sky.maps import celestial_wcs


def widen_map(path: Path, wanted: Beam, own: Beam | None = None) -> tuple[Any, Image]:
    """Return header and pixels of a map of one plane, convolved to a larger beam.

    Parameters
    ----------
    path
        FITS file in Jy/beam.
    wanted
        The beam of the copy, which must hold that of the map.
    own
        Beam of the map, where its header lacks it.

    Returns
    -------
    Header, ndarray
        The header with the new beam, and float32 pixels in Jy per new beam, so that the peak of a point
        source stays. NaN where the kernel touches pixels without data, at most to two of its widths.

    Raises
    ------
    ConfigError
        No beam is known, the new one is not larger, or the map has several planes.
    """
    with fits.open(path) as hdus:
        hdu = next(one for one in hdus if one.header["NAXIS"] >= 2)
        header, image = hdu.header.copy(), np.squeeze(hdu.data).astype(np.float64)
    if own is None:
        try:
            own = Beam(3600 * header["BMAJ"], 3600 * header["BMIN"], header["BPA"])
        except KeyError:
            raise ConfigError(f"{path}: no beam in its header; give --own") from None
    if image.ndim != 2:
        raise ConfigError(f"{path}: {image.ndim} axes of more than one pixel; give one plane")
    excess = moments_of_beam(wanted) - moments_of_beam(own)
    if np.linalg.eigvalsh(excess)[0] <= 0:
        raise ConfigError(f"{path}: its beam {own} is not inside {wanted}; give a larger --beam")
    dx, dy = 3600 * proj_plane_pixel_scales(celestial_wcs(header))
    kernel_beam, pixel = beam_of_moments(excess), Pixel(dy, dx)
    reach = int(np.ceil(2 * kernel_beam.major_arcsec / min(dx, dy)))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    kernel, blank = kernel_beam.profile(y, x, pixel), np.isnan(image)
    found = fftconvolve(np.where(blank, 0, image), kernel / kernel.sum(), mode="same")
    found *= wanted.area_pix(pixel) / own.area_pix(pixel)
    found[maximum_filter(blank, 2 * reach + 1, mode="constant", cval=1)] = np.nan
    for key, value in zip(
        ("BMAJ", "BMIN", "BPA"),
        (wanted.major_arcsec / 3600, wanted.minor_arcsec / 3600, wanted.pa_deg),
        strict=True,
    ):
        header[key] = value
    header.add_history(f"convolved from {own} to {wanted}")
    return header, found.astype(np.float32)
