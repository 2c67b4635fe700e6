"""The test cluster itself: what the other tests rely on."""

import json
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from astro_dist.cluster.slurm import call_slurm
from tests.slurm.conftest import SCRIPT, need_slurm, submit, wait_for_state
from tests.waiting import wait_until

SLOW = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/socket.h>
#include <unistd.h>
int connect(int socket, const struct sockaddr *to, socklen_t size) {
  static int calls;
  int (*real)(int, const struct sockaddr *, socklen_t) = dlsym(RTLD_NEXT, "connect");
  int answer = real(socket, to, size);
  if (to->sa_family == AF_UNIX && !calls++) sleep(4);
  return answer;
}
"""
"""A library that holds a command for 4 s between its connection to munged and its request."""
SHOW = "import json, os; print(json.dumps([os.uname().nodename, os.environ['CUDA_VISIBLE_DEVICES'], {}]))"


def test_a_job_over_two_nodes_sees_their_names_its_gpus_and_a_tmp_of_its_own(slurm_cluster, tmp_path):
    (tmp_path / "shared").touch()
    code = SHOW.format(f"os.listdir('/tmp'), os.path.exists('{tmp_path}/shared')")
    with tempfile.NamedTemporaryFile(dir="/tmp") as outside:
        done = slurm_cluster.run("srun", "-N2", "--gres=gpu:2", "--chdir=/", sys.executable, "-c", code)
    seen = sorted(json.loads(line) for line in done.stdout.splitlines())
    assert [row[:2] for row in seen] == [["n1", "0,1"], ["n2", "0,1"]]
    for *_, names, shared in seen:
        assert shared
        assert Path(outside.name).name not in names


@pytest.mark.soak
def test_munged_that_hangs_up_ends_no_command(slurm_cluster, monkeypatch, tmp_path):
    source, library = tmp_path / "slow.c", tmp_path / "slow.so"
    source.write_text(SLOW)
    subprocess.run(["cc", "-shared", "-fPIC", source, "-o", library, "-ldl"], check=True)
    monkeypatch.setenv("SLURM_CONF", slurm_cluster.environment["SLURM_CONF"])
    monkeypatch.setenv("LD_PRELOAD", str(library))
    assert subprocess.run(["squeue"], check=False).returncode == -signal.SIGPIPE
    assert call_slurm("squeue", "--noheader") == ""


def test_two_jobs_on_a_node_have_different_gpus_and_a_third_waits(slurm_cluster):
    jobs = [
        submit(slurm_cluster, "-wn1", "--gres=gpu:1", "--output=/dev/null", "--wrap", "sleep 500")
        for _ in range(3)
    ]
    for job in jobs[:2]:
        wait_for_state(slurm_cluster, job, "RUNNING")
    facts = wait_for_state(slurm_cluster, jobs[2], "PENDING")
    wait_until(lambda: wait_for_state(slurm_cluster, jobs[2], "PENDING")["Reason"] != "None")
    assert facts["ExcNodeList"] == "(null)"
    slurm_cluster.run("scancel", "--full", *map(str, jobs))
    for job in jobs:
        wait_for_state(slurm_cluster, job, "CANCELLED")


@pytest.mark.soak
def test_a_job_in_the_partition_high_takes_the_place_of_one_in_main(slurm_cluster):
    low = submit(
        slurm_cluster, "-N2", "--exclusive", "--requeue", "--output=/dev/null", "--wrap", "sleep 500"
    )
    wait_for_state(slurm_cluster, low, "RUNNING")
    high = submit(slurm_cluster, "-N2", "--exclusive", "-phigh", "--output=/dev/null", "--wrap", "sleep 0")
    wait_for_state(slurm_cluster, high, "COMPLETED")
    assert wait_for_state(slurm_cluster, low, "PENDING", "RUNNING")["Restarts"] == "1"
    slurm_cluster.run("scancel", "--full", str(low))


@pytest.mark.soak
def test_a_node_without_power_is_noticed_and_comes_back(nodes_on):
    job = submit(nodes_on, "-wn2", "--no-requeue", "--output=/dev/null", "--wrap", "sleep 500")
    wait_for_state(nodes_on, job, "RUNNING")
    nodes_on.off("n2")
    wait_for_state(nodes_on, job, "NODE_FAIL")
    assert nodes_on.states()[1].startswith("down")
    nodes_on.on("n2")
    wait_until(lambda: nodes_on.states() == ["idle", "idle"])


@pytest.mark.soak
def test_the_script_starts_and_stops_a_cluster_and_leaves_nothing(tmp_path_factory):
    need_slurm()
    base = tmp_path_factory.mktemp("s") / "c"

    def call(*words):
        done = subprocess.run([sys.executable, SCRIPT, *words], check=True, capture_output=True, text=True)
        return done.stdout

    before = subprocess.run(["ip", "-br", "link"], capture_output=True, text=True, check=True).stdout
    assert f"SLURM_CONF={base}/slurm.conf" in call("up", base, "--nodes", "1", "--gpus", "1")
    assert call("run", base, "srun", "hostname").split() == ["n1"]
    call("down", base)
    assert not base.exists()
    assert subprocess.run(["ip", "-br", "link"], capture_output=True, text=True, check=True).stdout == before
