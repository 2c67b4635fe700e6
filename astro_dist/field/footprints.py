"""The sizes of footprints, from beam and pixel alone."""

from math import ceil, log, pi, sqrt

import numpy as np

from astro_dist.field.config import AcceptConfig
from astro_dist.sky.beams import Beam, Pixel


def reach_pix(beam: Beam, pixel: Pixel, config: AcceptConfig) -> tuple[int, int]:
    """Return the reach of a footprint beyond its mask along y and x, in whole pixels."""
    y_step, x_step = steps_in_beams(beam, pixel)
    reach = config.grow_beams + config.taper_beams
    return ceil(reach / y_step), ceil(reach / x_step)


def least_footprint_pix(beam: Beam, pixel: Pixel, config: AcceptConfig) -> float:
    """Return the area in pixels of the footprint of an isolated mask of one pixel: an ellipse's pi a b."""
    y_step, x_step = steps_in_beams(beam, pixel)
    return pi * (config.grow_beams + config.taper_beams) ** 2 / (y_step * x_step)


def steps_in_beams(beam: Beam, pixel: Pixel) -> tuple[float, float]:
    """Return the size of a pixel along y and x in units of the beam's width (FWHM) along that axis."""
    along_y, along_x = (float(beam.profile(np.array(y), np.array(x), pixel)) for y, x in ((1, 0), (0, 1)))
    return _width_in_beams(along_y), _width_in_beams(along_x)


def _width_in_beams(neighbour: float) -> float:
    # A Gaussian beam is exp(-4 ln 2 d^2) at a distance d in units of its FWHM; solved for d.
    # The floor keeps the logarithm finite for a beam that is much narrower than a pixel.
    return sqrt(-log(max(neighbour, 1e-300)) / (4 * log(2)))
