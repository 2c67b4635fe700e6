"""Weights of SwinIR's authors, and folders of this package: taken as they are, or refused in one line."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from astro_dist.engine.errors import ConfigError
from astro_dist.models.swinir import UPSAMPLERS, SwinIR
from astro_dist.models.swinir_files import check_fit, load_checked

WEIGHTS = "diffusion_pytorch_model.safetensors"
U = torch.linspace(-1, 1, 3 * 16 * 16).view(1, 3, 16, 16)


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def network(upsampler="pixelshuffle", scale=2, **settings):
    torch.manual_seed(2)
    own = {"width": 12, "depths": (2, 1), "heads": 2, "features": 8, "base": "none", **settings}
    return SwinIR(upsampler=upsampler, scale=scale, **own).eval()


def as_published(made):
    """The state dict of a network with the buffers that the authors' files hold beside the weights."""
    state = dict(made.state_dict())
    for layer, depth in enumerate(made.config.depths):
        for block in range(depth):
            place = f"layers.{layer}.residual_group.blocks.{block}"
            state[f"{place}.attn.relative_position_index"] = torch.zeros(64, 64, dtype=torch.long)
            if block % 2:
                state[f"{place}.attn_mask"] = torch.zeros(4, 64, 64)
    return state


def say(call, *words):
    """Check that a call is refused in one line that holds some words."""
    with pytest.raises(ConfigError) as refused:
        call()
    text = str(refused.value)
    assert "\n" not in text
    assert all(word in text for word in words), text


@pytest.mark.parametrize("upsampler", UPSAMPLERS)
@pytest.mark.parametrize(("scale", "body", "planes"), [(2, "1conv", 3), (4, "3conv", 3), (4, "1conv", 1)])
def test_a_file_of_the_authors_says_which_network_it_is(tmp_path, upsampler, scale, body, planes):
    made = network(upsampler, scale, body=body, planes=planes)
    torch.save({"params_ema": as_published(made)}, tmp_path / "model.pth")
    loaded = load_checked(tmp_path / "model.pth", "upscaler")
    # A network without such layers does not say how wide they are.
    features = {"features": 64} if upsampler == "pixelshuffledirect" else {}
    wanted = {name: value for name, value in made.config.items() if not name.startswith("_")} | features
    assert {name: loaded.config[name] for name in wanted} == wanted | {"depths": [2, 1]}
    with torch.no_grad():
        assert torch.equal(loaded(U[:, :planes]), made(U[:, :planes]))


def test_safetensors_and_bare_tables_are_read_too(tmp_path):
    state = as_published(network())
    torch.save(state, tmp_path / "bare.pth")
    halves = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    save_file(halves, tmp_path / "half.safetensors")
    for name in ("bare.pth", "half.safetensors"):
        assert load_checked(tmp_path / name, "upscaler").conv_first.weight.dtype == torch.float32


def tampered(**changes):
    state = as_published(network())
    for name, tensor in changes.items():
        if tensor is None:
            del state[name]
        else:
            state[name] = tensor
    return state


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"norm.weight": None}, ("norm.weight", "missing")),
        ({"absolute_pos_embed": torch.zeros(1, 64, 12)}, ("absolute_pos_embed", "not of SwinIR")),
        ({"conv_last.weight": torch.zeros(3, 9, 3, 3)}, ("conv_last.weight", "[3, 9, 3, 3]", "[3, 8, 3, 3]")),
        ({"norm.bias": torch.full((12,), torch.nan)}, ("norm.bias", "NaN")),
        ({"conv_first.weight": None}, ("no SwinIR", "conv_first.weight")),
        (
            {"upsample.0.weight": torch.zeros(72, 8, 3, 3), "upsample.0.bias": torch.zeros(72)},
            ("enlarges by 3",),
        ),
        ({"upsample.0.weight": None, "upsample.0.bias": None}, ("noise or JPEG",)),
    ],
)
def test_what_is_no_such_network_is_refused_by_its_tensor(tmp_path, changes, words):
    torch.save(tampered(**changes), tmp_path / "model.pth")
    say(lambda: load_checked(tmp_path / "model.pth", "upscaler"), "upscaler.start_from", "model.pth", *words)


