"""A run directory ready for `evaluate`: that of the tests of `generate`, and two untrained judges."""

import shutil

import pytest
import torch

from astro_dist.engine.config import validate
from astro_dist.engine.progress import Display
from astro_dist.engine.work import for_stage
from astro_dist.evaluate.config import EvaluateConfig
from astro_dist.evaluate.stage import EVALUATE
from astro_dist.models.encoder import build_byol
from astro_dist.models.segmenter import build_segmenter
from astro_dist.radio.config import ByolConfig, SegmenterConfig
from astro_dist.runner import Runner
from tests.generate import small_run

N = 4


class SmallConfig(small_run.SmallConfig):
    byol: ByolConfig = ByolConfig()
    segmenter: SegmenterConfig = SegmenterConfig()
    evaluate: EvaluateConfig = EvaluateConfig()


@pytest.fixture(scope="session")
def inputs(tmp_path_factory):
    root = tmp_path_factory.mktemp("evaluate")
    small_run.add_cutouts(root, n=20)
    small_run.add_models(root)
    torch.manual_seed(6)
    build_byol("tiny").encoder.save_pretrained(root / "models" / "byol")
    build_segmenter("tiny").save_pretrained(root / "models" / "segmenter")
    return root


@pytest.fixture
def make_runner(inputs, tmp_path):
    """Return a function that gives the pipeline of `evaluate` alone, in a directory of its own."""

    def make(name="run", **evaluate):
        root = tmp_path / name
        if not root.exists():
            shutil.copytree(inputs, root)
        settings = {"stamps": N, "per_task": 3, "resamples": 8, **evaluate}
        generate = small_run.make_config().model_dump(mode="json")["generate"]
        tree = {"evaluate": settings, "generate": generate, "machine": {"executor": "serial"}}
        return Runner(root, validate(SmallConfig, tree), [EVALUATE])

    return make


@pytest.fixture
def stage_run(make_runner):
    """The run as the stage sees it, before anything is done."""
    runner = make_runner()
    run = for_stage(runner.run, EVALUATE, runner.states()[0].fingerprint)
    EVALUATE.prepare(run)
    return run


@pytest.fixture(scope="session")
def evaluated(inputs, tmp_path_factory):
    """A run whose evaluation is published."""
    root = tmp_path_factory.mktemp("evaluated") / "run"
    shutil.copytree(inputs, root)
    generate = small_run.make_config().model_dump(mode="json")["generate"]
    tree = {
        "evaluate": {"stamps": N, "per_task": 3, "resamples": 8},
        "generate": generate,
        "machine": {"executor": "serial"},
    }
    runner = Runner(root, validate(SmallConfig, tree), [EVALUATE])
    runner.execute(Display(live=False))
    return runner.run
