"""What the stage `enhance` costs."""

import math

from astro_dist.engine.work import Estimate, Run
from astro_dist.enhance.chain_config import ChainConfig
from astro_dist.enhance.map_inputs import find_paths, layers_of, look_windows, of_files, open_inputs
from astro_dist.sky.windows import bands

CPU_S_PER_PIXEL = 1e-6
"""Core-seconds per pixel of the input that is doubled without a network; measured, rounded up."""


def estimate_chain(run: Run, config: ChainConfig) -> Estimate:
    """Return the cost of the images that are there."""
    if not of_files(run) or not (find_paths(run) or run.product("maps").exists()):
        return Estimate(tasks=1, exact=False)
    images, network = open_inputs(run).images, "superres" in config.chain
    layers = [layer for image in images for _, layer in layers_of(run, image, network)]
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
        cpu_s=CPU_S_PER_PIXEL * pixels,
        exact=False,
    )
