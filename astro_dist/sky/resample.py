"""Planes on the pixels of another map: interpolation, convolution to a beam, and what stays the same.

Positions go through both WCS, pixel by pixel. Brightness per beam or solid angle is interpolated, so that the
peak of a point stays, and so does its sum times the pixel's area; an amount per pixel is scaled by the
pixels' areas. A plane that the pixels are too coarse for is averaged over each of them. A pixel whose kernel
touches one without data has none.
"""

import math
from itertools import product

import numpy as np
from numpy.typing import NDArray

from astro_dist.sky.beams import Beam
from astro_dist.sky.common_beam import find_kernel, moments_of_beam
from astro_dist.sky.coordinates import pixel_scale
from astro_dist.sky.maps import SkyMap
from astro_dist.sky.planes import PlaneMap
from astro_dist.sky.tangent import FWHM_PER_SIGMA, frame_step, local_axes
from astro_dist.sky.windows import Window

Values = NDArray[np.float64]
LOBES = 4
SAME_PIX = 0.01
"""Pixels of two maps that lie this near, everywhere in a window, are the same."""
KERNEL_SIGMAS, KERNEL_MORE_PIX = 4.5, 5
"""Reach of a kernel: that of its Gaussian, and of what a narrow one has around it on pixels."""
BLEND = 0.16
"""Cycles per pixel on both sides of half a cycle: there the spectrum of a kernel goes over to its alias."""
LEAST_SIGMA_PIX = 1e-3
"""Narrower kernels than this change nothing."""
RESOLVED_PIX = 2.0
"""Width of a beam, in pixels, from which on its samples hold all of its flux."""
# Weights below this come from the rounding of positions and are zero.
ROUNDING = 1e-5


def steps_between(reference: SkyMap, other: SkyMap, y: Values, x: Values) -> Values:
    """Return pixels of another map per pixel of the reference, axes (y, x) each, shape (n, 2, 2)."""
    dy, dx = np.array([(0.5, 0), (-0.5, 0), (0, 0.5), (0, -0.5)]).T[..., None]
    down, up, right, left = np.stack(other.pixel_of(*reference.sky_of(y + dy, x + dx)), axis=-1)
    return np.stack([down - up, right - left], axis=-1)


def beam_moments(reference: SkyMap, plane: PlaneMap, y: Values, x: Values) -> Values:
    """Return the moments of a plane's beam in the frame of the reference's image, arcsec^2.

    Parameters
    ----------
    y, x
        Positions in the reference, shape (n,).

    Returns
    -------
    numpy.ndarray
        Shape (m, 2, 2), without the positions at which one of the maps shows no sky.
    """
    steps = steps_between(reference, plane.sky_map, y, x)
    known = np.isfinite(steps).all(axis=(1, 2))
    there = plane.sky_map.pixel_of(*reference.sky_of(y[known], x[known]))
    to_frame = frame_step(reference.pixel)[:, None] * np.linalg.inv(steps[known])
    return np.asarray(to_frame @ _moments_pix(plane, *there) @ to_frame.swapaxes(-1, -2))


def _moments_pix(plane: PlaneMap, y: Values, x: Values) -> Values:
    """Return the moments of a plane's beam in its own pixels at positions (n,), shape (n, 2, 2)."""
    if plane.beam is None:
        raise ValueError(f"{plane.sky_map.name} has no beam")
    sky_map = plane.sky_map
    moments = np.tile(plane.beam.covariance_pix(sky_map.pixel), (len(y), 1, 1))
    if sky_map.beam_in_pixels:
        return moments

    def sky_of(y: Values, x: Values) -> tuple[Values, Values]:
        lon, lat = sky_map.wcs.pixel_to_world_values(x, y)
        return np.asarray(lon), np.asarray(lat)

    # Pixels in which the beam is stated become pixels here: the beam is one on the sky.
    stated = pixel_scale(sky_map.wcs, sky_map.shape)[::-1, ::-1]
    to_here = np.linalg.inv(local_axes(sky_of, y, x)) @ stated
    return np.asarray(to_here @ moments @ to_here.swapaxes(-1, -2))


