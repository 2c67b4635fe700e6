"""The stage `assemble`; its functions are imported when they are used."""

from collections.abc import Sequence
from pathlib import Path

from astro_dist.engine.foreign import require_file
from astro_dist.engine.later import Later
from astro_dist.engine.work import Estimate, Results, Run, Stage, Task
from astro_dist.field.config import AssembleConfig
from astro_dist.sky.files import with_readme
from astro_dist.sky.windows import bands

# Measured on a 12,000 x 15,000 field of 30,000 objects and rounded up.
BYTES_PER_OBJECT = 9000
CPU_S_PER_PIXEL, CPU_S_PER_OBJECT = 1e-7, 1e-3
CPU_S_PER_ARTEFACT = 5e-3
"""Measured on fields in the beams of FIRST and SCORPIO, of 1 and 3 ms, and rounded up."""
PIXEL_BYTES = 9
"""Bytes of a pixel in the three images of `astro_dist.field.layers`."""
count_sources = Later("astro_dist.field.checks:count_sources")
find_field = Later("astro_dist.field.checks:find_field")
find_background_noise = Later("astro_dist.field.assembly:find_background_noise")


def plan(run: Run, results: Results) -> Sequence[Task]:
    """Return the analysis of a real background, then the layout, then one task per band.

    A task is returned once those before it are done: the number of bands follows from the layout's result.
    """
    tasks = [Task("background")] if run.section(AssembleConfig).background.kind == "map" else []
    tasks.append(Task("layout"))
    for i, task in enumerate(tasks):
        if task.name not in results:
            return tasks[: i + 1]
    shape, rows = results["layout"]["shape"], run.section(AssembleConfig).band_rows
    slabs = bands(shape, rows)
    # Zero-padded names: sorted by name, the bands lie in the order of their rows.
    digits = len(str(len(slabs) - 1))
    return [*tasks, *(Task(f"band-{i:0{digits}d}", {"y0": w.y0, "y1": w.y1}) for i, w in enumerate(slabs))]


def sources(run: Run) -> list[Path]:
    """Return the user's files (background map, its noise, catalogue, density).

    A missing one is a `ConfigError`.
    """
    config = run.section(AssembleConfig)
    for key, path in config.files.items():
        require_file(path, f"assemble.{key}")
    noise = find_background_noise(run) if config.background.kind == "map" else None
    files = [file for path in config.files.values() for file in with_readme(path)]
    return [*files, *([] if noise is None else [noise.path])]


def estimate(run: Run) -> Estimate:
    """Return the cost of the field from the config alone, or with the shape of a real background."""
    config, field = run.section(AssembleConfig), find_field(run)
    shape, real, sources = field.shape, field.real, config.objects or 0
    notes: tuple[str, ...] = ()
    bright = 0
    area = shape[0] * shape[1]
    if (needed := count_sources(config, field)) is not None:
        sources, notes, bright = needed.sources, needed.notes, needed.bright
    objects = BYTES_PER_OBJECT * sources
    band = 3 * PIXEL_BYTES * min(config.band_rows, shape[0]) * shape[1]
    return Estimate(
        tasks=len(bands(shape, config.band_rows)) + (1 if real is None else 2),
        bytes=PIXEL_BYTES * area + objects,
        files=29,  # three images, truth in six formats, artefacts, components, pictures, layout, background
        # The layout holds one byte per pixel and the library twice; a band holds its layers three times over.
        memory_bytes=300_000_000 + max(area + 2 * objects, band),
        cpu_s=CPU_S_PER_PIXEL * area + CPU_S_PER_OBJECT * sources + CPU_S_PER_ARTEFACT * bright,
        exact=False,
        notes=notes,
    )


ASSEMBLE = Stage(
    name="assemble",
    product="field",
    plan=plan,
    run=Later("astro_dist.field.assembly:run_task"),
    prepare=Later("astro_dist.field.assembly:prepare"),
    open=Later("astro_dist.field.assembly:Assembly"),
    seal=Later("astro_dist.field.assembly:seal"),
    finish=Later("astro_dist.field.assembly:finish"),
    sources=sources,
    refuse=Later("astro_dist.field.checks:check_field"),
    estimate=estimate,
    sections=("assemble", "maps", "annotate"),
    reads=("cutouts", "generate", "simulate"),
    own="assemble",
    inputs=("cutouts", "generate"),
    schema=4,
    scratch=("bands",),
    numerics=Later("astro_dist.field.numerics:numerics"),
)
