"""Three stages: numbers are drawn, three networks learn a sum of them, the best one is named."""

import io
import json
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from astro_dist.engine.config import Section
from astro_dist.engine.files import publish_bytes
from astro_dist.engine.pipeline import Pipeline, PipelineConfig
from astro_dist.engine.work import Estimate, Stage, Task
from astro_dist.train.config import TrainingConfig
from astro_dist.train.grid import Arm, grid_stage
from astro_dist.train.recipe import Recipe


class NumbersConfig(Section):
    """The numbers."""

    shards: int = 3
    """How many files."""
    per_shard: int = 200
    """Pairs in each."""


class LearnConfig(TrainingConfig):
    """The trainings."""

    steps: int = 60
    """Optimiser steps."""
    batch_size: int = 16
    """Pairs per step."""
    lr: float = 0.05
    """Peak learning rate."""
    threads: int = 1
    """CPU threads per rank."""
    precision: Literal["no"] = "no"
    """Always float32."""


class VerdictConfig(Section):
    """The choice of the best."""

    digits: int = 4
    """Of the losses that are shown."""


class SumsConfig(PipelineConfig):
    """All settings."""

    pipeline: Literal["sums"] = "sums"
    """Which pipeline this configuration is for."""
    numbers: NumbersConfig = NumbersConfig()
    """The numbers."""
    learn: LearnConfig = LearnConfig()
    """The trainings."""
    verdict: VerdictConfig = VerdictConfig()
    """The choice of the best."""


def plan_numbers(run, results):
    return [Task(f"shard-{i}", {"index": i}) for i in range(run.section(NumbersConfig).shards)]


def make_folder(run):
    run.output.mkdir(parents=True, exist_ok=True)


def draw_numbers(run, task):
    index = task.args["index"]
    pairs = run.stream("numbers", index).standard_normal(
        (run.section(NumbersConfig).per_shard, 2), np.float32
    )
    buffer, name = io.BytesIO(), f"{index:03}.npy"
    np.save(buffer, pairs)
    return {"sha256": {name: publish_bytes(run.output / name, buffer.getvalue())}, "sum": float(pairs.sum())}


def sum_up(run, results):
    return {"sum": round(sum(result["sum"] for result in results.values()), 3)}


class Pairs:
    """Pairs and the first plus twice the second number, of some of the files."""

    def __init__(self, folder, files):
        paths = [path for i, path in enumerate(sorted(folder.glob("*.npy"))) if i in files]
        self.pairs = np.concatenate([np.load(path) for path in paths])

    def batch(self, first, count):
        rows = self.pairs[np.arange(first, first + count) % len(self.pairs)]
        return rows, rows @ np.array([1.0, 2.0], np.float32)


class LearnSum:
    """A network of two weights."""

    def __init__(self):
        from torch import nn

        self.network = nn.Linear(2, 1)

    def loss(self, network, batch, device):
        import torch

        pairs, wanted = (torch.from_numpy(array).to(device) for array in batch)
        return ((network(pairs)[:, 0] - wanted) ** 2).mean(), {}

    def publish(self, folder, batches, device):
        from safetensors.torch import save_file

        save_file(self.network.state_dict(), folder / "weights.safetensors")
        return {"weights": [round(w, 6) for w in self.network.weight[0].tolist()]}


def build(cell, device):
    folder = cell.run.product("numbers")
    return LearnSum(), Pairs(folder, cell.rows), Pairs(folder, [0])


def cost(config):
    return 3, 1e-4


def arms(run):
    files = list(range(run.section(NumbersConfig).shards))
    return [
        Arm("all", rows=files, key=("pair",)),
        Arm("few", rows=files[:1], key=("pair",)),
        Arm("slow", {"lr": run.section(LearnConfig).lr / 100}, rows=files, key=("pair",)),
    ]


RECIPE = Recipe("learn", LearnConfig, ("numbers",), build, cost)


def name_best(run, task):
    losses = {name: facts["validation_loss"] for name, facts in run.facts("learn")["cells"].items()}
    shown = {name: round(loss, run.section(VerdictConfig).digits) for name, loss in losses.items()}
    text = json.dumps({"best": min(losses, key=losses.get), "losses": shown}, sort_keys=True)
    return {"sha256": {".": publish_bytes(run.output, text.encode())}, "best": min(losses, key=losses.get)}


def plan_one(name, run, results):
    return [Task(name)]


def pass_on(run, results):
    return {"best": results["verdict"]["best"]}


def check_numbers(path: Path):
    return [f"{file}: no pairs" for file in sorted(path.glob("*.npy")) if np.load(file).shape[1] != 2]


def estimate_numbers(run):
    settings = run.section(NumbersConfig)
    return Estimate(tasks=settings.shards, bytes=settings.shards * (128 + 8 * settings.per_shard))


NUMBERS = Stage(
    name="numbers",
    product="numbers",
    plan=plan_numbers,
    run=draw_numbers,
    prepare=make_folder,
    finish=sum_up,
    check=check_numbers,
    estimate=estimate_numbers,
    sections=("numbers",),
    own="numbers",
)
LEARN = grid_stage(RECIPE, "learn", "learnt", arms, sections=("learn", "numbers"), inputs=("numbers",))
VERDICT = Stage(
    name="verdict",
    product="verdict.json",
    plan=partial(plan_one, "verdict"),
    run=name_best,
    finish=pass_on,
    sections=("verdict",),
    inputs=("learn",),
)
SUMS = Pipeline(
    name="sums",
    help="which of two numbers count",
    config=SumsConfig,
    stages=(NUMBERS, LEARN, VERDICT),
    shown={"verdict": "verdict.json"},
)
