import subprocess
import sys
from pathlib import Path

import pytest
import torch

from astro_dist.engine.config import Section
from astro_dist.engine.errors import ConfigError
from astro_dist.engine.work import MachineConfig, Run, Settings
from astro_dist.models import device


class Training(Section):
    threads: int
    precision: str


SECTIONS = {
    "diffusion": Training(threads=7, precision="bf16"),
    "autoencoder": Training(threads=1, precision="no"),
}


def make_run(own="autoencoder", **machine):
    settings = Settings("toy", 3, MachineConfig(**machine), SECTIONS, own)
    return Run(Path("."), settings, stage="autoencoder")


def test_importing_the_module_does_not_import_torch():
    code = "import sys, astro_dist.models.device; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_pin_fixes_threads_and_kernels():
    device.pin(1)
    assert torch.get_num_threads() == 1
    assert torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize("wish", ["bf16", "no"])
def test_a_stated_precision_is_kept(wish):
    assert device.resolve_precision(wish, "cpu") == wish


def test_auto_follows_the_hardware(monkeypatch):
    for native, expected in ((True, "bf16"), (False, "no")):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda native=native: native)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
        assert device.resolve_precision("auto", "cpu") == expected


def test_autocast_follows_the_precision():
    for precision, dtype in (("bf16", torch.bfloat16), ("no", torch.float32)):
        with device.autocast("cpu", precision):
            assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype


@pytest.mark.parametrize("machine", [{"gpus": 0}, {"fake_gpus": True}])
def test_a_refused_gpu_is_not_used(monkeypatch, machine):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert device.choose_device(make_run()) == "cuda"
    assert device.choose_device(make_run(**machine)) == "cpu"


@pytest.mark.parametrize("pinned", [True, False])
def test_a_promised_gpu_that_torch_cannot_use_is_an_error(monkeypatch, tmp_path, pinned):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    promised = make_run(gpus=None if pinned else 1)
    if pinned:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
        assert device.choose_device(promised) == "cpu"
        (tmp_path / "nvidia-smi").write_text("#!/bin/sh\necho Some GPU\n")
        (tmp_path / "nvidia-smi").chmod(0o755)
    with pytest.raises(ConfigError, match=r"install a CUDA build .* machine\.gpus=0"):
        device.choose_device(promised)
    assert device.choose_device(make_run(gpus=0)) == "cpu"
    assert device.choose_device(make_run(gpus=1, fake_gpus=True)) == "cpu"


def test_numerics_name_what_the_bits_depend_on():
    facts = device.numerics(make_run(gpus=0))
    assert facts["precision"] == "no"
    assert facts["threads"] == 1
    assert facts["torch"] == torch.__version__
    other = device.numerics(make_run("diffusion", gpus=0))
    assert (other["precision"], other["threads"]) == ("bf16", 7)
    assert set(facts) == {"device", "capability", "precision", "threads", "torch", "diffusers", "numpy"}
