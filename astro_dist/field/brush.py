"""What draws and measures the placements that reach into a window of a field."""

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.arrays import Columns
from astro_dist.field.config import AssembleConfig
from astro_dist.field.library import Library
from astro_dist.field.measures import Measure, measure
from astro_dist.field.painting import Painted, clip_boxes
from astro_dist.field.patches import Patches
from astro_dist.sky.maps import SkyMap
from astro_dist.sky.windows import Window


class Brush:
    """The rows of a layout that reach into a window, and their patches.

    Attributes
    ----------
    rows
        Rows of the layout, ascending.
    table
        The columns of these rows.
    """

    def __init__(
        self, layout: Columns, window: Window, library: Library, field: SkyMap, config: AssembleConfig
    ) -> None:
        self.config, self.shape = config, field.shape
        self.rows = clip_boxes(layout, window)[0]
        self.table = {name: values[self.rows] for name, values in layout.items()}
        self.beam_pix = field.beam.covariance_pix(field.pixel)
        self.patches = Patches(self.table, library, field, config.anchor)

    def draw(self, row: int) -> tuple[NDArray[np.float32], Measure]:
        """Return what a row of `table` adds to its box, and its measures."""
        patch = self.patches.draw(row)
        return patch, self._measure(row, patch)

    def measure_owned(self, window: Window, painted: Painted) -> list[Measure]:
        """Return the measures of the rows whose anchor lies in a window, and of their components."""
        found = []
        components = self.patches.n_components
        anchors = np.floor(self.table["y_anchor_pix"] + 0.5).clip(0, self.shape[0] - 1)
        owned = (anchors >= window.y0) & (anchors < window.y1)
        for row in np.flatnonzero(owned).tolist():
            place = {"row": int(self.rows[row])}
            found.append(place | {"component": 0} | painted.measures[row])
            if components[row] > 1:
                for number, part in enumerate(self.patches.parts(row), 1):
                    found.append(place | {"component": number} | self._measure(row, part))
        return found

    def _measure(self, row: int, patch: NDArray[np.float32]) -> Measure:
        """Return the measures of the part of a patch that lies in the field."""
        y0, x0 = int(self.table["y0"][row]), int(self.table["x0"][row])
        top, left = max(y0, 0), max(x0, 0)
        inside = patch[top - y0 : self.shape[0] - y0, left - x0 : self.shape[1] - x0]
        sigma, config = float(self.table["sigma_jy_beam"][row]), self.config
        return measure(inside, (top, left), sigma, self.beam_pix, config.mask_snr, config.detect_snr)
