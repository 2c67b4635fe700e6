"""Toy pictures of FLARE's eight classes, each drawn from parameters that are known.

A picture is a function of (seed, class, index): its class decides on the shape, its stream on size, place,
turn, colours and the stars behind it. No two have the same stars, so that no two are near-duplicates.
"""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.arrays import Floats
from astro_dist.engine.seeds import stream
from astro_dist.pictures.classes import count_toys
from astro_dist.pictures.config import CLASSES, PicturesConfig
from astro_dist.pictures.source import Entry

Parameters = dict[str, Any]
NOISE = 0.012


def draw_parameters(label: str, seed: int, index: int) -> Parameters:
    """Return the parameters of a toy picture: lengths in half sides of the picture, angles in radians."""
    rng = stream(seed, "pictures", "toy", label, index)
    n_stars = int(rng.integers(8, 20))
    found: Parameters = {
        "y": rng.uniform(-0.25, 0.25),
        "x": rng.uniform(-0.25, 0.25),
        "radius": rng.uniform(0.3, 0.6),
        "turn": rng.uniform(0, 2 * np.pi),
        "hue": rng.uniform(0, 1),
        "shape": rng.uniform(0, 1, 12),
        "stars": np.column_stack(
            [rng.uniform(-1, 1, n_stars), rng.uniform(-1, 1, n_stars), rng.uniform(0.1, 0.7, n_stars)]
        ),
    }
    # The noise is drawn by a stream of its own: its number of draws follows from the side.
    return found | {"noise": int(rng.integers(2**31))}


def draw_toy(label: str, seed: int, index: int, size_pix: int) -> NDArray[np.uint8]:
    """Return the toy picture of a class with a number, shape (3, s, s), uint8."""
    return paint(label, draw_parameters(label, seed, index), size_pix)


def paint(label: str, of: Parameters, size_pix: int) -> NDArray[np.uint8]:
    """Return a toy picture with these parameters, shape (3, s, s), uint8."""
    axis = (np.arange(size_pix) + 0.5) / size_pix * 2 - 1
    y, x = np.meshgrid(axis, axis, indexing="ij")
    cos, sin = np.cos(of["turn"]), np.sin(of["turn"])
    # Place from the centre of the object, turned and in units of its radius.
    v, u = y - of["y"], x - of["x"]
    v, u = (cos * v - sin * u) / of["radius"], (sin * v + cos * u) / of["radius"]
    light = np.zeros((3, size_pix, size_pix)) + np.array([0.02, 0.02, 0.04])[:, None, None]
    for star_y, star_x, bright in of["stars"]:
        light += bright * _spot(y - star_y, x - star_x, 0.02)
    light = PAINTERS[label](light, v, u, of)
    light += stream(of["noise"], "pictures", "noise").normal(0, NOISE, light.shape)
    return np.rint(255 * np.clip(light, 0, 1)).astype(np.uint8)


def _spot(v: Floats, u: Floats, width: float) -> Floats:
    return np.exp(-(v**2 + u**2) / (2 * width**2))


def _colour(hue: float, strength: float) -> Floats:
    """Return red, green and blue, shape (3, 1, 1), of a hue from 0 to 1; 0 of ``strength`` is white."""
    wheel = 0.5 + 0.5 * np.cos(2 * np.pi * (hue - np.array([0, 1, 2]) / 3))
    return (1 - strength + strength * wheel)[:, None, None]


def _planet(light: Floats, v: Floats, u: Floats, of: Parameters) -> Floats:
    r2 = v**2 + u**2
    height = np.sqrt(np.clip(1 - r2, 0, 1))
    shade = np.clip(0.25 + 0.9 * height + 0.5 * u, 0.05, 1)
    bands = 0.75 + 0.25 * np.sin((4 + 8 * of["shape"][0]) * v + 3 * of["shape"][1])
    disc = _colour(of["hue"], 0.6) * shade * bands
    return np.where(r2 < 1, disc, light)


def _galaxy(light: Floats, v: Floats, u: Floats, of: Parameters) -> Floats:
    v = v / (0.35 + 0.6 * of["shape"][0])
    r, angle = np.hypot(v, u) + 1e-6, np.arctan2(v, u)
    arms = 0.5 + 0.5 * np.cos(2 * angle - (3 + 2 * of["shape"][1]) * np.log(r))
    disc = np.exp(-2 * r) * (0.25 + 1.1 * arms)
    core = 1.2 * np.exp(-(r**2) / 0.03)
    return light + _colour(0.62, 0.5) * disc + _colour(0.1, 0.4) * core


