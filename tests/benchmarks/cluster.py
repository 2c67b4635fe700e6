"""What a cluster adds to a run: ``python -m tests.benchmarks.cluster [TASKS] [TIMES] [WATCHED_S]``.

Toy tasks that write a shard of 1 kB, on the Slurm of two nodes that the tests use (root only), medians of
``TIMES`` runs: seconds from submission to the first task done, milliseconds per task beside the same tasks
in one local process, seconds from the last task to an empty queue, for an array of two workers and for Ray
over both nodes. Then how often a run that is watched for ``WATCHED_S`` with `astro-dist status` every 10 s
calls each of Slurm's commands, in its jobs as well; they are counted by programs of the same names.
"""

import os
import shutil
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import psutil

from astro_dist.cluster.status import status_lines
from astro_dist.engine.journal import read_journal
from tests.slurm.conftest import ROOT, check_clean, load_script, traces
from tests.slurm.small_site import MACHINE, small_site, submit
from tests.toys import execute, toy_runner
from tests.waiting import wait_until

COMMANDS = ("sbatch", "squeue", "sacct", "scontrol", "sinfo", "scancel", "srun")
WORKERS = 2
WATCH_EVERY_S = 10.0


def count_calls(folder):
    """Put programs before Slurm's that note each call; return the file of their notes."""
    notes = folder / "calls"
    notes.touch()
    for name in COMMANDS:
        path = folder / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f'#!/bin/bash\necho {name} >> {notes}\nexec {shutil.which(name)} "$@"\n')
        path.chmod(0o755)
    os.environ["PATH"] = f"{folder / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    return notes


def wait_for_empty_queue(cluster):
    """Wait until the queue is empty, asked without being counted."""
    wait_until(lambda: not cluster.run("squeue", "--noheader").stdout.strip())
    return time.time()


def time_run(cluster, folder, tree, stages=None):
    """Return what one submitted run took, by what it is."""
    before = traces(cluster)
    root, begin = folder / "run", time.time()
    submit(root, small_site(folder, stages), tree)
    queued = time.time()
    end = wait_for_empty_queue(cluster)
    check_clean(cluster, before, 60)
    done = [event for event in read_journal(root) if event["event"] == "done"]
    ends = [event["time"] for event in done if event["stage"] == "shards"]
    return {
        "submission": queued - begin,
        "submission to first task done": ends[0] - begin,
        "each": (ends[-1] - ends[0]) * len({(e["host"], e["pid"]) for e in done[:-1]}) / (len(ends) - 1),
        "last task of the stage to its publication": (root / "ledger/shards.json").stat().st_mtime - ends[-1],
        "last task of the run to an empty queue": end - done[-1]["time"],
        "and to nodes as they were": time.time() - done[-1]["time"],
    }


def report(title, runs, local_s):
    """Print the medians of several runs."""
    figures = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
    each = figures.pop("each")
    print(f"{title}, median of {len(runs)}:")
    for name, seconds in figures.items():
        print(f"  {name:<44} {seconds:6.2f} s")
    print(f"  per task and worker {1e3 * each:.1f} ms, {1e3 * (each - local_s):+.1f} ms beside a local run")


def watch(cluster, folder, notes, seconds):
    """Print how often a run that is watched calls the scheduler, and what its submission calls."""
    tree = {"shards": {"pause_s": 1.0, "count": int(seconds * WORKERS)}}
    root = folder / "run"
    notes.write_text("")
    submit(root, small_site(folder), tree)
    print(f"calls of a submission of two stages: {dict(Counter(notes.read_text().split()))}")
    notes.write_text("")
    begin = time.time()
    while time.time() - begin < seconds:
        status_lines(toy_runner(root, {"machine": MACHINE, **tree}))
        time.sleep(WATCH_EVERY_S)
    calls, minutes = Counter(notes.read_text().split()), (time.time() - begin) / 60
    wait_for_empty_queue(cluster)
    rates = {name: round(calls[name] / minutes, 1) for name in COMMANDS}
    print(f"calls a minute while it runs, with a status every {WATCH_EVERY_S:.0f} s: {rates}")
    after = Counter(notes.read_text().split()) - calls
    print(f"calls from then to the end, unwatched: {dict(after)}")


def main(tasks=200, times=3, watched_s=60):
    script = load_script()
    if reason := script.missing():
        sys.exit(f"no Slurm to measure on ({reason})")
    with tempfile.TemporaryDirectory(prefix="adslurm-", dir="/tmp") as name:
        folder, shared = Path(name), Path(name) / "shared"
        shared.mkdir()
        tree, few = {"shards": {"count": tasks, "wanted": 0}}, {"shards": {"count": 24, "wanted": 0}}
        begin = time.perf_counter()
        execute(folder / "local", {"machine": MACHINE, **tree})
        local_s = (time.perf_counter() - begin) / tasks
        load = psutil.getloadavg()[0]
        print(f"load {load:.1f}, {tasks} tasks; a local run takes {1e3 * local_s:.1f} ms per task")
        cluster = script.Cluster.up(
            folder / "c", share=(ROOT, Path(sys.prefix), Path(sys.base_prefix), shared)
        )

        def repeat(title, settings, stages=None):
            runs = []
            for number in range(times):
                home = shared / f"{title.split()[0]}{number}"
                home.mkdir()
                runs.append(time_run(cluster, home, settings, stages))
            report(title, runs, local_s)

        try:
            notes = count_calls(shared)
            os.environ["SLURM_CONF"] = cluster.environment["SLURM_CONF"]
            repeat(f"array of {WORKERS} workers", tree)
            watch(cluster, shared, notes, watched_s)
            over = {"shards": {"workers": 1, "nodes": 2, "gpus": 2}}
            repeat("Ray over two nodes", {"machine": {**MACHINE, "fake_gpus": True}, **few}, over)
        finally:
            cluster.down()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
