import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.end_to_end.conftest import ROOT, TRAIN_TINY, shrunk


def test_the_submitit_recipe_runs_a_pipeline(toy_run, tmp_path):
    """On this machine through submitit's local executor: a finished run is found finished."""
    out, logs = tmp_path / "run", tmp_path / "logs"
    shutil.copytree(toy_run[0], out)
    line = [sys.executable, "jobs/submit_pipeline.py", str(TRAIN_TINY), "--cluster", "local", "--wait"]
    line += ["--logs", str(logs), "--out", str(out), *shrunk()]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"report: {out / 'report.html'}" in done.stdout
    assert list(logs.iterdir())


ACCELERATE = ["bash", "jobs/train_accelerate.sh", "2"]
RAY = [sys.executable, "jobs/train_ray.py", "2"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
TORCHRUN += ["astro_dist", "train"]
ITSELF = [sys.executable, "-m", "astro_dist", "train"]
RANKS = ["--set", "byol.ranks=2"]
TOY = {"preset": "tiny", "steps": 4, "batch_size": 4, "crop_pix": 32, "threads": 1}


@pytest.fixture(scope="module")
def trained(toy_run):
    """The digests of what each launcher published, by its name."""
    return {}


@pytest.mark.parametrize(
    ("start", "extra"),
    [
        pytest.param(ACCELERATE, [], id="accelerate"),
        pytest.param(RAY, [], id="ray"),
        pytest.param(TORCHRUN, RANKS, id="torchrun", marks=pytest.mark.soak),
        pytest.param(ITSELF, RANKS, id="itself", marks=pytest.mark.soak),
    ],
)
def test_every_launcher_trains_to_the_same_bytes(toy_run, trained, tmp_path, start, extra):
    """Two ranks of one training, started by Accelerate, Ray Train, torchrun or astro-dist itself."""
    out = tmp_path / "run"
    shutil.copytree(toy_run[0], out)
    settings = [part for key, value in TOY.items() for part in ("--set", f"byol.{key}={value}")]
    line = [*start, "byol", str(TRAIN_TINY), "--out", str(out), *shrunk(), *settings, *extra]
    tools = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": tools, "ACCELERATE_USE_CPU": "true", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    published = json.loads((out / "ledger" / "byol.json").read_text())
    assert published["facts"]["steps"] == 4
    assert published["basis"]["settings"]["byol"]["ranks"] == 2
    trained[start[1]] = published["files"]
    assert len({json.dumps(files) for files in trained.values()}) == 1


def test_recipes_are_short_and_scripts_are_shell(tmp_path):
    for path in (ROOT / "jobs").glob("*.*"):
        assert len(path.read_text().splitlines()) <= 40
    for path in [*(ROOT / "slurm").glob("*.sbatch"), *(ROOT / "slurm").glob("*.sh")]:
        assert len(path.read_text().splitlines()) <= 40
    for path in [*(ROOT / "slurm").glob("*.s*"), *(ROOT / "jobs").glob("*.sh")]:
        assert subprocess.run(["bash", "-n", str(path)], check=False).returncode == 0


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_the_check_of_gpus_works_on_cores(tmp_path):
    """With fake GPUs: its claims hold, so that on a machine with GPUs a claim that fails is about them."""
    table = tmp_path / "gpus.md"
    tools = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    line = [shutil.which("bash"), "slurm/gpu_check.sh", "--rehearse", str(table)]
    done = subprocess.run(line, cwd=ROOT, env={**os.environ, "PATH": tools}, check=False)
    print(table.read_text())
    assert done.returncode == 0
    assert table.read_text().count("| yes |") == 8


def test_the_sbatch_script_passes_on_the_exit_code_and_requeues_a_stopped_run(tmp_path):
    """Stand-ins for astro-dist and scontrol say how they were called; the script itself is the real one."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, body in {
        "astro-dist": 'exit "$FAKE_CODE"',
        "scontrol": f'echo "$@" >> {tmp_path}/scontrol',
        "squeue": 'echo "$FAKE_STATE"',
    }.items():
        (tools / name).write_text(f"#!/bin/bash\n{body}\n")
        (tools / name).chmod(0o755)
    cases = ((0, "RUNNING", False), (2, "RUNNING", False), (75, "COMPLETING", False), (75, "RUNNING", True))
    for code, state, requeued in cases:
        environment = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}", "SLURM_JOB_ID": "7"}
        environment |= {"FAKE_CODE": str(code), "FAKE_STATE": state}
        line = [shutil.which("bash"), str(ROOT / "slurm/run.sbatch"), "c.yaml"]
        done = subprocess.run(line, env=environment, check=False, cwd=ROOT)
        assert done.returncode == code
        assert (tmp_path / "scontrol").exists() == requeued
    assert (tmp_path / "scontrol").read_text() == "requeue 7\n"
