"""The tasks of the stage `package`, and the papers that follow from all of them."""

from typing import Any

import numpy as np

from astro_dist.challenge import package
from astro_dist.challenge.config import ChallengeConfig
from astro_dist.challenge.names import BETWEEN, OPEN, SCORED
from astro_dist.challenge.packing import Packing
from astro_dist.engine.files import sha256_file
from astro_dist.engine.ledger import Result
from astro_dist.engine.work import Results, Run, Task

FIELD = "field"


class Packager:
    """The open state of a worker that packages a field."""

    def __init__(self, run: Run) -> None:
        self.run, self.packing = run, Packing.open(run, run.product(FIELD), run.section(ChallengeConfig))


def run_task(state: Packager, task: Task) -> Result:
    """Write one part, and state its files."""
    folder = state.run.output
    part = package.find_parts(state.packing.field.shape, state.packing.config)[task.name]
    part.write(state.packing, folder)
    return {
        "sha256": {path.relative_to(folder).as_posix(): sha256_file(path) for path in part.written(folder)}
    }


def finish(run: Run, results: Results) -> dict[str, Any]:
    """Write papers and manifests; return how many sources lie where."""
    packing = Packing.open(run, run.product(FIELD), run.section(ChallengeConfig))
    package.finish(packing, run.output)
    area = packing.truth["area"]
    names = {SCORED: "scored", OPEN: "open", BETWEEN: "between"}
    counts = {name: int(np.count_nonzero(area == value)) for value, name in names.items()}
    return {**counts, "notes": package.find_notes(packing)}
