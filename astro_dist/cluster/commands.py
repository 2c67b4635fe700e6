"""Commands for a Slurm cluster: submit, logs, cancel, and the command that a job runs."""

import argparse
import json
import os
import sys
import time
from pathlib import Path

from astro_dist.cluster.costs import check_costs, cost_lines, estimate_costs
from astro_dist.cluster.queue import log_folder
from astro_dist.cluster.share import close_stage, do_share
from astro_dist.cluster.sites import Site, check_limits, load_site, without_trainings
from astro_dist.cluster.slurm import TIME_UP, sbatch_text
from astro_dist.cluster.submit import Chain, cancel_run, require_settings
from astro_dist.engine.errors import ConfigError, TimeUpError
from astro_dist.engine.progress import Display
from astro_dist.engine.stopping import stop_on_signals
from astro_dist.pipelines import commands, load
from astro_dist.runner import Runner


def submit_run(runner: Runner, cluster: Path, redo: list[str], dry: bool) -> int:
    """Queue a run on the site of a cluster file; with ``dry`` only print the sbatch files."""
    chain = Chain(runner, _open_site(runner, cluster), redo)
    if dry:
        for job in chain.preview():
            print(f"==> {job.script} <==\n{sbatch_text(chain.site, job, chain.logs)}")
        return 0
    lines = chain.submit(Display())
    print("\n".join(lines) if lines else "everything is done already")
    print(f"`astro-dist status {chain.root}` shows the progress; the same command queues what is missing")
    return 0


def _open_site(runner: Runner, cluster: Path) -> Site:
    """Return the site of a cluster file, with what the stages of this run ask for there."""
    return without_trainings(load_site(cluster, _stage_names(runner)), runner.run, runner.stages)


def _stage_names(runner: Runner) -> set[str]:
    """Return the names allowed in a cluster file: stages of all pipelines, which one site serves."""
    own = {stage.name for stage in load(runner.config.pipeline).stages}
    return own | {words.split()[-1] for words in commands()}


def plan_on_cluster(runner: Runner, cluster: Path) -> list[str]:
    """Return the costs of a run on a cluster as lines; `ConfigError` when they exceed the site's limits."""
    site = _open_site(runner, cluster)
    check_limits(site, [stage.name for stage in runner.stages])
    costs = estimate_costs(runner, site)
    check_costs(costs, site)
    return cost_lines(costs, site)


def run_job(runner: Runner, arguments: argparse.Namespace) -> int:
    """Do the work of one Slurm job; exit code `TIME_UP` makes the sbatch script requeue the job."""
    try:
        # SIGUSR2, Slurm's warning, ends the time: the work below then raises `TimeUpError`.
        with stop_on_signals():
            if arguments.share:
                # Elements count from 0, as submitit writes ``--array``, so `number` is below `parts`.
                number, parts = (int(os.environ[f"SLURM_ARRAY_TASK_{what}"]) for what in ("ID", "COUNT"))
                do_share(runner, arguments.stage, number, parts, Display())
            else:
                close_stage(runner, arguments.redo, arguments.begin, Display())
    except TimeUpError as error:
        print(f"astro-dist: {error}", file=sys.stderr)
        # Not 75, the code of a stop on request: the script requeues for this code alone.
        return TIME_UP
    return 0


def find_logs(root: Path, stage: str | None, count: int) -> list[tuple[Path, list[str]]]:
    """Return the last lines of the logs of a run, the newest log at the end.

    These are what its jobs and its workers printed, and, where those printed nothing, the last events of its
    journals.
    """
    require_settings(root)
    printed = [*log_folder(root).glob(f"{stage or '*'}-*.out")]
    # One worker does tasks of several stages.
    printed += [] if stage else (root / "logs").glob("*.log")
    paths = [path for path in printed if path.is_file() and path.stat().st_size]
    paths = paths or [*(root / "logs" / "journal").glob("*.jsonl")]
    found = []
    for path in sorted(paths, key=lambda path: path.stat().st_mtime):
        # A killed job may have cut a character in two.
        lines = path.read_text(errors="replace").splitlines()
        if stage is not None and path.suffix == ".jsonl":
            lines = [line for line in lines if f'"stage": {json.dumps(stage)}' in line]
        found += [(path, lines[-count:])] if lines else []
    if not found:
        raise ConfigError(
            f"no job or worker of {root} has printed anything yet; `astro-dist status {root}` shows the queue"
        )
    return found


def say_event(line: str) -> str:
    """Return a line of a journal as a person reads it: local time, what happened, and the rest of it."""
    try:
        event = json.loads(line)
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(event.pop("time")))
        what = [str(event.pop(name)) for name in ("event", "stage", "task") if name in event]
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return line
    rest = (f"{name}={value}" for name, value in event.items() if name not in ("fingerprint", "schema"))
    return " ".join([when, *what, *rest])


def cancel(root: Path) -> int:
    """Take every job of a run out of the queue."""
    ids = cancel_run(root)
    print(f"cancelled: {', '.join(ids)}" if ids else f"no job of {root} is in the queue")
    return 0
