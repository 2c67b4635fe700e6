"""The GPUs of a process as Slurm names them: counted as torch counts them, by doctor and for the workers."""

import os

import pytest
from torch.cuda import _parse_visible_devices

from astro_dist.engine.work import MachineConfig
from astro_dist.workers import machine
from astro_dist.workers.devices import named_devices
from astro_dist.workers.processes import visible_gpus

SLICES = "MIG-11111111-2222,MIG-33333333-4444"
GPUS = "GPU-8932f937-d72c-4106-c12f-20bd9faed9f6,GPU-2222"
VALUES = {
    **{"": 0, "NoDevFiles": 0, "-1": 0, "none": 0, ",": 0},
    **{"0": 1, "1": 1, "0,1": 2, " 1, 0 ": 2, "2,3,0": 3, "0,-1,1": 1, "0,,1": 1, "0,0": 0, "1gpu": 1},
    **{GPUS: 2, SLICES: 2, "GPU-2222,0": 1, "MIG-GPU-8932/1/0": 1, f"{SLICES},{SLICES}": 0},
}


@pytest.mark.parametrize("value", VALUES)
def test_the_variable_is_read_as_torch_reads_it(monkeypatch, value):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    named = named_devices()
    assert len(named) == VALUES[value]
    assert [int(n) if n.isdigit() else n for n in named] == _parse_visible_devices()


def test_without_the_variable_nothing_is_named(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert named_devices() is None
    assert visible_gpus(3) == ["0", "1", "2"]


@pytest.fixture
def node(tmp_path, monkeypatch):
    """Put an nvidia-smi on the path that lists some cards."""

    def make(*cards):
        lines = "".join(f"echo '{card}'\n" for card in cards)
        (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{lines}")
        (tmp_path / "nvidia-smi").chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")

    return make


@pytest.mark.parametrize(
    ("value", "found", "first"),
    [
        ("NoDevFiles", [], []),
        ("", [], []),
        ("2,0", ["C", "A"], ["2", "0"]),
        ("1,7,0", ["B"], ["1"]),
        ("GPU-1,GPU-2", ["A", "A"], ["GPU-1", "GPU-2"]),
        (SLICES, [f"A ({one})" for one in SLICES.split(",")], SLICES.split(",")),
    ],
)
def test_doctor_and_workers_use_the_same_devices(node, monkeypatch, value, found, first):
    node("A", "B", "C")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    assert machine.list_gpus() == found
    chosen = machine.choose_machine(MachineConfig())
    assert chosen.gpus == len(found)
    assert visible_gpus(chosen.gpus) == first
    rows = {what: (finding, good) for what, finding, good in machine.describe_machine()}
    finding, good = rows["GPUs"]
    assert good == bool(found)
    assert finding == ", ".join(found) or finding.startswith(f"none (CUDA_VISIBLE_DEVICES is {value!r})")


def test_slices_of_one_card_are_devices_each(node, monkeypatch):
    node("H100")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", SLICES)
    assert machine.choose_machine(MachineConfig()).gpus == 2
