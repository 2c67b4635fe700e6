"""The turns and flips of an image that keep the beam and the pixel of its map."""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from astro_dist.sky.beams import Beam, Pixel

SYMMETRY_TOLERANCE = 0.05
Kind = TypeVar("Kind", bound=np.generic)


def symmetries(beam: Beam, pixel: Pixel) -> tuple[int, ...]:
    """Return the turns and flips (see `apply_symmetry`) after which an object still fits its map.

    An element is kept when it changes the second moments of the beam and those of a pixel by at most
    5 % (Frobenius norm): a quarter turn of a map with oblong pixels would stretch the sky even where
    the beam looks round in pixels. 0 and 2 (the half turn) are always kept.
    """
    pixel_moments = np.diag([pixel.dy_arcsec**2, pixel.dx_arcsec**2])
    shapes = (beam.covariance_pix(pixel), pixel_moments)
    # Only these eight move whole pixels onto whole pixels; any other angle would resample them.
    return tuple(k for k in range(8) if all(_keeps(shape, k) for shape in shapes))


def apply_symmetry(array: NDArray[Kind], k: int) -> NDArray[Kind]:
    """Turn and flip an image by element ``k`` (0 to 7) of the symmetries of a square.

    The last two axes are turned ``k % 4`` times by a quarter (`numpy.rot90`: counter-clockwise with
    row 0 on top), then, for ``k >= 4``, mirrored left to right. The result is a view.
    """
    turned = np.rot90(array, k % 4, axes=(-2, -1))
    return turned[..., ::-1] if k >= 4 else turned


def _keeps(moments: NDArray[np.float64], k: int) -> bool:
    quarter, mirror = np.array([[0, -1], [1, 0]]), np.diag([1, -1])
    matrix = np.linalg.matrix_power(quarter, k % 4)
    matrix = mirror @ matrix if k >= 4 else matrix
    # Second moments turn as R M R^T.
    change = matrix @ moments @ matrix.T - moments
    return bool(np.linalg.norm(change) <= SYMMETRY_TOLERANCE * np.linalg.norm(moments))
