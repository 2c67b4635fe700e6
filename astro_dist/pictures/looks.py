"""Looks: pictures made small, and what of a look stays when its picture is turned, flipped or cropped.

A look is 64 x 64 pixels of grey and 16 x 16 of two colour differences, 4.6 kB. Its **spots** are the
strongest extremes of differences of Gaussians. Round each one a disc of polar samples is described by the
magnitudes of its angular harmonics, ring by ring, which no turn and no flip changes; the spot gives the
place, and the radius of the disc the scale.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from astro_dist.engine.arrays import Image as Pixels
from astro_dist.engine.arrays import Integers
from astro_dist.pictures.decode import resize_plane

SIDE, COLOUR_SIDE = 64, 16
LOOK_BYTES = SIDE**2 + 2 * COLOUR_SIDE**2
RINGS, ANGLES, ORDERS = 10, 32, 7
RADIUS_PIX = 13.0
SPOTS, MARGIN_PIX, LEAST_CONTRAST = 6, 6, 0.3
SIGMAS = (1.5, 3.0)
LEAST_INSIDE = 0.75
"""Part of a disc that must lie in the look."""
LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def make_look(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the look of a picture of shape (planes, s, s), shape (`LOOK_BYTES`,), uint8."""
    if len(picture) == 1:
        grey, differences = picture[0].astype(np.float32), np.zeros((2, *picture.shape[1:]), np.float32)
    else:
        colours = picture.astype(np.float32)
        grey = np.tensordot(LUMA, colours, 1)
        differences = np.stack([colours[0] - colours[1], colours[2] - colours[1]])
    parts = [resize_plane(grey, SIDE), *(resize_plane(part / 2 + 128, COLOUR_SIDE) for part in differences)]
    return np.concatenate([np.rint(np.clip(part, 0, 255)).astype(np.uint8).ravel() for part in parts])


def grey_of(looks: NDArray[np.uint8]) -> Pixels:
    """Return the grey pixels of looks, shape (n, 64, 64), float32 from 0 to 255."""
    return looks[:, : SIDE**2].reshape(-1, SIDE, SIDE).astype(np.float32)


def colours_of(looks: NDArray[np.uint8]) -> Pixels:
    """Return the colour differences of looks, shape (n, 2, 16, 16), float32 from -128 to 127."""
    return looks[:, SIDE**2 :].reshape(-1, 2, COLOUR_SIDE, COLOUR_SIDE).astype(np.float32) - 128


def blur(images: Pixels, sigma: float) -> Pixels:
    """Return images of shape (n, s, s) convolved with a Gaussian of ``sigma`` pixels."""
    found: Pixels = ndimage.gaussian_filter(images, (0, sigma, sigma), mode="nearest")
    return found


def sample(images: Pixels, of: Integers, y: Pixels, x: Pixels) -> tuple[Pixels, NDArray[np.bool_]]:
    """Return values between the pixels of images, and which places lie in them.

    Parameters
    ----------
    images
        Shape (n, s, s).
    of
        Image of each set of places, shape (m,).
    y, x
        Places in pixels, shape (m, ...).
    """
    side = images.shape[-1]
    inside = (y >= 0) & (y <= side - 1) & (x >= 0) & (x <= side - 1)
    y, x = np.clip(y, 0, side - 1.001), np.clip(x, 0, side - 1.001)
    row, column = y.astype(np.int64), x.astype(np.int64)
    fy, fx = (y - row).astype(np.float32), (x - column).astype(np.float32)
    flat = images.reshape(-1)
    place = of.reshape(-1, *[1] * (y.ndim - 1)) * side**2 + row * side + column
    top = flat[place] * (1 - fx) + flat[place + 1] * fx
    return top * (1 - fy) + (flat[place + side] * (1 - fx) + flat[place + side + 1] * fx) * fy, inside


@dataclass(frozen=True)
class Spots:
    """Places in looks: ``of`` is the look of each, shape (m,); ``y`` and ``x`` are pixels, shape (m,)."""

    of: Integers
    y: Pixels
    x: Pixels

    def __getitem__(self, index: NDArray[Any]) -> "Spots":
        return Spots(self.of[index], self.y[index], self.x[index])


