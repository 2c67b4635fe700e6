"""The stage `generate`, which draws stamps until the promised number of objects is accepted."""

import math
from pathlib import Path

from astro_dist.engine.later import Later
from astro_dist.engine.work import Estimate, Run, Stage, make_folder
from astro_dist.generate.config import GenerateConfig, source_files
from astro_dist.generate.rounds import plan
from astro_dist.models.presets import PRESETS
from astro_dist.store.config import CutoutsConfig
from astro_dist.train.config import TrainingConfig


def sources(run: Run) -> list[Path]:
    """Return the user's files from which masks and backgrounds are read."""
    files = source_files(run.section(GenerateConfig))
    paths = [path for name, path in files.items() if name != "labels"]
    if "labels" in files:
        paths = [*_label_files(files["labels"]), *paths]
    return paths


def _label_files(path: Path) -> list[Path]:
    """Return the files of masks; of a folder, and of JSON that names images, all of them."""
    if not path.is_dir() and path.suffix.lower() != ".json":
        return [path]
    from astro_dist.sky.label_files import label_files

    return label_files(path)


def refuse(run: Run) -> None:
    """Refuse labels, objects and backgrounds of the user that cannot be used."""
    settings = run.section(GenerateConfig)
    if source_files(settings):
        from astro_dist.generate.sources import check_files

        check_files(settings, run.section(CutoutsConfig).size_pix)


def estimate(run: Run) -> Estimate:
    """Return the cost at one accepted object per stamp, an upper bound for a trained network."""
    settings = run.section(GenerateConfig)
    # Where the number follows from a catalogue or a map of the user, `assemble` says next what it must be.
    wanted = settings.objects or 0
    size_pix = run.section(CutoutsConfig).size_pix
    parameters, cost_s = PRESETS[run.section(TrainingConfig, "diffusion").preset].costs["diffusion"]
    shards = math.ceil(wanted / settings.per_shard)
    stamps = shards * settings.per_shard
    # A forward pass costs a third of a training step on the same pixels, and presets give 64 x 64 pixels.
    step_s = cost_s / 3 * (size_pix / 64) ** 2
    return Estimate(
        tasks=shards,
        bytes=stamps * size_pix**2 * 5,
        files=3 * shards + 20,
        memory_bytes=int(1e9 + 8 * parameters + 7 * settings.per_shard * size_pix**2),
        cpu_s=stamps * (settings.calls + 2) * step_s,
        exact=False,
    )


GENERATE = Stage(
    name="generate",
    product="stamps.zarr",
    plan=plan,
    run=Later("astro_dist.generate.shards:draw_shard"),
    prepare=make_folder,
    open=Later("astro_dist.generate.stamps:StampMaker"),
    finish=Later("astro_dist.generate.shards:finish"),
    check=Later("astro_dist.store.verify:verify_store"),
    sources=sources,
    refuse=refuse,
    estimate=estimate,
    sections=("generate",),
    reads=("cutouts", "diffusion"),
    own="generate",
    inputs=("cutouts", "autoencoder", "diffusion", "masks"),
    schema=5,
    numerics=Later("astro_dist.models.device:numerics"),
    gpu=True,
)
