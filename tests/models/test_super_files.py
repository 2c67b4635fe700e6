"""Weights of super-resolution: those of the public code, and published folders that differ."""

import json

import pytest
import torch

from astro_dist.engine.errors import ConfigError
from astro_dist.models.super_files import check_fit, load_checked
from astro_dist.models.super_net import SuperNet
from astro_dist.models.super_presets import settings_of
from tests.models.public_sr3 import PublicSR3

CODE = settings_of("code", 8, 3)


@pytest.fixture(scope="module")
def public():
    torch.manual_seed(1)
    return PublicSR3(8, (1, 2, 4, 8, 8), 2, (3,), 8).eval()


def write(tmp_path, tensors):
    file = tmp_path / "I640000_E37_gen.pth"
    torch.save(tensors, file)
    return file


def test_weights_of_the_public_code_give_its_network(public, tmp_path):
    """With the names of its files, which hold the noise schedule beside the network."""
    tensors = {f"denoise_fn.{name}": tensor for name, tensor in public.state_dict().items()}
    file = write(tmp_path, {**tensors, "betas": torch.zeros(2000)})
    check_fit(file, CODE, "superres")
    network = load_checked(file, CODE, "superres")
    base, noisy, gamma = torch.randn(2, 3, 32, 32), torch.randn(2, 3, 32, 32), torch.tensor([0.2, 0.9])
    with torch.no_grad():
        theirs, ours = public(base, noisy, gamma.sqrt()), network(noisy, gamma, base)
    assert theirs.std() > 0.05
    torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=1e-4)


def test_the_preset_has_the_size_of_the_public_network():
    with torch.device("meta"):
        network = PublicSR3(64, (1, 2, 4, 8, 8), 2, (3,), 32)
    assert sum(p.numel() for p in network.parameters()) == pytest.approx(97.8e6, rel=1e-3)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.pop("mid.0.attn.out.bias"), "tensor 'mid.0.attn.out.bias' is missing"),
        (lambda t: t.update({"downs.99.conv.bias": torch.zeros(1)}), "downs.99.conv.bias' is not of this"),
        (lambda t: t["downs.0.weight"].fill_(torch.nan), "downs.0.weight holds NaN"),
        (lambda t: t.update({"downs.0.weight": torch.zeros(8, 3, 3, 3)}), r"shape \[8, 3, 3, 3\]"),
        (lambda t: t.clear(), "no network of the public code of SR3"),
    ],
)
def test_files_of_other_networks_are_refused_in_a_line(public, tmp_path, change, said):
    tensors = {name: tensor.clone() for name, tensor in public.state_dict().items()}
    change(tensors)
    with pytest.raises(ConfigError, match=f"^superres.start_from: .*{said}") as caught:
        check_fit(write(tmp_path, tensors), CODE, "superres")
    assert "\n" not in str(caught.value)


def test_a_file_is_for_preset_code(public, tmp_path):
    file = write(tmp_path, public.state_dict())
    with pytest.raises(ConfigError, match=r"set superres\.preset to code"):
        check_fit(file, settings_of("tiny", 8, 3), "superres")


def folder_of(tmp_path, name, **changes):
    SuperNet(**settings_of(name, 8, 1)).save_pretrained(tmp_path, safe_serialization=True)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return tmp_path


def test_a_folder_loads_where_it_fits_and_says_what_differs(tmp_path):
    folder = folder_of(tmp_path, "tiny")
    for settings in (None, settings_of("tiny", 8, 1)):
        assert load_checked(folder, settings, "superres").config.level == "log_snr"
    for other, said in (
        (settings_of("tiny", 16, 1), r"has the preset tiny \(width 8\), the settings say tiny \(16\); set "),
        (settings_of("tiny", 8, 3), "has the planes 1, the settings say 3"),
        (
            settings_of("local", 8, 1),
            "the settings say local .*set superres.preset to tiny and superres.width to 8",
        ),
    ):
        with pytest.raises(ConfigError, match=said):
            check_fit(folder, other, "superres")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"residual_scale": "1e9"}, "impossible facts"),
        ({"beam_pix": [1, "a"]}, "impossible facts"),
        ({"sizes": {"width": 10**9, "blocks": 10**9}}, "a network of no preset"),
        ({"_class_name": "SwinIR"}, "no network of super-resolution"),
    ],
)
def test_hostile_folders_are_refused(tmp_path, changes, said):
    with pytest.raises(ConfigError, match=said):
        load_checked(folder_of(tmp_path, "local", **changes), None, "superres")
