"""The runner over one stage, whose output is damaged after its tasks and before it is compared."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from pydantic import create_model

from astro_dist.engine.ledger import Published
from astro_dist.engine.pipeline import PipelineConfig
from astro_dist.engine.progress import Display
from astro_dist.engine.work import MachineConfig, Run, Stage
from astro_dist.runner import Runner


class Listener(Display):
    """Keeps the names of the tasks in the order in which they were done."""

    def __init__(self) -> None:
        super().__init__(live=False)
        self.names: list[str] = []

    def done(self, task, result) -> None:
        self.names.append(task.name)


def make_runner(run: Run, stage: Stage) -> Runner:
    """Return a serial runner of one stage with the settings of a run."""
    fields = {name: (type(section), section) for name, section in run.settings.sections.items()}
    kind = create_model("OneStageConfig", __base__=PipelineConfig, **fields)
    config = kind(name=run.name, seed=run.seed, machine=MachineConfig(executor="serial"))
    return Runner(run.root, config, [stage])


def bring_damaged(run: Run, stage: Stage, *damages: Callable[[Path], None]) -> tuple[Published, list[str]]:
    """Bring a stage to its publication; before each comparison one of ``damages`` comes over its output.

    Returns what was published and the names of the tasks in the order in which they were done.
    """
    left = list(damages)

    def seal(run, results):
        sealed = stage.seal(run, results)
        if left:
            left.pop(0)(run.output)
        return sealed

    listener = Listener()
    runner = make_runner(run, replace(stage, seal=seal))
    runner.execute(listener)
    assert not left
    published = runner.ledger.published(stage.name)
    assert published is not None
    return published, listener.names
