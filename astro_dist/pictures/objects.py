"""Objects that disturb pictures: spheres, dots, stars and trails, drawn as a function of a stream.

A picture with objects, and the mask of the changed pixels, follow from the picture and the stream alone.
Smooth galaxies may be added before: they belong to the sky. An edge-on one has ends, a trail has none.

Shape letters: P planes, S side in pixels.
"""

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.arrays import Floats, Image
from astro_dist.pictures.transforms import LUMA

Kind = Literal["spheres", "dots", "stars", "trails"]
KINDS: tuple[Kind, ...] = ("spheres", "dots", "stars", "trails")
HUES = {"spheres": 0.62, "dots": 0.0, "stars": 0.55, "trails": 0.12}
"""Hue of each kind as a fraction of the circle: blue, red, bluish and yellowish."""
SATURATIONS = {"spheres": 0.85, "dots": 0.95, "stars": 0.1, "trails": 0.1}
EDGE_PIX = 0.7
"""Width of the edge of a sphere."""
LEAST_OPACITY = 0.1
"""Opacity from which on a pixel belongs to the mask of an object."""
HALF_LIGHT_PIX, AXIS_RATIOS, INDICES, STRETCHES = (2.0, 16.0), (0.08, 1.0), (0.5, 2.0), (10.0, 1000.0)
"""Of galaxies: half-light radii, ratios of axes, indices of Sersic, and brightness of the middle in units of
where the stretch turns from linear to logarithmic. All are drawn evenly in their logarithm."""


@dataclass(frozen=True)
class Style:
    """What objects look like; each number is drawn evenly between two bounds.

    Attributes
    ----------
    kinds
        Kinds that are drawn, each equally often.
    number
        Least and most objects of a picture.
    galaxies
        Least and most galaxies that it gets before, which are no objects.
    radius_pix
        Radius: of a sphere; twice the deviation of a dot and of a star's core; five times that of a trail.
    opacity
        Share of the picture that the middle of an object hides.
    hue_turn
        Largest turn of the hue of a kind, as a fraction of the circle.
    """

    kinds: Sequence[Kind] = KINDS
    number: tuple[int, int] = (1, 8)
    galaxies: tuple[int, int] = (0, 0)
    radius_pix: tuple[float, float] = (2.0, 7.0)
    opacity: tuple[float, float] = (0.7, 1.0)
    hue_turn: float = 0.05


@dataclass(frozen=True)
class Thing:
    """One object: its kind, place and radius in pixels, direction in radians, opacity and colour."""

    kind: Kind
    y_pix: float
    x_pix: float
    radius_pix: float
    turn: float
    opacity: float
    rgb: tuple[float, float, float]


def draw_things(style: Style, side_pix: int, rng: np.random.Generator) -> list[Thing]:
    """Return the objects of a picture of this side, from a stream of its own."""
    number = int(rng.integers(*style.number, endpoint=True))
    return [_draw_thing(style, side_pix, rng) for _ in range(number)]


def _draw_thing(style: Style, side_pix: int, rng: np.random.Generator) -> Thing:
    kind = style.kinds[int(rng.integers(len(style.kinds)))]
    y, x = rng.uniform(0, side_pix, 2)
    radius, opacity = rng.uniform(*style.radius_pix), rng.uniform(*style.opacity)
    turn, hue = rng.uniform(0, 2 * np.pi), HUES[kind] + rng.uniform(-style.hue_turn, style.hue_turn)
    rgb = colorsys.hsv_to_rgb(hue % 1, SATURATIONS[kind], rng.uniform(0.7, 1.0))
    return Thing(kind, y, x, radius, turn, opacity, rgb)


