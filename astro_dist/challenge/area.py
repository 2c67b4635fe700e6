"""The open area of a challenge, and the mask that says where nothing is scored and why.

The area is one rectangle with the proportions of the field. A frame round it, wider than the largest source,
belongs neither to the training area nor to the scored part, so that no source reaches into both.
"""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from astro_dist.challenge.config import ChallengeConfig
from astro_dist.challenge.names import BETWEEN, BITS, OPEN, SCORED
from astro_dist.engine.arrays import Columns
from astro_dist.engine.errors import ConfigError
from astro_dist.field.background import ISLANDS_FILE, PIXELS_FILE
from astro_dist.sky.maps import SkyMap
from astro_dist.sky.user_files import read_columns
from astro_dist.sky.windows import Window, bands

BAND_ROWS = 512


@dataclass(frozen=True)
class Areas:
    """The training area, and how wide the frame round it is, pixels."""

    shape: tuple[int, int]
    training: Window
    guard_pix: int

    @property
    def closed(self) -> Window:
        """The training area with its frame, as far as the field reaches."""
        grown = self.training.grown(self.guard_pix) & Window.of_shape(self.shape)
        assert grown is not None  # the training area lies in the field
        return grown

    def place(self, truth: Columns) -> NDArray[np.uint8]:
        """Return where each source lies: `SCORED`, `OPEN` where its box touches the area, or `BETWEEN`."""
        box, closed = self.training, self.closed
        y, x, height, width = (truth[name].astype(np.int64) for name in ("y0", "x0", "height", "width"))
        touches = (y < box.y1) & (y + height > box.y0) & (x < box.x1) & (x + width > box.x0)
        row, column = np.rint(truth["y_pix"]), np.rint(truth["x_pix"])
        inside = (row >= closed.y0) & (row < closed.y1) & (column >= closed.x0) & (column < closed.x1)
        return np.where(touches, OPEN, np.where(inside, BETWEEN, SCORED)).astype(np.uint8)


def choose_areas(truth: Columns, shape: tuple[int, int], config: ChallengeConfig) -> Areas:
    """Return the areas of a field.

    Of the nine rectangles at corners, edges and in the middle that one is taken whose share of the detectable
    sources is nearest to its share of the sky, the first of equals.

    Raises
    ------
    ConfigError
        Where the area and its frame would leave less than half of the field.
    """
    guard = 1 + int(max(truth["height"].max(initial=0), truth["width"].max(initial=0)))
    scale = math.sqrt(config.training_share)
    height, width = (max(1, round(n * scale)) for n in shape)
    seen = truth["detectable"] == 1
    y, x = truth["y_pix"][seen], truth["x_pix"][seen]

    def miss(box: Window) -> float:
        inside = (y >= box.y0) & (y < box.y1) & (x >= box.x0) & (x < box.x1)
        return abs(float(inside.sum()) - config.training_share * len(y))

    rows, columns = ([0, n - side, (n - side) // 2] for n, side in zip(shape, (height, width), strict=True))
    boxes = [Window(r, r + height, c, c + width) for r, c in itertools.product(rows, columns)]
    areas = Areas(shape, min(boxes, key=miss), guard)
    if 2 * math.prod(areas.closed.shape) > math.prod(shape):
        raise ConfigError(
            f"the training area and {guard} pixels round it, the size of the largest source, take more than "
            f"half of the field of {shape[0]} x {shape[1]} pixels; lower the share of the training area, or "
            "make a larger field"
        )
    return areas


def score_mask(
    field: SkyMap, areas: Areas, edge_pix: int, real: "RealSources"
) -> Iterator[tuple[Window, NDArray[np.uint8]]]:
    """Yield the score mask, bits of `BITS`, by bands of rows."""
    whole = Window.of_shape(field.shape)
    inner = Window(edge_pix, whole.y1 - edge_pix, edge_pix, whole.x1 - edge_pix)
    for window in bands(field.shape, BAND_ROWS):
        mask = np.full(window.shape, BITS["edge"], np.uint8)
        for box, bits in ((inner, 0), (areas.closed, BITS["between"]), (areas.training, BITS["training"])):
            if (part := window & box) is not None:
                mask[part.within(window)] &= ~np.uint8(BITS["between"] if bits else 0xFF)
                mask[part.within(window)] |= np.uint8(bits)
        near, blank = _blank(field, window, edge_pix)
        mask[near] |= BITS["edge"]
        mask[blank] |= BITS["no_data"]
        mask |= real.mark(window)
        yield window, mask


def _blank(field: SkyMap, window: Window, edge_pix: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which pixels of a window are near ones without data, and which are such."""
    frame = window.grown(edge_pix) & Window.of_shape(field.shape)
    assert frame is not None  # a band lies in the field
    sky = np.isfinite(field.read(frame))
    here = window.within(frame)
    if sky.all():
        return ~sky[here], ~sky[here]
    return distance_transform_edt(sky)[here] <= edge_pix, ~sky[here]


@dataclass(frozen=True, eq=False)
class RealSources:
    """The sources that a real background holds, or held, by what they do to the score mask.

    Attributes
    ----------
    y, x
        Pixels round which nothing is scored, sorted by row.
    radius_pix
        How far round them.
    bit
        The reason.
    """

    y: NDArray[np.int64]
    x: NDArray[np.int64]
    radius_pix: float
    bit: int

    @classmethod
    def read(cls, folder: Path, field: SkyMap, config: ChallengeConfig, keep: bool) -> "RealSources":
        """Return kept sources with their pixels, the brightest replaced ones, or none without a real map."""
        fwhm = field.beam.fwhm_pix(field.pixel)
        nothing = np.zeros(0, np.int64)
        if not (folder / ISLANDS_FILE).exists():
            return cls(nothing, nothing, 0.0, 0)
        y, x = np.load(folder / PIXELS_FILE).astype(np.int64)
        if keep:
            return cls(y, x, fwhm, BITS["real_source"])
        table = read_columns(folder / ISLANDS_FILE, ("snr", "y", "x"))
        bright = np.flatnonzero(table["snr"] >= config.orphan_snr)
        y, x = (np.rint(table[name][bright]).astype(np.int64) for name in ("y", "x"))
        order = np.argsort(y, kind="stable")
        return cls(y[order], x[order], config.orphan_beams * fwhm, BITS["orphaned_artefact"])

    def mark(self, window: Window) -> NDArray[np.uint8]:
        """Return the bits of a window."""
        reach = math.ceil(self.radius_pix)
        if not len(self.y):
            return np.zeros(window.shape, np.uint8)
        frame = window.grown(reach)
        first, last = np.searchsorted(self.y, [frame.y0, frame.y1])
        y, x = self.y[first:last] - frame.y0, self.x[first:last] - frame.x0
        seen = (x >= 0) & (x < frame.width)
        free = np.ones(frame.shape, bool)
        free[y[seen], x[seen]] = False
        if free.all():
            return np.zeros(window.shape, np.uint8)
        near = distance_transform_edt(free)[window.within(frame)] <= self.radius_pix
        return np.where(near, self.bit, 0).astype(np.uint8)
