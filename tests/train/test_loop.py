import itertools
import json

import pytest
import torch

from astro_dist.engine.errors import ConfigError, StoppedError
from astro_dist.engine.files import tree_digests
from astro_dist.models.autoencoder import load_autoencoder
from astro_dist.radio.generator import AutoencoderObjective
from astro_dist.train import loop
from astro_dist.train.checkpoint import Checkpoints, checkpoint_folder


class Killed(BaseException):
    """Ends a training as SIGKILL would: no code of astro_dist handles this class."""


def stop_after(monkeypatch, steps, error):
    count = [0]

    def check():
        count[0] += 1
        if count[0] == steps:
            raise error

    monkeypatch.setattr(loop, "check_stop", check)


def curve(cell):
    path = cell.run.root / "logs" / f"{cell.run.stage}.curve.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_training_publishes_a_model_and_reports(toy_cell):
    cell = toy_cell()
    result = loop.train(cell)
    assert result["steps"] == 6
    assert result["parameters"] == sum(p.numel() for p in load_autoencoder(cell.output).parameters())
    assert result["sha256"] == tree_digests(cell.output)
    assert all(path.stat().st_mode & 0o044 == 0o044 for path in cell.output.rglob("*"))
    points = curve(cell)
    assert points[-1]["step"] == 6
    assert {"loss", "mask_loss", "lr", "validation_loss"} <= set(points[-1])
    progress = json.loads((cell.run.root / "logs" / "progress" / "autoencoder-train.json").read_text())
    assert (progress["done"], progress["total"]) == (6, 6)
    assert progress["loss"] == pytest.approx(result["loss"], abs=1e-4)


def test_the_same_settings_give_the_same_bytes(toy_cell, tmp_path):
    first, second = (loop.train(toy_cell(root=tmp_path / name)) for name in ("a", "b"))
    assert first == second
    other = loop.train(toy_cell(root=tmp_path / "c", lr=1e-3))
    assert other["sha256"] != first["sha256"]


def test_trackers_receive_curves_and_change_no_byte_of_a_training(toy_cell, tmp_path):
    tracked = toy_cell(root=tmp_path / "a", trackers=("tensorboard",))
    alone = toy_cell(root=tmp_path / "b")
    assert loop.train(tracked) == loop.train(alone)
    assert list((tmp_path / "a/logs/trackers/a-autoencoder").rglob("events.*"))
    assert not (tmp_path / "b/logs/trackers").exists()
    assert checkpoint_folder(tracked).name == checkpoint_folder(alone).name


@pytest.mark.parametrize("error", [StoppedError("stopped"), Killed()], ids=["stopped", "killed"])
@pytest.mark.parametrize("stage", ["autoencoder", "diffusion"])
def test_a_resumed_training_ends_in_the_same_bits(toy_cell, tmp_path, monkeypatch, stage, error):
    """A stop takes effect at the next multiple of LOG_EVERY; a kill falls back to the last checkpoint."""
    monkeypatch.setattr(loop, "LOG_EVERY", 2)
    settings = {"checkpoint_every_s": 1e-6}
    if stage == "diffusion":
        settings["cache_latents"] = isinstance(error, Killed)
    cells = [toy_cell(stage, root=tmp_path / name, **settings) for name in ("whole", "broken")]
    if stage == "diffusion":
        folders = [cell.run.product("models/autoencoder") for cell in cells]
        made = toy_cell("autoencoder", root=tmp_path / "whole")
        loop.train(made)
        for folder in folders:
            folder.parent.mkdir(parents=True, exist_ok=True)
            load_autoencoder(made.output).save_pretrained(folder)
    whole = loop.train(cells[0])
    with monkeypatch.context() as patch:
        stop_after(patch, 2, error)
        with pytest.raises(type(error)):
            loop.train(cells[1])
    step = Checkpoints(checkpoint_folder(cells[1])).newest()
    assert step == (4 if isinstance(error, StoppedError) else 2)
    assert loop.train(cells[1]) == whole
    assert curve(cells[1]) == curve(cells[0])


def test_a_damaged_checkpoint_costs_only_its_steps(toy_cell, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(loop, "LOG_EVERY", 2)
    whole = loop.train(toy_cell(root=tmp_path / "whole", checkpoint_every_s=1e-6))
    cell = toy_cell(root=tmp_path / "broken", checkpoint_every_s=1e-6)
    with monkeypatch.context() as patch:
        stop_after(patch, 2, Killed())
        with pytest.raises(Killed):
            loop.train(cell)
    checkpoints = Checkpoints(checkpoint_folder(cell))
    (checkpoints.at(checkpoints.newest()) / "state.safetensors").write_bytes(b"torn")
    assert loop.train(cell) == whole
    assert "damaged and left out" in capsys.readouterr().err


def test_a_loss_that_is_not_a_number_is_a_config_error(toy_cell, monkeypatch):
    loss = AutoencoderObjective.loss

    def diverge(self, network, batch, device):
        value, figures = loss(self, network, batch, device)
        return value * float("nan"), figures

    monkeypatch.setattr(AutoencoderObjective, "loss", diverge)
    cell = toy_cell(checkpoint_every_s=1e-6)
    with pytest.raises(
        ConfigError, match=r"not a number by step 6 \(learning rate .*lower autoencoder.lr"
    ) as caught:
        loop.train(cell)
    assert "\n" not in str(caught.value)
    assert Checkpoints(checkpoint_folder(cell)).newest() == 0


def test_training_reduces_the_loss(toy_cell):
    cell = toy_cell(steps=40, warmup_steps=5, batch_size=8)
    loop.train(cell)
    losses = [point["loss"] for point in curve(cell)]
    assert losses[-1] < 0.6 * losses[0]


def test_learning_rate_rises_and_falls(toy_cell):
    config = toy_cell(steps=100, warmup_steps=10, lr=1.0).config
    rates = [loop.learning_rate(config, step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == pytest.approx(1.0, abs=0.03)
    assert rates[-1] == pytest.approx(0.01, abs=1e-3)
    assert all(a >= b for a, b in itertools.pairwise(rates[10:]))


def test_a_store_without_a_validation_split_trains_all_the_same(toy_cell, reader):
    reader.columns["split"][:] = 0
    assert "validation_loss" not in loop.train(toy_cell(steps=2))


def test_weights_are_the_averaged_ones(toy_cell, monkeypatch):
    """With a decay of 0 the average is the last weights; with a larger decay the average must differ."""
    last = loop.train(toy_cell(ema_decay=0.0))
    averaged = loop.train(toy_cell(ema_decay=0.9))
    assert last["loss"] == averaged["loss"]
    assert last["sha256"] != averaged["sha256"]
    assert torch.isfinite(torch.tensor(averaged["validation_loss"]))
