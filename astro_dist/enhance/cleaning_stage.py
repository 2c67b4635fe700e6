"""The stage `cleaning`; its functions are imported when they are used."""

import math
from pathlib import Path

from astro_dist.engine.later import Later
from astro_dist.engine.work import Estimate, Results, Run, Stage, Task, make_folder
from astro_dist.enhance.cleaning_config import CleaningConfig, check_classes
from astro_dist.pictures.config import PicturesConfig
from astro_dist.store.picture_stage import count_pictures


def plan(run: Run, results: Results) -> list[Task]:
    """Return a task for every shard of the cleaned pictures."""
    pictures, shard = run.facts("pictures").get("pictures", 0), run.section(CleaningConfig).shard
    return [Task(f"shard-{i:05}", {"index": i}) for i in range(math.ceil(pictures / shard))]


def estimate(run: Run) -> Estimate:
    """Return the cost, an upper bound for pictures that compress."""
    config, pictures, n = run.section(CleaningConfig), run.section(PicturesConfig), count_pictures(run)
    picture_bytes = (pictures.planes + 1) * pictures.size_pix**2
    tasks = math.ceil(n / config.shard)
    # About 40 ms for a picture of 128 x 128 with ten templates, and for the tiny network.
    return Estimate(
        tasks=tasks,
        bytes=int(1.05 * picture_bytes * n) + 400 * n + 200_000,
        files=2 * tasks + 24,
        memory_bytes=int(1e9 + 24 * picture_bytes * config.shard),
        cpu_s=0.04 * n * (pictures.size_pix / 128) ** 2,
        exact=False,
    )


def sources(run: Run) -> list[Path]:
    """Return the user's templates."""
    from astro_dist.engine.foreign import expand_home

    config = run.section(CleaningConfig)
    every = (config.templates, *config.per_class.values())
    return sorted({Path(expand_home(name)) for one in every for name in one.files})


def refuse(run: Run) -> None:
    """Refuse templates that cannot be read, settings of classes that there are none of, and no OpenCV."""
    config = run.section(CleaningConfig)
    Later("astro_dist.enhance.opencv:require_opencv")()
    if config.per_class:
        pictures = run.section(PicturesConfig)
        listing = Later("astro_dist.store.pictures:list_pictures")(pictures, run.seed)
        check_classes(config, listing.classes)
    if config.method == "templates" and sources(run):
        for one in (config.templates, *config.per_class.values()):
            Later("astro_dist.enhance.templates:make_templates")(one)


CLEANING = Stage(
    name="cleaning",
    product="cleaned",
    plan=plan,
    run=Later("astro_dist.enhance.cleaning:clean_shard"),
    prepare=make_folder,
    open=Later("astro_dist.enhance.cleaning:open_state"),
    finish=Later("astro_dist.enhance.cleaning:finish"),
    check=Later("astro_dist.enhance.cleaning:verify"),
    sources=sources,
    refuse=refuse,
    estimate=estimate,
    sections=("cleaning",),
    reads=("pictures",),
    own="cleaning",
    inputs=("pictures", "cleaner"),
    numerics=Later("astro_dist.models.device:numerics"),
    gpu=True,
)
