"""The settings of the simulated survey; what needs numpy or astropy imports it when it is asked for."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import Field, model_validator

from astro_dist.engine.config import Section

if TYPE_CHECKING:
    from astropy.wcs import WCS

    from astro_dist.sky.beams import Beam, Pixel

# The block of `beam_noise`: a block that lay across two bands would be filtered twice.
BAND_ROWS = 512
# Hopkins et al. 2003, AJ 125, 465, eq. 7: log10 of the Euclidean-normalised counts at 1.4 GHz
# [Jy^1.5 / sr] as a polynomial in log10(S / mJy), fitted from 0.05 to 1000 mJy.
HOPKINS = (0.859, 0.508, 0.376, -0.049, -0.121, 0.057, -0.008)
FITTED_MJY = (0.05, 1000.0)
COUNTS_HZ, SPECTRAL_INDEX = 1.4e9, -0.7


def count_above(faintest_jy: float, limit_jy: float, frequency_hz: float) -> float:
    """Return the number of sources per steradian between two fluxes, to a percent.

    `astro_dist.sky.sources.count_density` says which counts; here they are summed without numpy.
    """
    ratio, steps = (frequency_hz / COUNTS_HZ) ** SPECTRAL_INDEX, 200
    low, high = math.log(faintest_jy / ratio), math.log(limit_jy / ratio)

    def count(log_jy: float) -> float:
        """Return the sources per steradian and per e-fold of flux."""
        log_mjy = log_jy / math.log(10) + 3
        inside = min(max(log_mjy, math.log10(FITTED_MJY[0])), math.log10(FITTED_MJY[1]))
        value = sum(c * inside**i for i, c in enumerate(HOPKINS))
        slope = sum(i * c * inside ** (i - 1) for i, c in enumerate(HOPKINS) if i)
        # Euclidean-normalised counts are S^2.5 dN/dS.
        return float(10 ** (value + slope * (log_mjy - inside)) * math.exp(-1.5 * log_jy))

    width = (high - low) / steps
    return width * sum(count(low + (i + 0.5) * width) for i in range(steps))


def instances_file(map_name: str) -> str:
    """Return the name of the image of source numbers beside a simulated map."""
    return f"{map_name}.instances.fits"


class SimulateConfig(Section):
    """The simulated sky, which is made when no maps are given."""

    shape: tuple[int, int] = (4096, 4096)
    """Rows and columns of each map."""
    maps: int = Field(default=1, ge=1)
    """How many maps to make, side by side in right ascension without touching."""
    pixel_arcsec: float = Field(default=1.5, gt=1e-6)
    """Side of a pixel."""
    beam_major_arcsec: float = Field(default=6.0, gt=0, lt=1e6)
    """Full width at half maximum of the beam's long axis."""
    beam_minor_arcsec: float = Field(default=6.0, gt=0, lt=1e6)
    """Full width at half maximum of the beam's short axis."""
    beam_pa_deg: float = 0.0
    """Position angle of the beam's long axis, east of north."""
    rms_jy_beam: float = Field(default=25e-6, gt=1e-30)
    """Noise of the maps."""
    frequency_hz: float = Field(default=1.4e9, gt=1e6, lt=1e13)
    """Observing frequency; the 1.4 GHz counts are scaled to it with a spectral index of -0.7."""
    ra_deg: float = Field(default=15.0, ge=0, lt=360)
    """Right ascension of the centre of the first map."""
    dec_deg: float = Field(default=-30.0, ge=-80, le=80)
    """Declination of the centre of the maps."""
    flux_limit_jy: float = 1.0
    """Compact sources are drawn from published counts between one rms and this flux."""
    resolved_fraction: float = Field(default=0.3, ge=0, le=1)
    """The part of the compact sources that is slightly wider than the beam."""
    extended_per_1000_beams: float = Field(default=0.5, ge=0)
    """Extended sources per 1,000 beam areas; 0.5 is one in two windows of 128 pixels, ten times nature."""
    extended_size_beams: tuple[float, float] = (4.0, 20.0)
    """Range of lengths of extended sources; one source in 25 is then lengthened by up to 1.8 times."""
    spurious: bool = True
    """Whether bright sources leave spokes, rings and rays."""
    instances: bool = True
    """Whether an image beside each map has the number of the brightest source in each pixel; by it `annotate`
    knows which islands are one source."""

    @model_validator(mode="before")
    @classmethod
    def _keep_files(cls, tree: Any) -> Any:
        """Read a section in which an earlier version wrote every setting of its own as that version did."""
        if isinstance(tree, Mapping) and set(cls.model_fields) - set(tree) == {"instances"}:
            return {**tree, "instances": False}
        return tree

    def marks(self) -> dict[str, Any]:
        """Return the values that enter fingerprints: those of earlier versions where the files are theirs."""
        values = super().marks()
        return values if self.instances else {k: v for k, v in values.items() if k != "instances"}

    @model_validator(mode="after")
    def _check(self) -> "SimulateConfig":
        low, high = self.extended_size_beams
        smallest = math.ceil(10 * self.beam_major_arcsec / self.pixel_arcsec)
        if self.beam_minor_arcsec > self.beam_major_arcsec:
            raise ValueError("beam_minor_arcsec is above beam_major_arcsec; exchange them")
        if self.beam_minor_arcsec < 2 * self.pixel_arcsec:
            raise ValueError("the beam is narrower than two pixels; choose a smaller pixel_arcsec")
        if min(self.shape) < smallest:
            raise ValueError(
                f"a map of {self.shape[0]} x {self.shape[1]} pixels is too small for the beam; "
                f"{smallest} a side are needed"
            )
        if not 2 <= low <= high:
            raise ValueError("extended_size_beams needs two rising lengths of at least 2 beams")
        if self.flux_limit_jy <= self.rms_jy_beam:
            raise ValueError("flux_limit_jy must be above rms_jy_beam")
        # 30 degrees, in arcsec, is the largest side of one map.
        if self.maps * self.step_deg > 360 or max(self.shape) * self.pixel_arcsec > 30 * 3600:
            raise ValueError("the maps do not fit on the sky without touching; make fewer or smaller ones")
        return self

    @property
    def beam(self) -> "Beam":
        """The beam of every map."""
        from astro_dist.sky.beams import Beam

        return Beam(self.beam_major_arcsec, self.beam_minor_arcsec, self.beam_pa_deg)

    @property
    def pixel(self) -> "Pixel":
        """The pixel of every map."""
        from astro_dist.sky.beams import Pixel

        return Pixel(self.pixel_arcsec, self.pixel_arcsec)

    @property
    def step_deg(self) -> float:
        """Step in right ascension from the centre of one map to the centre of the next."""
        # Meridians are closest at the edge nearer to the pole; 1.1 leaves a gap of a tenth of a map.
        # 7200: half of the height, and 3600 arcsec in a degree.
        half_height_deg = self.shape[0] * self.pixel_arcsec / 7200
        # Below 90 degrees, where the cosine is zero and the step has no end.
        nearest_pole = min(abs(self.dec_deg) + half_height_deg, 89.0)
        return 1.1 * self.shape[1] * self.pixel_arcsec / 3600 / math.cos(math.radians(nearest_pole))

    @property
    def mean_sources(self) -> float:
        """Mean number of sources in a map, by the counts that `astro_dist.sky.sources` draws from."""
        sky = math.prod(self.shape) * self.pixel_arcsec**2
        # A radian has 206264.806 arcsec.
        compact = sky / 206264.806**2 * count_above(self.rms_jy_beam, self.flux_limit_jy, self.frequency_hz)
        return compact + self.mean_extended

    @property
    def mean_extended(self) -> float:
        """Mean number of extended sources in a map."""
        beam = math.pi / (4 * math.log(2)) * self.beam_major_arcsec * self.beam_minor_arcsec
        return self.extended_per_1000_beams * math.prod(self.shape) * self.pixel_arcsec**2 / beam / 1000

    @property
    def names(self) -> list[str]:
        """Names of the maps, without suffix."""
        return [f"simulated-{number:02d}" for number in range(self.maps)]

    def wcs(self, number: int) -> "WCS":
        """Return the celestial coordinates of map ``number``."""
        from astro_dist.sky.fits_file import plane_wcs

        ra_deg = (self.ra_deg + number * self.step_deg) % 360
        return plane_wcs(self.shape, self.pixel, ra_deg, self.dec_deg)
