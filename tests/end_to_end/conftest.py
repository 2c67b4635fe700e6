"""The whole pipeline at toy size: the training example shrunk with ``--set``."""

import fcntl
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TRAIN_TINY = ROOT / "configs" / "train_tiny.yaml"
SHRINK = {
    "simulate.shape": [640, 704],
    "cutouts.shard": 16,
    # Two threads wait for each other whenever something else has a core.
    "autoencoder.threads": 1,
    "diffusion.threads": 1,
    "autoencoder.steps": 12,
    "autoencoder.batch_size": 4,
    "autoencoder.crop_pix": 32,
    "autoencoder.checkpoint_every_s": 1,
    "diffusion.steps": 12,
    "diffusion.batch_size": 4,
    "diffusion.crop_pix": 32,
    "diffusion.checkpoint_every_s": 1,
    "generate.objects": 5,
    "generate.steps": 2,
    "generate.micro_batch": 4,
    "generate.per_shard": 8,
    "generate.max_stamps_per_object": 100,
    # What so short a training draws is noise with bumps: take any of them.
    "generate.accept.min_snr": 0.2,
    "generate.accept.threshold_snr": 0.1,
    "generate.accept.min_iou": 0.0,
    "generate.accept.min_beam_fraction": 0.0,
    "generate.accept.max_residual": 1.0,
    "assemble.shape": [500, 620],
    "assemble.objects": 12,
    "assemble.reuse": 3,
    "assemble.band_rows": 128,
}

EVALUATED = {
    "evaluate.enabled": True,
    "evaluate.stamps": 4,
    "evaluate.per_task": 4,
    "evaluate.resamples": 4,
    "evaluate.splits": ["validation", "test"],
    "byol.preset": "tiny",
    "byol.steps": 2,
    "byol.batch_size": 4,
    "byol.crop_pix": 32,
    "byol.threads": 1,
    "segmenter.preset": "tiny",
    "segmenter.steps": 2,
    "segmenter.batch_size": 4,
    "segmenter.crop_pix": 32,
    "segmenter.threads": 1,
}


def shrunk(extra=None):
    """The ``--set`` arguments of the toy run."""
    settings = {**SHRINK, **(extra or {})}
    return [part for key, value in settings.items() for part in ("--set", f"{key}={json.dumps(value)}")]


def call(command, *arguments, extra=None, config=TRAIN_TINY):
    return [sys.executable, "-m", "astro_dist", command, str(config), *map(str, arguments), *shrunk(extra)]


def run(out, *arguments, extra=None, config=TRAIN_TINY, preexec=None):
    """Run the toy pipeline in ``out`` and return what it printed and its exit code."""
    line = call("run", "--out", out, *arguments, extra=extra, config=config)
    environment = {**os.environ, "PYTHONWARNINGS": "default"}
    return subprocess.run(
        line,
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=environment,
        preexec_fn=preexec,
    )


def stable_digests(out):
    """``{product: {file: sha256}}`` of every product that must be equal byte for byte."""
    manifest = json.loads((Path(out) / "manifest.json").read_text())
    return {name: p["sha256"] for name, p in manifest["products"].items() if p["byte_stable"]}


@pytest.fixture(scope="session")
def toy_run(shared_folder):
    """One undisturbed run in one process and what it printed; tests that change anything copy it first.

    The first of the processes that pytest runs in makes it for all.
    """
    out, note = shared_folder / "toy" / "run", shared_folder / "toy" / "done.json"
    with open(shared_folder / "toy.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not note.exists():
            out.parent.mkdir(exist_ok=True)
            done = run(out, "--on", "serial")
            assert done.returncode == 0, done.stderr
            note.write_text(json.dumps([done.args, done.returncode, done.stdout, done.stderr]))
    return out, subprocess.CompletedProcess(*json.loads(note.read_text()))


@pytest.fixture(scope="session")
def whole(toy_run, shared_folder):
    """The toy run, evaluated; tests that change anything copy it first."""
    out = shared_folder / "evaluated" / "run"
    with open(shared_folder / "evaluated.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (shared_folder / "evaluated" / "done").exists():
            shutil.copytree(toy_run[0], out)
            done = run(out, "--on", "serial", extra=EVALUATED)
            assert done.returncode == 0, done.stderr
            (shared_folder / "evaluated" / "done").touch()
    return out
