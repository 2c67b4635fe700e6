"""Shapes of radio galaxies: a core and two arms, each a jet that ends in a lobe or fades as a plume.

An arm is a curved path; its emission is a cloud of particles strewn along and across the path, displaced
and weighted by smooth random waves, which gives the irregular edges and filaments of real lobes. The
particles are laid on the pixel grid and smoothed by the beam. Positions are complex numbers x + iy, pix.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from astro_dist.engine.arrays import Floats

Complexes = NDArray[np.complexfloating]

PATH_STEPS = 64
SHARP, FINE, COARSE = range(3)
"""Indices into `SMOOTHING_BEAMS`: a hot spot, a jet, a lobe."""
SMOOTHING_BEAMS = (0.0, 0.35, 0.8)
"""Width of the Gaussian that smooths a particle beside the beam, beam widths."""
MARGIN_SIGMAS = 6.0
"""Particles nearer to the edge than this are left out: the Fourier transform would wrap their wings."""


class Morphology(IntEnum):
    """Form of a source of the simulated sky; the first two are compact."""

    POINT = 0
    RESOLVED = 1
    """A Gaussian a little wider than the beam."""
    DOUBLE = 2
    """Two lobes with hot spots at their ends (Fanaroff & Riley class II)."""
    PLUMES = 3
    """Two plumes, brightest near the core (class I)."""
    WIDE_TAIL = 4
    """Plumes bent to one side."""
    NARROW_TAIL = 5
    """Plumes swept back into one tail."""
    ONE_SIDED = 6
    """A core with one bright jet."""


@dataclass(frozen=True)
class Particles:
    """Points of emission: positions, weights, and one index into `SMOOTHING_BEAMS` for all."""

    z: Complexes
    weight: Floats
    level: int


@dataclass(frozen=True)
class Arm:
    """One side of a radio galaxy, seen from the core: lengths in pixels, angles in radians."""

    length: float
    heading: float
    bend: float
    wiggle: float
    half_width: float
    flux: float


@dataclass(frozen=True)
class Habit:
    """The ranges from which the sources of one kind are drawn.

    Attributes
    ----------
    core
        Flux of the core over that of both arms.
    half_width
        Half width of an arm over its length.
    ratio, tilt
        Length of the second arm over the first, and log-odds of the first arm's flux.
    stretch
        Length along the jets over the nominal length, more than one where bending takes it back.
    bend, wiggle
        Random curvature (standard deviation) and amplitude of a wave along an arm, rad.
    lean, curl
        How far both arms point and then turn to one side, rad.
    """

    core: tuple[float, float]
    half_width: tuple[float, float]
    ratio: tuple[float, float] = (0.65, 1.0)
    tilt: float = 0.0
    stretch: float = 1.0
    bend: float = 0.25
    wiggle: float = 0.3
    lean: tuple[float, float] = (0.0, 0.0)
    curl: tuple[float, float] = (0.0, 0.0)


HABITS = {
    Morphology.DOUBLE: Habit(core=(0.002, 0.2), half_width=(0.12, 0.48), wiggle=0.06),
    Morphology.PLUMES: Habit(core=(0.03, 0.25), half_width=(0.2, 0.6), bend=0.5),
    Morphology.WIDE_TAIL: Habit(
        core=(0.03, 0.25), half_width=(0.1, 0.25), stretch=1.25, lean=(0.3, 0.75), curl=(0.2, 1.3)
    ),
    Morphology.NARROW_TAIL: Habit(
        core=(0.03, 0.25), half_width=(0.06, 0.2), stretch=1.8, bend=0.1, lean=(0.5, 1.2), curl=(0.4, 1.1)
    ),
    Morphology.ONE_SIDED: Habit(core=(0.2, 0.6), half_width=(0.05, 0.15), ratio=(0.15, 0.3), tilt=2.7),
}


def draw_galaxy(
    rng: np.random.Generator,
    kind: Morphology,
    length_pix: float,
    axis_rad: float,
    covariance: Floats,
    offset: complex,
    reach: int,
) -> NDArray[np.float32]:
    """Draw a radio galaxy as a map would show it, without noise.

    Parameters
    ----------
    length_pix
        Length from end to end along the jets; bent sources span less.
    axis_rad
        Direction of the axis from +x towards +y; in a narrow tail, direction of the tail.
    covariance
        Second moments of the beam (y, x), pix^2, shape (2, 2).
    offset
        Centre of the source relative to the middle pixel, pix; below one pixel.
    reach
        Half side of the result, which is ``2 reach + 1`` pixels wide; emission beyond it is left out.

    Returns
    -------
    numpy.ndarray
        float32 brightness with a peak of one, zero or positive everywhere.
    """
    # sqrt(8 ln 2) sigma; the fourth root of the determinant is the geometric mean of both sigmas.
    fwhm = 2.3548 * float(np.linalg.det(covariance)) ** 0.25
    clouds = _galaxy(rng, kind, length_pix, axis_rad, fwhm)
    z = np.concatenate([cloud.z for cloud in clouds])
    # Centred on the extent of the emission and not on the core, which may be at one end.
    middle = complex(z.real.min() + z.real.max(), z.imag.min() + z.imag.max()) / 2
    moved = [Particles(cloud.z - middle + offset, cloud.weight, cloud.level) for cloud in clouds]
    image = _smooth(moved, covariance, reach)
    # Fourier transforms leave rounding errors of either sign in empty sky.
    return np.asarray(np.maximum(image, 0) / image.max()).astype(np.float32)


def _galaxy(
    rng: np.random.Generator, kind: Morphology, length: float, axis: float, fwhm: float
) -> list[Particles]:
    """Return the clouds of particles of a core and two arms, core at zero."""
    habit = HABITS[kind]
    # Even in the logarithm: the core of a double ranges over two decades.
    core = np.exp(rng.uniform(*np.log(habit.core)))
    clouds = [Particles(np.zeros(1, complex), np.array([core]), SHARP)]
    for arm in _arms(rng, habit, length, axis, fwhm):
        clouds += _lobe(rng, arm) if kind is Morphology.DOUBLE else _plume(rng, arm)
    return clouds


def _arms(rng: np.random.Generator, habit: Habit, length: float, axis: float, fwhm: float) -> list[Arm]:
    """Draw how the two sides of a source lie and differ."""
    # A logistic function of normal log-odds: `tilt` moves the flux to the first arm.
    share = 1 / (1 + np.exp(rng.normal(0, 0.6) - habit.tilt))
    ratio = rng.uniform(*habit.ratio)
    lengths = habit.stretch * length * np.array([1.0, ratio]) / (1 + ratio)
    # Half widths are drawn over the length of the arm: a short arm is a narrow one.
    widths = np.maximum(rng.uniform(*habit.half_width, 2) * lengths, 0.25 * fwhm)
    # Both arms of a bent source lean and curl to the same side, which is to the left of one of them.
    side = rng.choice([-1.0, 1.0]) * np.array([1.0, -1.0])
    headings = axis + np.array([0, np.pi]) + side * rng.uniform(*habit.lean) + rng.normal(0, 0.09, 2)
    bends = side * rng.uniform(*habit.curl, 2) + rng.normal(0, habit.bend, 2)
    return [
        Arm(lengths[i], headings[i], bends[i], habit.wiggle, widths[i], flux)
        for i, flux in enumerate((share, 1 - share))
    ]


def _lobe(rng: np.random.Generator, arm: Arm) -> list[Particles]:
    """Strew a jet, one or two hot spots and the lobe that flows back from them."""
    path = _path(rng, arm)
    hot, jet = 0.5 * rng.beta(0.6, 1.8), 0.08 * rng.beta(0.6, 2.0)
    n = 1500
    # How far each particle has flowed back, from 0 at the end of the arm to 1.
    back = rng.beta(1.2, 1.8, n)
    half = arm.half_width * np.sqrt(back + 0.06) * (1.35 - back)
    z = _beside(path, 1 - back * rng.uniform(0.35, 1.0), half * (2 * rng.beta(2, 2, n) - 1))
    z += 0.3 * arm.half_width * (_waves(rng, z, 2 * arm.half_width) + 1j * _waves(rng, z, 2 * arm.half_width))
    weight = np.exp(0.9 * _waves(rng, z, 1.6 * arm.half_width))
    spots = path[-1] + arm.half_width * np.array([0.1, 0.5]) * (rng.normal(size=(2, 2)) @ [1, 1j])
    along = rng.uniform(0.03, 0.95, 200)
    knots = np.exp(1.2 * _waves(rng, along + 0j, 0.25))
    # Weights are divided by their sums: lobe, hot spots and jet have exactly the shares drawn.
    flux = arm.flux
    return [
        Particles(z, flux * (1 - hot - jet) * weight / weight.sum(), COARSE),
        Particles(spots, flux * hot * np.array([0.8, 0.2]), SHARP),
        Particles(_beside(path, along, 0 * along), flux * jet * knots / knots.sum(), FINE),
    ]


def _plume(rng: np.random.Generator, arm: Arm) -> list[Particles]:
    """Strew a plume that widens, frays and fades away from the core."""
    path = _path(rng, arm)
    n = 1500
    s = rng.beta(1.1, rng.uniform(1.2, 2.3), n)
    half = arm.half_width * (0.08 + s) ** 0.9
    z = _beside(path, s, 0.45 * half * rng.normal(size=n))
    z += 0.5 * half * (_waves(rng, z, 3 * arm.half_width) + 1j * _waves(rng, z, 3 * arm.half_width))
    weight = arm.flux * np.exp(0.8 * _waves(rng, z, 2 * arm.half_width) + 0.5 * _waves(rng, s + 0j, 0.4))
    # By the number and not by the sum: the flux of a plume fluctuates with its waves.
    weight /= n
    # The inner part is a jet still: smoothed less, it stays narrow.
    near = s < 0.4
    return [Particles(z[near], weight[near], FINE), Particles(z[~near], weight[~near], COARSE)]


def _path(rng: np.random.Generator, arm: Arm) -> Complexes:
    """Return the points of a curved line from the core at equal steps."""
    s = np.linspace(0, 1, PATH_STEPS)
    phase = rng.uniform(0, 2 * np.pi)
    swing = arm.wiggle * np.sin(2 * np.pi * rng.uniform(0.6, 1.6) * s + phase)
    # The direction turns with the distance from the core, so that every arm leaves the core straight.
    angle = arm.heading + (arm.bend + swing) * s
    steps = np.exp(1j * angle) * (arm.length / PATH_STEPS)
    return np.concatenate([np.zeros(1), np.cumsum(steps)])


def _beside(path: Complexes, s: Floats, across: Floats) -> Complexes:
    """Return the points at the fraction ``s`` of the path, ``across`` pixels to its left."""
    nodes = np.linspace(0, 1, len(path))
    direction = np.gradient(path)
    left = 1j * direction / np.abs(direction)
    return np.asarray(np.interp(s, nodes, path) + across * np.interp(s, nodes, left))


def _waves(rng: np.random.Generator, z: Complexes, scale: float) -> Floats:
    """Return a smooth random function of position with unit variance, wavelengths about ``scale``."""
    # A sum of n cosines with random wave vectors and phases has the variance n / 2.
    n = 6
    k = 2 * np.pi / (scale * rng.uniform(0.6, 2.0, n)) * np.exp(2j * np.pi * rng.random(n))
    phase = 2 * np.pi * rng.random(n)
    waves = np.cos(np.outer(z.real, k.real) + np.outer(z.imag, k.imag) + phase).sum(axis=1)
    return np.asarray(waves * np.sqrt(2 / n))


def _smooth(clouds: list[Particles], covariance: Floats, reach: int) -> Floats:
    """Lay particles on the grid, smooth each level by its width and the beam, and add them up."""
    side = scipy.fft.next_fast_len(2 * reach + 1, real=True)
    ky, kx = scipy.fft.fftfreq(side)[:, None], scipy.fft.rfftfreq(side)[None]
    square = covariance[0, 0] * ky**2 + 2 * covariance[0, 1] * ky * kx + covariance[1, 1] * kx**2
    largest = MARGIN_SIGMAS * float(np.sqrt(covariance.diagonal().max()))
    # Levels are added as spectra, so that one inverse transform serves all.
    spectrum = np.zeros(square.shape, complex)
    for level, beams in enumerate(SMOOTHING_BEAMS):
        chosen = [cloud for cloud in clouds if cloud.level == level]
        z = np.concatenate([cloud.z for cloud in chosen])
        weight = np.concatenate([cloud.weight for cloud in chosen])
        inside = np.maximum(np.abs(z.real), np.abs(z.imag)) < reach - largest
        grid = _lay(z[inside] + complex(reach, reach), weight[inside], side)
        # A Gaussian of variance s^2 has the Fourier transform exp(-2 pi^2 s^2 k^2); variances add.
        spectrum += scipy.fft.rfft2(grid) * np.exp(-2 * np.pi**2 * (1 + beams**2) * square)
    image = scipy.fft.irfft2(spectrum, s=(side, side))
    return np.asarray(image[: 2 * reach + 1, : 2 * reach + 1])


def _lay(z: Complexes, weight: Floats, side: int) -> Floats:
    """Share each particle among the four pixels around it, with bilinear weights."""
    y, x = z.imag.astype(int), z.real.astype(int)
    fy, fx = z.imag - y, z.real - x
    grid = np.zeros(side * side)
    for dy, dx, part in (
        (0, 0, (1 - fy) * (1 - fx)),
        (0, 1, (1 - fy) * fx),
        (1, 0, fy * (1 - fx)),
        (1, 1, fy * fx),
    ):
        # `grid[y, x] +=` would count one particle of several in a pixel.
        grid += np.bincount((y + dy) * side + x + dx, weight * part, side * side)
    return grid.reshape(side, side)
