"""The pixels that placements add: models through the field's beam, drawings moved by whole pixels.

A patch is a function of its row in the table of the layout and of the library alone, and is always made
whole. In mode ``radiff`` its brightest pixel is k times the local rms, and with a given flux the whole patch
sums to that flux times the beam's area.
"""

from collections.abc import Iterator
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.arrays import Columns
from astro_dist.field.library import Library
from astro_dist.field.rendering import patch_boxes, render, step_matrix
from astro_dist.field.truth import turn_moments
from astro_dist.sky.beams import Pixel
from astro_dist.sky.maps import SkyMap

Float = NDArray[np.float64]
Pixels = NDArray[np.float32]
Values = NDArray[np.float32] | NDArray[np.float64]
SPREAD = ("spread_yy", "spread_yx", "spread_xx")
ROW_COLUMNS = (
    *("object", "drawn", "y_anchor_pix", "x_anchor_pix", "turn_deg", "flip", "size_factor", *SPREAD),
    *("k", "flux_given_jy", "sigma_jy_beam"),
)
"""Columns of the layout that the pixels follow from."""


def symmetry_of(turn_deg: float, flip: bool) -> int:
    """Return the element of the symmetries of a square that a quarter turn and a flip are.

    `apply_symmetry` turns from +y towards +x and mirrors last; a placement is mirrored first and turned from
    +y towards -x (`step_matrix`).
    """
    quarter = round(turn_deg / 90)
    return 4 + quarter % 4 if flip else -quarter % 4


def turn_of(symmetry: NDArray[np.integer]) -> tuple[Float, NDArray[np.uint8]]:
    """Return turn in degrees and flip of elements of the symmetries of a square; see `symmetry_of`."""
    flip = symmetry >= 4
    quarter = np.where(flip, symmetry % 4, -symmetry % 4)
    return 90.0 * quarter, flip.astype(np.uint8)


