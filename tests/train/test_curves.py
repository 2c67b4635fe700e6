import json

import pytest
from accelerate import Accelerator

from astro_dist.engine.errors import ConfigError
from astro_dist.train.curves import Curves, start_trackers


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_points_go_to_the_file_and_to_tensorboard(tmp_path):
    with Curves(tmp_path, "autoencoder", 0) as curves:
        curves.add(10, loss=0.5, lr=1e-3)
        curves.add(20, loss=0.25, validation_loss=float("nan"))
    assert read(tmp_path / "autoencoder.curve.jsonl") == [
        {"step": 10, "loss": 0.5, "lr": 0.001},
        {"step": 20, "loss": 0.25},
    ]
    assert list((tmp_path / "tensorboard" / "autoencoder").glob("events.*"))


def test_a_resumed_curve_goes_on_from_the_checkpoint(tmp_path):
    with Curves(tmp_path, "diffusion", 0) as curves:
        for step in (10, 20, 30):
            curves.add(step, loss=1.0)
    path = tmp_path / "diffusion.curve.jsonl"
    path.write_text(path.read_text() + '{"step": 40, "lo')
    with Curves(tmp_path, "diffusion", 20) as curves:
        curves.add(30, loss=2.0)
    assert [(p["step"], p["loss"]) for p in read(path)] == [(10, 1.0), (20, 1.0), (30, 2.0)]


def test_a_following_rank_writes_nothing(tmp_path):
    with Curves(tmp_path, "diffusion", 0, leads=False) as curves:
        curves.add(10, loss=1.0)
    assert not list(tmp_path.iterdir())


def test_other_trackers_receive_the_same_figures(tmp_path):
    accelerator = Accelerator(cpu=True)
    with pytest.raises(ConfigError, match=r"^trackers: horses is not installed .*tensorboard"):
        start_trackers(accelerator, ["horses"], "run", tmp_path, {})
    assert start_trackers(accelerator, [], "run", tmp_path, {}) == ()
    trackers = start_trackers(accelerator, ["tensorboard"], "run-byol", tmp_path, {"lr": 0.1})
    with Curves(tmp_path, "byol", 0, trackers=trackers) as curves:
        curves.add(10, loss=1.0)
    assert list((tmp_path / "trackers" / "run-byol").rglob("events.*"))
