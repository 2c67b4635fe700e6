"""The ranks of a training over the nodes of a job: the losses of one node, and resumed after a power cut."""

import json
import re
import shutil
import subprocess
import sys

import pytest

from astro_dist.files import tree_digests
from tests.end_to_end.conftest import TRAIN_TINY, run, shrunk
from tests.slurm.conftest import ROOT, batch, submit, wait_for_state, wait_until

OPTIONS = ("-N2", "--gpus-per-node=2", "--cpus-per-task=4", "--mem-per-cpu=100", f"--chdir={ROOT}")
STEPS = 400


def curve(out):
    """``{step: loss}`` of a training."""
    rows = [json.loads(line) for line in (out / "logs/autoencoder.curve.jsonl").read_text().splitlines()]
    return {row["step"]: row["loss"] for row in rows}


def test_four_ranks_on_two_nodes_give_the_losses_of_four_ranks_on_one(slurm_cluster, tmp_path):
    toy = [sys.executable, "-m", "tests.slurm.toy_training"]
    script = batch(tmp_path / "job.sh", " ".join([*toy, f"{tmp_path}/nodes", "4"]))
    job = submit(slurm_cluster, *OPTIONS, f"--output={tmp_path}/log", script=script)
    subprocess.run([*toy, tmp_path / "alone", "4"], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    facts = wait_for_state(slurm_cluster, job, "COMPLETED", "FAILED")
    log = (tmp_path / "log").read_text()
    assert facts["JobState"] == "COMPLETED", log
    seats = re.findall(r"rank (\d) of 4 is on (n\d), interface eth0", log)
    assert sorted(seats) == [("0", "n1"), ("1", "n1"), ("2", "n2"), ("3", "n2")]
    assert curve(tmp_path / "nodes") == pytest.approx(curve(tmp_path / "alone"), rel=1e-6)
    weights = [tree_digests(tmp_path / side / "models") for side in ("nodes", "alone")]
    assert weights[0] == weights[1]


def arguments(out):
    settings = {"threads": 1, "steps": STEPS, "checkpoint_every_s": 0.1}
    extra = {f"autoencoder.{name}": value for name, value in settings.items()}
    return ["autoencoder", str(TRAIN_TINY), "--out", str(out), *shrunk({**extra, "machine.fake_gpus": True})]


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_a_node_without_power_costs_no_more_than_the_steps_since_the_checkpoint(nodes_on, tmp_path):
    """The script that users have, its requeue by Slurm included, and the command it stands for."""
    sky, out = tmp_path / "alone", tmp_path / "nodes"
    done = run(sky, "--to", "cutouts")
    assert done.returncode == 0, done.stderr
    shutil.copytree(sky, out)
    line = [sys.executable, "-m", "astro_dist", "train", *arguments(sky), "--on", "serial"]
    done = subprocess.run([*line, "--set", "autoencoder.ranks=4"], check=False, cwd=ROOT)
    assert done.returncode == 0
    script = (ROOT / "slurm" / "train.sbatch", *arguments(out))
    log = f"--output={tmp_path}/log"
    job = int(nodes_on.run("sbatch", "--parsable", *OPTIONS, log, *map(str, script)).stdout)
    wait_until(lambda: list(out.glob("checkpoints/*/step-*")))
    nodes_on.off("n2")
    wait_until(lambda: nodes_on.states()[1].startswith("down"))
    saved = max(int(path.name.removeprefix("step-")) for path in out.glob("checkpoints/*/step-*"))
    assert saved < STEPS
    nodes_on.on("n2")
    facts = wait_for_state(nodes_on, job, "COMPLETED", "FAILED", patience_s=1800)
    assert facts["JobState"] == "COMPLETED", (tmp_path / "log").read_text()
    assert facts["Restarts"] == "1"
    assert curve(out) == pytest.approx(curve(sky), rel=1e-6)
    assert tree_digests(out / "models") == tree_digests(sky / "models")
