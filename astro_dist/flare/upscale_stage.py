"""The stages `train upscaler` and `upscale`; their functions are imported when they are used."""

import math
from typing import Any

from astro_dist.engine.later import Later
from astro_dist.engine.work import Estimate, Results, Run, Stage, Task, make_folder
from astro_dist.flare.upscale_config import UpscaleConfig, UpscalerConfig
from astro_dist.models.upscalers import UPSCALERS
from astro_dist.pictures.config import PicturesConfig
from astro_dist.store.picture_stage import count_pictures
from astro_dist.train.recipe import Recipe
from astro_dist.train.stage import training_stage


def _cost(config: Any) -> tuple[float, float]:
    return UPSCALERS[config.preset].cost


RECIPE = Recipe(
    "upscaler",
    UpscalerConfig,
    ("pictures",),
    Later("astro_dist.flare.upscaler:build"),
    _cost,
    Later("astro_dist.flare.upscaler:load"),
    refuse=Later("astro_dist.flare.upscaler:refuse"),
    reads=("pictures",),
    one_file=True,
    takes=("superres",),
)
UPSCALER = training_stage(RECIPE)


def refuse(run: Run) -> None:
    """Refuse weights of another network than ``upscale.with`` names; a `Stage.refuse`."""
    word, start_from = run.section(UpscaleConfig).with_, run.section(UpscalerConfig).start_from
    if word is not None and start_from is not None:
        # Torch, which few settings need.
        from astro_dist.models.enlargers import check_word
        from astro_dist.train.start import find_start

        check_word(find_start(RECIPE, start_from), "upscaler", word, "upscale.with")


def plan(run: Run, results: Results) -> list[Task]:
    """Return a task for every shard of the upscaled pictures."""
    pictures, shard = run.facts("pictures").get("pictures", 0), run.section(UpscaleConfig).shard
    return [Task(f"shard-{i:05}", {"index": i}) for i in range(math.ceil(pictures / shard))]


def estimate(run: Run) -> Estimate:
    """Return the cost, an upper bound for pictures that compress."""
    config, upscaler = run.section(UpscaleConfig), run.section(UpscalerConfig)
    pictures, n = run.section(PicturesConfig), count_pictures(run)
    parameters, cost_s = UPSCALERS[upscaler.preset].cost
    side_pix = pictures.size_pix * upscaler.scale
    picture_bytes = pictures.planes * side_pix**2
    tasks = math.ceil(n / config.shard)
    # A forward pass costs a third of a training step on crops of 64 x 64 of the enlarged pixels; the figures
    # of Table 1 cost at most a third of a picture more.
    cpu_s = n * 4 / 9 * cost_s * (side_pix / 64) ** 2
    return Estimate(
        tasks=tasks,
        bytes=int(1.05 * picture_bytes * n) + 200 * n + 100_000,
        files=tasks + 12,
        memory_bytes=int(1e9 + 4 * parameters + 6 * picture_bytes * config.shard),
        cpu_s=cpu_s,
        exact=False,
    )


UPSCALE = Stage(
    name="upscale",
    product="upscaled.zarr",
    plan=plan,
    run=Later("astro_dist.flare.upscale:enlarge_shard"),
    prepare=make_folder,
    open=Later("astro_dist.flare.upscale:open_state"),
    finish=Later("astro_dist.flare.upscale:finish"),
    refuse=refuse,
    check=Later("astro_dist.store.verify:verify_store"),
    estimate=estimate,
    sections=("upscale", "upscaler"),
    reads=("pictures",),
    own="upscale",
    inputs=("pictures", "upscaler"),
    numerics=Later("astro_dist.models.device:numerics"),
    gpu=True,
)
