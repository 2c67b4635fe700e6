"""A field of a run as a data challenge: a part for everybody, and the hidden truth in a folder of its own.

The public part holds nothing that the field could be made again from: no seed, no settings, no numbers of
stamps, no HISTORY, no digests of the run. A package is whole or not there: it is made in a hidden folder and
renamed. The same run and settings give the same bytes.
"""

import math
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astro_dist.challenge.about import About, write_manifest
from astro_dist.challenge.annotations import Annotations, cut_tiles
from astro_dist.challenge.area import RealSources, choose_areas, score_mask
from astro_dist.challenge.config import ChallengeConfig
from astro_dist.challenge.names import (
    ABOUT,
    COCO,
    HIDDEN,
    HIDDEN_COLUMNS,
    INSTANCES,
    MAP,
    MASK,
    OPEN,
    PUBLIC,
    RMS,
    SCORE_MASK,
    TRAINING,
    TRUTH_COLUMNS,
)
from astro_dist.challenge.origins import find_origins
from astro_dist.challenge.papers import write_metadata, write_papers
from astro_dist.challenge.truth import open_rows, rename_sources, write_catalogues
from astro_dist.engine.arrays import Columns
from astro_dist.engine.errors import ConfigError
from astro_dist.engine.files import publish_bytes, publish_json, publish_new_folder, require_space
from astro_dist.engine.work import Run
from astro_dist.field.background import MESH_FILE
from astro_dist.field.columns import read_columns_file
from astro_dist.field.config import AssembleConfig
from astro_dist.sky.config import MapsConfig
from astro_dist.sky.fits_file import BandedImage, create_banded, radio_header, seal_banded, write_rows
from astro_dist.sky.fits_packed import write_packed
from astro_dist.sky.labels import Plane
from astro_dist.sky.maps import SkyMap
from astro_dist.sky.mesh import Mesh
from astro_dist.sky.windows import Window, bands

BAND_ROWS = 512
EASY_SEED = 1 << 40
"""Seeds below it can be found by trying: whoever has astro_dist and guesses the settings has the truth."""
FREE_BYTES = 30_000_000
Rows = Iterator[tuple[Window, NDArray[Any]]]


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
        The columns `HIDDEN_COLUMNS`.
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
        renamed = rename_sources(truth, areas.place(truth), run.stream, field.frequency_hz)
        return cls(run, folder, config, field, about, renamed)

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

    def map_rows(self, window: Window) -> Rows:
        """Yield the pixels of a window of the map, as they are in the file."""
        plane = Plane.open(self.folder / MAP, 1)
        for band in _bands(window):
            yield band, plane.read(band)

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


def pack(packing: Packing, out: Path, *, public_only: bool = False) -> None:
    """Write a package.

    Parameters
    ----------
    out
        A folder that does not exist yet; ``public`` and ``hidden`` come into it.
    public_only
        Leave the hidden part out. The public one has the same bytes as with it.

    Raises
    ------
    ConfigError
        The folder exists, or the disk is too small.
    """
    refuse_taken(out)
    require_space(_existing(out), sum(announce(packing).values()))
    with publish_new_folder(out) as hidden:
        write_public(packing, hidden / PUBLIC)
        if not public_only:
            write_hidden(packing, hidden / HIDDEN)


def refuse_taken(out: Path) -> None:
    """Raise `ConfigError` where something has the name of the package already."""
    if out.exists() or out.is_symlink():
        raise ConfigError(f"{out} exists already; name another folder with --out, or move it away")


def _existing(path: Path) -> Path:
    return next(folder for folder in path.absolute().parents if folder.is_dir())


def announce(packing: Packing) -> dict[str, int]:
    """Return ``{file: bytes}`` of what a package will hold, upper bounds where files are compressed."""
    ny, nx = packing.field.shape
    n, box = len(packing.truth["id"]), packing.about.areas.training
    opened = int((packing.truth["area"] == OPEN).sum())
    row = 2200  # bytes of a row in all forms of the truth together
    return {
        f"{PUBLIC}/{MAP}": 4 * ny * nx,
        f"{PUBLIC}/{RMS}, {SCORE_MASK}": ny * nx // 40,
        f"{PUBLIC}/{TRAINING}/": 5 * box.height * box.width + (row + 400) * opened,
        f"{PUBLIC}, other files": FREE_BYTES // 30,
        f"{HIDDEN}/truth.*": row * n,
        f"{HIDDEN}/{MASK}, {INSTANCES}, {COCO}": ny * nx // 20 + 400 * n,
    }


