"""The stage `generate`, which draws stamps until the promised number of objects is accepted.

Shards are planned in rounds. The first round is a guess; each later round adds as many shards as the measured
acceptance requires. A round is planned only from the results of complete rounds, so the number of stamps does
not depend on the order in which shards finish.
"""

import math
from collections import Counter
from pathlib import Path
from typing import Any

from astro_dist.engine.errors import ConfigError
from astro_dist.engine.work import Estimate, Results, Run, Stage, Task
from astro_dist.generate.config import GenerateConfig, source_files
from astro_dist.models.device import numerics
from astro_dist.models.presets import PRESETS
from astro_dist.store.config import CutoutsConfig
from astro_dist.store.verify import verify_store
from astro_dist.train.config import TrainingConfig

FIRST_GUESS = 2.5
"""Accepted objects per stamp in the plan of the first round.

Too high a number costs another round, too low a number superfluous stamps.
"""
SPARE = 1.1
"""Factor on the number of missing objects, so that the next round is probably the last."""
MOST_GROWTH = 4
"""Most shards after a round over those before, since the acceptance of few stamps is uncertain."""
FEWEST_SHARDS = 4
"""Least value, in shards, of the limit that follows from `generate.max_stamps_per_object`."""
# The classes that are promised. Spurious objects are extracted too, but count for no promise.
_SOURCES = ("compact", "extended")


def plan(run: Run, results: Results) -> list[Task]:
    """Return the shards of all rounds so far, and those of the next round if the promise is not yet kept.

    Raises
    ------
    ConfigError
        The largest allowed number of stamps holds too few accepted objects.
    """
    settings = run.section(GenerateConfig)
    wanted = promised(run)
    shards = max(1, math.ceil(wanted / FIRST_GUESS / settings.per_shard))
    most = max(FEWEST_SHARDS, math.ceil(wanted * settings.max_stamps_per_object / settings.per_shard))
    # `plan` is pure, so every call goes through all rounds from the first.
    while True:
        tasks = [Task(_name(index), {"index": index}) for index in range(shards)]
        if any(task.name not in results for task in tasks):
            return tasks
        accepted = sum(results[task.name]["accepted"] for task in tasks)
        if accepted >= wanted:
            return tasks
        if shards >= most:
            raise ConfigError(_explain(settings, wanted, shards, results, tasks))
        # While nothing is accepted, the quotient means nothing and `MOST_GROWTH` bounds the next round.
        needed = SPARE * (wanted - accepted) * shards / max(accepted, 1)
        shards = min(most, MOST_GROWTH * shards, shards + math.ceil(needed))


def promised(run: Run) -> int:
    """Return the promised number of distinct objects.

    Raises
    ------
    ConfigError
        ``generate.objects`` is not set.
    """
    objects = run.section(GenerateConfig).objects
    if objects is None:
        raise ConfigError("generate.objects is not set; say how many distinct objects are wanted")
    return int(objects)


def sources(run: Run) -> list[Path]:
    """Return the user's files from which masks and backgrounds are read."""
    return list(source_files(run.section(GenerateConfig)).values())


def estimate(run: Run) -> Estimate:
    """Return the cost at one accepted object per stamp, an upper bound for a trained network.

    Raises
    ------
    ConfigError
        A file of the user cannot be used.
    """
    settings, wanted = run.section(GenerateConfig), promised(run)
    size_pix = run.section(CutoutsConfig).size_pix
    if source_files(settings):
        from astro_dist.generate.sources import open_planes

        open_planes(settings, size_pix)
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


def _name(index: int) -> str:
    return f"shard-{index:05}"


def _prepare(run: Run) -> None:
    run.output.mkdir(parents=True, exist_ok=True)


def _open(run: Run) -> Any:
    # Imported by workers only: a driver plans without torch.
    from astro_dist.generate.stamps import StampMaker

    return StampMaker(run)