def _asteroid(light: Floats, v: Floats, u: Floats, of: Parameters) -> Floats:
    angle, a = np.arctan2(v, u), of["shape"]
    waves = [(0.16 * a[m] / m) * np.cos(m * angle + 2 * np.pi * a[m + 4]) for m in range(2, 6)]
    edge = 0.8 + np.sum(waves, axis=0) + 0.2 * np.cos(2 * angle)
    r = np.hypot(v, u) / edge
    rock = 0.25 + 0.35 * np.clip(u - v + 0.6, 0, 1)
    for i in range(4):
        crater = _spot(v - 1.1 * (a[i] - 0.5), u - 1.1 * (a[i + 4] - 0.5), 0.12 + 0.08 * a[i + 8])
        rock = rock - 0.18 * crater
    return np.where(r < 1, np.clip(rock, 0.03, 1) * _colour(0.08, 0.15), light)


def _nebula(light: Floats, v: Floats, u: Floats, of: Parameters) -> Floats:
    a, cloud = of["shape"], np.zeros((2, *v.shape))
    for i in range(6):
        spot = _spot(v - 1.6 * (a[i] - 0.5), u - 1.6 * (a[i + 6] - 0.5), 0.25 + 0.35 * a[(i + 3) % 12])
        cloud[i % 2] += spot * (0.8 + 0.4 * np.cos(5 * (a[i] * v + a[i + 6] * u) + 6 * a[i]))
    red, teal = 0.5 * cloud
    return light + _colour(0.97, 0.8) * red + _colour(0.3 + 0.3 * of["hue"], 0.7) * teal


def _comet(light: Floats, v: Floats, u: Floats, of: Parameters) -> Floats:
    along, width = u + 0.7, 0.06 + 0.22 * np.clip(u + 0.7, 0, None)
    tail = np.where(along > 0, np.exp(-along / (0.7 + 0.6 * of["shape"][0])), 0)
    tail = 0.75 * tail * np.exp(-((v / width) ** 2) / 2)
    head = 1.3 * _spot(v, along, 0.11)
    return light + _colour(0.5, 0.5) * tail + head


def _black_hole(light: Floats, v: Floats, u: Floats, of: Parameters) -> Floats:
    r = np.hypot(v, u)
    ring = np.exp(-(((r - 0.75) / (0.1 + 0.1 * of["shape"][0])) ** 2))
    side = 0.65 + 0.45 * np.cos(np.arctan2(v, u))
    return np.where(r < 0.7, 0.3 * light, light) + _colour(0.06, 0.9) * (1.1 * ring * side)


def _star(light: Floats, v: Floats, u: Floats, of: Parameters) -> Floats:
    r, arm = np.hypot(v, u), 0.025 + 0.03 * of["shape"][0]
    spikes = np.exp(-np.abs(v) / arm) + np.exp(-np.abs(u) / arm)
    glow = 1.4 * np.exp(-((r / 0.16) ** 2)) + 0.35 * np.exp(-r / 0.25) + 0.9 * spikes * np.exp(-1.7 * r)
    return light + _colour(of["hue"], 0.35) * glow


def _constellation(light: Floats, v: Floats, u: Floats, of: Parameters) -> Floats:
    a, count = of["shape"], 4 + int(3 * of["hue"])
    points = np.column_stack([2.2 * (a[:count] - 0.5), np.linspace(-1.3, 1.3, count)])
    lines = np.zeros_like(v)
    for (v0, u0), (v1, u1) in itertools.pairwise(points):
        length2 = (v1 - v0) ** 2 + (u1 - u0) ** 2
        place = np.clip(((v - v0) * (v1 - v0) + (u - u0) * (u1 - u0)) / length2, 0, 1)
        gap = np.hypot(v - v0 - place * (v1 - v0), u - u0 - place * (u1 - u0))
        lines = np.maximum(lines, np.exp(-((gap / 0.045) ** 2)))
    spots = np.sum([_spot(v - v0, u - u0, 0.09) for v0, u0 in points], axis=0)
    return light + 0.4 * lines * _colour(0.6, 0.4) + spots


class ToySource:
    """Toy pictures of the chosen classes; a `astro_dist.pictures.source.Source`."""

    paths: ClassVar[list[Path]] = []
    notes: ClassVar[list[str]] = []

    def __init__(self, config: PicturesConfig, seed: int) -> None:
        self.config, self.seed = config, seed
        self.members = [(name, i) for name, count in count_toys(config).items() for i in range(count)]

    @property
    def entries(self) -> list[Entry]:
        """All toys, by class."""
        named = enumerate(self.members)
        return [(f"{label}/{index:05d}", label, "", number) for number, (label, index) in named]

    def read(self, number: int) -> NDArray[np.uint8]:
        """Draw a toy by its number; grey ones are the mean of the three colours."""
        label, index = self.members[number]
        colours = draw_toy(label, self.seed, index, self.config.size_pix)
        if self.config.planes == 3:
            return colours
        return np.rint(colours.mean(axis=0, keepdims=True)).astype(np.uint8)


PAINTERS: dict[str, Callable[[Floats, Floats, Floats, Parameters], Floats]] = dict(
    zip(
        CLASSES,
        (_planet, _galaxy, _asteroid, _nebula, _comet, _black_hole, _star, _constellation),
        strict=True,
    )
)
"""The painter of each class: ``(light, v, u, parameters) -> light``."""
