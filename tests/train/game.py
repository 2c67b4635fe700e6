"""A toy game of two players as one recipe: a generator of pairs and a judge of pairs."""

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn
from torch.func import functional_call
from torch.nn.functional import softplus

from astro_dist.engine.work import Run
from astro_dist.train.config import TrainingConfig
from astro_dist.train.recipe import Cell, Recipe
from astro_dist.train.stage import training_stage
from tests.settings import make_run


class GameConfig(TrainingConfig):
    """Settings of the game; betas and the judge's rate are fields of this section alone."""

    steps: int = 30
    batch_size: int = 8
    warmup_steps: int = 2
    threads: int = 1
    clip_norm: float | None = None
    betas: tuple[float, float] = (0.0, 0.99)
    judge_rate: float = 4.0
    checkpoint_every_s: float = 1e-3


class Game(nn.Module):
    """Both players; one call gives both losses."""

    def __init__(self):
        super().__init__()
        self.generator = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))
        self.judge = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 1))

    def forward(self, real, noise):
        """Return the generator's and the judge's loss: the non-saturating game of Goodfellow et al. 2014."""
        made = self.generator(noise)
        frozen = {name: value.detach() for name, value in self.judge.named_parameters()}
        generator_loss = softplus(-functional_call(self.judge, frozen, made)).mean()
        judge_loss = softplus(-self.judge(real)).mean() + softplus(self.judge(made.detach())).mean()
        return generator_loss, judge_loss


class GameSamples:
    """Pairs on a line, and noise."""

    def __init__(self, run: Run):
        self.run = run

    def batch(self, first, count):
        streams = [self.run.stream("game", n) for n in range(first, first + count)]
        line = np.stack([[x := rng.standard_normal(), 2 * x] for rng in streams])
        return line.astype(np.float32), np.stack([rng.standard_normal(3, np.float32) for rng in streams])


class GameObjective:
    """The sum of both losses: each moves its own player only."""

    def __init__(self):
        self.network = Game()

    def loss(self, network, batch, device):
        generator_loss, judge_loss = network(*(torch.from_numpy(part).to(device) for part in batch))
        return generator_loss + judge_loss, {"judge": judge_loss.detach()}

    def publish(self, folder, batches, device):
        save_file(self.network.generator.state_dict(), folder / "generator.safetensors")
        return {}


def build(cell, device):
    return GameObjective(), GameSamples(cell.run), None


def groups(network, config):
    return [
        {"params": list(network.generator.parameters()), "betas": config.betas},
        {"params": list(network.judge.parameters()), "betas": config.betas, "rate": config.judge_rate},
    ]


def cost(config):
    return 100, 1e-4


RECIPE = Recipe("game", GameConfig, (), build, cost, groups=groups, averaged="generator.")
STAGE = training_stage(RECIPE)


def make_cell(root, **settings):
    config = GameConfig(precision="no", **settings)
    run = make_run(root, STAGE, game=config)
    run.output.mkdir(parents=True, exist_ok=True)
    return Cell(RECIPE, run, config, key=("game",))
