"""The last stage: one HTML file that shows the results of the run and needs no other file."""

from astro_dist.engine.work import Estimate, Results, Run, Stage, Task
from astro_dist.report.config import EARLIER, ReportConfig

__all__ = ["REPORT", "ReportConfig"]

TASK = Task("page")
LARGEST_PAGE_BYTES, MEMORY_BYTES, CPU_S = 20_000_000, 1_000_000_000, 30.0


def plan(run: Run, results: Results) -> list[Task]:
    """Return the only task: the page."""
    return [TASK]


def write_page(run: Run, task: Task) -> dict[str, int]:
    """Write the page and return its size; matplotlib is imported here, to import the stage cheaply."""
    from astro_dist.report.chapters import build_page
    from astro_dist.report.page import render

    content = render(build_page(run)).encode()
    run.output.write_bytes(content)
    return {"bytes": len(content)}


def estimate(run: Run) -> Estimate:
    """Return an upper bound; most of the time goes into reading the map three times."""
    return Estimate(tasks=1, bytes=LARGEST_PAGE_BYTES, files=1, memory_bytes=MEMORY_BYTES, cpu_s=CPU_S)


def finish(run: Run, results: Results) -> dict[str, int]:
    """Return the size of the page in bytes."""
    return dict(results[TASK.name])


REPORT = Stage(
    "report",
    product="report.html",
    plan=plan,
    run=write_page,
    finish=finish,
    estimate=estimate,
    sections=("report",),
    inputs=EARLIER,
    stable=False,
)