def resample(
    reference: SkyMap, window: Window, plane: PlaneMap, common: Beam | None = None
) -> NDArray[np.float32]:
    """Return a plane on the pixels of a window of the reference, NaN where there are no data.

    Parameters
    ----------
    common
        Beam to convolve to, in the frame of the reference's image; the plane then has a beam, and one that it
        can be convolved to.

    Returns
    -------
    numpy.ndarray
        In the unit of the plane, shape of the window.

    Raises
    ------
    DataError, ConfigError
        See `SkyMap.read`.
    """
    y, x = np.indices(window.shape, np.float64) + np.array([window.y0, window.x0])[:, None, None]
    y, x = (np.asarray(axis, np.float64) for axis in plane.sky_map.pixel_of(*reference.sky_of(y, x)))
    kernel, factor, width_pix = _describe_kernel(reference, window, plane, common)
    reach_y, reach_x = (n // 2 for n in kernel.shape)
    target = _same_pixels(y, x)
    if target is not None:
        near = Window(target.y0 - reach_y, target.y1 + reach_y, target.x0 - reach_x, target.x1 + reach_x)
        values = _convolve(_read_beyond(plane.sky_map, near), kernel)
        return (values[target.within(near)] * factor).astype(np.float32)
    # The median: where a map of the whole sky is torn, neighbours lie on opposite edges.
    steps = np.hypot(np.gradient(y, axis=(0, 1)), np.gradient(x, axis=(0, 1))).max(axis=0)
    step = float(np.nanmedian(steps)) if np.isfinite(steps).any() else 1.0
    # Many pixels are averaged in blocks first: a mean over interpolated points alone would cost much.
    points = 1 if width_pix >= RESOLVED_PIX else math.ceil(step)
    block = 1 if points < 4 else points // 2
    around = _bounds(y, x, plane.sky_map, block * LOBES + math.ceil(step) + max(reach_y, reach_x), block)
    if around is None:
        return np.full(window.shape, np.nan, np.float32)
    values = _reduce(_convolve(_read_beyond(plane.sky_map, around), kernel) * factor, block)
    places = ((y - around.y0 - (block - 1) / 2) / block, (x - around.x0 - (block - 1) / 2) / block)
    found = _average(values, *places, math.ceil(points / block))
    if plane.unit.per == "pixel":
        found *= _areas(y, x)
    return found.astype(np.float32)


def _describe_kernel(
    reference: SkyMap, window: Window, plane: PlaneMap, common: Beam | None
) -> tuple[Values, float, float]:
    """Return kernel, factor of the convolved brightness and narrowest width of the beam in a window's middle.

    The width is in pixels of the reference, 0 without a beam.
    """
    none = np.ones((1, 1))
    if plane.beam is None:
        return none, 1.0, 0.0
    y, x = (np.array([value]) for value in window.centre)
    (steps,) = steps_between(reference, plane.sky_map, y, x)
    if not np.isfinite(steps).all():
        return none, 1.0, 0.0
    (own,) = (made,) = _moments_pix(plane, *plane.sky_map.pixel_of(*reference.sky_of(y, x)))
    kernel, factor = none, 1.0
    if common is not None:
        to_pixel = steps / frame_step(reference.pixel)
        moments = find_kernel(own, to_pixel @ moments_of_beam(common) @ to_pixel.T)
        if moments.any():
            kernel, made = _gaussian(moments), own + moments
    if plane.unit.per == "beam":
        factor = math.sqrt(np.linalg.det(made) / np.linalg.det(own))
    back = np.linalg.inv(steps)
    width_pix = FWHM_PER_SIGMA * math.sqrt(np.linalg.eigvalsh(back @ made @ back.T)[0])
    return kernel, factor, width_pix


def _gaussian(moments: Values) -> Values:
    """Return a Gaussian of any width as a kernel of sum 1, from its spectrum: one sampled would be wider."""
    sizes = []
    for variance in np.diag(moments):
        sigma = math.sqrt(max(variance, 0.0))
        reach = math.ceil(KERNEL_SIGMAS * sigma) + KERNEL_MORE_PIX if sigma > LEAST_SIGMA_PIX else 0
        sizes.append(2 * reach + 1)
    # The spectrum of a kernel that is narrow along an oblique axis is not small at half a cycle per pixel and
    # would end there in a step, which rings far beyond the kernel's reach.
    spectrum = np.zeros(sizes)
    for cycles in product(*((-1, 0, 1) if n > 1 else (0,) for n in sizes)):
        ky, kx = np.meshgrid(
            *(np.fft.fftfreq(n) + c for n, c in zip(sizes, cycles, strict=True)), indexing="ij"
        )
        square = moments[0, 0] * ky**2 + 2 * moments[0, 1] * ky * kx + moments[1, 1] * kx**2
        spectrum += _blend(ky) * _blend(kx) * np.exp(-2 * np.pi**2 * square)
    return np.fft.fftshift(np.fft.ifft2(spectrum).real)


def _blend(frequency: Values) -> Values:
    """Return weights that fall from 1 to 0 round half a cycle per pixel; those of all aliases add up to 1."""
    return 0.5 - 0.5 * np.sin(np.pi / 2 * np.clip((np.abs(frequency) - 0.5) / BLEND, -1, 1))


def _convolve(image: NDArray[np.float32], kernel: Values) -> NDArray[np.floating]:
    """Return the convolved image, NaN where the kernel touches pixels without data or the edge."""
    if kernel.size == 1:
        return image
    from scipy.ndimage import maximum_filter
    from scipy.signal import fftconvolve

    values, blank = image.astype(np.float64), np.isnan(image)
    values[blank] = 0
    found: Values = fftconvolve(values, kernel, mode="same")
    found[maximum_filter(blank, kernel.shape, mode="constant", cval=1)] = np.nan
    return found


def _same_pixels(y: Values, x: Values) -> Window | None:
    """Return the window of the plane whose pixels are those of the reference; None where they are others."""
    if not np.isfinite(y).all():
        return None
    rows, columns = np.indices(y.shape, np.float64)
    dy, dx = np.rint(y[0, 0]), np.rint(x[0, 0])
    if max(np.abs(y - rows - dy).max(), np.abs(x - columns - dx).max()) > SAME_PIX:
        return None
    return Window.of_shape(y.shape).shifted(int(dy), int(dx))


def _bounds(y: Values, x: Values, sky_map: SkyMap, margin: int, block: int) -> Window | None:
    """Return whole blocks round positions, as far as they reach into the map; None where none does."""
    known = np.isfinite(y) & np.isfinite(x)
    if not known.any():
        return None
    low = np.array([axis[known].min() for axis in (y, x)])
    high = np.array([axis[known].max() for axis in (y, x)])
    shape = np.array(sky_map.shape)
    # From the first pixel of the map, so that blocks do not depend on the window.
    first = np.maximum(np.floor(low).astype(int) - margin, 0) // block * block
    end = np.minimum(np.ceil(high).astype(int) + margin + 1, shape)
    end = -(-end // block) * block
    return (
        Window(first[0], end[0], first[1], end[1]) if (first < shape).all() and (end > first).all() else None
    )


def _read_beyond(sky_map: SkyMap, window: Window) -> NDArray[np.float32]:
    """Return the pixels of a window that may reach beyond the map, NaN there."""
    image = np.full(window.shape, np.nan, np.float32)
    if (inside := window & Window.of_shape(sky_map.shape)) is not None:
        image[inside.within(window)] = sky_map.read(inside)
    return image


def _reduce(values: NDArray[np.floating], block: int) -> Values:
    """Return the means of blocks of ``block`` x ``block`` pixels, NaN where one of them is."""
    ny, nx = values.shape
    parts = values.astype(np.float64).reshape(ny // block, block, nx // block, block)
    return np.asarray(parts.mean(axis=(1, 3)))


def _average(values: Values, y: Values, x: Values, points: int) -> Values:
    """Return the mean over each pixel of the reference of values at ``points`` x ``points`` places."""
    parts = (np.arange(points) + 0.5) / points - 0.5
    (y_down, y_along), (x_down, x_along) = np.gradient(y), np.gradient(x)
    found = np.zeros(y.shape)
    for down in parts:
        for along in parts:
            found += _interpolate(
                values, y + down * y_down + along * y_along, x + down * x_down + along * x_along
            )
    return found / points**2


def _areas(y: Values, x: Values) -> Values:
    """Return how many pixels of the plane make a pixel of the reference, at each."""
    (y_down, y_along), (x_down, x_along) = np.gradient(y), np.gradient(x)
    return np.abs(y_down * x_along - y_along * x_down)


def _interpolate(values: Values, y: Values, x: Values) -> Values:
    """Return values at positions, NaN where one that has a weight is NaN or lies outside."""
    ny, nx = values.shape
    known = np.isfinite(y) & np.isfinite(x)
    y0, x0 = (np.floor(np.where(known, axis, 0)).astype(np.int64) for axis in (y, x))
    rows, columns = _weights(np.where(known, y - y0, 0)), _weights(np.where(known, x - x0, 0))
    blank = np.isnan(values)
    filled = np.where(blank, 0.0, values)
    found, touched = np.zeros(y.shape), ~known
    for i in range(2 * LOBES):
        iy = y0 + (i + 1 - LOBES)
        for j in range(2 * LOBES):
            ix = x0 + (j + 1 - LOBES)
            weight = rows[i] * columns[j]
            outside = (iy < 0) | (iy >= ny) | (ix < 0) | (ix >= nx)
            place = np.clip(iy, 0, ny - 1), np.clip(ix, 0, nx - 1)
            found += weight * filled[place]
            touched |= (weight != 0) & (outside | blank[place])
    found[touched] = np.nan
    return found


def _weights(fraction: Values) -> Values:
    """Return the weights of the pixels round positions between pixel 0 and 1, shape (2 LOBES, ...)."""
    taps = np.arange(1 - LOBES, LOBES + 1).reshape(-1, *(1,) * fraction.ndim)
    distance = fraction - taps
    weights = np.sinc(distance) * np.sinc(distance / LOBES)
    weights[(np.abs(weights) < ROUNDING) | (np.abs(distance) >= LOBES)] = 0
    return np.asarray(weights / weights.sum(axis=0))
