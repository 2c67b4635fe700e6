"""A run as a chain of Slurm jobs: what to submit, what is in the queue already, what becomes of it.

Per stage there is one job, which is the ordinary local command for that stage; where a site asks for
several workers an array goes before it, and the job then does what the array left and publishes.
Every job starts after the one before it ended well. Which jobs were submitted is in
``logs/slurm/jobs.json``; whether they are still to come is asked of the queue.
"""

import contextlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from astro_dist.cluster.sites import Site, check_limits, check_shared
from astro_dist.cluster.slurm import Job, Queued, cancel, check_cluster, read_queue, submit, try_submission
from astro_dist.config import differences, load_yaml
from astro_dist.errors import ConfigError
from astro_dist.files import lock_folder, publish_json
from astro_dist.pipeline import Pipeline
from astro_dist.progress import Display
from astro_dist.work import Stage

Jobs = dict[str, list[str]]
"""The ids of the jobs of each stage: the array where there is one, then the job that publishes."""


def log_folder(root: Path) -> Path:
    """Return the one folder with everything that jobs print."""
    return root / "logs" / "slurm"


def read_jobs(root: Path) -> Jobs:
    """Return the jobs that were last submitted for a run, by stage."""
    path = log_folder(root) / "jobs.json"
    return dict(json.loads(path.read_text())) if path.exists() else {}


@dataclass(frozen=True)
class Chain:
    """The jobs of a run: which stages they are for, and how a site wants them."""

    pipeline: Pipeline
    site: Site
    redo: Sequence[str] = ()

    @property
    def root(self) -> Path:
        return self.pipeline.root

    @property
    def logs(self) -> Path:
        return log_folder(self.root)

    def jobs(self, stages: Sequence[Stage], place: int, after: str | None) -> tuple[Job | None, Job]:
        """Return the array, if there is to be one, and the job that ends a stage of the chain."""
        stage, asked = stages[place], self.site.of(stages[place].name)
        following = stages[place + 1].name if place + 1 < len(stages) else None
        begin = ["--begin", following] if following and self.is_shared(following) else []
        redo = [word for name in self.redo for word in ("--redo", name)]
        base = ("job", str(self.root), "--stage", stage.name)
        name = f"{self.pipeline.config.name}-{stage.name}"
        closing = Job(name, stage.name, (*base, *redo, *begin), asked, after=after)
        if not self.is_shared(stage.name):
            return None, closing
        return Job(name, stage.name, (*base, "--share"), asked, asked.workers, after), closing

    def is_shared(self, stage: str) -> bool:
        """Tell whether several jobs share the tasks of a stage."""
        asked = self.site.of(stage)
        return asked.workers > 1 and asked.nodes == 1

    def stages(self) -> list[Stage]:
        """Return the stages that are not done yet."""
        return [state.stage for state in self.pipeline.states() if state.status != "done"]

    def submit(self, display: Display) -> list[str]:
        """Queue what is neither done nor queued; return a line for each stage.

        Raises
        ------
        ConfigError
            Whatever a local run would refuse, and what Slurm or the site does not allow. Nothing is
            queued then.
        """
        self.check()
        with lock_folder(self.logs):
            known = read_jobs(self.root)
            queue = read_queue({job for ids in known.values() for job in ids})
            if not queue:
                with self.pipeline.opened(display, self.redo):
                    stages = self.stages()
                    if stages and self.is_shared(stages[0].name):
                        self.pipeline.begin(stages[0])
                return self._queue(stages, {})
            self._refuse_other_settings()
            return self._queue(self.stages(), {s: ids for s, ids in known.items() if ids[-1] in queue})

    def check(self) -> None:
        """Refuse what the site or Slurm would not take, before anything is written."""
        check_shared(self.root, self.site)
        names = [stage.name for stage in self.pipeline.stages]
        check_limits(self.site, names)
        check_cluster({name: self.site.of(name) for name in names})
        for asked in dict.fromkeys(self.site.of(name) for name in names):
            try_submission(self.site, Job("test", "test", (), asked), self.root)

    def _queue(self, stages: Sequence[Stage], live: Jobs) -> list[str]:
        """Submit the stages from the first one on whose last job is not in the queue."""
        kept = 0
        while kept < len(stages) and stages[kept].name in live:
            kept += 1
        cancel([job for stage in stages[kept:] for job in live.get(stage.name, [])])
        jobs: Jobs = {stage.name: live[stage.name] for stage in stages[:kept]}
        lines = [f"{name:<12} is queued already: job {ids[-1]}" for name, ids in jobs.items()]
        after = jobs[stages[kept - 1].name][-1] if kept else None
        for place in range(kept, len(stages)):
            name, ids = stages[place].name, []
            array, closing = self.jobs(stages, place, after)
            if array is not None:
                ids.append(submit(self.site, array, self.logs))
                closing = replace(closing, after_any=ids[0])
            jobs[name] = ids = [*ids, submit(self.site, closing, self.logs)]
            publish_json(self.logs / "jobs.json", jobs)
            workers = f"{array.array} workers as job {ids[0]}, then " if array else ""
            lines.append(f"{name:<12} {workers}job {ids[-1]}")
            after = ids[-1]
        return lines

    def _refuse_other_settings(self) -> None:
        there = load_yaml(self.root / "config.yaml")
        there.pop("machine", None)
        changes = differences(there, self.pipeline.config.model_dump(mode="json", exclude={"machine"}))
        if changes or self.redo:
            what = f"other settings ({'; '.join(changes[:3])})" if changes else "--redo"
            raise ConfigError(
                f"jobs of this run are in the queue and you ask for {what}; wait for them, or take them out "
                f"first: astro-dist cancel {self.root}"
            )

    def preview(self) -> Iterable[tuple[str, Job]]:
        """Yield ``(file name, job)`` of all that would be submitted; nothing is written."""
        self.pipeline.permit(self.redo)
        stages, after = self.stages(), None
        for place, stage in enumerate(stages):
            array, closing = self.jobs(stages, place, after)
            if array is not None:
                yield f"{stage.name}-workers.sbatch", array
                closing = replace(closing, after_any="<id of the workers>")
            yield f"{stage.name}-job.sbatch", closing
            after = f"<id of the {stage.name} job>"


def queued_jobs(root: Path) -> dict[str, list[Queued]]:
    """Return what the queue holds of a run, by stage; empty where there is no Slurm or no job."""
    jobs = read_jobs(root)
    rows: dict[str, list[Queued]] = {}
    with contextlib.suppress(ConfigError):
        queue = read_queue({job for ids in jobs.values() for job in ids})
        for stage, ids in jobs.items():
            if found := [row for job in ids for row in queue.get(job, [])]:
                rows[stage] = found
    return rows


def cancel_run(root: Path) -> list[str]:
    """Take every job of a run out of the queue; return their ids."""
    ids = sorted({row.id for rows in queued_jobs(root).values() for row in rows}, key=int)
    cancel(ids)
    return ids
