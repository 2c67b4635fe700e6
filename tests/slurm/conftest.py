"""A real Slurm of two nodes with two fake GPUs each; its login node is this machine."""

import contextlib
import importlib.util
import os
import sys
import tempfile
from collections import Counter
from pathlib import Path

import psutil
import pytest

from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "slurm" / "test_cluster" / "cluster.py"


def load_script():
    """The module that contributors call as a script."""
    spec = importlib.util.spec_from_file_location("slurm_test_cluster", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.PATIENCE_S = None
    return module


def need_slurm(accounting=False):
    """Skip without root, and fail where root has not installed what a cluster needs; return the script."""
    script = load_script()
    if os.geteuid() != 0:
        pytest.skip("only root may make a Slurm whose nodes have networks of their own")
    if reason := script.missing(accounting):
        pytest.fail(f"{reason}; .ci/run installs these packages")
    return script


@contextlib.contextmanager
def cluster_of_two(*shared, accounting=False):
    """Start a cluster whose nodes share the repository and some folders with this machine."""
    script = need_slurm(accounting)
    base = Path(tempfile.mkdtemp(prefix="adslurm-", dir="/tmp"))
    try:
        cluster = script.Cluster.up(
            base / "c", share=(ROOT, Path(sys.prefix), *shared), accounting=accounting
        )
        cluster.environment["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    except script.NoNetworkError as error:
        base.rmdir()
        pytest.skip(str(error))
    try:
        yield cluster
    finally:
        cluster.down()
        base.rmdir()


@pytest.fixture(scope="session")
def slurm_cluster(tmp_path_factory):
    """The cluster; nodes share pytest's folders."""
    with cluster_of_two(tmp_path_factory.getbasetemp()) as cluster:
        yield cluster


@pytest.fixture
def nodes_on(slurm_cluster):
    """The cluster with every node idle, before and after the test."""

    def ready():
        return slurm_cluster.states() == ["idle"] * 2

    yield slurm_cluster
    slurm_cluster.run("scancel", "--full", "--user=root")
    for node in slurm_cluster.nodes:
        if not (slurm_cluster.base / "run" / f"node.{node}.pid").exists():
            slurm_cluster.on(node)
    wait_until(ready)


def submit(cluster, *options, script=None):
    """Submit a batch script (or ``--wrap`` in the options); return the job's number."""
    call = ["sbatch", "--parsable", *map(str, options), *([str(script)] if script else [])]
    return int(cluster.run(*call).stdout.strip().partition(";")[0])


def job_facts(cluster, job):
    """What the controller knows of a job."""
    line = cluster.run("scontrol", "show", "job", str(job), "-o").stdout
    return dict(word.split("=", 1) for word in line.split() if "=" in word)


def wait_for_state(cluster, job, *states):
    """Wait until a job is in one of the states; return its facts."""

    def arrived():
        facts = job_facts(cluster, job)
        return facts if facts["JobState"] in states else None

    return wait_until(arrived)


ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "PREEMPTED", "OUT_OF_MEMORY")


def batch(path, *lines):
    """Write a batch script and return its path."""
    path.write_text("\n".join(["#!/bin/bash", "set -e", f"cd {ROOT}", *lines]) + "\n")
    return path


def traces(cluster):
    """What runs, listens or lies on every node: ``(node, what)`` pairs, with how many of each.

    Processes by name, listening ports, the content of /tmp and /dev/shm; caches are left out.
    """
    return Counter((node, what) for node in cluster.nodes for what in traces_of_node(cluster, node))


def traces_of_node(cluster, node):
    outer = (cluster.base / "run" / f"node.{node}.pid").read_text()
    init = Path("/proc", Path(f"/proc/{outer}/task/{outer}/children").read_text().split()[0])
    space = os.readlink(init / "ns/pid")
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if os.readlink(f"/proc/{process.pid}/ns/pid") == space:
                yield f"process {process.name()}"
    for table in ("tcp", "tcp6"):
        for row in map(str.split, (init / "net" / table).read_text().splitlines()):
            if row[3] == "0A":
                yield f"port {int(row[1].rpartition(':')[2], 16)}"
    for folder in ("tmp", "dev/shm"):
        for path in (init / "root" / folder).iterdir():
            if not path.name.startswith("cache-of-"):
                yield f"/{folder}/{path.name}"


def check_clean(cluster, before):
    """Wait until the nodes are as they were; print what is left or gone when they do not become so."""
    try:
        wait_until(lambda: traces(cluster) == before)
    finally:
        now = traces(cluster)
        print("left on the nodes:", now - before, "gone:", before - now)
