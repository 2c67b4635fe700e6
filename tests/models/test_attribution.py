import numpy as np
import torch
from torch import nn

from astro_dist.models.attribution import integrated_gradients, missing_share


class Product(nn.Module):
    """Two outputs of two pixels: their product, and a weighted sum."""

    def forward(self, x):
        a, b = x.flatten(1)[:, 0], x.flatten(1)[:, 1]
        return torch.stack([a * b, 2 * a - b], 1)


def test_shares_are_those_of_the_integral():
    x, black = torch.tensor([[[[3.0, 4.0]]]]), torch.zeros(1, 1, 1, 2)
    # The integral of the gradient of a b from 0: half of the product for each pixel.
    shares = integrated_gradients(Product(), x, black, torch.tensor([0]), 8)
    assert torch.allclose(shares.flatten(), torch.tensor([6.0, 6.0]))
    shares = integrated_gradients(Product(), x, black, torch.tensor([1]), 1)
    assert torch.allclose(shares.flatten(), torch.tensor([6.0, -4.0]))


def test_shares_add_up_better_the_more_steps_there_are():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(48, 32), nn.Tanh(), nn.Linear(32, 3))
    x, black, classes = torch.randn(4, 3, 4, 4), -torch.ones(4, 3, 4, 4), torch.tensor([0, 1, 2, 0])
    missing = []
    for steps in (2, 8, 128):
        shares = integrated_gradients(network, x, black, classes, steps)
        missing.append(float(missing_share(network, x, black, classes, shares).max()))
    assert missing[0] > missing[1] > missing[2]
    assert missing[2] < 1e-3


def test_a_picture_has_the_shares_it_has_alone():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 5))
    x, black = torch.randn(3, 3, 2, 2), torch.zeros(3, 3, 2, 2)
    classes = torch.tensor([4, 0, 2])
    whole = integrated_gradients(network, x, black, classes, 4)
    alone = [integrated_gradients(network, x[i : i + 1], black[:1], classes[i : i + 1], 4) for i in range(3)]
    assert np.allclose(whole, torch.cat(alone), atol=1e-6)