def _draw_shard(maker: Any, task: Task) -> dict[str, Any]:
    from astro_dist.field.library import write_objects
    from astro_dist.store.stamps import objects_path, write_stamps

    index, per_shard = task.args["index"], maker.settings.per_shard
    stamps, (objects, rejected) = maker.make_shard(index)
    arrays = (stamps.image_jy_beam, stamps.mask, stamps.instances)
    folder = maker.run.output
    digests = write_stamps(folder, index, *arrays, per_shard)
    path = objects_path(folder, index)
    digests[str(path.relative_to(folder))] = write_objects(path, objects)
    classes = Counter(found.source_class.name.lower() for found in objects)
    return {
        "accepted": sum(classes[name] for name in _SOURCES),
        # Sorted: a Counter keeps the order in which its keys came first.
        "classes": dict(sorted(classes.items())),
        "rejected": dict(sorted(rejected.items())),
        "iou_sum": sum(found.iou for found in objects),
        "choices": [[c.donor, c.background_donor, c.symmetry] for c in stamps.choices],
        "sha256": digests,
    }


def _finish(run: Run, results: Results) -> dict[str, Any]:
    import numpy as np

    from astro_dist.store.reader import StoreReader
    from astro_dist.store.stamps import publish_stamps

    tasks = plan(run, results)
    settings, cutouts = run.section(GenerateConfig), StoreReader(run.product("cutouts.zarr"))
    # In the order of the shards, so that row i of every column is stamp i.
    rows = [row for task in tasks for row in results[task.name]["choices"]]
    donor, background_donor, symmetry = np.array(rows, dtype=np.int64).T
    inherited = ("rms_jy_beam", "beam_major_arcsec", "beam_minor_arcsec", "beam_pa_deg")
    columns = {"donor": donor, "background_donor": background_donor, "symmetry": symmetry}
    columns |= {name: cutouts.columns[name][donor] for name in inherited}
    attrs = {name: cutouts.attrs[name] for name in ("stretch", "survey", "maps")}
    attrs["accept"] = settings.accept.model_dump(mode="json")
    # Names only: the bytes of a store hold no path, since paths differ between machines.
    attrs["files"] = {name: path.name for name, path in source_files(settings).items()}
    publish_stamps(run.output, cutouts.attrs["size_pix"], settings.per_shard, columns, attrs)
    return _sum_up(results, tasks) | {"stamps": len(rows)}


def _sum_up(results: Results, tasks: list[Task]) -> dict[str, Any]:
    """Return the figures of all shards together, summed in the order of the shards."""
    classes: Counter[str] = Counter()
    rejected: Counter[str] = Counter()
    for task in tasks:
        classes.update(results[task.name]["classes"])
        rejected.update(results[task.name]["rejected"])
    iou = sum(results[task.name]["iou_sum"] for task in tasks) / max(1, classes.total())
    return {
        "accepted": sum(classes[name] for name in _SOURCES),
        "classes": dict(sorted(classes.items())),
        "rejected": dict(sorted(rejected.items())),
        "accepted_iou": round(iou, 4),
    }


def _explain(settings: GenerateConfig, wanted: int, shards: int, results: Results, tasks: list[Task]) -> str:
    figures = _sum_up(results, tasks)
    reasons = ", ".join(f"{n} {reason}" for reason, n in figures["rejected"].items())
    return (
        f"{shards * settings.per_shard} stamps gave {figures['accepted']} accepted objects of the {wanted} "
        f"promised (rejected: {reasons or 'none'}); train longer (diffusion.steps), loosen generate.accept, "
        "ask for fewer with assemble.objects, or raise generate.max_stamps_per_object"
    )


GENERATE = Stage(
    name="generate",
    product="stamps.zarr",
    plan=plan,
    run=_draw_shard,
    prepare=_prepare,
    open=_open,
    finish=_finish,
    check=verify_store,
    sources=sources,
    estimate=estimate,
    sections=("generate",),
    reads=("cutouts", "diffusion"),
    own="generate",
    inputs=("cutouts", "autoencoder", "diffusion", "masks"),
    schema=3,
    numerics=numerics,
    gpu=True,
)
