import subprocess
import sys

import pytest

from astro_dist.engine.errors import RecomputeError
from astro_dist.train import loop
from astro_dist.train import stage as stages
from astro_dist.workers.attempts import SerialExecutor


def test_importing_the_stages_does_not_import_torch():
    code = "import sys, astro_dist.train.stage; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_engine_trains_in_one_task(toy_run):
    run = toy_run()
    tasks = stages.AUTOENCODER.plan(run, {})
    assert [task.name for task in tasks] == ["train"]
    results = {}
    with SerialExecutor().crew(stages.AUTOENCODER, run) as crew:
        assert not crew.execute(tasks, lambda task, result: results.update({task.name: result}))
    assert not stages.AUTOENCODER.plan(run, results)[1:]
    facts = stages.AUTOENCODER.finish(run, results)
    assert facts["steps"] == 6
    assert "files" not in facts
    assert not loop.checkpoint_folder(run).exists()
    assert stages.AUTOENCODER.finish(run, results) == facts


def test_damaged_weights_are_trained_again(toy_run):
    run = toy_run()
    results = {"train": loop.train(run)}
    (run.output / "config.json").write_text("{}")
    with pytest.raises(RecomputeError) as caught:
        stages.AUTOENCODER.finish(run, results)
    assert caught.value.names == ("train",)


@pytest.mark.parametrize("stage", [stages.AUTOENCODER, stages.DIFFUSION])
def test_the_estimate_covers_what_is_written(toy_run, stage):
    estimate = stage.estimate(toy_run(stage.name))
    assert estimate.tasks == 1
    assert estimate.bytes > 10 * 4 * 0.26e6
    assert estimate.cpu_s > 0
    assert estimate.memory_bytes < 4e9
