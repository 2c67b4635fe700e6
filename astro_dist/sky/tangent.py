"""Shapes turned from the pixels of a map to the sky at their place: widths in arcsec, angles east of north.

North differs from +y wherever a map is wide, near a pole, in galactic coordinates or turned, and a pixel has
another size there than at the reference point. The Jacobian of the WCS holds both: second moments M in pixels
become J M J^T in the plane that touches the sphere at the source.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from astro_dist.sky.beams import Beam, Pixel

Values = NDArray[np.float64]
SkyOf = Callable[[Values, Values], tuple[Values, Values]]
"""``(y, x) -> (ra_deg, dec_deg)``, NaN off the projected sky."""

ARCSEC_PER_RADIAN = 648000 / np.pi
# The full width at half maximum of a Gaussian is sqrt(8 ln 2) = 2.355 standard deviations.
FWHM_PER_SIGMA = float(np.sqrt(8 * np.log(2)))
HALF_STEP_PIX = 0.5


def local_axes(sky_of: SkyOf, y: ArrayLike, x: ArrayLike) -> Values:
    """Return the Jacobian of a map at some positions, shape (n, 2, 2).

    Parameters
    ----------
    sky_of
        ICRS position of a pixel.
    y, x
        Pixel positions, shape (n,).

    Returns
    -------
    numpy.ndarray
        Arcsec towards north and east (rows) per pixel along y and x (columns); NaN where the map shows no
        sky.
    """
    y, x = np.atleast_1d(np.asarray(y, np.float64)), np.atleast_1d(np.asarray(x, np.float64))
    ra, dec = (np.radians(angle) for angle in sky_of(y, x))
    zero = np.zeros_like(ra)
    north = np.stack([-np.sin(dec) * np.cos(ra), -np.sin(dec) * np.sin(ra), np.cos(dec)], axis=-1)
    east = np.stack([-np.sin(ra), np.cos(ra), zero], axis=-1)
    columns = []
    for dy, dx in ((HALF_STEP_PIX, 0.0), (0.0, HALF_STEP_PIX)):
        # A difference over both sides has no error of second order.
        ends = [_vector(*sky_of(y + side * dy, x + side * dx)) for side in (1, -1)]
        step = (ends[0] - ends[1]) / (2 * HALF_STEP_PIX)
        columns.append(np.stack([(step * north).sum(axis=-1), (step * east).sum(axis=-1)], axis=-1))
    return np.asarray(np.stack(columns, axis=-1) * ARCSEC_PER_RADIAN)


def ellipses(moments: Values) -> tuple[Values, Values, Values]:
    """Return major and minor full width, and the angle of the major axis in [0, 180) deg.

    Parameters
    ----------
    moments
        Second moments, shape (n, 2, 2); the angle runs from the first axis to the second. Negative
        eigenvalues count as zero; where nothing is left the angle is 0.
    """
    # Eigenvalues and direction of the symmetric matrix [[a, c], [c, b]].
    a, b, c = moments[:, 0, 0], moments[:, 1, 1], moments[:, 0, 1]
    mean, half = (a + b) / 2, np.hypot((a - b) / 2, c)
    major, minor = (FWHM_PER_SIGMA * np.sqrt(np.maximum(value, 0)) for value in (mean + half, mean - half))
    # The second modulus is for an angle so little below zero that the first rounds it to 180.
    angle = np.degrees(np.arctan2(2 * c, a - b)) / 2 % 180 % 180
    return major, minor, np.where(major > 0, angle, 0.0)


def moments_of_ellipses(major: Values, minor: Values, angle_deg: Values) -> Values:
    """Return the second moments, shape (n, 2, 2), of ellipses as `ellipses` describes them."""
    angle = np.radians(np.asarray(angle_deg, np.float64))
    cos, sin = np.cos(angle), np.sin(angle)
    axes = np.stack([np.stack([cos, -sin], axis=-1), np.stack([sin, cos], axis=-1)], axis=-2)
    widths = np.stack([major, minor], axis=-1).astype(np.float64) / FWHM_PER_SIGMA
    scaled = axes * widths[..., None, :]
    return np.asarray(scaled @ scaled.swapaxes(-1, -2))


def to_sky(axes: Values, moments_pix: Values) -> Values:
    """Return second moments on the sky, arcsec^2 on (north, east), from those in pixels on (y, x)."""
    return np.asarray(axes @ moments_pix @ axes.swapaxes(-1, -2))


def frame_step(pixel: Pixel) -> Values:
    """Return the arcsec per pixel along (y, x) in the frame of the image, shape (2,).

    The frame's axes are +y and -x, in arcsec at the reference point; angles in it run from +y to -x, as that
    of a beam does. In a map with north up and east left it is (north, east) at the reference point.
    """
    return np.array([pixel.dy_arcsec, -pixel.dx_arcsec])


def turn_ellipses(
    axes: Values, pixel: Pixel, major: Values, minor: Values, angle_deg: Values
) -> tuple[Values, Values, Values]:
    """Return widths and position angles on the sky of ellipses in the frame of the image.

    Parameters
    ----------
    axes
        The Jacobian at each, see `local_axes`.
    major, minor, angle_deg
        Full widths in arcsec and angle in the frame that `frame_step` describes.
    """
    turned = ellipses(to_sky(axes / frame_step(pixel), moments_of_ellipses(major, minor, angle_deg)))
    # A width of zero stays zero under any turn; rounding would leave a trace of the other.
    return turned[0], np.where(np.asarray(minor) > 0, turned[1], 0.0), turned[2]


def turn_beam(beam: Beam, matrix: Values) -> Beam:
    """Return a beam after a linear map of the plane; ``matrix`` acts on (first, second) axis."""
    if beam.major_arcsec == beam.minor_arcsec and np.allclose(matrix @ matrix.T, np.eye(2), atol=1e-9):
        # A round beam stays what it is, with the angle that its header states.
        return beam
    widths = (np.array([value]) for value in (beam.major_arcsec, beam.minor_arcsec, beam.pa_deg))
    major, minor, angle = ellipses(to_sky(matrix[None], moments_of_ellipses(*widths)))
    return Beam(float(major[0]), float(minor[0]), float(angle[0]))


def _vector(ra_deg: Values, dec_deg: Values) -> Values:
    """Return unit vectors, shape (n, 3)."""
    ra, dec = np.radians(ra_deg), np.radians(dec_deg)
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=-1)
