"""The whole pipeline inside one job of two nodes with two GPUs each: the bytes of a local run."""

import json
import subprocess

import pytest

from tests.end_to_end.conftest import TRAIN_TINY, call, shrunk, stable_digests
from tests.slurm.conftest import ROOT, check_clean, traces, wait_for_state

OPTIONS = ("-N2", "--gpus-per-node=2", "--cpus-per-task=4", "--mem-per-cpu=100", f"--chdir={ROOT}")
RANKS = {"autoencoder.ranks": 4, "autoencoder.threads": 1}


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_a_run_over_two_nodes_gives_the_bytes_of_a_local_run(nodes_on, tmp_path):
    before = traces(nodes_on)
    local, out = tmp_path / "local", tmp_path / "nodes"
    settings = shrunk({**RANKS, "machine.fake_gpus": True})
    line = call("run", "--out", local, "--workers", 2, extra=RANKS)
    subprocess.run(line, check=True, cwd=ROOT)
    script = (ROOT / "slurm" / "ray_cluster.sbatch", TRAIN_TINY, "--out", out, *settings)
    log = f"--output={tmp_path}/log"
    job = int(nodes_on.run("sbatch", "--parsable", *OPTIONS, log, *map(str, script)).stdout)
    facts = wait_for_state(nodes_on, job, "COMPLETED", "FAILED")
    log = (tmp_path / "log").read_text()
    assert facts["JobState"] == "COMPLETED", log
    assert stable_digests(out) == stable_digests(local)
    records = [json.loads(path.read_text()) for path in out.glob("ledger/*/*/[!.]*.json")]
    assert {record["log"]["host"] for record in records if "log" in record} == {"n1", "n2"}
    check_clean(nodes_on, before)
