"""The segmenter trained on the open area of a challenge, and the classes that it gives to the whole map.

This is the segmentation baseline of a package: it reads the public part alone. The open area is cut into
windows, which the samples of the segmenter read as they read the cutouts of a store.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from astro_dist.challenge.about import About
from astro_dist.challenge.names import INSTANCES, MANIFEST, MAP, MASK, PUBLIC, RMS, TRAINING, find_part
from astro_dist.engine.config import fingerprint, validate
from astro_dist.engine.errors import ConfigError
from astro_dist.engine.files import publish_folder, sha256_file
from astro_dist.engine.later import Later
from astro_dist.engine.work import MachineConfig, Run, Settings, for_stage
from astro_dist.models.device import choose_device, flushed_denormals
from astro_dist.models.segmenter import load_segmenter
from astro_dist.radio.config import SegmenterConfig
from astro_dist.radio.judges import LabelledData, SegmenterObjective
from astro_dist.radio.trainings import RECIPES
from astro_dist.sky.config import MapsConfig
from astro_dist.sky.fits_file import radio_header
from astro_dist.sky.fits_packed import write_packed
from astro_dist.sky.labels import Plane
from astro_dist.sky.maps import SkyMap
from astro_dist.sky.stretch import stretch
from astro_dist.sky.windows import Window, bands, tile_map
from astro_dist.train.recipe import Built, Cell
from astro_dist.train.stage import do_cell, training_stage

SIZE_PIX, CROP_PIX = 128, 64
CORE_PIX, MARGIN_PIX = 448, 32
"""Side of the squares that are labelled at a time, and of the sky round each that the network sees too."""
STRETCH = "asinh"
"""The stretch of the samples, which the labels must be of too."""
SEED, TASK = 1, "open"
RECIPE = replace(
    RECIPES["segmenter"], inputs=(), build=Later("astro_dist.radio.open_area:build_on_open_area")
)


class OpenWindows:
    """The windows of an open area, in memory, as `astro_dist.radio.samples.Reader` has cutouts.

    Parameters
    ----------
    folder
        A package, or its public part.

    Raises
    ------
    ConfigError
        There is no package, or its open area is smaller than a window.
    """

    def __init__(self, folder: Path) -> None:
        public, about = find_part(folder, PUBLIC), About.read(folder)
        box, beam = about.areas.training, about.beam
        whole = Window.of_shape(box.shape)
        size = min(SIZE_PIX, *whole.shape)
        if size < CROP_PIX:
            raise ConfigError(
                f"the open area has {whole.height} x {whole.width} pixels, fewer than a crop of {CROP_PIX}; "
                "package a larger training area"
            )
        self.windows = tile_map(whole.shape, size, size)
        rms = Plane.open(public / RMS, 1).read(box)
        image = Plane.open(public / TRAINING / MAP, 1).read(whole)
        mask, numbers = (
            Plane.open(public / TRAINING / name, 1).read_labels(whole) for name in (MASK, INSTANCES)
        )
        # Instances serve as places of sources here, so that which source it is does not count.
        self.arrays: dict[str, NDArray[Any]] = {
            "image": image,
            "mask": mask.astype(np.uint8),
            "instances": (numbers > 0).astype(np.uint16),
        }
        n = len(self.windows)
        levels = np.array([np.nanmedian(rms[window.slices]) for window in self.windows], np.float64)
        axes = {"major_arcsec": beam.major_arcsec, "minor_arcsec": beam.minor_arcsec, "pa_deg": beam.pa_deg}
        self.columns: dict[str, NDArray[Any]] = {
            "source_map": np.zeros(n, np.int64),
            "split": np.zeros(n, np.int64),
            "background_jy_beam": np.zeros(n),
            "rms_jy_beam": levels,
            **{f"beam_{name}": np.full(n, value) for name, value in axes.items()},
        }
        pixel = [about.pixel.dy_arcsec, about.pixel.dx_arcsec]
        self.attrs: dict[str, Any] = {
            "size_pix": size,
            "stretch": STRETCH,
            "maps": [{"pixel_arcsec": pixel, "frequency_hz": about.frequency_hz}],
        }

    def read(self, array: str, indices: Sequence[int] | NDArray[np.integer]) -> NDArray[Any]:
        """Return the windows of one array at ``indices``."""
        return np.stack([self.arrays[array][self.windows[int(i)].slices] for i in indices])

    def select(self, split: str) -> NDArray[np.int64]:
        """Return the windows with data and a known noise: all are for training."""
        good = np.isfinite(self.columns["rms_jy_beam"]) & (self.columns["rms_jy_beam"] > 0)
        return np.flatnonzero(good if split == "train" else np.zeros(len(good), bool))


def build_on_open_area(cell: Cell, device: str) -> Built:
    """Return objective and samples of the segmenter; no sample is held out, the field itself is."""
    config = cell.config
    assert isinstance(config, SegmenterConfig)
    folder, _ = cell.rows
    samples = LabelledData(OpenWindows(Path(folder)), config, (cell.run.seed, *cell.key))
    return SegmenterObjective(config), samples, None


def train_on_open_area(package: Path, folder: Path, config: SegmenterConfig) -> Path:
    """Train a segmenter on the open area of a package; return the folder of its weights below ``folder``.

    A second call with the same settings returns the weights that are there, or goes on after a stop.
    """
    About.read(package)
    rows = [str(package.absolute()), sha256_file(find_part(package, PUBLIC) / MANIFEST)]
    mark = fingerprint([config.marks(), rows[1]])
    whole = Run(folder, Settings("baseline", SEED, MachineConfig(), {RECIPE.name: config}))
    run = for_stage(whole, training_stage(RECIPE), mark)
    published = run.root / f"{run.target}-{mark[:12]}"
    if not published.is_dir():
        cell = Cell(RECIPE, run, config, task=TASK, key=(RECIPE.name,), rows=rows)
        cell.output.mkdir(parents=True, exist_ok=True)
        do_cell(cell)
        publish_folder(run.output, published)
    return published / TASK


def label_map(image: Path, out: Path, preset: str, steps: int) -> None:
    """Train on the open area of the package whose map is ``image``, and publish the classes of the map.

    Raises
    ------
    ConfigError
        There is no package round the map, or a setting is none.
    """
    # Most crops show an object as it is: with an extra weight peaks of the noise become compact sources.
    settings = {"preset": preset, "steps": steps, "crop_pix": CROP_PIX, "mask_weight": 0.0}
    config = validate(SegmenterConfig, settings)
    weights = train_on_open_area(image.parent, out.with_suffix(".training"), config)
    Labeller(image.parent, weights).write(out)


class Labeller:
    """A trained segmenter over the map of a package."""

    def __init__(self, package: Path, weights: Path) -> None:
        public = find_part(package, PUBLIC)
        self.about = About.read(package)
        self.field = SkyMap.open(public / MAP, MapsConfig(), verify=False)
        self.rms = Plane.open(public / RMS, 1)
        run = Run(weights, Settings("baseline", SEED, MachineConfig(), {}))
        self.device = choose_device(run)
        self.network = load_segmenter(weights).to(self.device)

    def write(self, path: Path) -> None:
        """Publish the classes of the whole map as a tile-compressed FITS image, uint8."""
        with flushed_denormals():
            write_packed(path, self._header, self.about.shape, "u1", self.rows())

    def rows(self) -> Iterator[NDArray[np.uint8]]:
        """Yield the classes by rows of squares; pixels without data are background."""
        for row in bands(self.about.shape, CORE_PIX):
            columns = range(0, row.x1, CORE_PIX)
            squares = [Window(row.y0, row.y1, x, min(x + CORE_PIX, row.x1)) for x in columns]
            yield np.concatenate([self.label(square) for square in squares], axis=1)

    @torch.inference_mode()
    def label(self, square: Window) -> NDArray[np.uint8]:
        """Return the classes of the pixels of a window."""
        frame = square.grown(MARGIN_PIX) & Window.of_shape(self.about.shape)
        assert frame is not None  # squares lie in the map
        snr = self.field.read(frame) / self.rms.read(frame)
        known = np.isfinite(snr)
        u = stretch(np.where(known, snr, np.float32(0)), 0.0, 1.0, STRETCH)
        logits = self.network(torch.from_numpy(u[None, None]).to(self.device))
        classes = logits.argmax(1)[0].cpu().numpy().astype(np.uint8)
        return np.where(known, classes, np.uint8(0))[square.within(frame)]

    @cached_property
    def _header(self) -> Any:
        return radio_header(
            self.about.shape,
            self.field.wcs,
            self.field.beam,
            self.field.frequency_hz,
            unit="",
            object_name=self.about.name,
            dtype="u1",
            cards={"CONTENT": "class of each pixel"},
        )
