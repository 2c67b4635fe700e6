"""Two rank processes that serve many tests: each call runs a function of this module on both.

Starting two processes that import torch and DeepSpeed costs more than all toy trainings together.
"""

import contextlib
import hashlib
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from torch import nn

from astro_dist.engine.errors import StoppedError
from astro_dist.engine.seeds import stream
from astro_dist.models import device
from astro_dist.models.autoencoder import build_autoencoder
from astro_dist.radio.trainings import RECIPES
from astro_dist.train import loop
from astro_dist.train.ranks import free_port
from tests.train.conftest import ToyReader, make_cell, write_store

ROOT = Path(__file__).parents[2]


class Pair:
    """Two rank processes that run functions on request."""

    def __init__(self):
        port = free_port()
        common = {**os.environ, "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
        common |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        self.ranks = [
            subprocess.Popen(
                [sys.executable, "-m", "tests.train.pair"],
                env={**common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
                cwd=ROOT,
                text=True,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            for rank in range(2)
        ]

    def __call__(self, function, *args, **kwargs):
        """Run ``module.function`` on both ranks; return what the first one returned."""
        name = f"{function.__module__}.{function.__qualname__}"
        for rank in self.ranks:
            rank.stdin.write(json.dumps([name, args, kwargs]) + "\n")
            rank.stdin.flush()
        answers = [json.loads(rank.stdout.readline()) for rank in self.ranks]
        for answer in answers:
            assert "error" not in answer, answer["error"]
        return answers[0]["value"]

    def end(self):
        for rank in self.ranks:
            rank.stdin.close()
            rank.stdout.close()
            rank.kill()
            rank.wait()


class ToyData:
    """Random images, each a function of its index."""

    def batch(self, first, count):
        streams = (stream(5, n) for n in range(first, first + count))
        return torch.from_numpy(np.stack([rng.standard_normal((1, 8, 8), np.float32) for rng in streams]))


class ToyObjective:
    """Predicts a blurred image; ``norm`` adds layers that work on the whole batch."""

    def __init__(self, norm):
        between = [nn.BatchNorm2d(6), nn.Dropout2d(0.3)] if norm else [nn.GroupNorm(3, 6)]
        layers = [nn.Conv2d(1, 6, 3, padding=1), *between, nn.SiLU(), nn.Conv2d(6, 5, 3, padding=1)]
        self.network = nn.Sequential(*layers, nn.SiLU(), nn.Conv2d(5, 1, 3, padding=1))

    def loss(self, network, batch, device):
        wanted = nn.functional.avg_pool2d(batch, 3, 1, 1)
        return ((network(batch) - wanted) ** 2).mean(), {}

    def publish(self, folder, batches, device):
        weights = {name: value.tolist() for name, value in self.network.state_dict().items()}
        (folder / "weights.json").write_text(json.dumps(weights))
        return {}


def toy_cell(root, **settings):
    """Return the cell of a toy training."""
    common = {"steps": 20, "batch_size": 8, "crop_pix": 16, "threads": 1, "precision": "no", "lr": 1e-2}
    common |= {"warmup_steps": 3, "checkpoint_every_s": 1e9}
    return make_cell("segmenter", root, **{**common, **settings})


def fit(root, until=None, norm=False, validate=False, **settings):
    """Train a toy network; return the losses of its steps and the digests of what it published.

    With ``until`` the training is stopped after that step.
    """
    with mock.patch.object(loop, "LOG_EVERY", 1):
        return _fit(Path(root), until, norm, validate, settings)


def fit_as_rank(root, rank, port, **settings):
    """Run one rank of a toy training that keeps a checkpoint of every step."""
    ranks = settings.get("ranks", 1)
    if ranks > 1:
        meeting = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": ranks, "LOCAL_WORLD_SIZE": ranks}
        meeting |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        os.environ.update({name: str(value) for name, value in meeting.items()})
    fit(root, checkpoint_every_s=1e-9, **settings)


def _fit(root, until, norm, validate, settings):
    device.pin(1)
    cell = toy_cell(root, **settings)
    torch.manual_seed(1)
    data = ToyData()
    training = loop.Training(cell, ToyObjective(norm), data, data if validate else None)
    if until is not None:
        report, reached = training._report, [0]

        def note(done, figures):
            report(done, figures)
            reached[0] = done

        training._report = note
        training._any_rank = lambda due, stop: [False, reached[0] == until]
    with contextlib.suppress(StoppedError):
        training.fit()
        folder = root / "published"
        folder.mkdir(exist_ok=True)
        training.publish(folder)
    training.accelerator.wait_for_everyone()
    return summary(root)


def drifting_fit(root):
    """Train with the weights of one rank moved, as after a launch that synchronises nothing."""
    step = loop.Training._step

    def drift(self, *args):
        with torch.no_grad():
            next(self.objective.network.parameters()).add_(self.rank)
        return step(self, *args)

    with mock.patch.object(loop.Training, "_step", drift):
        return fit(root, ranks=2)


def train_stage(root, stage, **settings):
    """Train a real network of the tiny preset on toy cutouts; return the losses of its steps."""
    device.pin(1)
    common = {"preset": "tiny", "steps": 5, "batch_size": 4, "crop_pix": 32, "threads": 1, "precision": "no"}
    with mock.patch.object(loop, "LOG_EVERY", 1):
        loop.train(make_cell(stage, root, **{**common, **settings}))
    lines = (Path(root) / "logs" / f"{stage}.curve.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines]


def prepare_stage(root):
    """Write the inputs of `train_stage`: toy cutouts, and an autoencoder for the diffusion."""
    reader = ToyReader()
    for stage in RECIPES:
        (Path(root) / "models" / f".{stage}.ffffffffffff.part").mkdir(parents=True)
    write_store(Path(root) / "cutouts.zarr", reader)
    torch.manual_seed(1)
    build_autoencoder("tiny").save_pretrained(Path(root) / "models" / "autoencoder")


def summary(root):
    """Return losses by step and the digest of the published weights, read from the disk."""
    lines = (Path(root) / "logs" / "segmenter.curve.jsonl").read_text().splitlines()
    points = [json.loads(line) for line in lines]
    weights = Path(root) / "published" / "weights.json"
    return {
        "losses": [point["loss"] for point in points],
        "validation": [point["validation_loss"] for point in points if "validation_loss" in point],
        "digest": hashlib.sha256(weights.read_bytes()).hexdigest() if weights.exists() else None,
    }


def serve():
    """Read calls from standard input and write answers to standard output; the main function of a rank."""
    # Libraries print to descriptor 1: from here on they print to standard error.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        name, args, kwargs = json.loads(line)
        module, _, function = name.rpartition(".")
        try:
            answer = {"value": getattr(importlib.import_module(module), function)(*args, **kwargs)}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    serve()
