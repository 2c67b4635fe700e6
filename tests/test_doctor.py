import os
import tomllib
from pathlib import Path

import pytest
import torch
from packaging.requirements import Requirement

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


def test_extras_are_those_of_the_project_and_what_is_missing_is_named(monkeypatch):
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    declared = {
        extra: tuple(sorted(Requirement(line).name.lower() for line in lines))
        for extra, lines in project["optional-dependencies"].items()
        if extra not in ("all", "test")
    }
    assert {e: tuple(sorted(map(str.lower, names))) for e, names in doctor.EXTRAS.items()} == declared
    needed = {Requirement(line).name for line in project["dependencies"]}
    assert set(doctor._required()) == needed >= set(doctor.PACKAGES)
    gone = {"furo", "torch", "jinja2", "zarr"}
    monkeypatch.setattr(doctor, "_is_installed", lambda name: name not in gone)
    rows = {what: (finding, good) for what, finding, good in doctor.describe_packages()}
    assert {what for what, (finding, good) in rows.items() if finding == doctor.MISSING and not good} == {
        *("torch", "jinja2", "zarr")
    }
    assert "torch build" not in rows
    assert rows["[docs]"] == ("without furo: pip install 'astro_dist[docs]'", False)
    assert rows["[flare]"] == ("installed", True)
