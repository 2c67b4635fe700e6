"""Evaluation is asked for after the fact: the judges are trained, and nothing else is done again."""

import json
import shutil
import subprocess
import sys

import torch
from safetensors.torch import load_file

from astro_dist.models.denoiser import load_denoiser
from tests.end_to_end.conftest import ROOT, TRAIN_TINY, run, shrunk, stable_digests

TINY = {
    f"{stage}.{key}": value
    for stage in ("byol", "segmenter")
    for key, value in {"preset": "tiny", "steps": 3, "batch_size": 4, "crop_pix": 32}.items()
}
EVALUATE = {
    **TINY,
    "evaluate.enabled": True,
    "evaluate.stamps": 4,
    "evaluate.resamples": 4,
    "evaluate.splits": ["validation", "test"],
}


def test_a_finished_run_is_evaluated(toy_run, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(toy_run[0], out)
    before = stable_digests(out)
    done = run(out, "--on", "serial", extra=EVALUATE)
    assert done.returncode == 0, done.stderr
    assert f"figures: {out}/evaluation/metrics.json" in done.stdout
    after = stable_digests(out)
    assert set(after) - set(before) == {"models/byol", "models/segmenter", "evaluation"}
    assert {name: after[name] for name in before} == before
    assert '<section id="evaluation">' in (out / "report.html").read_text()
    # Whoever does not evaluate again still has it in the manifest and on the page.
    assert run(out, "--on", "serial").returncode == 0
    manifest = json.loads((out / "manifest.json").read_text())
    assert "evaluation" in manifest["products"]
    _check_shipping(out, tmp_path / "weights")
    report = json.loads((out / "evaluation" / "metrics.json").read_text())
    assert report["splits"] == ["validation", "test"]
    assert report["images_per_set"] >= 2


def _check_shipping(out, weights):
    """The recipe finds everything made, and leaves weights that a training can begin with."""
    line = [sys.executable, "jobs/ship_weights.py", "toy", str(TRAIN_TINY), "--out", str(out)]
    few = {"masks.steps": 2, "masks.batch_size": 2, "masks.threads": 1}
    line += ["--weights", str(weights), "--on", "serial", *shrunk({**EVALUATE, **few})]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "segmentation_ratio" in done.stdout
    folder = weights / "toy" / "diffusion"
    stored = load_file(folder / "unet" / "diffusion_pytorch_model.safetensors")
    assert {value.dtype for value in stored.values()} == {torch.float16}
    assert load_denoiser(folder).config.target == "source"
    assert all((weights / "toy" / name / "config.json").exists() for name in ("autoencoder", "masks"))
    assert (weights / "toy" / "metrics.json").exists()