BLOCK = "layers.0.residual_group.blocks.0"
SHAPING = (
    *("conv_first.weight", "conv_before_upsample.0.weight", "upsample.0.weight", "norm.weight"),
    *(f"{BLOCK}.attn.relative_position_bias_table", f"{BLOCK}.mlp.fc1.weight"),
)
"""Tensors from which settings follow, and one from which none does."""


@pytest.mark.parametrize(
    "shape", [(), (0,), (3,), (8, 0, 3, 3), (0, 8, 3, 3), (12, 12, 3, 3), (1, 1, 1, 1, 1)]
)
def test_no_shape_of_any_tensor_is_more_than_refused(tmp_path, shape):
    state = as_published(network())
    for name in SHAPING:
        if tuple(state[name].shape) != shape:
            save_file({**state, name: torch.zeros(shape)}, tmp_path / "model.safetensors")
            say(lambda: load_checked(tmp_path / "model.safetensors", "upscaler"), "model.safetensors")


def test_damaged_files_are_refused(tmp_path):
    (tmp_path / "model.pth").write_bytes(b"no weights")
    say(lambda: load_checked(tmp_path / "model.pth", "upscaler"), "model.pth", "fetch it again")


def test_a_published_folder_is_read_again(tmp_path):
    made = network("nearest+conv", 4)
    made.save_pretrained(tmp_path / "a", safe_serialization=True)
    with torch.no_grad():
        assert torch.equal(load_checked(tmp_path / "a", "upscaler")(U), made(U))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"width": 24}, ("conv_after_body.bias", "shape")),
        ({"width": 10**9}, ("describes no SwinIR",)),
        ({"depths": [2] * 1000}, ("describes no SwinIR",)),
        ({"upsampler": "magic"}, ("describes no SwinIR",)),
        ({"scale": 3}, ("describes no SwinIR",)),
        ({"heads": 5}, ("describes no SwinIR",)),
        ({"_class_name": "UNet2DModel"}, ("describes no SwinIR",)),
        (None, ("config.json", "no such file")),
    ],
)
def test_a_folder_whose_settings_are_not_those_of_its_weights_is_refused(tmp_path, changes, words):
    network().save_pretrained(tmp_path / "a", safe_serialization=True)
    path = tmp_path / "a" / "config.json"
    if changes is None:
        path.unlink()
    else:
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    say(lambda: load_checked(tmp_path / "a", "upscaler"), *words)


def test_a_folder_that_lacks_its_weights_is_refused(tmp_path):
    network().save_pretrained(tmp_path / "a", safe_serialization=True)
    weights = load_file(tmp_path / "a" / WEIGHTS)
    (tmp_path / "a" / WEIGHTS).unlink()
    say(lambda: load_checked(tmp_path / "a", "upscaler"), WEIGHTS, "no such file")
    save_file({**weights, "norm.bias": torch.full((12,), torch.inf)}, tmp_path / "a" / WEIGHTS)
    say(lambda: load_checked(tmp_path / "a", "upscaler"), "norm.bias", "infinite")


@pytest.mark.parametrize(
    ("settings", "asked", "words"),
    [
        ({}, ("light", 2, 3), ("width", "12", "60", "upscaler.preset")),
        ({"width": 60, "depths": (6,) * 4, "heads": 6}, ("light", 4, 3), ("scale", "upscaler.scale")),
        ({"width": 60, "depths": (6,) * 4, "heads": 6}, ("light", 2, 1), ("planes", "pictures.planes")),
    ],
)
def test_weights_of_other_settings_name_the_setting_to_change(tmp_path, settings, asked, words):
    network(**settings).save_pretrained(tmp_path / "a", safe_serialization=True)
    torch.save(as_published(network(**settings)), tmp_path / "a.pth")
    for path in (tmp_path / "a", tmp_path / "a.pth"):
        say(lambda path=path: check_fit(path, *asked, "upscaler"), "upscaler.start_from", *words)