class Patches:
    """The patches of some rows of a layout.

    Parameters
    ----------
    table
        The columns `ROW_COLUMNS` of some placements.
    field
        The map of the field, for its WCS, beam and pixel.
    anchor
        ``core`` or ``centroid``: the point of an object that lies at the anchor of its placement.
    """

    def __init__(self, table: Columns, library: Library, field: SkyMap, anchor: str) -> None:
        self.table, self.library, self.field, self.pixel = table, library, field, field.pixel
        self.beam_pix = field.beam.covariance_pix(field.pixel)
        self.own = table["object"] < 0
        self.anchor_yx, self.origin, self.shape = self._places_in_stamps(anchor)
        # A point or Gaussian of its own has its widening in the field's pixels, a model in the donor's.
        own = np.stack([table[name] for name in SPREAD], axis=1)
        self.spread = np.where(self.own[:, None], own, np.stack([self.of_object(n) for n in SPREAD], axis=1))
        self.step = self._steps()

    @property
    def n_components(self) -> NDArray[np.int64]:
        """Number of components of each row."""
        return np.maximum(self.of_object("n_components").astype(np.int64), 1)

    def of_object(self, name: str) -> Float:
        """Return a column of the library for each row, 0 for sources that are no objects of it."""
        values = np.zeros(len(self.own))
        values[~self.own] = self.library.table[name][self.table["object"][~self.own]]
        return values

    def _places_in_stamps(self, anchor: str) -> tuple[Float, Float, NDArray[np.int64]]:
        first = np.stack([self.of_object("y0"), self.of_object("x0")], axis=1)
        if anchor == "core":
            spot = np.stack([self.of_object("core_y"), self.of_object("core_x")], axis=1)
        else:
            spot = first + np.stack([self.of_object("y"), self.of_object("x")], axis=1)
        shape = np.stack([self.of_object("height"), self.of_object("width")], axis=1).astype(np.int64)
        shape[self.own] = 1
        return spot, first, shape

    def _steps(self) -> Float:
        columns = (self.table[name].tolist() for name in ("turn_deg", "flip", "size_factor"))
        sizes = (self.of_object(name).tolist() for name in ("dy_arcsec", "dx_arcsec"))
        # Row by row through `math`, so that one row and many give the same bits.
        steps = [
            np.eye(2)
            if own
            else step_matrix(Pixel(dy, dx), self.pixel, turn, flipped=bool(flip), scale=factor)
            for own, turn, flip, factor, dy, dx in zip(self.own.tolist(), *columns, *sizes, strict=True)
        ]
        return np.stack(steps) if steps else np.zeros((0, 2, 2))

    @cached_property
    def areas(self) -> Float:
        """Solid angle of the beam in the pixels at each anchor, shape (n,)."""
        return self.field.beam_area_pix(*self.place.T)

    @property
    def place(self) -> Float:
        """The anchors (y, x) in the field, shape (n, 2)."""
        return np.stack([self.table["y_anchor_pix"], self.table["x_anchor_pix"]], axis=1)

    def boxes(self) -> NDArray[np.int64]:
        """Return first row, first column, height and width of the patches of models, shape (n, 4)."""
        return patch_boxes(
            self.shape, self.spread, self.origin, self.step, self.anchor_yx, self.place, self.beam_pix
        )

    def points(self, row: int) -> tuple[Float, Float]:
        """Return the steps (y, x) from the anchor of a model's points, in the field's pixels."""
        rows, columns = np.nonzero(self._model(row))
        step, away = self.step[row], self.origin[row] - self.anchor_yx[row]
        y, x = rows + away[0], columns + away[1]
        return step[0, 0] * y + step[0, 1] * x, step[1, 0] * y + step[1, 1] * x

    def core(self, row: int) -> tuple[float, float]:
        """Return the step from the anchor of a model to its brightest point, in the field's pixels."""
        if self.own[row]:
            return 0.0, 0.0
        item = self.table["object"][row]
        spot = [self.library.table[name][item] for name in ("core_y", "core_x")]
        y, x = spot - self.anchor_yx[row]
        step = self.step[row]
        return float(step[0, 0] * y + step[0, 1] * x), float(step[1, 0] * y + step[1, 1] * x)

    def draw(self, row: int) -> Pixels:
        """Return what a placement adds to its box, which may leave the field; float32, Jy/beam."""
        unit = self._unit(row)
        return (unit * self._amplitude(row, unit)).astype(np.float32)

    def parts(self, row: int) -> Iterator[Pixels]:
        """Yield what each component of a placement adds to its box; they add up to `draw`."""
        amplitude = self._amplitude(row, self._unit(row))
        pieces = self._pieces(row)
        for number in range(1, int(pieces.max()) + 1):
            yield (self._unit(row, pieces == number) * amplitude).astype(np.float32)

    def _amplitude(self, row: int, unit: Values) -> np.float32 | np.float64:
        """Return the factor of a patch, from all its pixels, whatever of them lies in the field."""
        given, drawn = float(self.table["flux_given_jy"][row]), bool(self.table["drawn"][row])
        if np.isfinite(given) and not drawn:
            # A model is rendered at 1 Jy in the pixels at the middle of the field.
            return np.float64(given * self.areas[row] / self.field.beam.area_pix(self.pixel))
        if np.isfinite(given):
            return np.float32(given * self.areas[row] / float(unit.sum(dtype=np.float64)))
        level = float(self.table["sigma_jy_beam"][row] * self.table["k"][row])
        return np.float32(level) if drawn else np.float64(level / float(unit.max()))

    def _unit(self, row: int, part: NDArray[np.bool_] | None = None) -> Values:
        """Return a patch before its brightness is set: a drawing, or a model of 1 Jy."""
        pixels = self.drawing(row) if self.table["drawn"][row] else self._model(row)
        pixels = pixels if part is None else np.where(part, pixels, np.float32(0))
        if self.table["drawn"][row]:
            return pixels
        return render(
            pixels,
            self.spread[row],
            self.origin[row],
            self.step[row],
            self.anchor_yx[row],
            self.place[row],
            self.beam_pix,
        ).values

    def drawing(self, row: int) -> Pixels:
        """Return the turned pixels of an object that is placed as it was drawn."""
        return self.library.pixels(int(self.table["object"][row]), self._symmetry(row))

    def widened(self) -> NDArray[np.float64]:
        """Return the second moments yy and xx of a point of each model in the field, (n, 2)."""
        a, b, c, d = (self.step[:, i, j] for i in (0, 1) for j in (0, 1))
        yy, yx, xx = self.spread.T
        along_y = self.beam_pix[0, 0] + a * a * yy + 2 * a * b * yx + b * b * xx
        along_x = self.beam_pix[1, 1] + c * c * yy + 2 * c * d * yx + d * d * xx
        return np.stack([along_y, along_x], axis=1)

    def _model(self, row: int) -> Pixels:
        if self.own[row]:
            return np.ones((1, 1), np.float32)
        return self.library.pixels(int(self.table["object"][row]))

    def _pieces(self, row: int) -> NDArray[np.uint8]:
        if self.own[row]:
            return np.ones((1, 1), np.uint8)
        turn = self._symmetry(row) if self.table["drawn"][row] else 0
        return self.library.pieces(int(self.table["object"][row]), turn)

    def _symmetry(self, row: int) -> int:
        return symmetry_of(float(self.table["turn_deg"][row]), bool(self.table["flip"][row]))


def turned_boxes(table: Columns, symmetry: NDArray[np.integer]) -> Columns:
    """Return height, width, and places of peak and centroid of drawings that are turned."""
    names = ("height", "width", "y", "x", "peak_y", "peak_x", "yy", "yx", "xx")
    return turn_moments({name: table[name] for name in names}, symmetry)
