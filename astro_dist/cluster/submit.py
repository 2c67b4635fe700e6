"""A run as a chain of Slurm jobs: submission, comparison with the queue, cancellation.

Each stage has one job, which runs the local command for that stage. Where a site asks for several workers, an
array of workers runs before that job; the job then does the tasks that the array has left, and publishes.
Every job starts after the job before it has succeeded. Queued jobs are found in the queue itself; no list is
kept.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from astro_dist.cluster.costs import check_costs, estimate_costs
from astro_dist.cluster.queue import Queue, log_folder, queue_of, settled_queue_of
from astro_dist.cluster.sites import Site, check_limits, check_shared
from astro_dist.cluster.slurm import (
    Job,
    cancel,
    check_cluster,
    script_name,
    submit,
    try_submission,
)
from astro_dist.engine.config import differences, load_yaml, validate
from astro_dist.engine.errors import ConfigError
from astro_dist.engine.files import lock_folder
from astro_dist.engine.progress import Display
from astro_dist.engine.work import Stage, for_stage
from astro_dist.runner import Runner


@dataclass(frozen=True)
class Chain:
    """The jobs of a run on a site, one or two for each stage."""

    runner: Runner
    site: Site
    redo: Sequence[str] = ()

    @property
    def root(self) -> Path:
        return self.runner.root

    @property
    def logs(self) -> Path:
        return log_folder(self.root)

    def jobs(self, stages: Sequence[Stage], place: int, after: str | None) -> tuple[Job | None, Job]:
        """Return the array of a stage of the chain, None without one, and the job that closes the stage."""
        stage, asked = stages[place], self.site.of(stages[place].name)
        following = stages[place + 1].name if place + 1 < len(stages) else None
        # The closing job of this stage prepares the output of a following array, which has no job before it.
        begin = ["--begin", following] if following and self.is_shared(following) else []
        redo = [word for name in self.redo for word in ("--redo", name)]
        # Jobs read the settings from config.yaml in the run directory, not from the user's file.
        base = ("job", str(self.root), "--stage", stage.name)
        name = f"{self.runner.config.name}-{stage.name}"
        closing = Job(name, stage.name, (*base, *redo, *begin), asked, after=after)
        if not self.is_shared(stage.name):
            return None, closing
        return Job(name, stage.name, (*base, "--share"), asked, asked.workers, after), closing

    def is_shared(self, stage: str) -> bool:
        """Return whether several jobs share the tasks of a stage."""
        asked = self.site.of(stage)
        return asked.workers > 1 and asked.nodes == 1

    def stages(self) -> list[Stage]:
        """Return the stages that are not done yet."""
        return [state.stage for state in self.runner.states() if state.status != "done"]

    def submit(self, display: Display) -> list[str]:
        """Queue the stages that are neither done nor queued; return a line for each stage.

        Raises
        ------
        ConfigError
            When a local run, Slurm or the limits of the site would refuse the run. Nothing is queued then.
        """
        self.check()
        if queue := settled_queue_of(self.root):
            self._refuse_others(queue)
        else:
            with self.runner.opened(display, self.redo):
                stages = self.stages()
                if stages and self.is_shared(stages[0].name):
                    self.runner.begin(stages[0])
        # Not the lock of the run directory: the first job may start at once and needs that one.
        with lock_folder(self.logs):
            return self._queue(self.stages(), queue_of(self.root))

    def check(self) -> None:
        """Raise `ConfigError` for a run that the site or Slurm would refuse, before anything is written."""
        check_shared(self.root, self.site)
        names = [stage.name for stage in self.runner.stages]
        check_limits(self.site, names)
        check_costs(estimate_costs(self.runner, self.site), self.site)
        for stage in self.runner.stages:
            self._check_ranks(stage)
            self._check_machine(stage)
        check_cluster({name: self.site.of(name) for name in names})
        # Equal requests are tried once: each trial is a call to the scheduler.
        for asked in dict.fromkeys(self.site.of(name) for name in names):
            # As an array where one will be submitted, since sites limit arrays as well.
            array = asked.workers if asked.workers > 1 else None
            try_submission(self.site, Job("test", "test", (), asked, array), self.root)

    def _check_ranks(self, stage: Stage) -> None:
        """Raise `ConfigError` when the ranks of a training do not fit the nodes and GPUs of its job."""
        if not stage.gang:
            return
        asked, ranks = self.site.of(stage.name), stage.ranks(for_stage(self.runner.run, stage, ""))
        gpus = asked.nodes * asked.gpus
        # Ranks are spread evenly over the nodes; without GPUs nothing else limits them.
        if ranks % asked.nodes or (gpus and ranks > gpus):
            raise ConfigError(
                f"{stage.name}: {stage.own}.ranks is {ranks} and its job has {asked.nodes} nodes with "
                f"{asked.gpus} GPUs each; give as many ranks as there are GPUs, or one on each node"
            )

    def _check_machine(self, stage: Stage) -> None:
        """Raise `ConfigError` when ``machine.gpus`` is more than the jobs of a GPU stage have."""
        machine, asked = self.runner.config.machine, self.site.of(stage.name)
        if stage.gpu and not machine.fake_gpus and (machine.gpus or 0) > asked.nodes * asked.gpus:
            raise ConfigError(
                f"machine.gpus: {machine.gpus} asked for and the jobs of {stage.name} have "
                f"{asked.nodes * asked.gpus}; lower it, leave it out to use what is there, or mend the "
                "cluster file"
            )

    def _queue(self, stages: Sequence[Stage], queue: Queue) -> list[str]:
        """Submit all stages from the first one whose closing job is not in the queue."""
        lines, kept, after = [], 0, None
        while kept < len(stages) and (rows := queue.get(script_name(stages[kept].name))):
            # All rows under one sbatch file are elements of one submission and have its id.
            after = rows[0].id
            lines.append(f"{stages[kept].name:<12} is queued already and keeps its settings: job {after}")
            kept += 1
        # Later jobs wait for jobs that are gone; they are cancelled and submitted anew.
        outdated = [script_name(stage.name, shared) for stage in stages[kept:] for shared in (True, False)]
        cancel(sorted({row.id for script in outdated for row in queue.get(script, [])}))
        new: list[str] = []
        try:
            for place in range(kept, len(stages)):
                array, closing = self.jobs(stages, place, after)
                workers = ""
                if array is not None:
                    new.append(submit(self.site, array, self.logs))
                    # After any end of the array: the closing job does the tasks that lost workers have left.
                    closing = replace(closing, after_any=new[-1])
                    workers = f"{array.array} workers as job {new[-1]}, then "
                new.append(after := submit(self.site, closing, self.logs))
                lines.append(f"{closing.stage:<12} {workers}job {after}")
        except BaseException:
            # A part of a chain would run and then stop without a closing job.
            cancel(new)
            raise
        return lines

    def _refuse_others(self, queue: Queue) -> None:
        """Raise `ConfigError` when jobs of other stages or with other settings are in the queue."""
        own = {script_name(s.name, shared) for s in self.runner.stages for shared in (True, False)}
        if others := sorted({name.rpartition("-")[0] for name in queue.keys() - own}):
            raise ConfigError(
                f"jobs of this run for {', '.join(others)} are in the queue; wait for them, ask for all "
                f"stages together (run --to), or take them out first: astro-dist cancel {self.root}"
            )
        # Queued jobs read this file when they start, so its settings are theirs.
        there = validate(type(self.runner.config), load_yaml(self.root / "config.yaml"))
        changes = differences(there.model_dump(mode="json"), self.runner.config.model_dump(mode="json"))
        if changes or self.redo:
            what = f"other settings ({'; '.join(changes[:3])})" if changes else "--redo"
            raise ConfigError(
                f"jobs of this run are in the queue and you ask for {what}; wait for them, or take them out "
                f"first: astro-dist cancel {self.root}"
            )

    def preview(self) -> Iterable[Job]:
        """Yield all jobs that `submit` would submit; nothing is written."""
        self.runner.permit(self.redo)
        stages, after = self.stages(), None
        for place, stage in enumerate(stages):
            array, closing = self.jobs(stages, place, after)
            if array is not None:
                yield array
                closing = replace(closing, after_any="<id of the workers>")
            yield closing
            after = f"<id of the {stage.name} job>"


def require_settings(root: Path) -> None:
    """Raise `ConfigError` for a folder that holds no settings of a run."""
    if not os.path.isdir(root):
        raise ConfigError(f"there is no run directory {root}; mend the path")
    if not (root / "config.yaml").exists():
        raise ConfigError(f"{root} is not a run directory: it holds no config.yaml")


def cancel_run(root: Path) -> list[str]:
    """Take every job of a run out of the queue; return their ids."""
    require_settings(root)
    ids = sorted({row.id for rows in queue_of(root).values() for row in rows if not row.ending}, key=int)
    cancel(ids)
    return ids
