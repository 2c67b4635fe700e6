"""A judge of toy pictures: a classifier that saw real ones only, many of them."""

import numpy as np
import torch
from torch.nn import functional

from astro_dist.engine.pixels import to_network
from astro_dist.models.classifiers import build_classifier
from astro_dist.pictures.config import CLASSES
from astro_dist.pictures.toy import draw_toy


def draw_real(count, seed, side):
    """Return real pictures in network range, and their classes."""
    pictures = np.stack([draw_toy(name, seed, i, side) for name in CLASSES for i in range(count)])
    return torch.from_numpy(to_network(pictures)), torch.arange(len(CLASSES)).repeat_interleave(count)


def train_judge(side, per_class=300, steps=800):
    """Return a classifier trained on real pictures of each class, turned and flipped."""
    torch.manual_seed(1)
    judge, (x, labels) = build_classifier("tiny", len(CLASSES), side), draw_real(per_class, 5, side)
    optimiser = torch.optim.AdamW(judge.parameters(), lr=3e-3, weight_decay=1e-3)
    rng = np.random.default_rng(1)
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = 3e-3 * (0.5 + 0.5 * np.cos(np.pi * step / steps))
        chosen = torch.from_numpy(rng.integers(len(x), size=64))
        turned = torch.rot90(x[chosen], int(rng.integers(4)), (2, 3))
        turned = turned.flip(3) if rng.random() < 0.5 else turned
        functional.cross_entropy(judge(turned), labels[chosen]).backward()
        optimiser.step()
        optimiser.zero_grad()
    return judge.eval()
