"""What the stage `enhance` costs."""

import math
from typing import Any

from astro_dist.engine.work import Estimate, Run
from astro_dist.enhance.chain_config import DOUBLING, ChainConfig
from astro_dist.enhance.map_inputs import find_paths, layers_of, look_windows, of_files, open_inputs
from astro_dist.models.super_presets import BASE_REACH_PIX, SUPER, reach_of, settings_of
from astro_dist.pictures.config import PicturesConfig
from astro_dist.sky.windows import bands
from astro_dist.store.picture_stage import count_pictures

CPU_S_PER_PIXEL = 1e-6
"""Core-seconds per pixel of the input that is doubled without a network; measured, rounded up."""


def estimate_chain(run: Run, config: ChainConfig) -> Estimate:
    """Return the cost of the images that are there."""
    if not of_files(run):
        return _of_pictures(run, config)
    if not (find_paths(run) or run.product("maps").exists()):
        return Estimate(tasks=1, exact=False)
    images, network = open_inputs(run).images, "superres" in config.chain
    layers = [layer for image in images for _, layer in layers_of(config, image, network)]
    pixels = sum(math.prod(image.axes) for image in images)
    widest = max((image.shape[1] * image.planes for image in images), default=0)
    band = config.band_rows * widest
    return Estimate(
        tasks=sum(
            len(bands(image.shape, config.band_rows)) + len(look_windows(image, config)) for image in images
        ),
        bytes=sum(layer.data_bytes + 50_000 for layer in layers),
        files=len(layers) + 1,
        memory_bytes=400_000_000 + 4 * 4 * band * max(1, len(layers) // max(1, len(images))),
        cpu_s=CPU_S_PER_PIXEL * pixels + (_of_network(run, config, pixels) if network else 0),
        exact=False,
    )


def _of_network(run: Run, config: ChainConfig, pixels: int) -> float:
    """Return core-seconds of all samples of some pixels of the input, with the halo of the tiles."""
    from astro_dist.enhance.superres_config import SuperresConfig

    superres: Any = run.section(SuperresConfig)
    preset = SUPER[superres.preset]
    factor = ((superres.width or preset.width) / preset.width) ** 2
    reach = reach_of(settings_of(superres.preset, superres.width, 1))
    halo = 0 if reach is None else config.calls * (reach - BASE_REACH_PIX) + BASE_REACH_PIX
    around = (1 + 2 * halo / config.band_rows) * (1 + 2 * halo / config.tile_pix)
    # A forward pass costs a third of a training step, of crops of 32 x 32 pixels of the input.
    call_s = factor * preset.cost[1] / 3 / 32**2
    return around * config.calls * config.samples * call_s * pixels


def _of_pictures(run: Run, config: ChainConfig) -> Estimate:
    pictures, n = run.section(PicturesConfig), count_pictures(run)
    scale = 2 if set(config.chain) & set(DOUBLING) else 1
    planes = 3 if "colourise" in config.chain else pictures.planes
    size, tasks = planes * (scale * pictures.size_pix) ** 2, math.ceil(n / config.shard)
    pixels = n * pictures.size_pix**2
    return Estimate(
        tasks=tasks,
        bytes=int(1.05 * size * n) + 200 * n + 100_000,
        files=tasks + 12,
        memory_bytes=int(1e9 + 12 * size * config.shard),
        cpu_s=1e-5 * pixels + (_of_network(run, config, pixels) if "superres" in config.chain else 0),
        exact=False,
    )
