import itertools
import json

import pytest
import torch

from astro_dist.engine import work
from astro_dist.engine.errors import ConfigError, StoppedError
from astro_dist.engine.files import tree_digests
from astro_dist.models.autoencoder import load_autoencoder
from astro_dist.train import loop
from astro_dist.train.checkpoint import Checkpoints
from astro_dist.train.objectives import AutoencoderObjective


class Killed(BaseException):
    """Ends a training as SIGKILL would: nothing of ours handles it."""


def stop_after(monkeypatch, steps, error):
    count = [0]

    def check():
        count[0] += 1
        if count[0] == steps:
            raise error

    monkeypatch.setattr(work, "check_stop", check)


def curve(run):
    return [
        json.loads(line) for line in (run.root / "logs" / f"{run.stage}.curve.jsonl").read_text().splitlines()
    ]


def test_training_publishes_a_model_and_reports(toy_run):
    run = toy_run()
    result = loop.train(run)
    assert result["steps"] == 6
    assert result["parameters"] == sum(p.numel() for p in load_autoencoder(run.output).parameters())
    assert result["files"] == tree_digests(run.output)
    assert all(path.stat().st_mode & 0o044 == 0o044 for path in run.output.rglob("*"))
    points = curve(run)
    assert points[-1]["step"] == 6
    assert {"loss", "mask_loss", "lr", "validation_loss"} <= set(points[-1])
    progress = json.loads((run.root / "logs" / "progress" / "autoencoder-train.json").read_text())
    assert (progress["done"], progress["total"]) == (6, 6)
    assert progress["loss"] == pytest.approx(result["loss"], abs=1e-4)


def test_the_same_settings_give_the_same_bytes(toy_run, tmp_path):
    first, second = (loop.train(toy_run(root=tmp_path / name)) for name in ("a", "b"))
    assert first == second
    other = loop.train(toy_run(root=tmp_path / "c", lr=1e-3))
    assert other["files"] != first["files"]


@pytest.mark.parametrize("error", [StoppedError("stopped"), Killed()], ids=["stopped", "killed"])
@pytest.mark.parametrize("stage", ["autoencoder", "diffusion"])
def test_a_resumed_training_ends_in_the_same_bits(toy_run, tmp_path, monkeypatch, stage, error):
    """A stop is obeyed at the next multiple of LOG_EVERY; a kill falls back to the last checkpoint."""
    monkeypatch.setattr(loop, "LOG_EVERY", 2)
    runs = [toy_run(stage, root=tmp_path / name, checkpoint_every_s=1e-6) for name in ("whole", "broken")]
    if stage == "diffusion":
        cached = {"cache_latents": isinstance(error, Killed)}
        for run in runs:
            run.config.diffusion = run.config.diffusion.model_copy(update=cached)
        folders = [run.product("models/autoencoder") for run in runs]
        made = toy_run("autoencoder", root=tmp_path / "whole")
        loop.train(made)
        for folder in folders:
            folder.parent.mkdir(parents=True, exist_ok=True)
            load_autoencoder(made.output).save_pretrained(folder)
    whole = loop.train(runs[0])
    with monkeypatch.context() as patch:
        stop_after(patch, 2, error)
        with pytest.raises(type(error)):
            loop.train(runs[1])
    step = Checkpoints(loop.checkpoint_folder(runs[1])).newest()
    assert step == (4 if isinstance(error, StoppedError) else 2)
    assert loop.train(runs[1]) == whole
    assert curve(runs[1]) == curve(runs[0])


def test_a_damaged_checkpoint_costs_only_its_steps(toy_run, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(loop, "LOG_EVERY", 2)
    whole = loop.train(toy_run(root=tmp_path / "whole", checkpoint_every_s=1e-6))
    run = toy_run(root=tmp_path / "broken", checkpoint_every_s=1e-6)
    with monkeypatch.context() as patch:
        stop_after(patch, 2, Killed())
        with pytest.raises(Killed):
            loop.train(run)
    checkpoints = Checkpoints(loop.checkpoint_folder(run))
    (checkpoints.at(checkpoints.newest()) / "state.safetensors").write_bytes(b"torn")
    assert loop.train(run) == whole
    assert "damaged and left out" in capsys.readouterr().err


def test_a_loss_that_is_not_a_number_is_the_users_matter(toy_run, monkeypatch):
    loss = AutoencoderObjective.loss

    def diverge(self, network, batch, device):
        value, figures = loss(self, network, batch, device)
        return value * float("nan"), figures

    monkeypatch.setattr(AutoencoderObjective, "loss", diverge)
    run = toy_run(checkpoint_every_s=1e-6)
    with pytest.raises(
        ConfigError, match=r"not a number by step 6 \(learning rate .*lower autoencoder.lr"
    ) as caught:
        loop.train(run)
    assert "\n" not in str(caught.value)
    assert Checkpoints(loop.checkpoint_folder(run)).newest() == 0


def test_training_reduces_the_loss(toy_run):
    run = toy_run(steps=40, warmup_steps=5, batch_size=8)
    loop.train(run)
    losses = [point["loss"] for point in curve(run)]
    assert losses[-1] < 0.6 * losses[0]


def test_learning_rate_rises_and_falls(toy_run):
    config = toy_run(steps=100, warmup_steps=10, lr=1.0).config.autoencoder
    rates = [loop.learning_rate(config, step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == pytest.approx(1.0, abs=0.03)
    assert rates[-1] == pytest.approx(0.01, abs=1e-3)
    assert all(a >= b for a, b in itertools.pairwise(rates[10:]))


def test_a_store_without_a_validation_split_trains_all_the_same(toy_run, reader):
    reader.columns["split"][:] = 0
    assert "validation_loss" not in loop.train(toy_run(steps=2))


def test_weights_are_the_averaged_ones(toy_run, monkeypatch):
    """With a decay of 0 the average is the last step; with more it must differ."""
    last = loop.train(toy_run(ema_decay=0.0))
    averaged = loop.train(toy_run(ema_decay=0.9))
    assert last["loss"] == averaged["loss"]
    assert last["files"] != averaged["files"]
    assert torch.isfinite(torch.tensor(averaged["validation_loss"]))
