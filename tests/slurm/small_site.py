"""The toy stages on the test cluster: a site of two nodes, submission, and waiting for the end."""

import sys
from collections import Counter

from astro_dist.cluster.queue import log_folder, queue_of
from astro_dist.cluster.sites import Site
from astro_dist.cluster.slurm import script_name
from astro_dist.cluster.submit import Chain
from astro_dist.engine.config import validate
from astro_dist.engine.files import tree_digests
from astro_dist.engine.journal import read_journal
from astro_dist.engine.progress import Display
from tests.slurm.conftest import ROOT, job_facts
from tests.toys import execute, toy_runner
from tests.waiting import wait_until

MACHINE = {"executor": "serial"}


def small_site(tmp_path, stages=None, **resources):
    """A site whose jobs are toy jobs; every worker of the shards has a node's half of the cores."""
    python = tmp_path / "python"
    python.write_text(
        f'#!/bin/bash\nshift 3\nPYTHONPATH={ROOT} exec {sys.executable} -m tests.slurm.toy_job "$@"\n'
    )
    python.chmod(0o755)
    base = {"cpus": 4, "memory_gb": 1, "minutes": 10, **resources}
    shards = {"workers": 2, **base, **(stages or {}).get("shards", {})}
    total = {**base, **(stages or {}).get("total", {})}
    stages = {"shards": shards, "total": total}
    strict = ["set -euo pipefail"]
    return validate(Site, {"python": str(python), "resources": base, "stages": stages, "setup": strict})


def submit(root, site, tree, redo=()):
    """Queue the toy run and return what is said of each stage."""
    runner = toy_runner(root, {"machine": MACHINE, **tree})
    return Chain(runner, site, redo).submit(Display(live=False))


def wait_for_end(root):
    """Wait until nothing of a run is in the queue."""
    wait_until(lambda: not queue_of(root))


def last_job(cluster, root, stage):
    """What the controller knows of the job that ends a stage."""
    ids = [path.stem.partition("-")[2] for path in log_folder(root).glob(f"{stage}-*.out")]
    return job_facts(cluster, max(int(number) for number in ids if number.isdigit()))


def starts(root):
    """How often each task was begun."""
    events = read_journal(root)
    return Counter(e["task"] for e in events if e["event"] == "start" and e["stage"] == "shards")


def expected(tmp_path, tree):
    """The digests of an undisturbed run in one process."""
    root, shards = tmp_path / "reference", {**tree.get("shards", {}), "pause_s": 0.0}
    execute(root, {**tree, "machine": MACHINE, "shards": shards})
    return digests(root)


def digests(root):
    return {name: tree_digests(root / name) for name in ("shards", "out/total.txt")}


def workers_of(root):
    """The elements of the array of shards that are running, by their id, with their nodes."""
    rows = queue_of(root).get(script_name("shards", shared=True), [])
    return {f"{row.id}_{row.element}": row.nodes for row in rows if row.state == "RUNNING"}