def find_spots(grey: Pixels) -> Spots:
    """Return the strongest spots of looks at two scales, those near an edge left out."""
    found = [_extremes(np.abs(blur(grey, sigma) - blur(grey, 1.6 * sigma))) for sigma in SIGMAS]
    of, y, x = (np.concatenate(parts) for parts in zip(*found, strict=True))
    # In the order of the looks.
    order = np.argsort(of, kind="stable")
    return Spots(of[order], y[order], x[order])


def _extremes(strength: Pixels) -> tuple[Integers, Pixels, Pixels]:
    is_top = ndimage.maximum_filter(strength, size=(1, 5, 5)) == strength
    inner = np.zeros(strength.shape[1:], np.bool_)
    inner[MARGIN_PIX:-MARGIN_PIX, MARGIN_PIX:-MARGIN_PIX] = True
    values = np.where(is_top & inner & (strength > LEAST_CONTRAST), strength, 0).reshape(len(strength), -1)
    best = np.argsort(-values, axis=1, kind="stable")[:, :SPOTS]
    of, place = np.nonzero(np.take_along_axis(values, best, 1) > 0)
    row, column = np.divmod(best[of, place], SIDE)
    shifts = []
    for dy, dx in ((1, 0), (0, 1)):
        after, before = strength[of, row + dy, column + dx], strength[of, row - dy, column - dx]
        # The top of the parabola through three pixels.
        curve = after + before - 2 * strength[of, row, column]
        shifts.append(np.clip((before - after) / (2 * np.where(curve < -1e-6, curve, -1e6)), -0.5, 0.5))
    return of, (row + shifts[0]).astype(np.float32), (column + shifts[1]).astype(np.float32)


_RADII = (np.arange(RINGS, dtype=np.float32) + np.float32(0.5)) / RINGS
_TURNS = np.arange(ANGLES, dtype=np.float32) * np.float32(2 * np.pi / ANGLES)
_WEIGHTS = np.sqrt(_RADII)[:, None]


def draw_discs(smooth: Pixels, spots: Spots, scale: Pixels) -> tuple[Pixels, NDArray[np.bool_]]:
    """Return the polar samples round spots, shape (m, rings, angles), and which discs are whole enough.

    The discs have a radius of 13 pixels times ``scale``, shape (m,). Samples have a mean of zero and a norm
    of one, rings weighted by their area.
    """
    radii = scale[:, None, None] * (RADIUS_PIX * _RADII)[:, None]
    y = spots.y[:, None, None] + radii * np.sin(_TURNS)
    x = spots.x[:, None, None] + radii * np.cos(_TURNS)
    values, inside = sample(smooth, spots.of, y, x)
    total = float((_WEIGHTS**2).sum()) * ANGLES
    values = (values - (values * _WEIGHTS**2).sum((1, 2), keepdims=True) / total) * _WEIGHTS
    norms = np.sqrt((values**2).sum((1, 2), keepdims=True))
    return values / (norms + np.float32(1e-6)), inside.mean((1, 2)) >= LEAST_INSIDE


def describe_discs(discs: Pixels) -> Pixels:
    """Return magnitudes of harmonics by ring, shape (m, rings * orders), which no turn or flip changes."""
    waves = np.abs(np.fft.rfft(discs, axis=-1)[..., :ORDERS]) / np.sqrt(ANGLES)
    # The other half of the harmonics has the same magnitudes.
    waves[..., 1:] *= np.sqrt(2)
    return waves.reshape(len(discs), RINGS * ORDERS).astype(np.float32)


def turn_discs(first: Pixels, second: Pixels) -> tuple[Pixels, Pixels, NDArray[np.bool_]]:
    """Return likeness, angle and flip that bring the second disc of each pair best over the first.

    Returns
    -------
    tuple
        Correlation (m,); angle (m,) in radians, by which the second, flipped if so, is to be turned; whether
        its angles are reversed first.
    """
    waves, others = np.fft.rfft(first, axis=-1), np.fft.rfft(second, axis=-1)
    found = [np.fft.irfft((waves * turned).sum(1), n=ANGLES, axis=-1) for turned in (others.conj(), others)]
    plain, flipped = (one.max(axis=1) for one in found)
    is_flipped = flipped > plain
    steps = np.where(is_flipped, found[1].argmax(axis=1), found[0].argmax(axis=1))
    likeness = np.where(is_flipped, flipped, plain).astype(np.float32)
    return likeness, (steps * (2 * np.pi / ANGLES)).astype(np.float32), is_flipped
