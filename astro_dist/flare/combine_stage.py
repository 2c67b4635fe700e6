"""The stage `combine`; its functions are imported when they are used."""

from astro_dist.engine.later import Later
from astro_dist.engine.work import Estimate, Results, Run, Stage, Task, make_folder
from astro_dist.flare.classify_config import CombineConfig
from astro_dist.pictures.config import PicturesConfig
from astro_dist.store.picture_stage import count_pictures

STORES = ("pictures", "upscale", "synthesise")
"""The stages of this pipeline that make stores of pictures."""
ROW_BYTES = 12


def plan(run: Run, results: Results) -> list[Task]:
    """Return a task for every set."""
    return [Task(name) for name in run.section(CombineConfig).arms]


def estimate(run: Run) -> Estimate:
    """Return the cost, an upper bound: validation and test pictures are in no set."""
    config, n = run.section(CombineConfig), count_pictures(run)
    counts = {name: config.count(name, n) for name in config.arms}
    shown = ", ".join(f"{name} {sum(rows):,}" for name, rows in counts.items())
    painted = any(arm.painted for arm in config.arms.values())
    also = f" + {n * config.k_synthetic:,} synthetic" if painted else ""
    pictures = run.section(PicturesConfig)
    train = 1 - pictures.validation_fraction - pictures.test_fraction
    return Estimate(
        tasks=len(counts),
        bytes=ROW_BYTES * sum(map(sum, counts.values())) + 10_000 * len(counts),
        files=len(counts),
        memory_bytes=200_000_000 + 200 * max(map(sum, counts.values())),
        cpu_s=0.1 * len(counts),
        exact=False,
        notes=(
            f"{n:,} pictures -> {n * config.k:,} versions{also}, if all were for training; with these splits "
            f"{train:.0%} are",
            f"rows of the sets at most, if all pictures were for training (per_class takes fewer): {shown}",
        ),
    )


COMBINE = Stage(
    name="combine",
    product="sets",
    plan=plan,
    run=Later("astro_dist.flare.combine:write_set"),
    prepare=make_folder,
    open=Later("astro_dist.flare.combine:open_stores"),
    finish=Later("astro_dist.flare.combine:finish"),
    estimate=estimate,
    sections=("combine",),
    reads=("pictures",),
    own="combine",
    inputs=STORES,
)
