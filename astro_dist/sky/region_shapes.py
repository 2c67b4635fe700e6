"""Regions of DS9 and of CASA (CRTF) that have an area: circles, ellipses, boxes and polygons.

Either text becomes the same `Shape`: places and lengths with the unit that they have in the file, and the
direction of the first axis from up (north) to the left (east). `fill_shape` draws it on a map.
"""

import math
from dataclasses import dataclass
from functools import partial
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.errors import ConfigError
from astro_dist.sky.fill import Spots, fill_ellipse, fill_polygon
from astro_dist.sky.tangent import local_axes

MOST_SHAPES = 1_000_000
System = Literal["image", "map", "icrs", "fk5", "fk4", "galactic"]
"""Frame of a place: pixels from 0, the frame of the map, or one of the sky."""


@dataclass(frozen=True)
class Length:
    """A length in pixels or in arcsec."""

    value: float
    in_pixels: bool


@dataclass(frozen=True)
class Shape:
    """A region with an area.

    Attributes
    ----------
    kind
        ``polygon``, ``ellipse`` or ``box``; a circle is an ellipse.
    system
        Frame of ``places``.
    places
        (x, y) in pixels or (longitude, latitude) in degrees: the corners of a polygon, else the middle.
    sizes
        Half axes of an ellipse, half sides of a box; the first along ``direction_deg``.
    direction_deg
        From up to the left in an image, from north to east on the sky.
    words
        What may name its class.
    line
        Line of the file, from 1.
    """

    kind: Literal["polygon", "ellipse", "box"]
    system: System
    places: tuple[tuple[float, float], ...]
    sizes: tuple[Length, ...] = ()
    direction_deg: float = 0.0
    words: tuple[str, ...] = ()
    line: int = 0


class Canvas(Protocol):
    """What regions are drawn on."""

    @property
    def shape(self) -> tuple[int, int]:
        """``(ny, nx)``."""
        ...

    def sky_of(
        self, system: System, y: NDArray[np.float64], x: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return longitude and latitude of pixels in one of the frames; of the image, those of the map."""
        ...

    def place(self, system: System, lon: float, lat: float) -> tuple[float, float]:
        """Return the pixel (y, x) of a position in one of the frames."""
        ...


def fill_shape(shape: Shape, canvas: Canvas) -> Spots:
    """Return the pixels of a region on a map.

    Raises
    ------
    ConfigError
        In one line: a part of it has no place on the map, or it is too large.
    """
    spots = [_spot(shape, canvas, *place) for place in shape.places]
    if shape.kind == "polygon":
        y, x = np.array(spots).T
        return fill_polygon(y, x, canvas.shape)
    axes = _axes(shape, canvas, spots[0])
    if shape.kind == "ellipse":
        return fill_ellipse(spots[0], axes, canvas.shape)
    corners = np.array(spots[0])[:, None] + axes @ np.array([[1, 1, -1, -1], [1, -1, -1, 1]])
    return fill_polygon(corners[0], corners[1], canvas.shape)


def _spot(shape: Shape, canvas: Canvas, first: float, second: float) -> tuple[float, float]:
    y, x = second, first
    if shape.system != "image":
        known = math.isfinite(first) and abs(second) <= 90
        y, x = canvas.place(shape.system, first, second) if known else (math.nan, math.nan)
    if not (math.isfinite(y) and math.isfinite(x)):
        raise ConfigError(f"({first:g}, {second:g}) has no place on the map")
    return y, x


def _axes(shape: Shape, canvas: Canvas, spot: tuple[float, float]) -> NDArray[np.float64]:
    """Return the half axes as columns, (y, x) in pixels."""
    turn = math.radians(shape.direction_deg)
    # Columns: the first and the second axis as (up, left) or (north, east).
    frame = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    # North is that of the frame of the region.
    jacobian = local_axes(partial(canvas.sky_of, shape.system), [spot[0]], [spot[1]])[0]
    scale = math.sqrt(abs(np.linalg.det(jacobian)))
    on_sky = shape.system != "image"
    lengths = []
    for size in shape.sizes:
        # Pixels on the sky and arcsec in an image go by the area of the pixel.
        value = size.value * (scale if size.in_pixels and on_sky else 1.0)
        lengths.append(value / (1.0 if size.in_pixels or on_sky else scale))
    to_pixels = np.linalg.inv(jacobian) if on_sky else np.diag([1.0, -1.0])
    if not np.isfinite(to_pixels).all():
        raise ConfigError("its middle has no place on the map")
    return np.asarray(to_pixels @ frame * np.array(lengths))
