"""Small FITS files with one source each: their pixels, whatever their unit, and where on the sky they are."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.errors import ConfigError, DataError
from astro_dist.sky.fits_reader import explained, find_image, read_pixels
from astro_dist.sky.maps import celestial_wcs
from astro_dist.sky.sky_image import SkyImage
from astro_dist.sky.windows import Window


def read_cutout_file(path: Path, largest_pix: int) -> tuple[NDArray[np.float32], tuple[float, float]]:
    """Return the pixels of a file's first image, NaN where it has no data, and the position of its centre.

    Parameters
    ----------
    largest_pix
        Longest side that is read.

    Returns
    -------
    tuple
        Pixels (y, x), float32, in the unit of the file; right ascension and declination in degrees.

    Raises
    ------
    DataError
        The file is no FITS image of one source with a celestial WCS, or is damaged or too large.
    """
    try:
        with explained(path, DataError):
            header, layout = find_image(path)
            ny, nx = layout.axes[-2:]
            if max(ny, nx) > largest_pix:
                raise DataError(f"{nx} x {ny} pixels; raise pictures.largest_pix")
            values = read_pixels(path, layout, Window(0, ny, 0, nx))
            centre = celestial_wcs(header).pixel_to_world((nx - 1) / 2, (ny - 1) / 2).icrs
            return values, (float(centre.ra.deg), float(centre.dec.deg))
    except ConfigError as error:
        # One file of many: it is left to its task.
        raise DataError(str(error)) from None


def read_colour_file(path: Path, largest_pix: int) -> tuple[NDArray[np.float32], tuple[float, float]]:
    """Return three planes (3, y, x) of an image, NaN where it has no data, and the position of its centre.

    Raises
    ------
    DataError
        As `read_cutout_file`, or the image has not three planes.
    """
    try:
        image = SkyImage.open(path)
        ny, nx = image.shape
        if image.planes != 3:
            raise DataError(f"{path}: it has one plane and colours have three; set pictures.planes to 1")
        if max(ny, nx) > largest_pix:
            raise DataError(f"{path}: {nx} x {ny} pixels; raise pictures.largest_pix")
        values = image.read(Window(0, ny, 0, nx)).astype(np.float32)
        centre = image.wcs.pixel_to_world((nx - 1) / 2, (ny - 1) / 2).icrs
    except ConfigError as error:
        raise DataError(str(error)) from None
    return values, (float(centre.ra.deg), float(centre.dec.deg))
