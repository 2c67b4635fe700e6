"""A run directory ready for `generate`: a store of drawn cutouts and two untrained networks."""

from functools import partial
from pathlib import Path

import numpy as np
import torch

from astro_dist.engine.config import validate
from astro_dist.engine.pipeline import PipelineConfig
from astro_dist.engine.progress import Display
from astro_dist.engine.seeds import stream
from astro_dist.generate import sources
from astro_dist.generate.conditions import find_donors
from astro_dist.generate.config import GenerateConfig
from astro_dist.generate.stage import GENERATE
from astro_dist.models.autoencoder import build_autoencoder
from astro_dist.models.denoiser import build_denoiser, build_scheduler, save_denoiser
from astro_dist.models.device import silence
from astro_dist.radio.config import DiffusionConfig
from astro_dist.runner import Runner
from astro_dist.sky.beams import Beam, Pixel
from astro_dist.sky.classes import SourceClass
from astro_dist.store.config import CutoutsConfig
from astro_dist.store.schema import STACKS, publish_store
from astro_dist.store.shards import write_shard
from tests.settings import claim

SIZE, RMS, BEAM, PIXEL = 64, 2e-4, Beam(7.25, 7.25), Pixel(1.8, 1.8)
Y, X = np.mgrid[:SIZE, :SIZE].astype(float)
ANYTHING = {"min_snr": 1e-6, "threshold_snr": 1e-6, "min_iou": 0.0, "min_beam_fraction": 0.0}
ANYTHING |= {"max_residual": 1.0, "grow_beams": 0.0, "taper_beams": 0.05}
"""Settings of acceptance that stamps of untrained networks meet."""


class SmallConfig(PipelineConfig):
    seed: int = 11
    cutouts: CutoutsConfig = CutoutsConfig()
    diffusion: DiffusionConfig = DiffusionConfig()
    generate: GenerateConfig = GenerateConfig()


def draw_cutout(rng, extended):
    """Return image in sigma, classes and instances: a bright source in the middle, a faint one at an edge"""
    y, x = rng.integers(26, 38, 2)
    main = 40 * BEAM.profile(Y - y, X - x, PIXEL)
    if extended:
        main = main + 30 * BEAM.profile(Y - y - 8, X - x, PIXEL)
    faint = 6 * BEAM.profile(Y - 4, X - 50, PIXEL)
    instances = np.where(main > 3, 1, np.where(faint > 3, 2, 0)).astype(np.uint16)
    classes = np.array([0, SourceClass.EXTENDED if extended else SourceClass.COMPACT, SourceClass.COMPACT])
    return main + faint, classes[instances].astype(np.uint8), instances


def add_cutouts(root: Path, n=12, objects=True):
    """Write cutouts.zarr: every third cutout extended, every fourth in the test split."""
    claim(root)
    rng = stream(3, "cutouts")
    drawn = [draw_cutout(rng, i % 3 == 0) for i in range(n)]
    clean, mask, instances = (np.stack(planes) for planes in zip(*drawn, strict=True))
    if not objects:
        mask, instances = np.zeros_like(mask), np.zeros_like(instances)
    image = (RMS * (clean + rng.standard_normal(clean.shape)) + 1e-3).astype(np.float32)
    image[:, -3:, :] = np.nan
    arrays = {"image": image, "mask": mask, "instances": instances, "valid": np.isfinite(image)}
    for spec in STACKS["cutouts"]:
        write_shard(root / "cutouts.zarr", spec, 0, arrays[spec.name], n)
    columns = {
        name: np.zeros(n) for name in ("source_map", "y0", "x0", "ra_deg", "dec_deg", "flags", "n_objects")
    }
    columns |= {"background_jy_beam": np.full(n, 1e-3), "rms_jy_beam": np.full(n, RMS)}
    columns |= {"beam_major_arcsec": np.full(n, 7.25), "beam_minor_arcsec": np.full(n, 7.25)}
    columns |= {"beam_pa_deg": np.zeros(n), "split": np.where(np.arange(n) % 4 == 3, 2, 0)}
    attrs = {"stretch": "asinh", "survey": "small", "maps": [{"name": "m", "pixel_arcsec": [1.8, 1.8]}]}
    publish_store(root / "cutouts.zarr", "cutouts", SIZE, n, columns, attrs)


def add_models(root: Path, target="source"):
    """Write untrained networks of the tiny preset."""
    silence()
    torch.manual_seed(5)
    build_autoencoder("tiny").save_pretrained(root / "models" / "autoencoder", safe_serialization=True)
    save_denoiser(build_denoiser("tiny", target), build_scheduler("tiny"), root / "models" / "diffusion")


def make_config(executor="serial", workers=None, **generate):
    settings = {"objects": 9, "steps": 2, "micro_batch": 4, "per_shard": 6, "accept": ANYTHING, **generate}
    return validate(
        SmallConfig, {"generate": settings, "machine": {"executor": executor, "workers": workers}}
    )


def open_source(reader, **generate):
    """Return the sources of conditions, with the default settings of acceptance."""
    settings = GenerateConfig(**generate)
    donors = find_donors(reader, settings.accept, weights=settings.masks.weights)
    return sources.open_source(reader, donors, settings, partial(stream, 1))


def make_runner(root: Path, **settings):
    return Runner(root, make_config(**settings), [GENERATE])


def execute(root: Path, **settings):
    runner = make_runner(root, **settings)
    runner.execute(Display(live=False))
    return runner.run
