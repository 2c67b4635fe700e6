"""Changes of a picture that keep its class: flips, colour, crops, turns and perspective, given in numbers.

Lengths are fractions of the side, so that a picture and its enlargement change alike. No change adds black
corners: crops and perspective look at a part of the picture, and a turn sees it reflected at its borders.

Shape letters: P planes, S side in pixels.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from astro_dist.engine.arrays import Floats
from astro_dist.engine.pixels import from_network, to_network
from astro_dist.pictures.images import BICUBIC, through_images

LUMA = np.array([0.299, 0.587, 0.114])
"""Shares of red, green and blue in the brightness of a colour (BT.601)."""
YIQ = np.array([LUMA, [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
"""Brightness and the two colour axes of NTSC, in whose plane a turn changes the hue alone."""


def flip(picture_PSS: NDArray[Any], upside_down: bool, left_right: bool) -> NDArray[Any]:
    """Return a picture turned over along its axes."""
    steps = (-1 if upside_down else 1, -1 if left_right else 1)
    return np.ascontiguousarray(picture_PSS[:, :: steps[0], :: steps[1]])


def jitter(
    picture_PSS: NDArray[Any], brightness: float, contrast: float, saturation: float, hue: float
) -> NDArray[Any]:
    """Return a picture with other colours, of the same type.

    Parameters
    ----------
    brightness, contrast, saturation
        Factors: on all values, on their distance from the mean brightness, and on their distance from grey.
        Grey pictures have no saturation.
    hue
        Turn of the colours, as a fraction of the circle.
    """
    light_PSS = brightness * (to_network(picture_PSS).astype(np.float64) + 1) / 2
    coloured = len(picture_PSS) == 3
    grey_SS = np.tensordot(LUMA, light_PSS, 1) if coloured else light_PSS.mean(0)
    middle = grey_SS.mean()
    light_PSS, grey_SS = (contrast * (x - middle) + middle for x in (light_PSS, grey_SS))
    if coloured:
        light_PSS = np.tensordot(_turn_hue(hue), grey_SS + saturation * (light_PSS - grey_SS), 1)
    return from_network(2 * light_PSS - 1, picture_PSS.dtype.name)


def brighten(picture_PSS: NDArray[np.float32], brightness: float) -> NDArray[np.float32]:
    """Return a float picture with another brightness; no two values become one.

    Parameters
    ----------
    picture_PSS
        float32 from -1 to 1.
    brightness
        Factor on all values, counted from -1; lowered where the brightest would leave the range.
    """
    light_PSS = picture_PSS.astype(np.float64) + 1
    return (min(brightness, 2 / max(float(light_PSS.max()), 1e-6)) * light_PSS - 1).astype(np.float32)


def _turn_hue(hue: float) -> Floats:
    cos, sin = math.cos(2 * math.pi * hue), math.sin(2 * math.pi * hue)
    turn = np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])
    return np.asarray(np.linalg.inv(YIQ) @ turn @ YIQ)


def crop(picture_PSS: NDArray[Any], y: float, x: float, side: float) -> NDArray[Any]:
    """Return a square part of a picture at its full size.

    ``side`` is that of the part, and ``y`` and ``x``, from 0 to 1, say where in its room the part lies.
    """
    size = picture_PSS.shape[-1]
    room = 1 - side
    box = (size * room * x, size * room * y, size * (room * x + side), size * (room * y + side))
    return _clipped(picture_PSS, through_images(picture_PSS, lambda i: i.resize((size, size), BICUBIC, box)))


def turn(picture_PSS: NDArray[Any], degrees: float) -> NDArray[Any]:
    """Return a picture turned counter-clockwise about its middle; the corners show its reflection."""
    size = picture_PSS.shape[-1]
    # Half the difference of diagonal and side, and two pixels for the kernel.
    rim = math.ceil(size * (math.sqrt(2) - 1) / 2) + 2
    wide = np.pad(picture_PSS, ((0, 0), (rim, rim), (rim, rim)), mode="reflect")
    turned = through_images(wide, lambda image: image.rotate(degrees, BICUBIC))
    return _clipped(picture_PSS, np.ascontiguousarray(turned[:, rim:-rim, rim:-rim]))


def look_from(picture_PSS: NDArray[Any], inward_42: Floats) -> NDArray[Any]:
    """Return a picture in perspective: the part of it between corners that are moved inwards, at full size.

    ``inward_42`` are the moves of the corners along y and x, as fractions of the side: top left, top right,
    bottom right, bottom left.
    """
    size = picture_PSS.shape[-1]
    corners = np.array([[0, 0], [0, 1], [1, 1], [1, 0]], np.float64)
    source = size * (corners + np.where(corners > 0, -1, 1) * inward_42)
    plane = _perspective(size * corners, source)
    change = Image.Transform.PERSPECTIVE
    seen = through_images(picture_PSS, lambda image: image.transform(image.size, change, plane, BICUBIC))
    return _clipped(picture_PSS, seen)


def _perspective(output_42: Floats, source_42: Floats) -> list[float]:
    """Return the eight numbers of Pillow's perspective, which maps places of the output to the source."""
    rows, wanted = [], []
    for (y, x), (v, u) in zip(output_42, source_42, strict=True):
        # u = (a x + b y + c) / (g x + h y + 1), and v likewise with d, e, f.
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        wanted += [u, v]
    return [float(number) for number in np.linalg.solve(np.array(rows), np.array(wanted))]


def _clipped(before: NDArray[Any], after: NDArray[Any]) -> NDArray[Any]:
    """Return float pictures within the range they had: bicubic kernels overshoot; Pillow clips uint8."""
    return after if before.dtype == np.uint8 else np.clip(after, before.min(), before.max())
