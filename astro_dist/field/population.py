"""The sources of a field by published counts: fluxes, spectra, sizes, and which of them are objects.

Fluxes are drawn at 1.4 GHz and carried to the field's frequency by a spectral index for each source. Drawing
goes a little beyond both limits of the field, and what falls outside is dropped: a part of a Poisson process
taken by chance is one again, so the numbers at the field's frequency are Poisson as well.
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from astro_dist.field.config import CountsConfig
from astro_dist.sky.counts import COUNTS_HZ, draw_fluxes, draw_sizes, number_between, share_above

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from astro_dist.engine.arrays import Floats

Stream = Callable[..., "np.random.Generator"]
SPREADS = 4.0
"""Spectral indices are drawn up to this many standard deviations from the mean."""
THINNEST = 0.2
"""Axis ratio of a disc seen edge on (Hubble 1926)."""
POINT_BEAMS = 0.1
"""Sources below this part of the beam are points: they would widen it by half a percent."""
STEPS = 48


@dataclass(frozen=True)
class Population:
    """Sources in columns of one length.

    Attributes
    ----------
    flux_jy
        Integrated flux at the field's frequency, Jy.
    spectral_index
        Its exponent alpha in S ~ frequency^alpha.
    major_arcsec, minor_arcsec
        Points and Gaussians: full widths at half maximum of the source without the beam, zero for a point.
        Objects: the largest angular size in ``major_arcsec``, and NaN.
    image_pa_deg
        Direction of the major axis in the frame of the image, in [0, 180).
    is_object
        Whether a source is drawn as an object of the library.
    """

    flux_jy: "Floats"
    spectral_index: "Floats"
    major_arcsec: "Floats"
    minor_arcsec: "Floats"
    image_pa_deg: "Floats"
    is_object: "NDArray[np.bool_]"

    def __len__(self) -> int:
        return len(self.flux_jy)


def solid_angle_sr(shape: tuple[int, int], step_arcsec: tuple[float, float]) -> float:
    """Return the solid angle of a field in the SIN projection centred on its middle.

    Parameters
    ----------
    shape, step_arcsec
        Pixels, and size of a pixel, along y and x.
    """
    height, width = (n * math.radians(step / 3600) for n, step in zip(shape, step_arcsec, strict=True))
    # SIN shows a sphere from infinity: a piece of sky is shortened by the cosine of its distance.
    middles = [(i + 0.5) / STEPS - 0.5 for i in range(STEPS)]
    squares = [[(y * height) ** 2 + (x * width) ** 2 for x in middles] for y in middles]
    return height * width * sum(1 / math.sqrt(1 - r2) for row in squares for r2 in row) / STEPS**2


@dataclass(frozen=True)
class Expected:
    """The mean numbers of sources of a field, and of those that are objects of the library."""

    sources: float
    objects: float

    @property
    def most_objects(self) -> int:
        """The number of objects that one field in three million exceeds (five standard deviations)."""
        if self.objects < 3e-7:
            return 0
        return math.ceil(self.objects + 5 * math.sqrt(self.objects))


def expect(law: CountsConfig, area_sr: float, frequency_hz: float, fwhm_arcsec: float) -> Expected:
    """Return the mean numbers of sources of a field, to a few in a thousand.

    Parameters
    ----------
    fwhm_arcsec
        Full width of the field's beam, the geometric mean of its axes.
    """
    low, high, edge = law.limit, law.highest_jy, law.object_beams * fwhm_arcsec
    sources = objects = total = 0.0
    for i in range(STEPS + 1):
        z = SPREADS * (2 * i / STEPS - 1)
        weight = math.exp(-z * z / 2)
        ratio = (frequency_hz / COUNTS_HZ) ** (law.spectral_index + z * law.spectral_spread)
        edges = [low / ratio * (high / low) ** (j / STEPS) for j in range(STEPS + 1)]
        numbers = [number_between(a, b) for a, b in itertools.pairwise(edges)]
        parts = (share_above(edge, math.sqrt(a * b)) for a, b in itertools.pairwise(edges))
        sources += weight * sum(numbers)
        objects += weight * sum(n * part for n, part in zip(numbers, parts, strict=True))
        total += weight
    return Expected(area_sr * sources / total, area_sr * objects / total)


def draw_population(
    law: CountsConfig, area_sr: float, frequency_hz: float, fwhm_arcsec: float, stream: Stream
) -> Population:
    """Draw the sources of a field; see `expect`, and `Population` for what is returned.

    Parameters
    ----------
    stream
        ``(*key) -> Generator``. Every property has a stream of its own and a number per source, so that the
        setting of one changes no other.
    """
    import numpy as np

    low, high = law.limit, law.highest_jy
    reach = [(frequency_hz / COUNTS_HZ) ** (law.spectral_index + z * law.spectral_spread) for z in _ENDS]
    limits = low / max(reach), high / min(reach)
    n = stream("counts", "number").poisson(area_sr * number_between(*limits))
    at_1400 = draw_fluxes(stream("counts", "flux").random(n), *limits)
    normal = np.clip(stream("counts", "spectrum").standard_normal(n), *_ENDS)
    index = law.spectral_index + law.spectral_spread * normal
    flux = at_1400 * (frequency_hz / COUNTS_HZ) ** index
    size = draw_sizes(stream("counts", "size").random(n), at_1400)
    # The cosine of the inclination is uniform for directions that are.
    cosine = stream("counts", "inclination").random(n)
    angle = stream("counts", "angle").uniform(0, 180, n)
    kept = (flux >= low) & (flux <= high)
    objects = size > law.object_beams * fwhm_arcsec
    size = np.where(size < POINT_BEAMS * fwhm_arcsec, 0, size)
    ratio = np.sqrt(cosine**2 * (1 - THINNEST**2) + THINNEST**2)
    minor = np.where(objects, np.nan, size * ratio)
    flux, index, size, minor, angle = (column[kept] for column in (flux, index, size, minor, angle))
    return Population(flux, index, size, minor, angle, objects[kept])


_ENDS = -SPREADS, SPREADS
