"""What the stage `enhance` costs."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from astro_dist.engine.work import Estimate, Run
from astro_dist.enhance.chain_config import DOUBLING, ChainConfig
from astro_dist.enhance.chain_settings import unused
from astro_dist.enhance.inventions import NO_BEAM_PIX
from astro_dist.enhance.map_inputs import LOOK_PIX, find_paths, layers_of, of_files, open_inputs
from astro_dist.enhance.projection import FILL_REACH_PIX
from astro_dist.enhance.superres_config import SuperresConfig
from astro_dist.models.super_presets import BASE_REACH_PIX, SUPER, reach_of, settings_of
from astro_dist.pictures.config import PicturesConfig
from astro_dist.sky.survey import SimulateConfig
from astro_dist.sky.windows import Window, bands
from astro_dist.store.config import CutoutsConfig
from astro_dist.store.picture_stage import count_pictures

CPU_S_PER_PIXEL = 1e-6
"""Core-seconds per pixel of the input that is doubled without a network; measured, rounded up."""
CPU_S_PER_DRAWN = 3e-7
"""Core-seconds per pixel of the input and sample beside the calls: noise, stretch, projection, spread."""
PICTURES, WIDE_TILES = 1.4, 2.8
"""Factors on the cost of a pixel beside that of a crop of the training: the arrays of a map's tile do not fit
into a core's cache."""
CPU_S_PER_JUDGED, CPU_S_PER_PIECE = 7e-7, 1e-3
"""Core-seconds per pixel that is compared with the training, and per piece that it is compared with."""
CALIBRATED_PICTURES, CALIBRATED, MOST_PIECES = 64, 320, 2000
"""Most validation pictures, or cutouts (64 as they come and 256 bright ones), on which the uncertainty is
scaled, and most training cutouts that a map is compared with."""
LIVE_CHANNELS = 8
"""Arrays of the network's width that a call has in memory at once."""


@dataclass(frozen=True)
class MapSize:
    """Planes and shape of a map, and the width of its beam where it is known."""

    planes: int
    shape: tuple[int, int]
    fwhm_pix: float | None = None

    @property
    def pixels(self) -> int:
        return self.planes * self.shape[0] * self.shape[1]


def estimate_chain(run: Run, config: ChainConfig) -> Estimate:
    """Return the cost of what is enhanced, with a note on networks that it does not go through."""
    return replace(_estimate(run, config), notes=tuple(note_unused(run)))


def note_unused(run: Run) -> list[str]:
    """Return a note for each network of the run that its chain leaves out."""
    left = unused(run.settings.sections, run.section(ChainConfig))
    return [f"{name} is not in enhance.chain: what is enhanced does not go through it" for name in left]


