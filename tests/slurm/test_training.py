"""The ranks of a training over the nodes of a job: the losses of one node, and resumed after a power cut."""

import json
import re
import shutil
import subprocess
import sys

import pytest

from astro_dist.files import tree_digests
from tests.end_to_end.conftest import TRAIN_TINY, run, shrunk
from tests.slurm.conftest import ROOT, wait_for_state, wait_until

OPTIONS = ("-N2", "--gpus-per-node=2", "--cpus-per-task=4", "--mem-per-cpu=100", f"--chdir={ROOT}")
SCRIPT = ROOT / "slurm" / "train.sbatch"


@pytest.fixture(scope="module")
def sky(tmp_path_factory):
    """A run directory that goes as far as cutouts."""
    out = tmp_path_factory.mktemp("sky") / "run"
    done = run(out, "--workers", 2, "--to", "cutouts")
    assert done.returncode == 0, done.stderr
    return out


def arguments(out, steps):
    settings = {"threads": 1, "steps": steps, "checkpoint_every_s": 0.1}
    extra = {f"autoencoder.{name}": value for name, value in settings.items()}
    return ["autoencoder", str(TRAIN_TINY), "--out", str(out), *shrunk({**extra, "machine.fake_gpus": True})]


def start(cluster, out, steps):
    """Submit the script that users have, for two nodes with two GPUs each."""
    log = f"--output={out.parent}/log"
    return int(cluster.run("sbatch", "--parsable", *OPTIONS, log, SCRIPT, *arguments(out, steps)).stdout)


def losses(out):
    rows = [json.loads(line) for line in (out / "logs/autoencoder.curve.jsonl").read_text().splitlines()]
    return {row["step"]: row["loss"] for row in rows}


@pytest.fixture(scope="module")
def alone(sky, tmp_path_factory):
    """The same training on four ranks of this machine."""

    def train(steps):
        out = tmp_path_factory.mktemp("alone") / "run"
        shutil.copytree(sky, out)
        line = [sys.executable, "-m", "astro_dist", "train", *arguments(out, steps)]
        line += ["--on", "serial", "--set", "autoencoder.ranks=4"]
        done = subprocess.run(line, capture_output=True, text=True, check=False, cwd=ROOT)
        assert done.returncode == 0, done.stderr
        return out

    return train


def test_four_ranks_on_two_nodes_give_the_losses_of_four_ranks_on_one(slurm_cluster, sky, alone, tmp_path):
    shutil.copytree(sky, tmp_path / "run")
    job = start(slurm_cluster, tmp_path / "run", steps=20)
    reference = alone(20)
    facts = wait_for_state(slurm_cluster, job, "COMPLETED", "FAILED")
    log = (tmp_path / "log").read_text()
    assert facts["JobState"] == "COMPLETED", log
    seats = re.findall(r"rank (\d) of 4 is on (n\d), interface eth0", log)
    assert sorted(seats) == [("0", "n1"), ("1", "n1"), ("2", "n2"), ("3", "n2")]
    assert losses(tmp_path / "run") == pytest.approx(losses(reference), rel=1e-6)
    same = [tree_digests(out / "models/autoencoder") for out in (tmp_path / "run", reference)]
    assert same[0] == same[1]


@pytest.mark.soak
def test_a_node_without_power_costs_no_more_than_the_steps_since_the_checkpoint(
    nodes_on, sky, alone, tmp_path
):
    out = tmp_path / "run"
    shutil.copytree(sky, out)
    job = start(nodes_on, out, steps=400)
    wait_until(lambda: list(out.glob("checkpoints/*/step-*")))
    nodes_on.off("n2")
    wait_until(lambda: nodes_on.states()[1].startswith("down"))
    (saved,) = list(out.glob("checkpoints/*"))[:1]
    steps = max(int(path.name.removeprefix("step-")) for path in saved.glob("step-*"))
    nodes_on.on("n2")
    reference = alone(400)
    facts = wait_for_state(nodes_on, job, "COMPLETED", "FAILED", patience_s=400)
    assert facts["JobState"] == "COMPLETED", (tmp_path / "log").read_text()
    assert facts["Restarts"] == "1"
    assert steps > 0
    assert losses(out) == pytest.approx(losses(reference), rel=1e-6)
    assert json.loads((out / "manifest.json").read_text())["products"].keys() >= {"models/autoencoder"}
