"""Make the field of a configuration with the tasks of every stage in a random order, one after the other.

python -m tests.end_to_end.shuffled CONFIG OUT
"""

import dataclasses
import random
import sys
from pathlib import Path

from astro_dist.engine.config import load_yaml
from astro_dist.engine.progress import Display
from astro_dist.radio.pipeline import RADIO
from astro_dist.runner import Runner


def shuffle(stage):
    def plan(run, results):
        tasks = list(stage.plan(run, results))
        random.Random(len(results)).shuffle(tasks)
        return tasks

    return dataclasses.replace(stage, plan=plan)


if __name__ == "__main__":
    config = RADIO.resolve({**load_yaml(Path(sys.argv[1])), "machine": {"executor": "serial"}})
    Runner(Path(sys.argv[2]), config, [shuffle(s) for s in RADIO.choose(config, "assemble")]).execute(
        Display()
    )
