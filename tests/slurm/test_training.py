"""The ranks of a training over the nodes of a job: the losses of one node, and resumed after a power cut."""

import json
import re
import shutil
import subprocess
import sys

import pytest

from astro_dist.engine.files import tree_digests
from tests.end_to_end.conftest import TRAIN_TINY, run, shrunk
from tests.slurm.conftest import ROOT, batch, job_facts, submit, wait_for_state
from tests.waiting import wait_until

OPTIONS = ("-N2", "--gpus-per-node=2", "--cpus-per-task=4", "--mem-per-cpu=100", f"--chdir={ROOT}")
STEPS = 400


def curve(out):
    """``{step: loss}`` of a training."""
    rows = [json.loads(line) for line in (out / "logs/autoencoder.curve.jsonl").read_text().splitlines()]
    return {row["step"]: row["loss"] for row in rows}


@pytest.mark.parametrize("ranks", [2, pytest.param(4, marks=pytest.mark.soak)])
def test_ranks_on_two_nodes_give_the_losses_of_ranks_on_one(slurm_cluster, tmp_path, ranks):
    toy = [sys.executable, "-m", "tests.slurm.toy_training"]
    script = batch(tmp_path / "job.sh", " ".join([*toy, f"{tmp_path}/nodes", str(ranks)]))
    job = submit(slurm_cluster, *OPTIONS, f"--output={tmp_path}/log", script=script)
    subprocess.run([*toy, tmp_path / "alone", str(ranks)], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    facts = wait_for_state(slurm_cluster, job, "COMPLETED", "FAILED")
    log = (tmp_path / "log").read_text()
    assert facts["JobState"] == "COMPLETED", log
    seats = re.findall(rf"rank (\d) of {ranks} is on (n\d), interface eth0", log)
    assert sorted(seats) == [(str(rank), f"n{1 + 2 * rank // ranks}") for rank in range(ranks)]
    assert curve(tmp_path / "nodes") == pytest.approx(curve(tmp_path / "alone"), rel=1e-6)
    weights = [tree_digests(tmp_path / side / "models") for side in ("nodes", "alone")]
    assert weights[0] == weights[1]


def arguments(out, checkpoint_every_s):
    settings = {"threads": 1, "steps": STEPS, "checkpoint_every_s": checkpoint_every_s}
    extra = {f"autoencoder.{name}": value for name, value in settings.items()}
    return ["autoencoder", str(TRAIN_TINY), "--out", str(out), *shrunk({**extra, "machine.fake_gpus": True})]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """An undisturbed training on four ranks of this machine, and the cutouts it was given."""
    sky, out = (tmp_path_factory.mktemp("alone") / name for name in ("sky", "run"))
    done = run(sky, "--to", "cutouts")
    assert done.returncode == 0, done.stderr
    shutil.copytree(sky, out)
    line = [sys.executable, "-m", "astro_dist", "train", *arguments(out, 30), "--on", "serial"]
    subprocess.run([*line, "--set", "autoencoder.ranks=4"], check=True, cwd=ROOT)
    return sky, out


def cut_the_power(cluster, job):
    cluster.off("n2")
    wait_until(lambda: cluster.states()[1].startswith("down"))
    cluster.on("n2")


def ask_for_a_stop(cluster, job):
    cluster.run("scancel", "--batch", "--signal=TERM", str(job))
    wait_until(lambda: job_facts(cluster, job)["Restarts"] == "1")


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("fault", "checkpoint_every_s"), [(cut_the_power, 0.1), (ask_for_a_stop, 3600)])
def test_a_training_goes_on_from_its_checkpoint(nodes_on, alone, tmp_path, fault, checkpoint_every_s):
    """Through the script that users have; a stop that is asked for leaves a checkpoint of its own."""
    out = tmp_path / "run"
    shutil.copytree(alone[0], out)
    script = (ROOT / "slurm" / "train.sbatch", *arguments(out, checkpoint_every_s))
    log = f"--output={tmp_path}/log"
    job = int(nodes_on.run("sbatch", "--parsable", *OPTIONS, log, *map(str, script)).stdout)
    wait_until(lambda: (out / "logs/autoencoder.curve.jsonl").exists() and len(curve(out)) > 2)
    fault(nodes_on, job)
    saved = [int(path.name.removeprefix("step-")) for path in out.glob("checkpoints/*/step-*")]
    assert 0 < max(saved) < STEPS
    facts = wait_for_state(nodes_on, job, "COMPLETED", "FAILED")
    assert facts["JobState"] == "COMPLETED", (tmp_path / "log").read_text()
    assert facts["Restarts"] == "1"
    assert curve(out) == pytest.approx(curve(alone[1]), rel=1e-6)
    assert tree_digests(out / "models") == tree_digests(alone[1] / "models")
