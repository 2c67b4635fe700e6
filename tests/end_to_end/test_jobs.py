import os
import shutil
import subprocess
import sys

from tests.end_to_end.conftest import ROOT, TRAIN_TINY, shrunk


def test_the_submitit_recipe_runs_a_pipeline(toy_run, tmp_path):
    """On this machine through submitit's local executor: a finished run is found finished."""
    out, _ = toy_run
    logs = tmp_path / "logs"
    line = [sys.executable, "jobs/submit_pipeline.py", str(TRAIN_TINY), "--cluster", "local", "--wait"]
    line += ["--logs", str(logs), "--out", str(out), *shrunk()]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert f"report: {out / 'report.html'}" in done.stdout
    assert list(logs.iterdir())


def test_recipes_are_short_and_scripts_are_shell(tmp_path):
    for path in (ROOT / "jobs").glob("*.py"):
        assert len(path.read_text().splitlines()) <= 40
    for path in [*(ROOT / "slurm").glob("*.sbatch"), ROOT / "slurm" / "env.sh"]:
        assert len(path.read_text().splitlines()) <= 40
        assert subprocess.run(["bash", "-n", str(path)], check=False).returncode == 0


def test_the_sbatch_script_passes_on_the_exit_code_and_requeues_a_stopped_run(tmp_path):
    """Stand-ins for astro-dist and scontrol say how they were called; the script itself is the real one."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, body in {
        "astro-dist": 'exit "$FAKE_CODE"',
        "scontrol": f'echo "$@" >> {tmp_path}/scontrol',
    }.items():
        (tools / name).write_text(f"#!/bin/bash\n{body}\n")
        (tools / name).chmod(0o755)
    for code, requeued in ((0, False), (2, False), (75, True)):
        environment = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}", "SLURM_JOB_ID": "7"}
        line = [shutil.which("bash"), str(ROOT / "slurm/run.sbatch"), "c.yaml"]
        done = subprocess.run(line, env={**environment, "FAKE_CODE": str(code)}, check=False, cwd=ROOT)
        assert done.returncode == code
        assert (tmp_path / "scontrol").exists() == requeued
    assert (tmp_path / "scontrol").read_text() == "requeue 7\n"
