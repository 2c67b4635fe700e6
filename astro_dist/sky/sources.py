"""The sources of a simulated map: compact ones from published counts, and extended ones in addition.

The population of a map is drawn at once from streams that belong to the map, so that source i is the same in
every task. Only the shape of an extended source has a stream of its own.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.arrays import Floats
from astro_dist.engine.seeds import stream
from astro_dist.sky.beams import Beam, Pixel
from astro_dist.sky.morphology import Morphology
from astro_dist.sky.survey import COUNTS_HZ, FITTED_MJY, HOPKINS, SPECTRAL_INDEX, SimulateConfig

Column = NDArray[Any]

# Shares of the extended sources; `rng.choice` refuses any that do not sum to one.
KINDS = {
    Morphology.DOUBLE: 0.52,
    Morphology.PLUMES: 0.21,
    Morphology.WIDE_TAIL: 0.12,
    Morphology.NARROW_TAIL: 0.08,
    Morphology.ONE_SIDED: 0.07,
}
MEDIAN_SNR, LOG_SNR_SIGMA, SNR_LIMITS = 60.0, 1.0, (12.0, 2000.0)
LARGE_FRACTION = 0.04
FAINTEST = 1 / 200
"""Gaussians are drawn down to this fraction of the rms, and to at least four sigma."""
TRIES = 50
"""Positions tried for an extended source before it may overlap another."""


@dataclass(frozen=True)
class Population:
    """The sources of one map in columns, compact ones first; a source's number is its row.

    Attributes
    ----------
    y, x
        Centre in the map, pix.
    kind
        `Morphology` of each.
    flux_jy
        Integrated flux of compact sources; NaN for extended ones, whose peak is given instead.
    peak_jy_beam
        Brightest pixel.
    major_arcsec, minor_arcsec, pa_deg
        Compact sources: full widths without the beam (zero: a point), and the major axis east of north.
        Extended sources: length along the jets, zero, and direction of the axis.
    reach_pix
        Half side of the square of pixels that a source touches.
    """

    y: Floats
    x: Floats
    kind: NDArray[np.uint8]
    flux_jy: Floats
    peak_jy_beam: Floats
    major_arcsec: Floats
    minor_arcsec: Floats
    pa_deg: Floats
    reach_pix: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.y)

    @property
    def is_extended(self) -> NDArray[np.bool_]:
        """Whether the beam resolves each source well."""
        return self.kind >= Morphology.DOUBLE

    def touching(self, y0: int, y1: int) -> NDArray[np.int64]:
        """Return the numbers of the sources that have pixels in the rows ``y0 <= y < y1``, ascending."""
        middle = np.rint(self.y)
        return np.flatnonzero((middle + self.reach_pix >= y0) & (middle - self.reach_pix < y1))

    def moments_pix(self, beam: Beam, pixel: Pixel) -> Floats:
        """Return the second moments (n, y, x), pix^2, of the compact sources as the beam shows them."""
        return _moments_pix(self.major_arcsec, self.minor_arcsec, self.pa_deg, pixel) + beam.covariance_pix(
            pixel
        )


def count_density(flux_jy: Floats, frequency_hz: float) -> Floats:
    """Return the number of sources per steradian and jansky; a power law continues the fit on either side.

    Other frequencies than 1.4 GHz assume one spectrum for all sources, S ~ frequency^-0.7.
    """
    ratio = (frequency_hz / COUNTS_HZ) ** SPECTRAL_INDEX
    at_1400 = np.asarray(flux_jy, np.float64) / ratio
    log_mjy = np.log10(at_1400 * 1e3)
    polynomial = np.polynomial.Polynomial(HOPKINS)
    inside = np.clip(log_mjy, *np.log10(FITTED_MJY))
    log_counts = polynomial(inside) + polynomial.deriv()(inside) * (log_mjy - inside)
    # Euclidean-normalised counts are S^2.5 dN/dS; dividing by `ratio` turns dN/dS at 1.4 GHz into that at the
    # other frequency, since fluxes scale by it.
    return np.asarray(at_1400**-2.5 * 10.0**log_counts / ratio)


def draw_population(config: SimulateConfig, seed: int, key: tuple[int | str, ...]) -> Population:
    """Draw all sources of one map; ``key`` names the map."""
    # A stream each: other settings of extended sources leave the compact ones where they are.
    compact = _draw_compact(config, stream(seed, *key, "compact"))
    extended = _draw_extended(config, stream(seed, *key, "extended"))
    return Population(**{name: np.concatenate([compact[name], extended[name]]) for name in compact})


def _draw_compact(config: SimulateConfig, rng: np.random.Generator) -> dict[str, Column]:
    flux = _draw_fluxes(config, rng)
    n = len(flux)
    resolved = rng.random(n) < config.resolved_fraction
    # Beam widths. At 0.9 the beam is broadened to 1.8 areas at most, below the rule `area` of `classify`.
    # Random numbers are drawn for all n sources, so that `resolved_fraction` shifts no later draw.
    major = np.where(resolved, np.minimum(rng.lognormal(math.log(0.35), 0.45, n), 0.9), 0)
    major *= math.sqrt(config.beam.major_arcsec * config.beam.minor_arcsec)
    minor = major * rng.uniform(0.3, 1.0, n)
    pa = np.where(resolved, rng.uniform(0, 180, n), 0)
    beam_moments = config.beam.covariance_pix(config.pixel)
    moments = beam_moments + _moments_pix(major, minor, pa, config.pixel)
    # A convolved Gaussian keeps its flux: its peak falls as the area, the root of the determinant, grows.
    peak = flux * np.sqrt(np.linalg.det(beam_moments) / np.linalg.det(moments))
    # Where the Gaussian has fallen to FAINTEST rms; e keeps the logarithm of faint sources positive.
    sigmas = np.sqrt(2 * np.log(np.maximum(peak / (FAINTEST * config.rms_jy_beam), math.e)))
    widest = np.sqrt(np.maximum(moments[:, 0, 0], moments[:, 1, 1]))
    reach = np.ceil(np.maximum(sigmas, 4) * widest).astype(np.int64)
    y, x = (_draw_positions(rng, size, reach) for size in config.shape)
    return {
        "y": y,
        "x": x,
        "kind": np.where(resolved, Morphology.RESOLVED, Morphology.POINT).astype(np.uint8),
        "flux_jy": flux,
        "peak_jy_beam": peak * _sampled_peak(moments, y - np.rint(y), x - np.rint(x)),
        "major_arcsec": major,
        "minor_arcsec": minor,
        "pa_deg": pa,
        "reach_pix": reach,
    }


def _draw_fluxes(config: SimulateConfig, rng: np.random.Generator) -> Floats:
    """Draw fluxes from one rms to the limit by the inverse of the cumulative counts."""
    # Even in the logarithm, since counts are nearly a power law.
    grid = np.geomspace(config.rms_jy_beam, config.flux_limit_jy, 2000)
    density = count_density(grid, config.frequency_hz)
    # The trapezoid rule; the number of sources is Poisson, each flux the inverse of a uniform share of it.
    cumulative = np.concatenate([[0], np.cumsum((density[1:] + density[:-1]) / 2 * np.diff(grid))])
    # A radian has 206264.806 arcsec.
    solid_angle = math.prod(config.shape) * config.pixel.dy_arcsec * config.pixel.dx_arcsec / 206264.806**2
    n = rng.poisson(cumulative[-1] * solid_angle)
    return np.asarray(np.exp(np.interp(rng.random(n) * cumulative[-1], cumulative, np.log(grid))))


def _draw_extended(config: SimulateConfig, rng: np.random.Generator) -> dict[str, Column]:
    beams = math.prod(config.shape) / config.beam.area_pix(config.pixel)
    n = rng.poisson(config.extended_per_1000_beams * beams / 1000)
    low, high = config.extended_size_beams
    size = (
        low
        * (high / low) ** rng.random(n)
        * np.where(rng.random(n) < LARGE_FRACTION, rng.uniform(1, 1.8, n), 1)
    )
    fwhm_pix = config.beam.fwhm_pix(config.pixel)
    length = np.minimum(size * fwhm_pix, min(config.shape) / 3)
    reach = np.ceil(0.6 * length + 4 * fwhm_pix).astype(np.int64)
    y, x = _draw_apart(rng, config.shape, reach, 0.55 * length + fwhm_pix)
    snr = np.clip(rng.lognormal(math.log(MEDIAN_SNR), LOG_SNR_SIGMA, n), *SNR_LIMITS)
    return {
        "y": y,
        "x": x,
        "kind": rng.choice(list(KINDS), n, p=list(KINDS.values())).astype(np.uint8),
        "flux_jy": np.full(n, np.nan),
        "peak_jy_beam": snr * config.rms_jy_beam,
        "major_arcsec": length / fwhm_pix * math.sqrt(config.beam.major_arcsec * config.beam.minor_arcsec),
        "minor_arcsec": np.zeros(n),
        "pa_deg": rng.uniform(0, 360, n),
        "reach_pix": reach,
    }


def _draw_positions(rng: np.random.Generator, size: int, reach: NDArray[np.int64]) -> Floats:
    """Draw one coordinate of each source so that it lies wholly inside the map."""
    return reach + rng.random(len(reach)) * (size - 1 - 2 * reach)


def _draw_apart(
    rng: np.random.Generator, shape: tuple[int, int], reach: NDArray[np.int64], radius: Floats
) -> tuple[Floats, Floats]:
    """Place sources one after the other, apart from the earlier ones; return y and x.

    A source that overlaps an earlier one in all of `TRIES` positions stays at the last position.
    """
    placed = np.zeros(len(reach), complex)
    for i in range(len(reach)):
        for _ in range(TRIES):
            y, x = (_draw_positions(rng, size, reach[i : i + 1])[0] for size in shape)
            if np.all(np.abs(placed[:i] - complex(x, y)) > radius[:i] + radius[i]):
                break
        placed[i] = complex(x, y)
    return placed.imag, placed.real


def _moments_pix(major: Floats, minor: Floats, pa_deg: Floats, pixel: Pixel) -> NDArray[np.float64]:
    """Return the second moments (n, 2, 2), pix^2, of Gaussians; `Beam.covariance_pix` for many at once."""
    pa = np.radians(pa_deg)
    # The two axes as (y, x) steps: north is +y and east is -x, as in `Beam`.
    first = np.stack([np.cos(pa) / pixel.dy_arcsec, -np.sin(pa) / pixel.dx_arcsec], axis=-1)
    second = np.stack([-np.sin(pa) / pixel.dy_arcsec, -np.cos(pa) / pixel.dx_arcsec], axis=-1)
    axes = np.stack([first * major[:, None], second * minor[:, None]], axis=-1) / math.sqrt(8 * math.log(2))
    return np.asarray(axes @ axes.swapaxes(-1, -2))


def _sampled_peak(moments: NDArray[np.float64], dy: Floats, dx: Floats) -> Floats:
    """Return the value of unit-peak Gaussians at the pixel nearest to their centres."""
    inverse = np.linalg.inv(moments)
    square = inverse[:, 0, 0] * dy**2 + 2 * inverse[:, 0, 1] * dy * dx + inverse[:, 1, 1] * dx**2
    return np.asarray(np.exp(-0.5 * square))
