"""Small maps with any header, and angles and widths that astropy alone computes."""

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from astropy.wcs.utils import pixel_to_skycoord

from astro_dist.sky.maps import MapsConfig, SkyMap


def header_of(shape, pixel_arcsec, centre, kind=("RA---SIN", "DEC--SIN"), **cards):
    """The header of a map with north up, its middle on ``centre``; ``cards`` take the place of its own."""
    dy, dx = pixel_arcsec
    header = fits.Header()
    for i, (step, n) in enumerate(((-dx, shape[1]), (dy, shape[0]))):
        header[f"CTYPE{i + 1}"], header[f"CUNIT{i + 1}"] = kind[i], "deg"
        header[f"CRVAL{i + 1}"], header[f"CRPIX{i + 1}"] = centre[i], (n + 1) / 2
        header[f"CDELT{i + 1}"] = step / 3600
    width = 4 * max(dy, dx) / 3600
    header.update({"BUNIT": "Jy/beam", "BMAJ": width, "BMIN": width, "BPA": 0.0, "RESTFRQ": 1.4e9})
    header.update(cards)
    return header


def open_map(path, image, *args, **cards):
    """Write an image as a map, see `header_of`, and open it."""
    fits.writeto(path, image.astype(np.float32), header_of(image.shape, *args, **cards), overwrite=True)
    return SkyMap.open(path, MapsConfig())


def angles_on_sky(wcs: WCS, y, x, major, minor, angle_deg, points=24):
    """Widths in arcsec and angle of small ellipses in pixels, from distances and position angles of astropy.

    ``major`` and ``minor`` are half axes in pixels, ``angle_deg`` counts from +y to -x. A small ellipse is
    one on the sky too, so that the square of the distance to its rim is a constant and one wave.
    """
    scale = 1e-3 / np.maximum(major, minor)
    major, minor = (np.asarray(v, float)[:, None] * scale[:, None] for v in (major, minor))
    turn = np.radians(np.asarray(angle_deg, float))[:, None]
    y, x = np.asarray(y, float)[:, None], np.asarray(x, float)[:, None]
    centre = pixel_to_skycoord(x, y, wcs).icrs

    def rim(t):
        up, left = major * np.cos(t), minor * np.sin(t)
        dy, dx = up * np.cos(turn) - left * np.sin(turn), -up * np.sin(turn) - left * np.cos(turn)
        return pixel_to_skycoord(x + dx, y + dy, wcs).icrs

    t = np.linspace(0, np.pi, points, endpoint=False)
    squares = centre.separation(rim(t)).arcsec ** 2
    wave = 2 * (squares * np.exp(2j * t)).mean(axis=1)
    middle, height = squares.mean(axis=1), np.abs(wave)
    farthest = np.angle(wave)[:, None] / 2
    pa = centre.position_angle(rim(farthest))[:, 0].deg % 180
    return np.sqrt(middle + height) / scale, np.sqrt(middle - height) / scale, pa


def apart(a, b):
    """Difference of two directions without a head, degrees."""
    return np.abs((np.asarray(a) - np.asarray(b) + 90) % 180 - 90)