def _estimate(run: Run, config: ChainConfig) -> Estimate:
    """Return the cost of the images that are there, or that will be simulated."""
    if not of_files(run):
        return _of_pictures(run, config)
    network = "superres" in config.chain
    if find_paths(run) or run.product("maps").exists():
        images = open_inputs(run).images
        layers = [layer for image in images for _, layer in layers_of(config, image, network)]
        sizes = [MapSize(math.prod(i.axes) // math.prod(i.shape), i.shape, i.fwhm_pix) for i in images]
        files, data = len(layers), sum(layer.data_bytes + 50_000 for layer in layers)
    else:
        sky = run.section(SimulateConfig)
        sizes = [MapSize(1, sky.shape)] * sky.maps
        files = sky.maps * (2 + (1 + config.keep_samples if network else 0))
        each = 4 * (files // sky.maps - 1) + 1
        data = sum(4 * each * size.pixels + 50_000 * files for size in sizes)
    pixels = sum(size.pixels for size in sizes)
    widest = max((size.shape[1] * size.planes for size in sizes), default=0)
    band = config.band_rows * widest * max(1, files // max(1, len(sizes)))
    return Estimate(
        tasks=network + sum(_count_tasks(size, config) for size in sizes),
        bytes=data,
        files=files + 1 + network,
        memory_bytes=400_000_000 + 16 * band + (_memory_of_network(run, config, sizes) if network else 0),
        cpu_s=CPU_S_PER_PIXEL * pixels + (_of_network(run, config, sizes) if network else 0),
        exact=False,
    )


def _count_tasks(size: MapSize, config: ChainConfig) -> int:
    return len(bands(size.shape, config.band_rows)) + math.ceil(size.pixels / LOOK_PIX)


def _of_network(run: Run, config: ChainConfig, sizes: list[MapSize]) -> float:
    """Return core-seconds of all samples of some maps, with the halo of the tiles, and of the calibration."""
    drawn: float = sum(
        size.planes * window.height * window.width for size in sizes for window in tiles_of(run, config, size)
    )
    cutouts, learnt = run.section(CutoutsConfig), _count_cutouts(run, sizes)
    drawn += min(CALIBRATED, cutouts.validation_fraction * learnt) * (cutouts.size_pix // 2) ** 2
    judged = CPU_S_PER_JUDGED * sum(size.pixels for size in sizes)
    judged += CPU_S_PER_PIECE * min(MOST_PIECES, learnt)
    return judged + config.samples * drawn * (_count_calls(config) * _call_s(run, True) + CPU_S_PER_DRAWN)


def _count_calls(config: ChainConfig) -> int:
    """Return the calls of the network for each sample."""
    return config.calls + (config.estimate == "expected")


def _count_cutouts(run: Run, sizes: list[MapSize]) -> int:
    """Return how many cutouts there are, or how many fit into the maps."""
    found: int | None = run.facts("cutouts").get("cutouts")
    size_pix = run.section(CutoutsConfig).size_pix
    return sum(size.pixels for size in sizes) // size_pix**2 if found is None else found


def tiles_of(run: Run, config: ChainConfig, size: MapSize) -> Iterator[Window]:
    """Yield the tiles of a map with their halo, cut off at the edges of the map."""
    reach = math.ceil(config.fwhm_pix or size.fwhm_pix or NO_BEAM_PIX)
    halo = max(_halo(run, config) + FILL_REACH_PIX, reach)
    whole = Window.of_shape(size.shape)
    for band in bands(size.shape, config.band_rows):
        for x0 in range(0, size.shape[1], config.tile_pix):
            tile = Window(band.y0, band.y1, x0, min(x0 + config.tile_pix, size.shape[1]))
            around = tile.grown(halo) & whole
            assert around is not None
            yield around


def _halo(run: Run, config: ChainConfig) -> int:
    superres: Any = run.section(SuperresConfig)
    reach = reach_of(settings_of(superres.preset, superres.width, 1))
    return 0 if reach is None else config.calls * (reach - BASE_REACH_PIX) + BASE_REACH_PIX


def _call_s(run: Run, wide: bool) -> float:
    """Return core-seconds of a call per pixel of the input, of pictures or of the wide tiles of maps."""
    superres: Any = run.section(SuperresConfig)
    preset = SUPER[superres.preset]
    ratio = (superres.width or preset.width) / preset.width
    # Measured with 16 to 48 channels: in the cache a call grows with the channels, beyond it as convolutions
    # do, nearly with their square.
    factor = WIDE_TILES * (0.84 * ratio**2 + 0.16 * ratio) if wide else PICTURES * ratio
    # A forward pass costs a third of a training step, of crops of 32 x 32 pixels of the input.
    return float(factor * preset.cost[1] / 3 / 32**2)


def _memory_of_network(run: Run, config: ChainConfig, sizes: list[MapSize]) -> int:
    superres: Any = run.section(SuperresConfig)
    width = superres.width or SUPER[superres.preset].width
    widest = max((w.height * w.width for size in sizes for w in tiles_of(run, config, size)), default=0)
    return 600_000_000 + 4 * LIVE_CHANNELS * width * widest


def _of_pictures(run: Run, config: ChainConfig) -> Estimate:
    pictures, n = run.section(PicturesConfig), count_pictures(run)
    scale, network = 2 if set(config.chain) & set(DOUBLING) else 1, "superres" in config.chain
    planes = 3 if "colourise" in config.chain else pictures.planes
    area, tasks = (scale * pictures.size_pix) ** 2, math.ceil(n / config.shard)
    # Pictures and kept samples in 8 bits, flags, and the uncertainty in 32.
    spread = network and config.samples > 1
    kept = 1 + (config.keep_samples if network else 0)
    size = area * (planes * (kept + 4 * spread) + 1)
    stores = kept + 1 + spread
    drawn = (n + CALIBRATED_PICTURES * spread / 4) * pictures.size_pix**2
    call_s = _call_s(run, False) if network else 0.0
    return Estimate(
        tasks=tasks + spread,
        bytes=int(1.05 * size * n) + 200 * stores * n + 100_000 * stores,
        files=stores * (tasks + 12) + spread,
        memory_bytes=int(1e9 + 12 * size * config.shard),
        cpu_s=1e-5 * n * pictures.size_pix**2 + config.samples * _count_calls(config) * drawn * call_s,
        exact=False,
    )
