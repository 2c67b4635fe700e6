"""The tasks of `synthesise`, what else of the run they use, and the figures of all of them."""

from typing import Any

from astro_dist.engine.errors import ConfigError
from astro_dist.engine.work import Results, Run, Task
from astro_dist.flare.synthesise_config import SynthesiseConfig
from astro_dist.flare.upscale_config import UpscalerConfig

UPSCALER, JUDGE, DIFFUSION, UNIDIFFUSER = "upscaler", "judge", "diffusion", "unidiffuser"


def is_part(run: Run, stage: str) -> bool:
    """Return whether another stage, which has a section of its name only then, is part of the run."""
    return stage in run.settings.sections


def scale_of(run: Run) -> int:
    """Return the factor by which painted pictures are enlarged, 1 without an upscaler."""
    return run.section(UpscalerConfig).scale if is_part(run, UPSCALER) else 1


def plan(run: Run, results: Results) -> list[Task]:
    """Return a task for each shard of training pictures.

    Raises
    ------
    ConfigError
        All tasks are done, and for some pictures none was accepted.
    """
    settings, n = run.section(SynthesiseConfig), int(run.facts("pictures")["splits"]["train"])
    tasks = [Task(f"shard-{index:05}", {"index": index}) for index in range(-(-n // settings.shard))]
    if all(task.name in results for task in tasks):
        found = sum_up(results, tasks)
        if found["missing"]:
            raise ConfigError(_explain(settings, found))
    return tasks


def sum_up(results: Results, tasks: list[Task]) -> dict[str, Any]:
    """Return the figures of all shards together."""
    found: dict[str, Any] = {"painted": 0, "missing": 0, "captions": 0, "captions_right": 0, "rejected": {}}
    for result in (results[task.name] for task in tasks):
        for name in ("painted", "missing", "captions", "captions_right"):
            found[name] += result[name]
        for reason, count in result["rejected"].items():
            found["rejected"][reason] = found["rejected"].get(reason, 0) + count
    return found


def _explain(settings: SynthesiseConfig, found: dict[str, Any]) -> str:
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(found["rejected"].items()))
    tries = settings.accept.tries if settings.accept else 1
    return (
        f"for {found['missing']} pictures none of {tries} was accepted (of {found['painted']} painted: "
        f"{reasons}); train the painter or the judge longer, vary more (synthesise.variants), raise "
        "synthesise.accept.tries, or leave synthesise.accept out"
    )
