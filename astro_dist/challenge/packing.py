"""A field on its way into a package: its pixels and rows under the names that are given out."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astro_dist.challenge.about import About
from astro_dist.challenge.area import choose_areas
from astro_dist.challenge.config import ChallengeConfig
from astro_dist.challenge.names import INSTANCES, MAP, MASK, OPEN, TRUTH_COLUMNS
from astro_dist.challenge.truth import rename_sources
from astro_dist.engine.arrays import Columns
from astro_dist.engine.seeds import stream
from astro_dist.engine.work import Run
from astro_dist.field.background import MESH_FILE
from astro_dist.field.columns import read_columns_file
from astro_dist.field.config import AssembleConfig
from astro_dist.field.truth import band_columns
from astro_dist.sky.config import MapsConfig
from astro_dist.sky.fits_file import radio_header
from astro_dist.sky.fits_tables import Column
from astro_dist.sky.labels import Plane
from astro_dist.sky.maps import SkyMap
from astro_dist.sky.mesh import Mesh
from astro_dist.sky.windows import Window, bands

BAND_ROWS = 512
GRAIN = 1e-3
"""Largest step of the pixels over the noise."""
Rows = Iterator[tuple[Window, NDArray[Any]]]


def field_seed(run: Run) -> int:
    """Return the seed of a run's field: its own where it has one, else that of the run."""
    own = run.section(AssembleConfig).seed
    return run.seed if own is None else own


def _band_columns(run: Run) -> dict[str, Column]:
    return band_columns(run.section(AssembleConfig).flux.bands_hz)


@dataclass(frozen=True, eq=False)
class Packing:
    """A field on its way into a package.

    Attributes
    ----------
    run, folder
        The run, and the folder of its field.
    config
        Settings of the package.
    field
        The map.
    about
        What the package says of itself.
    truth
        The columns `HIDDEN_COLUMNS`, and those of fluxes in other bands.
    """

    run: Run
    folder: Path
    config: ChallengeConfig
    field: SkyMap
    about: About
    truth: Columns

    @classmethod
    def open(cls, run: Run, folder: Path, config: ChallengeConfig) -> "Packing":
        """Read the truth of a field and choose its areas; see `choose_areas` for what is refused."""
        field = SkyMap.open(folder / MAP, MapsConfig(), verify=False)
        truth = read_columns_file(folder / "truth.parquet")
        areas = choose_areas(truth, field.shape, config)
        about = About(
            name=run.name,
            shape=field.shape,
            beam=field.beam,
            pixel=field.pixel,
            frequency_hz=field.frequency_hz,
            detect_snr=run.section(AssembleConfig).detect_snr,
            areas=areas,
            tile_pix=config.tile_pix,
        )
        drawn = partial(stream, field_seed(run))
        further = _band_columns(run)
        renamed = rename_sources(truth, areas.place(truth), drawn, field.frequency_hz, further)
        return cls(run, folder, config, field, about, renamed)

    @property
    def columns(self) -> dict[str, Column]:
        """The columns of the truth that are given out for the open area."""
        return {**TRUTH_COLUMNS, **_band_columns(self.run)}

    def header(self, unit: str, dtype: str, content: str, window: Window | None = None) -> Any:
        """Return the header of an image of the field, or of a window of it, without a history."""
        window = window or Window.of_shape(self.field.shape)
        wcs = self.field.wcs[window.slices]
        return radio_header(
            window.shape,
            wcs,
            self.field.beam,
            self.field.frequency_hz,
            unit=unit,
            object_name=self.about.name,
            dtype=dtype,
            cards={"CONTENT": content},
        )

    @cached_property
    def grain_jy_beam(self) -> float:
        """The step of the pixels that are given out, a thousandth of the noise or less; 0 is none.

        A sum of two floats is even more often than odd, so that the last bits of pixels would tell where a
        source was added to the noise, however faint. On steps that are small beside the noise they do not.
        """
        sigma = self.truth["sigma_jy_beam"]
        least = float(sigma.min()) if len(sigma) else 0.0
        return 2.0 ** math.floor(math.log2(least * GRAIN)) if least > 0 else 0.0

    def map_rows(self, window: Window) -> Rows:
        """Yield the pixels of a window of the map as they are given out."""
        plane = Plane.open(self.folder / MAP, 1)
        for band in _bands(window):
            yield band, self._settle(plane.read(band))

    def read_map(self, window: Window) -> NDArray[np.float32]:
        """Return the pixels of a window of the map as they are given out."""
        return np.concatenate([rows for _, rows in self.map_rows(window)]).astype(np.float32, copy=False)

    def _settle(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        grain = np.float32(self.grain_jy_beam)
        return np.rint(rows / grain) * grain if grain > 0 else rows

    def mask_rows(self, window: Window) -> Rows:
        """Yield the classes of a window."""
        plane = Plane.open(self.folder / MASK, 1)
        for band in _bands(window):
            yield band, plane.read_labels(band).astype(np.uint8)

    def instance_rows(self, window: Window) -> Rows:
        """Yield the new numbers of the sources of a window, 0 where there are none; artefacts have none."""
        plane = Plane.open(self.folder / INSTANCES, 1)
        new = np.zeros(int(self.truth["run_id"].max(initial=0)) + 1, np.int32)
        new[self.truth["run_id"]] = self.truth["id"]
        for band in _bands(window):
            # Numbers below 0 are those of sources whose artefacts these pixels are.
            yield band, new[np.maximum(plane.read_labels(band), 0).astype(np.int64)]

    def shares_object(self) -> NDArray[np.bool_]:
        """Return which sources come from a drawn object that a source of the open area comes from, too."""
        drawn = read_columns_file(self.folder / "truth.parquet")
        order = np.argsort(drawn["id"])
        rows = order[np.searchsorted(drawn["id"], self.truth["run_id"], sorter=order)]
        keys = np.stack([drawn["stamp"][rows], drawn["instance"][rows]])
        objects = np.unique(keys, axis=1, return_inverse=True)[1].reshape(-1)
        opened = np.unique(objects[self.truth["area"] == OPEN])
        shared = np.isin(objects, opened) & (keys[0] >= 0)
        return np.asarray(shared & (self.truth["area"] != OPEN))

    def rms_rows(self) -> Rows:
        """Yield the local noise: of the mesh of a real background, else the one rms of all sources."""
        path = self.folder / MESH_FILE
        whole = Window.of_shape(self.field.shape)
        if not path.exists():
            level = np.float32(np.median(self.truth["sigma_jy_beam"])) if len(self.truth["id"]) else np.nan
            for band in _bands(whole):
                yield band, np.full(band.shape, level, np.float32)
            return
        with path.open("rb") as handle:
            cell_pix = int(np.load(handle))
            background, rms = np.load(handle)
        mesh = Mesh(self.field.shape, cell_pix, background, rms)
        for band in _bands(whole):
            yield band, mesh.evaluate(band)[1].astype(np.float32)


def _bands(window: Window) -> Iterator[Window]:
    return (band.shifted(window.y0, window.x0) for band in bands(window.shape, BAND_ROWS))