def write_public(packing: Packing, folder: Path) -> None:
    """Write the part for everybody."""
    whole, about = Window.of_shape(packing.field.shape), packing.about
    folder.mkdir(parents=True)
    _write_map(packing, folder / MAP, whole)
    _pack_image(folder / RMS, packing.header("Jy/beam", "f4", "local rms"), whole, "f4", packing.rms_rows())
    keep = packing.run.section(AssembleConfig).background.islands == "keep"
    real = RealSources.read(packing.folder, packing.field, packing.config, keep)
    # Rounded first: a width of 4 pixels may come out as a little more.
    edge = math.ceil(round(packing.config.edge_beams * packing.field.beam.fwhm_pix(packing.field.pixel), 6))
    mask = score_mask(packing.field, about.areas, edge, real)
    _pack_image(
        folder / SCORE_MASK, packing.header("", "u1", "0 where sources are scored"), whole, "u1", mask
    )
    _write_training(packing, folder / TRAINING)
    _write_submission(packing, folder / "submission")
    publish_json(folder / ABOUT, about.document())
    origins = find_origins(packing.run.root)
    write_papers(folder, about, origins)
    kinds = {name: packing.truth[name].dtype.kind for name in TRUTH_COLUMNS}
    write_metadata(folder, about, origins, kinds)
    write_manifest(folder)


def write_hidden(packing: Packing, folder: Path) -> None:
    """Write the part that only the organisers and `score` see."""
    whole = Window.of_shape(packing.field.shape)
    folder.mkdir(parents=True)
    write_catalogues(folder, packing.truth, HIDDEN_COLUMNS, packing.field.beam)
    _write_labels(packing, folder, whole)
    settings = packing.run.root / "config.yaml"
    if settings.is_file():
        shutil.copyfile(settings, folder / "config.yaml")
    published = packing.run.ledger.published("assemble")
    facts = {"run": packing.run.name, "seed": packing.run.seed}
    facts |= {} if published is None else {"field": published.files}
    publish_json(folder / "run.json", facts)
    write_manifest(folder)


def _write_map(packing: Packing, path: Path, window: Window) -> None:
    image = BandedImage(packing.header("Jy/beam", "f4", "brightness", window), window.shape, "f4")
    create_banded(path, image)
    done = {
        f"{band.y0}": write_rows(path, band.y0 - window.y0, rows) for band, rows in packing.map_rows(window)
    }
    seal_banded(path, image, done)


def _pack_image(path: Path, header: Any, window: Window, dtype: str, rows: Rows) -> None:
    write_packed(path, header, window.shape, dtype, (some for _, some in rows))


def _write_labels(packing: Packing, folder: Path, window: Window) -> None:
    """Write mask, instances and annotations of a window."""
    header = packing.header("", "u1", "class of each pixel", window)
    _pack_image(folder / MASK, header, window, "u1", packing.mask_rows(window))
    header = packing.header("", "i4", "number of the source of each pixel, 0 where none", window)
    _pack_image(folder / INSTANCES, header, window, "i4", packing.instance_rows(window))
    classes = dict(zip(packing.truth["id"].tolist(), packing.truth["class"].tolist(), strict=True))
    found = Annotations(classes)
    for rows in bands(window.shape, packing.config.tile_pix):
        strip = rows.shifted(window.y0, window.x0)
        mask = np.concatenate([some for _, some in packing.mask_rows(strip)])
        instances = np.concatenate([some for _, some in packing.instance_rows(strip)])
        for tile in cut_tiles(strip, packing.config.tile_pix):
            found.add(tile, mask[tile.within(strip)], instances[tile.within(strip)])
    publish_json(folder / COCO, found.document(packing.about.name))


def _write_training(packing: Packing, folder: Path) -> None:
    folder.mkdir()
    window = packing.about.areas.training
    _write_map(packing, folder / MAP, window)
    _write_labels(packing, folder, window)
    write_catalogues(folder, open_rows(packing.truth, OPEN), TRUTH_COLUMNS, packing.field.beam)


TEMPLATE = (
    *("id", "ra_deg", "dec_deg", "ra_peak_deg", "dec_peak_deg", "flux_jy", "core_fraction"),
    *("intrinsic_major_arcsec", "intrinsic_minor_arcsec", "intrinsic_pa_deg", "population", "class"),
)
"""Columns of a catalogue that is handed in."""


def _write_submission(packing: Packing, folder: Path) -> None:
    """Write a catalogue with three sources of the open area, and the tiles without annotations."""
    opened = open_rows(packing.truth, OPEN)
    brightest = np.argsort(-opened["flux_jy"], kind="stable")[:3]
    rows = [",".join(str(opened[name][row].item()) for name in TEMPLATE) for row in brightest]
    publish_bytes(folder / "template.csv", "\n".join([",".join(TEMPLATE), *rows, ""]).encode())
    tiles = cut_tiles(Window.of_shape(packing.field.shape), packing.config.tile_pix)
    empty = Annotations({})
    for tile in tiles:
        empty.image(tile)
    publish_json(folder / "tiles.json", empty.document(packing.about.name))


def _bands(window: Window) -> Iterator[Window]:
    return (band.shifted(window.y0, window.x0) for band in bands(window.shape, BAND_ROWS))
