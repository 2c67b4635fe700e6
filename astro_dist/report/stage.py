"""The last stage: one HTML file that shows the results of the run and needs no other file."""

from collections.abc import Sequence
from functools import partial

from astro_dist.engine.later import Later
from astro_dist.engine.work import Estimate, Results, Run, Stage, Task

TASK = Task("page")
LARGEST_PAGE_BYTES, MEMORY_BYTES, CPU_S = 20_000_000, 1_000_000_000, 30.0


def plan(run: Run, results: Results) -> list[Task]:
    """Return the only task: the page."""
    return [TASK]


def estimate(run: Run) -> Estimate:
    """Return an upper bound; most of the time goes into reading the map three times."""
    return Estimate(tasks=1, bytes=LARGEST_PAGE_BYTES, files=1, memory_bytes=MEMORY_BYTES, cpu_s=CPU_S)


def finish(run: Run, results: Results) -> dict[str, int]:
    """Return the size of the page in bytes."""
    return {"bytes": results[TASK.name]["bytes"]}


def report_on(stages: Sequence[Stage], reads: Sequence[str], page: Later) -> Stage:
    """Return the stage that reports on earlier ones, in their order.

    Parameters
    ----------
    stages
        The earlier stages.
    reads
        Sections that the page shows something of.
    page
        ``(run) -> Page`` of the pipeline.
    """
    return Stage(
        "report",
        product="report.html",
        plan=plan,
        run=partial(Later("astro_dist.report.book:write_page"), page=page),
        finish=finish,
        estimate=estimate,
        sections=("report",),
        reads=tuple(reads),
        own="report",
        inputs=tuple(stage.name for stage in stages),
        # The page has the times of the stages, so that its bytes differ when it is made again.
        stable=False,
    )
