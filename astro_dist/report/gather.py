"""Reading of a run directory for the report; of a map never more than one band of rows is in memory."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.arrays import Columns
from astro_dist.field.columns import read_columns_file
from astro_dist.report.images import View
from astro_dist.sky.classes import CLASS_NAMES, SourceClass
from astro_dist.sky.config import MapsConfig
from astro_dist.sky.labels import Plane
from astro_dist.sky.maps import SkyMap
from astro_dist.sky.windows import Window, bands

BAND_PIX = 8_000_000  # pixels in memory at once: 32 MB of float32
SMALLEST_VIEW_PIX = 48
Curve = dict[str, list[tuple[int, float]]]


@dataclass(frozen=True)
class FieldFiles:
    """The files of a published field: the map, and the mask and the truth when they exist.

    The driver has compared them with their publication; the map is compared with its DATASUM besides.
    """

    folder: Path

    @cached_property
    def map(self) -> SkyMap:
        """The synthetic map."""
        return SkyMap.open(self.folder / "map.fits", MapsConfig())

    @cached_property
    def mask(self) -> Plane | None:
        """The class of every pixel, or None without the file."""
        path = self.folder / "mask.fits"
        # No `SkyMap`: a mask has neither unit nor beam, and its zeros are a class.
        return Plane.open(path, 1) if path.exists() else None

    @cached_property
    def truth(self) -> Columns | None:
        """The columns of the truth catalogue, or None without the file."""
        path = self.folder / "truth.parquet"
        return read_columns_file(path) if path.exists() else None

    @property
    def whole(self) -> Window:
        """The window of the whole field."""
        return Window.of_shape(self.map.shape)

    @property
    def area_sr(self) -> float:
        """Solid angle of all pixels, in steradians."""
        ny, nx = self.map.shape
        pixel = self.map.pixel
        return ny * nx * math.radians(pixel.dy_arcsec / 3600) * math.radians(pixel.dx_arcsec / 3600)

    def view(self, window: Window, side_pix: int, *, classes: bool = False) -> View:
        """Return a part of the map, reduced so that its longer side is at most ``side_pix``."""
        factor = math.ceil(max(window.shape) / side_pix)
        return View(
            window,
            factor,
            reduce_blocks(self.map, window, factor),
            # A slice with a step gives the WCS of the blocks: the centre of a block, not its first pixel.
            self.map.wcs[window.y0 : window.y1 : factor, window.x0 : window.x1 : factor],
            # `Plane` reads float32, which holds class numbers exactly.
            reduce_blocks(self.mask, window, factor).astype(np.uint8) if classes and self.mask else None,
        )

    def zoom_windows(self, zooms: tuple[int, ...]) -> dict[str, Window]:
        """Return windows a ``zoom``-th of the field high and wide, by their label.

        All are centred on the brightest extended source of the field's inner half, or on the field's centre
        when there is no such source. Windows smaller than `SMALLEST_VIEW_PIX` are left out.
        """
        shape = self.map.shape
        y, x = self.whole.centre
        if (truth := self.truth) is not None:
            # Even a window of half the field's side fits round any place of the inner half without a shift.
            inner = np.abs(truth["y_pix"] - y) < shape[0] / 4
            inner &= np.abs(truth["x_pix"] - x) < shape[1] / 4
            found = np.flatnonzero(inner & (truth["class"] == SourceClass.EXTENDED))
            if len(found):
                best = found[np.argmax(truth["flux_jy"][found])]
                y, x = float(truth["y_pix"][best]), float(truth["x_pix"][best])
        fitting = [zoom for zoom in zooms if min(shape) // zoom >= SMALLEST_VIEW_PIX]
        return {f"{zoom}x": _window_at(y, x, shape, zoom) for zoom in fitting}


def reduce_blocks(sky_map: SkyMap | Plane, window: Window, factor: int) -> NDArray[np.float32]:
    """Return the largest value of every block of ``factor`` x ``factor`` pixels, band by band.

    The maximum keeps sources that are narrower than a block; a mean would drown them in the noise. Blocks at
    the far edges may be cut; a block without data gives NaN.
    """
    # A multiple of the factor, so that no band cuts a block.
    height = factor * max(1, BAND_PIX // (factor * window.width))
    columns = np.arange(0, window.width, factor)
    pieces = []
    for band in bands(window.shape, height):
        pixels = sky_map.read(band.shifted(window.y0, window.x0))
        rows = np.fmax.reduceat(pixels, np.arange(0, band.height, factor), axis=0)
        pieces.append(np.fmax.reduceat(rows, columns, axis=1))
    return np.concatenate(pieces)


def read_curve(path: Path) -> Curve:
    """Return ``{quantity: [(step, value), ...]}`` of a learning curve, empty when there is no file.

    A step that was written twice (by a training that was killed and resumed) counts once, as last written. A
    line that a kill has cut short is skipped.
    """
    steps: dict[int, Mapping[str, Any]] = {}
    for line in path.read_text(errors="replace").splitlines() if path.exists() else []:
        try:
            point = json.loads(line)
            steps[int(point["step"])] = point
        except (ValueError, KeyError, TypeError, OverflowError):
            continue
    curve: Curve = {}
    for step, point in sorted(steps.items()):
        for name, value in point.items():
            if name != "step" and isinstance(value, int | float):
                curve.setdefault(name, []).append((step, float(value)))
    return curve


def count_classes(truth: Columns) -> dict[str, int]:
    """Return the number of sources of each class in the truth."""
    # 0 is background and 1 spurious: the truth has neither.
    return {
        name: int((truth["class"] == number).sum()) for number, name in enumerate(CLASS_NAMES) if number > 1
    }


def _window_at(y: float, x: float, shape: tuple[int, int], zoom: int) -> Window:
    height, width = (max(1, n // zoom) for n in shape)
    y0 = min(max(0, round(y) - height // 2), shape[0] - height)
    x0 = min(max(0, round(x) - width // 2), shape[1] - width)
    return Window(y0, y0 + height, x0, x0 + width)
