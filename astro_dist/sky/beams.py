"""The restoring beam, the size of a pixel, and the turns and flips that keep both."""

import math
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from astro_dist.engine.errors import ConfigError

SYMMETRY_TOLERANCE = 0.05
Kind = TypeVar("Kind", bound=np.generic)


@dataclass(frozen=True, slots=True)
class Pixel:
    """Size of a map's pixel on the sky along y and x; both positive, they may differ."""

    dy_arcsec: float
    dx_arcsec: float

    def __post_init__(self) -> None:
        # Not `<= 0`, which is false for NaN.
        if not (self.dy_arcsec > 0 and self.dx_arcsec > 0):
            raise ConfigError(f"a pixel needs two positive sizes, not {self.dy_arcsec} and {self.dx_arcsec}")


@dataclass(frozen=True, slots=True)
class Beam:
    """An elliptical Gaussian: full widths at half maximum, and the major axis east of north.

    In a map with north up (+y) and east left (-x) the position angle runs from +y towards -x.
    """

    major_arcsec: float
    minor_arcsec: float
    pa_deg: float = 0.0

    def __post_init__(self) -> None:
        # NaN fails every comparison and is refused here too.
        if not 0 < self.minor_arcsec <= self.major_arcsec < math.inf:
            raise ConfigError(
                f"a beam of {self.major_arcsec} x {self.minor_arcsec} arcsec is impossible: "
                "both widths must be positive and the major one not below the minor one"
            )
        if not math.isfinite(self.pa_deg):
            raise ConfigError(f"a beam needs a finite position angle, not {self.pa_deg}")

    def area_pix(self, pixel: Pixel) -> float:
        """Return the beam's solid angle in pixels: a source's sum in Jy/beam over this is its flux in Jy."""
        # The integral of a Gaussian of unit peak: pi / (4 ln 2) times the product of its full widths.
        solid_angle = math.pi / (4 * math.log(2)) * self.major_arcsec * self.minor_arcsec
        return solid_angle / (pixel.dy_arcsec * pixel.dx_arcsec)

    def fwhm_pix(self, pixel: Pixel) -> float:
        """Return the full width at half maximum in pixels, the geometric mean over both axes."""
        return math.sqrt(self.major_arcsec * self.minor_arcsec / (pixel.dy_arcsec * pixel.dx_arcsec))

    def covariance_pix(self, pixel: Pixel) -> NDArray[np.float64]:
        """Return the second moments of the beam in pixels squared, axes (y, x), shape (2, 2)."""
        pa = math.radians(self.pa_deg)
        # Columns: the major and the minor axis as (y, x) steps in arcsec, each one sigma long.
        axes = np.array([[math.cos(pa), -math.sin(pa)], [-math.sin(pa), -math.cos(pa)]])
        axes *= np.array([self.major_arcsec, self.minor_arcsec]) / math.sqrt(8 * math.log(2))
        axes /= np.array([[pixel.dy_arcsec], [pixel.dx_arcsec]])
        return np.asarray(axes @ axes.T)

    def profile(self, y: ArrayLike, x: ArrayLike, pixel: Pixel) -> NDArray[np.float64]:
        """Return the unit-peak Gaussian at pixel offsets from its centre, broadcast over ``y`` and ``x``.

        North is +y and east is -x; the position angle is measured from +y towards -x.
        """
        inverse = np.linalg.inv(self.covariance_pix(pixel))
        y, x = np.asarray(y, np.float64), np.asarray(x, np.float64)
        square = inverse[0, 0] * y * y + 2 * inverse[0, 1] * y * x + inverse[1, 1] * x * x
        return np.asarray(np.exp(-0.5 * square))


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
