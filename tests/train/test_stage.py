import subprocess
import sys

import pytest

from astro_dist.engine.files import tree_digests
from astro_dist.engine.outputs import Reading
from astro_dist.engine.pipeline import PipelineConfig
from astro_dist.engine.progress import Display
from astro_dist.radio.config import AutoencoderConfig
from astro_dist.radio.trainings import AUTOENCODER, DIFFUSION
from astro_dist.runner import Runner
from astro_dist.train import loop
from astro_dist.train.checkpoint import checkpoint_folder
from astro_dist.workers.attempts import SerialExecutor


class OneTraining(PipelineConfig):
    name: str = "toy"
    seed: int = 3
    autoencoder: AutoencoderConfig


def test_importing_the_stages_does_not_import_torch():
    for module in ("astro_dist.train.stage", "astro_dist.radio.trainings"):
        code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_engine_trains_in_one_task(toy_cell):
    cell = toy_cell()
    tasks = AUTOENCODER.plan(cell.run, {})
    assert [task.name for task in tasks] == ["train"]
    results = {}
    with SerialExecutor().crew(AUTOENCODER, cell.run) as crew:
        assert not crew.execute(tasks, lambda task, result: results.update({task.name: result}))
    assert not AUTOENCODER.plan(cell.run, results)[1:]
    facts = AUTOENCODER.finish(cell.run, results)
    assert facts["steps"] == 6
    assert "sha256" not in facts
    assert not checkpoint_folder(cell).exists()
    assert AUTOENCODER.finish(cell.run, results) == facts


@pytest.mark.parametrize("damage", [lambda path: path.write_text("{}"), lambda path: path.unlink()])
def test_damaged_weights_are_found(toy_cell, damage):
    cell = toy_cell()
    results = {"train": loop.train(cell)}
    assert not Reading(cell.output).find_damage(results)
    damage(cell.output / "config.json")
    assert Reading(cell.output).find_damage(results) == {"train"}


def test_damaged_weights_are_trained_again(toy_cell, tmp_path):
    cell = toy_cell()
    good = loop.train(cell)["sha256"]
    machine = {"executor": "serial"}
    config = OneTraining.model_validate({"machine": machine, "autoencoder": cell.config.model_dump()})
    runner = Runner(tmp_path, config, [AUTOENCODER])
    run = runner.rounds(runner.states()[0]).run
    AUTOENCODER.prepare(run)
    with SerialExecutor().crew(AUTOENCODER, run) as crew:
        assert not crew.execute(AUTOENCODER.plan(run, {}), lambda task, result: None)
    assert tree_digests(run.output) == good
    (run.output / "config.json").write_text("{}")
    runner.execute(Display(live=False))
    assert tree_digests(tmp_path / "models" / "autoencoder") == good


@pytest.mark.parametrize("stage", [AUTOENCODER, DIFFUSION])
def test_the_estimate_covers_what_is_written(toy_cell, stage):
    estimate = stage.estimate(toy_cell(stage.name).run)
    assert estimate.tasks == 1
    assert estimate.bytes > 10 * 4 * 0.26e6
    assert estimate.cpu_s > 0
    assert estimate.memory_bytes < 4e9
