"""Maps of points, as a beam shows them: Gaussians that are known everywhere."""

import math

import numpy as np
from astropy.io import fits

from astro_dist.sky.beams import Beam
from astro_dist.sky.config import PlaneConfig
from astro_dist.sky.planes import open_plane
from astro_dist.sky.windows import Window
from tests.sky.small_maps import header_of

ROUND = Beam(6.0, 6.0)
"""What shows points in a map that states no beam."""


def turned(header, angle_deg):
    """The header with its pixels turned against the sky."""
    sine, cosine = math.sin(math.radians(angle_deg)), math.cos(math.radians(angle_deg))
    steps = header["CDELT1"], header["CDELT2"]
    header.update({"PC1_1": cosine, "PC1_2": -sine * steps[1] / steps[0]})
    header.update({"PC2_1": sine * steps[0] / steps[1], "PC2_2": cosine})
    return header


def write_points(path, points, shape, centre, pixel, *, angle=0.0, unit="Jy/beam", beam=None, blank=None):
    """Write a map of points (ra_deg, dec_deg, peak), peaks in ``unit``."""
    header = turned(header_of(shape, (pixel, pixel), centre), angle)
    header["BUNIT"] = unit
    for key in ("BMAJ", "BMIN", "BPA"):
        del header[key]
    if beam is not None:
        header.update({"BMAJ": beam.major_arcsec / 3600, "BMIN": beam.minor_arcsec / 3600})
        header["BPA"] = beam.pa_deg
    path.parent.mkdir(parents=True, exist_ok=True)
    fits.writeto(path, np.zeros(shape, np.float32), header, overwrite=True)
    (empty,) = open_plane(PlaneConfig(name="x", files=(str(path),)), path.parent)
    image = show_points(empty.sky_map, Window.of_shape(shape), empty.beam or ROUND, points)
    if blank is not None:
        image[blank] = np.nan
    fits.writeto(path, image.astype(np.float32), header, overwrite=True)
    return path


def show_points(sky_map, window, beam, points):
    """Points in a window, as a beam in the frame of the image shows them."""
    image = np.full(window.shape, 1e-12)  # Regions of exact zeros are no data.
    for ra, dec, peak in points:
        y, x = (float(v) for v in sky_map.pixel_of(ra, dec))
        # Far away nothing is left of a point.
        y0, x0 = max(0, round(y) - window.y0 - 40), max(0, round(x) - window.x0 - 40)
        part = image[y0 : max(0, round(y) - window.y0 + 41), x0 : max(0, round(x) - window.x0 + 41)]
        rows, columns = np.indices(part.shape)
        part += peak * beam.profile(rows + window.y0 + y0 - y, columns + window.x0 + x0 - x, sky_map.pixel)
    return image
