"""The stages that train: one gang task each, which may use several ranks inside."""

from functools import partial
from pathlib import Path
from typing import Any

from astro_dist.engine.config import fingerprint
from astro_dist.engine.errors import RecomputeError
from astro_dist.engine.files import remove, sha256_file, tree_digests
from astro_dist.engine.work import Estimate, Results, Run, Stage, Task
from astro_dist.models.device import numerics
from astro_dist.models.judges import JUDGES
from astro_dist.models.presets import PRESETS
from astro_dist.train.config import TrainingConfig
from astro_dist.train.start import start_files

TASK = "train"
INPUTS = {
    "autoencoder": ("cutouts",),
    "diffusion": ("cutouts", "autoencoder"),
    "masks": ("cutouts",),
    "byol": ("cutouts",),
    "segmenter": ("cutouts",),
}
LAYOUT = {"ranks", "strategy", "offload", "accumulate", "threads", "checkpoint_every_s"}
"""Settings that change the last bits of a training and not what it learns."""


def _plan(run: Run, results: Results) -> list[Task]:
    return [Task(TASK)]


def _sources(stage: str, run: Run) -> list[Path]:
    """Return the files of the weights a training begins with."""
    start_from = getattr(run.config, stage).start_from
    return [] if start_from is None else start_files(start_from, stage)


def _prepare(run: Run) -> None:
    run.output.mkdir(parents=True, exist_ok=True)


def _train(run: Run, task: Task) -> dict[str, Any]:
    from astro_dist.train.ranks import launched_rank, train_on_ranks

    section: TrainingConfig = getattr(run.config, run.stage)
    if launched_rank() is None and (section.ranks > 1 or section.strategy != "ddp"):
        return train_on_ranks(run, section.ranks)
    from astro_dist.train.loop import train

    return train(run)


def _finish(run: Run, results: Results) -> dict[str, Any]:
    facts = dict(results[TASK])
    if tree_digests(run.output) != facts.pop("files"):
        raise RecomputeError(
            f"{run.stage}: the trained weights were damaged after they were written", (TASK,)
        )
    remove(checkpoint_folder(run))
    return facts


def checkpoint_folder(run: Run) -> Path:
    """Return where a training keeps its checkpoints: the same under every layout, so that any goes on."""
    settings = getattr(run.config, run.stage).model_dump(mode="json", exclude=LAYOUT)
    published = [run.ledger.published(name) for name in INPUTS[run.stage]]
    start = [sha256_file(path) for path in _sources(run.stage, run)]
    mark = fingerprint([run.config.seed, settings, [p and p.files for p in published], start])
    return run.root / "checkpoints" / f"{run.stage}-{mark[:12]}"


def _estimate(run: Run) -> Estimate:
    section: TrainingConfig = getattr(run.config, run.stage)
    presets = JUDGES if run.stage in ("byol", "segmenter") else PRESETS
    size, cost = presets[section.preset].costs[run.stage]
    samples = section.steps * section.batch_size
    # The product, and three checkpoints of weights, average and two moments while one is written.
    weights = int(4 * size)
    return Estimate(
        tasks=1,
        bytes=weights * 13,
        files=24,
        memory_bytes=int(1e9 + 6 * weights * section.ranks + section.batch_size * cost * 1e9),
        cpu_s=samples * cost * (section.crop_pix / 64) ** 2,
    )


def _training(name: str) -> Stage:
    return Stage(
        name=name,
        product=f"models/{name}",
        plan=_plan,
        run=_train,
        prepare=_prepare,
        finish=_finish,
        sources=partial(_sources, name),
        estimate=_estimate,
        sections=(name,),
        inputs=INPUTS[name],
        numerics=numerics,
        gpu=True,
    )


AUTOENCODER = _training("autoencoder")
DIFFUSION = _training("diffusion")
MASKS = _training("masks")
BYOL = _training("byol")
SEGMENTER = _training("segmenter")