def inject(picture_PSS: Image, things: Sequence[Thing]) -> tuple[Image, NDArray[np.bool_]]:
    """Return a picture from 0 to 1 with objects laid over it, and the mask (S, S) of the objects.

    A grey picture of one plane receives their brightness.
    """
    picture, mask = picture_PSS.astype(np.float64), np.zeros(picture_PSS.shape[1:], np.bool_)
    for thing in things:
        opacity, light = draw(thing, picture_PSS.shape[1:])
        colour = np.array(thing.rgb) if len(picture_PSS) == 3 else LUMA @ np.array([thing.rgb]).T
        picture = (1 - opacity) * picture + opacity * colour[:, None, None] * light
        mask |= opacity >= LEAST_OPACITY
    return np.clip(picture, 0, 1).astype(np.float32), mask


def add_galaxies(picture_PSS: Image, number: tuple[int, int], rng: np.random.Generator) -> Image:
    """Return a picture from 0 to 1 with smooth galaxies, float32.

    Each has the profile of Sersic (1963), stretched by an inverse hyperbolic sine as pictures are, any
    inclination and a pale colour; light is screened, so that nothing saturates.

    Parameters
    ----------
    picture_PSS
        The picture.
    number
        Least and most galaxies.
    rng
        A stream of its own.
    """
    picture, side = picture_PSS.astype(np.float64), picture_PSS.shape[-1]
    for _ in range(int(rng.integers(*number, endpoint=True))):
        half, flat, index, stretch = (
            np.exp(rng.uniform(*np.log(ends))) for ends in (HALF_LIGHT_PIX, AXIS_RATIOS, INDICES, STRETCHES)
        )
        peak, turn = rng.uniform(0.3, 1), rng.uniform(0, np.pi)
        y, x = np.indices(picture.shape[1:]) - rng.uniform(0, side, 2)[:, None, None]
        # The pixel's own extent: a steep middle has no point that outshines all.
        u, v = np.cos(turn) * x + np.sin(turn) * y, (np.cos(turn) * y - np.sin(turn) * x) / flat
        r = np.sqrt(u**2 + v**2 + 0.25) / half
        # b of Ciotti & Bertin (1999), eq. 18, to two terms.
        light = np.exp(-(2 * index - 1 / 3) * r ** (1 / index))
        rgb = np.array(colorsys.hsv_to_rgb(rng.uniform(0, 1), rng.uniform(0, 0.3), 1))
        colour = rgb if len(picture) == 3 else LUMA @ rgb[:, None]
        light = np.arcsinh(stretch * light / light.max()) / np.arcsinh(stretch)
        light_PSS = peak * colour[:, None, None] * light
        picture = 1 - (1 - picture) * (1 - light_PSS)
    return picture.astype(np.float32)


def draw(thing: Thing, shape: tuple[int, ...]) -> tuple[Floats, Floats]:
    """Return opacity and brightness, both from 0 to 1, of an object in a picture of this shape."""
    y, x = np.mgrid[: shape[0], : shape[1]] - np.array([thing.y_pix, thing.x_pix])[:, None, None]
    r, light = np.hypot(y, x) / thing.radius_pix, np.ones(shape)
    # Along and across the direction of the object, in units of its radius.
    u, v = (
        (np.cos(thing.turn) * a + np.sin(thing.turn) * b) / thing.radius_pix for a, b in ((x, y), (y, -x))
    )
    if thing.kind == "spheres":
        shape_SS = np.clip((1 - r) * thing.radius_pix / EDGE_PIX + 0.5, 0, 1)
        height = np.sqrt(np.clip(1 - r**2, 0, 1))
        # Lit from the side that the direction names.
        light = np.clip(0.35 + 0.5 * height + 0.3 * u, 0, 1)
    elif thing.kind == "dots":
        shape_SS = np.exp(-2 * r**2)
    elif thing.kind == "stars":
        spikes = [np.exp(-50 * a**2 - 1.5 * np.abs(b)) for a, b in ((u, v), (v, u))]
        shape_SS = np.maximum(np.exp(-2 * r**2), np.maximum(*spikes))
    else:
        shape_SS = np.exp(-12.5 * v**2)
    return thing.opacity * shape_SS, light
