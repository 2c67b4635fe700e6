import math

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from astro_dist.models.swinir import (
    UPSAMPLERS,
    SwinIR,
    WindowAttention,
    border_mask,
    build_swinir,
    enlarge,
    from_windows,
    relative_index,
    to_windows,
)
from astro_dist.models.upscalers import UPSCALERS


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """Networks of this size gain nothing from a second thread, which waits busily where cores are taken."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def count(network):
    return sum(parameter.numel() for parameter in network.parameters())


def small(upsampler="pixelshuffledirect", scale=2, **settings):
    """A network whose layers all do something, for pictures of 3 planes."""
    torch.manual_seed(1)
    wanted = {"width": 12, "depths": (2, 3), "heads": 2, "features": 8, "base": "none", **settings}
    network = SwinIR(upsampler=upsampler, scale=scale, **wanted).eval()
    for name, parameter in network.named_parameters():
        parameter.data *= 3 if parameter.ndim == 2 and "table" not in name else 1
    return network


@pytest.mark.parametrize(
    ("preset", "scale", "published"),
    [
        ("M", 2, 11_752_487),
        ("M", 4, 11_900_199),
        ("light", 2, 910_152),
        ("light", 4, 929_628),
        ("L", 4, 28_013_059),
    ],
)
def test_networks_have_as_many_parameters_as_those_of_the_authors(preset, scale, published):
    with torch.device("meta"):
        assert count(build_swinir(preset, scale, 3)) == published


@pytest.mark.parametrize("name", UPSCALERS)
def test_costs_name_the_parameters_that_are_there(name):
    with torch.device("meta"):
        network = build_swinir(name, 2, 3)
    assert UPSCALERS[name].cost[0] == pytest.approx(count(network), rel=0.03)


@pytest.mark.parametrize(
    ("scale", "planes", "upsampler"),
    [(2, 3, "pixelshuffle"), (4, 1, "nearest+conv"), (2, 1, "pixelshuffledirect")],
)
def test_an_untrained_network_is_pillows_bicubic_enlargement(scale, planes, upsampler):
    network = small(upsampler, scale, planes=planes, base="bicubic")
    u = torch.rand(1, planes, 21, 34) * 2 - 1
    with torch.no_grad():
        found = network(u)[0].numpy()
    size = (34 * scale, 21 * scale)
    wanted = [Image.fromarray(plane.numpy()).resize(size, Image.Resampling.BICUBIC) for plane in u[0]]
    np.testing.assert_allclose(found, np.stack([np.asarray(plane) for plane in wanted]), atol=1e-6)


@pytest.mark.parametrize("upsampler", UPSAMPLERS)
@pytest.mark.parametrize(("scale", "body", "base"), [(2, "1conv", "none"), (4, "3conv", "bicubic")])
def test_tiles_give_what_the_whole_picture_gives(upsampler, scale, body, base):
    network = small(upsampler, scale, body=body, base=base)
    if base == "bicubic":
        # The last layer begins at zero, and then tiles could not differ.
        for parameter in network.parameters():
            parameter.data += 0.05 * torch.randn_like(parameter)
    u = torch.rand(1, 3, 75, 92) * 2 - 1
    with torch.no_grad():
        whole, tiled = network(u), enlarge(network, u, 24)
    assert whole.shape == tiled.shape == (1, 3, 75 * scale, 92 * scale)
    assert float((whole - tiled).abs().max()) < 1e-5 * max(1, float(whole.abs().max()))


def test_the_reach_is_as_far_as_a_pixel_is_seen():
    """A change beyond the reach changes nothing, and one just inside of the second but last window does."""
    network, u = small(), torch.rand(1, 3, 16, 96)
    kept = 40
    far, near = u.clone(), u.clone()
    far[..., kept + network.reach_pix :] = 0
    near[..., kept + network.reach_pix - 1 :] = 0
    with torch.no_grad():
        results = [network(picture)[..., : 2 * kept] for picture in (u, far, near)]
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


def test_attention_is_that_of_the_equation():
    """Softmax(Q K / sqrt(d) + B) V by loops over the pixels of a window (eq. 4 of the paper)."""
    torch.manual_seed(1)
    attention = WindowAttention(6, 2, 3)
    attention.relative_position_bias_table.data.normal_()
    x = torch.randn(9, 6)
    qkv = attention.qkv(x).view(9, 3, 2, 3)
    found = torch.zeros(9, 6)
    for head in range(2):
        q, k, v = (qkv[:, part, head] for part in range(3))
        for i in range(9):
            bias = [
                attention.relative_position_bias_table[(i // 3 - j // 3 + 2) * 5 + (i % 3 - j % 3 + 2), head]
                for j in range(9)
            ]
            weights = torch.softmax(k @ q[i] / math.sqrt(3) + torch.stack(bias), 0)
            found[i, 3 * head : 3 * head + 3] = weights @ v
    torch.testing.assert_close(attention(x[None, None], None)[0, 0], attention.proj(found))


def test_windows_and_back():
    x = torch.randn(2, 12, 8, 3)
    windows = to_windows(x, 4)
    assert windows.shape == (2, 6, 16, 3)
    assert torch.equal(windows[0, 1], x[0, :4, 4:8].reshape(16, 3))
    assert torch.equal(from_windows(windows, 4, 12, 8), x)
    assert len(np.unique(relative_index(3))) == 25


def test_opposite_borders_do_not_see_each_other():
    mask = torch.from_numpy(border_mask(16, 8, 8))
    assert mask.shape == (2, 64, 64)
    # The only column of windows is cut down its middle, the first row of them is whole from top to bottom.
    top = mask[0].view(8, 8, 8, 8)
    assert bool((top[:, :4, :, :4] == 0).all())
    assert bool((top[:, :4, :, 4:] == -torch.inf).all())
    assert bool((mask[1].view(8, 8, 8, 8)[:4, :, 4:] == -torch.inf).all())


def test_a_network_is_trained_after_it_was_used():
    """What is kept of one size of pictures must not be tensors of inference."""
    network, u = small(), torch.zeros(1, 3, 16, 24)
    with torch.inference_mode():
        before = network(u)
    after = network(u)
    after.mean().backward()
    assert torch.equal(before, after)


@pytest.mark.parametrize("shape", [(8, 8), (9, 30)])
def test_any_sides_are_padded_to_whole_windows(shape):
    network = small()
    assert network(torch.zeros(2, 3, *shape)).shape == (2, 3, 2 * shape[0], 2 * shape[1])


def test_a_training_begins_at_bicubic_and_gains():
    torch.manual_seed(1)
    network = small(base="bicubic")
    large = torch.rand(8, 3, 32, 32)
    # Something to learn: bars, which bicubic enlargement blurs.
    large[..., ::8] = -1
    little = functional.interpolate(large, (16, 16), mode="bicubic", antialias=True)
    optimiser = torch.optim.Adam(network.parameters(), 3e-3)
    losses = []
    for _ in range(25):
        loss = (network(little) - large).abs().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[0] == pytest.approx(float((network.base(little) - large).abs().mean()))
    assert losses[-1] < 0.9 * losses[0]


def test_other_scales_and_ends_are_refused():
    for settings in ({"scale": 3}, {"upsampler": "magic"}):
        with pytest.raises(ValueError, match="enlarges by 2 or 4"):
            SwinIR(**settings)
