"""The rounds of `generate`, in which shards are planned until the promised number of objects is accepted.

The first round is a guess; each later round adds as many shards as the measured acceptance requires. A round
is planned only from the results of complete rounds, so the number of stamps does not depend on the order in
which shards finish.
"""

import math
from collections import Counter
from typing import Any

from astro_dist.engine.errors import ConfigError
from astro_dist.engine.work import Results, Run, Task
from astro_dist.generate.config import GenerateConfig

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
SOURCES = ("compact", "extended")


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


def _name(index: int) -> str:
    return f"shard-{index:05}"


def sum_up(results: Results, tasks: list[Task]) -> dict[str, Any]:
    """Return the figures of all shards together, summed in the order of the shards."""
    classes: Counter[str] = Counter()
    rejected: Counter[str] = Counter()
    for task in tasks:
        classes.update(results[task.name]["classes"])
        rejected.update(results[task.name]["rejected"])
    iou = sum(results[task.name]["iou_sum"] for task in tasks) / max(1, classes.total())
    return {
        "accepted": sum(classes[name] for name in SOURCES),
        "classes": dict(sorted(classes.items())),
        "rejected": dict(sorted(rejected.items())),
        "accepted_iou": round(iou, 4),
    }


def _explain(settings: GenerateConfig, wanted: int, shards: int, results: Results, tasks: list[Task]) -> str:
    figures = sum_up(results, tasks)
    reasons = ", ".join(f"{n} {reason}" for reason, n in figures["rejected"].items())
    return (
        f"{shards * settings.per_shard} stamps gave {figures['accepted']} accepted objects of the {wanted} "
        f"promised (rejected: {reasons or 'none'}); train longer (diffusion.steps), loosen generate.accept, "
        "ask for fewer with assemble.objects, or raise generate.max_stamps_per_object"
    )
