"""The restoring beam and the size of a pixel.

Plans compare beams and pixels without numpy, which only the methods that return arrays import.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from astro_dist.engine.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray


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

    def moments_pix(self, pixel: Pixel) -> tuple[float, float, float]:
        """Return the second moments yy, yx and xx of the beam in pixels squared, as plain numbers."""
        sine, cosine = math.sin(math.radians(self.pa_deg)), math.cos(math.radians(self.pa_deg))
        major, minor = (width**2 / (8 * math.log(2)) for width in (self.major_arcsec, self.minor_arcsec))
        yy = (major * cosine**2 + minor * sine**2) / pixel.dy_arcsec**2
        yx = (minor - major) * sine * cosine / (pixel.dy_arcsec * pixel.dx_arcsec)
        return yy, yx, (major * sine**2 + minor * cosine**2) / pixel.dx_arcsec**2

    def covariance_pix(self, pixel: Pixel) -> "NDArray[np.float64]":
        """Return the second moments of the beam in pixels squared, axes (y, x), shape (2, 2)."""
        import numpy as np

        pa = math.radians(self.pa_deg)
        # Columns: the major and the minor axis as (y, x) steps in arcsec, each one sigma long.
        axes = np.array([[math.cos(pa), -math.sin(pa)], [-math.sin(pa), -math.cos(pa)]])
        axes *= np.array([self.major_arcsec, self.minor_arcsec]) / math.sqrt(8 * math.log(2))
        axes /= np.array([[pixel.dy_arcsec], [pixel.dx_arcsec]])
        return np.asarray(axes @ axes.T)

    def profile(self, y: "ArrayLike", x: "ArrayLike", pixel: Pixel) -> "NDArray[np.float64]":
        """Return the unit-peak Gaussian at pixel offsets from its centre, broadcast over ``y`` and ``x``.

        North is +y and east is -x; the position angle is measured from +y towards -x.
        """
        import numpy as np

        inverse = np.linalg.inv(self.covariance_pix(pixel))
        y, x = np.asarray(y, np.float64), np.asarray(x, np.float64)
        square = inverse[0, 0] * y * y + 2 * inverse[0, 1] * y * x + inverse[1, 1] * x * x
        return np.asarray(np.exp(-0.5 * square))


def least_moment(yy: float, yx: float, xx: float) -> float:
    """Return the second moment along the narrow axis: the smaller eigenvalue of a symmetric matrix."""
    return float((yy + xx) / 2 - math.hypot((yy - xx) / 2, yx))
