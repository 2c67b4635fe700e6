"""`run` and the stages, `plan`, `status`, `logs`, `cancel` and the command of a Slurm job."""

import argparse
import time
from pathlib import Path
from typing import Any

from astro_dist import pipelines
from astro_dist.commands.printing import answer


def open_runner(arguments: argparse.Namespace, only: str | None = None) -> Any:
    """Return the runner of the configuration that a command names, changed by the command's options."""
    assignments = list(arguments.assignments)
    for key, value in (
        ("executor", getattr(arguments, "on", None)),
        ("workers", getattr(arguments, "workers", None)),
    ):
        if value is not None:
            assignments.append(f"machine.{key}={value}")
    to = getattr(arguments, "to", None)
    redo = getattr(arguments, "redo", ())
    return pipelines.open_runner(arguments.config, arguments.out, assignments, to, only, redo)


def run(arguments: argparse.Namespace) -> int:
    """Run all stages of a configuration, or the one that the command names."""
    only = None if arguments.command == "run" else getattr(arguments, "stage", arguments.command)
    rank = None
    if arguments.command == "train":
        from astro_dist.train.ranks import launched_rank

        # A launcher such as torchrun starts this command once for each rank; the first rank alone publishes.
        rank = launched_rank()
        if rank is not None:
            # The launcher has started one process per rank already; a rank is its own worker.
            arguments.on = "serial"
    runner = open_runner(arguments, only)
    # After the configuration, most faults of which need none of these.
    from astro_dist.cluster.queue import refuse_while_queued
    from astro_dist.engine.errors import ConfigError
    from astro_dist.engine.progress import Display
    from astro_dist.engine.rounds import refuse_quarantined
    from astro_dist.engine.stopping import stop_on_signals

    if arguments.cluster is not None:
        from astro_dist.cluster.commands import submit_run

        site = pipelines.find_site(arguments.cluster)
        return submit_run(runner, site, arguments.redo, arguments.dry_run)
    if arguments.dry_run:
        raise ConfigError("--dry-run shows sbatch files; give --cluster FILE too, or take `astro-dist plan`")
    refuse_while_queued(runner.root)
    with stop_on_signals():
        # 0 is the first rank and None a plain command: both run the stage, record and publish.
        if rank:
            runner.follow(arguments.redo)
            return 0
        started = time.monotonic()
        display = Display(quiet=arguments.quiet, verbose=arguments.verbose)
        runner.execute(display, arguments.redo)
    if only is None and not arguments.quiet:
        for line in _closing_lines(runner, time.monotonic() - started):
            display.note(line)
    # A run that ends before a result, as by `--to`, shows what it ended with.
    last = runner.stages[-1]
    shown = (runner.results() if only is None else {}) or {only or last.name: runner.root / last.product}
    for name, path in shown.items():
        print(f"{name}: {path}")
    refuse_quarantined(runner.ledger)
    return 0


def _closing_lines(runner: Any, seconds: float) -> list[str]:
    """Return what a finished run has made, how long this command took, and what to look at first."""
    from astro_dist.engine.files import tree_files

    size = sum(path.lstat().st_blocks * 512 for path in tree_files(runner.root))
    minutes, rest = divmod(round(seconds), 60)
    results = runner.results()
    look = [f"open {results['report']} in a browser"] if "report" in results else []
    return [
        *pipelines.load(runner.config.pipeline).summary(runner.run),
        f"this command took {minutes} min {rest:02d} s; the run takes {size / 1e9:.2f} GB of disk",
        *look,
    ]


def plan(arguments: argparse.Namespace) -> int:
    """Show what a run would do and cost."""
    runner = open_runner(arguments)
    runner.refuse_place()
    from dataclasses import asdict

    from astro_dist.engine.progress import plan_lines
    from astro_dist.workers.machine import choose_machine

    # Called only for the `ConfigError` that it raises for missing GPUs.
    choose_machine(runner.config.machine)
    rows = runner.estimates()
    root = arguments.out or Path("runs") / runner.config.name
    stages = [{"stage": stage.name, "status": status, **asdict(cost)} for stage, status, cost in rows]
    value = {"name": runner.config.name, "run": root, "stages": stages}
    cluster: list[str] = []
    if arguments.cluster is not None:
        from astro_dist.cluster.commands import plan_on_cluster

        cluster = plan_on_cluster(runner, pipelines.find_site(arguments.cluster))
        value["cluster"] = cluster
    title = f"{runner.config.name} in {root}"
    answer(arguments.json, value, lambda: [title, *plan_lines(rows), *cluster])
    return 0


def status(arguments: argparse.Namespace) -> int:
    """Show how far a run is."""
    from astro_dist.cluster.status import status_facts, status_lines

    runner = pipelines.reopen(arguments.run)
    value = status_facts(runner) if arguments.json else None
    answer(arguments.json, value, lambda: status_lines(runner))
    return 0


def logs(arguments: argparse.Namespace) -> int:
    """Show what workers and jobs of a run printed."""
    from astro_dist.cluster.commands import find_logs, say_event

    if arguments.stage is not None:
        # A stage that there is none of would have no line.
        pipelines.reopen(arguments.run, arguments.stage)
    found = find_logs(arguments.run, arguments.stage, arguments.lines)
    value = [{"path": path, "lines": lines} for path, lines in found]
    lines = []
    for path, last in found:
        say = say_event if path.suffix == ".jsonl" else str
        lines += [f"==> {path} <==", *map(say, last)]
    answer(arguments.json, value, lambda: lines)
    return 0


def cancel(arguments: argparse.Namespace) -> int:
    """Take the jobs of a run out of the queue."""
    from astro_dist.cluster import commands

    return commands.cancel(arguments.run)


def job(arguments: argparse.Namespace) -> int:
    """Do the work of one Slurm job."""
    from astro_dist.cluster import commands

    return commands.run_job(pipelines.reopen(arguments.run, arguments.stage), arguments)
