import pytest
import torch

from astro_dist.models.judges import JUDGES
from astro_dist.models.segmenter import Segmenter, build_segmenter, load_segmenter


def count(network):
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize(
    ("growth", "layers", "bottleneck", "published"),
    [(12, (4,) * 5, 4, 1.5e6), (16, (5,) * 5, 5, 3.5e6), (16, (4, 5, 7, 10, 12), 15, 9.4e6)],
    ids=["FC-DenseNet56", "FC-DenseNet67", "FC-DenseNet103"],
)
def test_parameters_are_those_of_the_tiramisu_paper(growth, layers, bottleneck, published):
    """Table 3 of Jegou et al. 2017: colour images, 11 classes."""
    with torch.device("meta"):
        network = Segmenter(48, growth, layers, bottleneck, in_channels=3, classes=11)
    assert count(network) == pytest.approx(published, rel=0.01 if published > 9e6 else 0.09)


def test_one_hundred_and_three_convolutions():
    with torch.device("meta"):
        network = build_segmenter("paper")
    kinds = (torch.nn.Conv2d, torch.nn.ConvTranspose2d)
    assert sum(isinstance(module, kinds) for module in network.modules()) == 103


@pytest.mark.parametrize("name", JUDGES)
def test_costs_name_the_parameters_that_are_there(name):
    with torch.device("meta"):
        network = build_segmenter(name)
    assert JUDGES[name].costs["segmenter"][0] == pytest.approx(count(network), rel=0.02)


@pytest.mark.parametrize("shape", [(64, 64), (48, 35)])
def test_every_pixel_gets_its_classes(shape):
    network = build_segmenter("tiny").eval()
    logits = network(torch.randn(2, 1, *shape))
    assert logits.shape == (2, 4, *shape)
    assert logits.dtype == torch.float32


def test_a_training_finds_bright_pixels():
    torch.manual_seed(1)
    network = build_segmenter("tiny")
    optimiser = torch.optim.Adam(network.parameters(), 1e-2)
    u = torch.randn(8, 1, 32, 32)
    wanted = 2 * (u[:, 0] > 1).long()
    for _ in range(40):
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(network(u), wanted)
        loss.backward()
        optimiser.step()
    assert (network.eval()(u).argmax(1) == wanted).float().mean() > 0.95


def test_a_folder_gives_the_same_answers(tmp_path):
    network = build_segmenter("tiny").eval()
    network.save_pretrained(tmp_path)
    u = torch.randn(1, 1, 32, 32)
    assert torch.equal(load_segmenter(tmp_path)(u), network(u))
