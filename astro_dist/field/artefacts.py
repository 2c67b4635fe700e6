"""Artefacts of bright sources: the sidelobes that calibration and cleaning leave round them in real maps.

The layout lists the sources that are bright enough, with all that their patterns follow from; a pattern
(`astro_dist.sky.artefacts`) is a function of its row and the seed. Each band draws the patterns that reach
into it whole and takes its part. Artefacts are no sources: they are spurious in the mask, they are in no
truth and change no flux in it. ``artefacts.parquet`` holds their own flux, so that the map without its
background is the sum of both tables.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.arrays import Columns
from astro_dist.engine.errors import IntegrityError
from astro_dist.engine.stopping import check_stop
from astro_dist.field.columns import COLUMNS as PLACED
from astro_dist.field.config import AssembleConfig
from astro_dist.field.layers import MAP, MASK
from astro_dist.field.library import Library
from astro_dist.field.measures import read_all
from astro_dist.field.painting import clip_boxes
from astro_dist.field.patches import Patches
from astro_dist.field.sources import Stream
from astro_dist.field.stacking import StackedArtefact
from astro_dist.metrics.segmentation import label_islands
from astro_dist.sky.artefacts import Artefact, draw_artefact
from astro_dist.sky.classes import SourceClass
from astro_dist.sky.fits_tables import Column
from astro_dist.sky.maps import SkyMap
from astro_dist.sky.windows import Window

BOX = ("y0", "x0", "height", "width")
DRAWN_COLUMNS = {
    "id": Column("", "meta.id;meta.main", "number of the source, as in the truth"),
    "x_pix": Column("pix", "pos.cartesian.x;instr.det", "column of the source's brightest point"),
    "y_pix": Column("pix", "pos.cartesian.y;instr.det", "row of the source's brightest point"),
    "snr": Column("", "stat.snr", "peak of the source over the local rms"),
    "size_beams": Column("", "phys.angSize", "full width of the source without the beam, in beam widths"),
    "sigma_jy_beam": PLACED["sigma_jy_beam"],
    "y0": Column("pix", "pos.cartesian.y;stat.min", "first row of the box that the pattern was added in"),
    **{name: PLACED[name] for name in BOX[1:]},
}
"""Columns that the layout draws; the boxes may reach beyond the field."""
ARTEFACT_TYPES = {"row": "i8", "sum": "f8", "peak": "f4", "lowest": "f4"}
"""Columns of what a band measures: ``row`` in the table of the layout."""
ARTEFACT_COLUMNS = DRAWN_COLUMNS | {
    "flux_jy": Column(
        "Jy", "phot.flux.density;em.radio", "signed sum of the added pixels over the beam area"
    ),
    "peak_jy_beam": Column("Jy/beam", "phot.flux.density;stat.max", "brightest added pixel"),
    "lowest_jy_beam": Column("Jy/beam", "phot.flux.density;stat.min", "most negative added pixel"),
    "beam_area_pix": PLACED["beam_area_pix"],
}
"""Every column of ``artefacts.parquet``."""
# A tenth of the pixels that the 0.15 of `simulate` needs, which nobody sees in the noise.
LOWEST_SNR = 0.5
"""Level over the noise at which a pattern ends."""
FULL_WIDTH = math.sqrt(8 * math.log(2))
Floats = NDArray[np.float64]


class Artefacts:
    """The artefacts of a field, which any window of it can be drawn with.

    Parameters
    ----------
    table
        The columns `DRAWN_COLUMNS`.
    field
        The map of the field, for its beam and pixel.
    stream
        The run's ``(*key) -> Generator``.
    stack
        The artefact of the survey's own sources (`astro_dist.field.stacking`), in place of drawn patterns.
    """

    def __init__(
        self,
        table: Columns,
        field: SkyMap,
        config: AssembleConfig,
        stream: Stream,
        stack: NDArray[np.float32] | None = None,
    ) -> None:
        self.table, self.config, self.stream, self.shape = table, config, stream, field.shape
        self.stack = stack
        self.fwhm_pix = field.beam.fwhm_pix(field.pixel)
        # The arms of an array have one direction in all of a map.
        self.first_direction = float(stream("assemble", "artefacts").uniform(0, math.pi))

    def pattern(self, row: int) -> Artefact | StackedArtefact | None:
        """Return the pattern of a row, None for a source whose pattern lies below the noise."""
        one = {name: self.table[name][row].item() for name in ("id", *_FACTS)}
        if self.stack is not None:
            shown = one["snr"] * float(np.abs(self.stack).max()) >= 1
            peak = one["snr"] * one["sigma_jy_beam"]
            return StackedArtefact(one["y_pix"], one["x_pix"], self.stack, peak) if shown else None
        rng = self.stream("assemble", "artefact", one.pop("id"))
        y, x, snr, size, rms = one.values()
        level, first = self.config.artefacts_level, self.first_direction
        return draw_artefact(rng, y, x, snr, size, rms, self.fwhm_pix, first, level, LOWEST_SNR)

    def add_to(self, layers: dict[str, NDArray[Any]], window: Window) -> list[dict[str, Any]]:
        """Add all patterns to the map and mask of a window; return measures of those that reach into it.

        Spurious in the mask, where no source is, are connected pixels of one pattern above the level of the
        mask (`AssembleConfig.mask_snr`), one of them at least above that of detection: the rule by which
        islands of real maps are found.
        """
        measures = []
        here, inner, outer = clip_boxes(self.table, window)
        seed = max(self.config.detect_snr, self.config.mask_snr)
        for row, (y0, y1, x0, x1), (v0, v1, u0, u1) in zip(
            here.tolist(), inner.tolist(), outer.tolist(), strict=True
        ):
            check_stop()
            pattern = self.pattern(row)
            assert pattern is not None
            whole = pattern.draw()
            layers[MAP][y0:y1, x0:x1] += whole[v0:v1, u0:u1]
            snr = whole / self.table["sigma_jy_beam"][row].astype(np.float32)
            # Most patterns have no such pixel, and `label` takes as long as drawing.
            if snr.max() > seed:
                islands = label_islands(snr, seed, self.config.mask_snr)[v0:v1, u0:u1]
                mask = layers[MASK][y0:y1, x0:x1]
                mask[(islands > 0) & (mask == 0)] = SourceClass.SPURIOUS
            measures.append({"row": row, **self._measure(pattern.window, whole)})
        return measures

    def owned(self, measures: Sequence[dict[str, Any]], window: Window) -> list[dict[str, Any]]:
        """Return the measures of the rows whose source lies in a window of full width."""
        rows = np.floor(self.table["y_pix"] + 0.5).clip(0, self.shape[0] - 1)
        return [one for one in measures if window.y0 <= rows[one["row"]] < window.y1]

    def _measure(self, box: Window, whole: NDArray[np.float32]) -> dict[str, float]:
        """Return the measures of the part of a pattern that lies in the field."""
        part = box & Window.of_shape(self.shape)
        assert part is not None
        inside = whole[part.within(box)]
        return {
            "sum": float(inside.sum(dtype=np.float64)),
            "peak": float(inside.max()),
            "lowest": float(inside.min()),
        }


_FACTS = ("y_pix", "x_pix", "snr", "size_beams", "sigma_jy_beam")


def list_artefacts(
    table: Columns,
    library: Library,
    field: SkyMap,
    config: AssembleConfig,
    stream: Stream,
    stack: NDArray[np.float32] | None = None,
) -> Columns:
    """Return the columns `DRAWN_COLUMNS` of the artefacts of a layout, in the order of its rows.

    The peak of a point or Gaussian is that at its very place; an object of the library is rendered for it.
    """
    rows = np.flatnonzero(_may_be_bright(table, config))
    some = {name: values[rows] for name, values in table.items()}
    patches = Patches(some, library, field, config.anchor)
    snr = _peaks(patches) / some["sigma_jy_beam"]
    cores = np.array([patches.core(row) for row in range(len(rows))]).reshape(-1, 2)
    y, x = (patches.place + cores).T
    bright = np.flatnonzero(snr > config.artefacts_snr)
    found: Columns = {
        "id": some["id"],
        "x_pix": x,
        "y_pix": y,
        "snr": snr,
        "size_beams": _sizes(patches) / field.beam.fwhm_pix(field.pixel),
        "sigma_jy_beam": some["sigma_jy_beam"],
    }
    found = {name: values[bright] for name, values in found.items()}
    drawn = Artefacts(found, field, config, stream, stack)
    patterns = [drawn.pattern(row) for row in range(len(bright))]
    shown = [row for row, pattern in enumerate(patterns) if pattern is not None]
    windows = [pattern.window for pattern in patterns if pattern is not None]
    boxes = np.array([(w.y0, w.x0, w.height, w.width) for w in windows], np.int32).reshape(-1, 4)
    found = {name: values[shown] for name, values in found.items()}
    return found | dict(zip(BOX, boxes.T, strict=True))


def _may_be_bright(table: Columns, config: AssembleConfig) -> NDArray[np.bool_]:
    """Return the sources that may exceed the limit, judged without their pixels."""
    if not config.artefacts:
        return np.zeros(len(table["id"]), bool)
    given = np.isfinite(table["flux_given_jy"])
    most = np.where(given, table["flux_given_jy"] / table["sigma_jy_beam"], table["k"])
    # A peak above the flux has only what was drawn narrower than the beam: twice as high is never reached.
    return np.asarray((2 * most > config.artefacts_snr) & (table["class"] != SourceClass.SPURIOUS))


def _peaks(patches: Patches) -> Floats:
    """Return the peak of each row in Jy/beam."""
    table = patches.table
    # A Gaussian as wide as beam and source together has the flux of the beam's at a lower peak.
    share = np.sqrt(
        _determinants(patches.beam_pix) / _determinants(patches.beam_pix + _matrices(patches.spread))
    )
    peaks = np.asarray(table["k"] * table["sigma_jy_beam"])
    given = np.isfinite(table["flux_given_jy"])
    own = given & patches.own
    peaks[own] = (table["flux_given_jy"] * share)[own]
    for row in np.flatnonzero(given & ~patches.own).tolist():
        check_stop()
        peaks[row] = patches.draw(row).max()
    return peaks


def _sizes(patches: Patches) -> Floats:
    """Return the full width of each source along its major axis without the beam, the field's pixels."""
    moments = np.stack([patches.of_object(name) for name in ("yy", "yx", "xx")], axis=1)
    step = patches.step
    # `einsum` and no `@`: the order in which BLAS adds depends on the CPU.
    inside = np.einsum("nij,njk,nlk->nil", step, _matrices(moments + patches.spread), step)
    # What was drawn has the beam in its pixels already.
    drawn = patches.table["drawn"].astype(bool)
    inside[drawn] -= patches.beam_pix
    half, apart = (inside[:, 0, 0] + inside[:, 1, 1]) / 2, (inside[:, 0, 0] - inside[:, 1, 1]) / 2
    largest = half + np.sqrt(apart**2 + inside[:, 0, 1] ** 2)
    return np.asarray(FULL_WIDTH * np.sqrt(np.maximum(largest, 0)))


def _matrices(moments: Floats) -> Floats:
    """Return 2 x 2 matrices of moments (n, 3) yy, yx, xx."""
    return moments[:, [0, 1, 1, 2]].reshape(-1, 2, 2)


def _determinants(matrices: Floats) -> Floats:
    return np.asarray(matrices[..., 0, 0] * matrices[..., 1, 1] - matrices[..., 0, 1] ** 2)


def join_artefacts(files: Sequence[Path], table: Columns, field: SkyMap) -> Columns:
    """Return the columns `ARTEFACT_COLUMNS`: those of the layout, and what the bands measured.

    Raises
    ------
    IntegrityError
        When an artefact was measured by no band, or by two.
    """
    measures = read_all(files)
    order = np.argsort(measures["row"], kind="stable")
    if not np.array_equal(measures["row"][order], np.arange(len(table["id"]))):
        raise IntegrityError("the artefacts of the bands are not those of the layout; make the field again")
    area = field.beam_area_pix(table["y_pix"], table["x_pix"])
    return table | {
        "flux_jy": measures["sum"][order] / area,
        "peak_jy_beam": measures["peak"][order],
        "lowest_jy_beam": measures["lowest"][order],
        "beam_area_pix": area,
    }
