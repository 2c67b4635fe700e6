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

OPTIONS = (
    "-N2",
    "--ntasks-per-node=1",
    "--cpus-per-task=4",
    "--gres=gpu:2",
    "--mem-per-cpu=100",
    "--requeue",
)


@pytest.fixture(scope="module")
def sky(tmp_path_factory):
    """A run directory that goes as far as cutouts."""
    out = tmp_path_factory.mktemp("sky") / "run"
    done = run(out, "--workers", 2, "--to", "cutouts")
    assert done.returncode == 0, done.stderr
    return out


def command(out, steps):
    settings = {"ranks": 4, "threads": 1, "steps": steps, "checkpoint_every_s": 0.1}
    extra = {f"autoencoder.{name}": value for name, value in settings.items()}
    extra |= {"machine.fake_gpus": True, "machine.executor": "serial"}
    line = [sys.executable, "-m", "astro_dist", "train", "autoencoder", str(TRAIN_TINY), "--out", str(out)]
    return [*line, *shrunk(extra)]


def losses(out):
    rows = [json.loads(line) for line in (out / "logs/autoencoder.curve.jsonl").read_text().splitlines()]
    return {row["step"]: row["loss"] for row in rows}


def write_script(folder, out, steps):
    quoted = " ".join(f"'{word}'" for word in command(out, steps))
    return batch(folder / "job.sh", f"exec {quoted}")


@pytest.fixture(scope="module")
def alone(sky, tmp_path_factory):
    """The same training on four ranks of this machine."""

    def train(steps):
        out = tmp_path_factory.mktemp("alone") / "run"
        shutil.copytree(sky, out)
        done = subprocess.run(command(out, steps), capture_output=True, text=True, check=False, cwd=ROOT)
        assert done.returncode == 0, done.stderr
        return out

    return train


def test_four_ranks_on_two_nodes_give_the_losses_of_four_ranks_on_one(slurm_cluster, sky, alone, tmp_path):
    shutil.copytree(sky, tmp_path / "run")
    script = write_script(tmp_path, tmp_path / "run", steps=20)
    job = submit(slurm_cluster, *OPTIONS, f"--output={tmp_path}/log", script=script)
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
    script = write_script(tmp_path, out, steps=400)
    job = submit(nodes_on, *OPTIONS, f"--output={tmp_path}/log", "--open-mode=append", script=script)
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
