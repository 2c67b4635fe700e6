"""The stage `package`: the field of a run as a data challenge, each part of it a task."""

from collections.abc import Sequence
from pathlib import Path

from astro_dist.challenge.config import ChallengeConfig, seed_notes
from astro_dist.challenge.strips import (
    HIPS,
    HIPS_BYTES_PER_PIXEL,
    HIPS_FREE_BYTES,
    HIPS_S_PER_PIXEL,
    HIPS_TILE_BYTES,
    TILE_PIX,
    divide,
)
from astro_dist.engine.later import Later
from astro_dist.engine.work import Estimate, Results, Run, Stage, Task, make_folder
from astro_dist.field.checks import count_sources, find_field
from astro_dist.field.config import AssembleConfig

TASKS = (
    *("map", "rms", "psf", "score_mask", "training", "submission", "viewer"),
    *("hidden_truth", "hidden_labels", "hidden_viewer"),
)
"""The parts of a package without the tiles, as in `astro_dist.challenge.package.find_parts`."""
# Measured on a 12,000 x 15,000 field of 31,700 sources and rounded up.
BYTES_PER_PIXEL, BYTES_PER_SOURCE, CPU_S_PER_PIXEL = 4.4, 3000, 1.5e-7
MEMORY_BYTES = 700_000_000


def plan(run: Run, results: Results) -> Sequence[Task]:
    """Return a task for each part."""
    further = (HIPS,) if run.section(ChallengeConfig).hips else ()
    return [Task(name) for name in (*TASKS, *further, *divide(find_field(run).shape))]


def refuse(run: Run) -> None:
    """Refuse HiPS where the packages that make them are not installed."""
    refuse_hips(run.section(ChallengeConfig))


def refuse_hips(config: ChallengeConfig) -> None:
    """Raise `ConfigError` where HiPS are wanted and the packages that make them are not installed."""
    if config.hips:
        # The extra is looked for only where it is wanted: this module loads without astropy.
        from astro_dist.sky.hips import refuse_missing

        refuse_missing("challenge.hips")


def estimate(run: Run) -> Estimate:
    """Return an upper bound of the cost, from the configuration alone."""
    config, field = run.section(AssembleConfig), find_field(run)
    area, sources = field.shape[0] * field.shape[1], config.objects or 0
    if (needed := count_sources(config, field)) is not None:
        sources = needed.sources
    package = run.section(ChallengeConfig)
    hips = int(package.hips)
    return Estimate(
        tasks=len(TASKS) + hips + len(divide(field.shape)),
        bytes=int(BYTES_PER_PIXEL * area * (1 + package.training_share))
        + BYTES_PER_SOURCE * sources
        + hips * (HIPS_BYTES_PER_PIXEL * area + HIPS_FREE_BYTES),
        files=60 + 3 * area // TILE_PIX**2 + hips * (60 + HIPS_BYTES_PER_PIXEL * area // HIPS_TILE_BYTES),
        memory_bytes=MEMORY_BYTES,
        cpu_s=(CPU_S_PER_PIXEL + hips * HIPS_S_PER_PIXEL) * area + 1,
        exact=False,
        notes=tuple(seed_notes(run.seed if config.seed is None else config.seed)),
    )


def check(product: Path) -> list[str]:
    """Return a line for each file of a published package that is not the one of its manifest."""
    from astro_dist.challenge.about import verify_package

    return verify_package(product)


PACKAGE = Stage(
    name="package",
    product="challenge",
    plan=plan,
    run=Later("astro_dist.challenge.tasks:run_task"),
    prepare=make_folder,
    open=Later("astro_dist.challenge.tasks:Packager"),
    finish=Later("astro_dist.challenge.tasks:finish"),
    refuse=refuse,
    check=check,
    estimate=estimate,
    sections=("challenge",),
    reads=("assemble", "maps", "annotate", "cutouts", "generate", "simulate"),
    own="challenge",
    inputs=("assemble",),
    schema=3,
)
