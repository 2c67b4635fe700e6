import os

import pytest
import torch

from astro_dist import doctor


def test_the_cuda_of_torch_is_found_without_importing_it():
    assert doctor._torch_cuda() == torch.version.cuda


@pytest.mark.parametrize(
    ("cuda", "gpu", "good"), [(None, "Some GPU", False), (None, "", True), ("12.6", "Some GPU", True)]
)
def test_gpus_that_torch_cannot_use_are_marked(monkeypatch, tmp_path, cuda, gpu, good):
    (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\necho {gpu}\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(doctor, "_torch_cuda", lambda: cuda)
    rows = {what: (finding, mark) for what, finding, mark in doctor.describe_packages()}
    finding, mark = rows["torch build"]
    assert mark == good
    assert ("nvidia-smi lists GPUs" in finding) != good
    assert cuda is None or cuda in finding
