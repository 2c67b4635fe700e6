import pytest
import torch

from astro_dist.models.encoder import Encoder, build_byol, load_encoder
from astro_dist.models.judges import JUDGES


def count(network):
    return sum(p.numel() for p in network.parameters())


def test_parameters_are_those_of_resnet_18():
    """11,689,512 of ResNet-18, less its classifier and two of the three colours of its first layer."""
    with torch.device("meta"):
        assert count(Encoder()) == 11_689_512 - (512 * 1000 + 1000) - 2 * 64 * 7 * 7


@pytest.mark.parametrize("name", ["small", "paper"])
def test_there_are_512_features(name):
    with torch.device("meta"):
        encoder = build_byol(name).encoder.eval()
    assert encoder(torch.empty(2, 1, 128, 128, device="meta")).shape == (2, 512)
    assert encoder.stages(encoder.stem(torch.empty(1, 1, 128, 128, device="meta"))).shape[-1] == 4


@pytest.mark.parametrize("name", JUDGES)
def test_costs_name_the_parameters_that_are_there(name):
    with torch.device("meta"):
        byol = build_byol(name)
    assert JUDGES[name].costs["byol"][0] == pytest.approx(count(byol), rel=0.02)


def test_the_target_takes_no_gradient_and_follows():
    torch.manual_seed(1)
    byol = build_byol("tiny")
    loss = byol(torch.randn(8, 1, 32, 32), torch.randn(8, 1, 32, 32))
    assert loss.shape == (8,)
    assert ((loss >= 0) & (loss <= 8)).all()
    loss.mean().backward()
    assert all(p.grad is None for p in byol.target.parameters())
    assert all(p.grad is not None for part in (byol.encoder, byol.predictor) for p in part.parameters())
    slow, fast = byol.target[1][0].weight, byol.projector[0].weight
    with torch.no_grad():
        fast.add_(1.0)
    before = slow.clone()
    byol.follow(0.75)
    torch.testing.assert_close(slow, 0.75 * before + 0.25 * fast)


def test_both_views_count_alike():
    torch.manual_seed(1)
    byol, a, b = build_byol("tiny"), torch.randn(8, 1, 32, 32), torch.randn(8, 1, 32, 32)
    torch.testing.assert_close(byol(a, b), byol(b, a))


def test_a_folder_gives_the_same_features(tmp_path):
    encoder = build_byol("tiny").encoder.eval()
    encoder.save_pretrained(tmp_path)
    u = torch.randn(2, 1, 64, 64)
    assert torch.equal(load_encoder(tmp_path)(u), encoder(u))
