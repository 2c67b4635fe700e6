"""The stage `compare`; its functions are imported when they are used."""

from astro_dist.engine.later import Later
from astro_dist.engine.work import Estimate, Results, Run, Stage, Task, make_folder
from astro_dist.flare.classify_config import ClassifyConfig
from astro_dist.flare.compare_config import CLUSTERS, GRADIENTS, MEASURE, SPREAD, CompareConfig
from astro_dist.flare.references import refuse_unknown


def plan(run: Run, results: Results) -> list[Task]:
    """Return a task for each kind of picture in the report, and when these are done one for the figures."""
    tasks = _list_looks(run)
    # The figures name what the other tasks have found.
    return [*tasks, Task(MEASURE)] if all(task.name in results for task in tasks) else tasks


def _list_looks(run: Run) -> list[Task]:
    config, weights = run.section(CompareConfig), run.section(ClassifyConfig).keep == "weights"
    clusters = [CLUSTERS] if config.clusters and weights else []
    gradients = [GRADIENTS] if config.gradients and weights else []
    return [Task(name) for name in (SPREAD, *clusters, *gradients)]


def estimate(run: Run) -> Estimate:
    """Return an upper bound of the cost for small networks."""
    tasks = len(_list_looks(run)) + 1
    return Estimate(
        tasks, bytes=5_000_000, files=tasks, memory_bytes=2_000_000_000, cpu_s=5.0 * tasks, exact=False
    )


def compare_stage(stores: tuple[str, ...]) -> Stage:
    """Return the stage that compares the cells of the grid.

    Parameters
    ----------
    stores
        The stages of the pipeline that make stores of pictures.
    """
    return Stage(
        name="compare",
        product="flare",
        plan=plan,
        run=Later("astro_dist.flare.compare:run_task"),
        prepare=make_folder,
        open=Later("astro_dist.flare.compare:open_state"),
        finish=Later("astro_dist.flare.compare:finish"),
        refuse=refuse_unknown,
        estimate=estimate,
        sections=("compare", "augment"),
        reads=("pictures", "combine", "classify"),
        own="compare",
        inputs=(*stores, "combine", "classify"),
        numerics=Later("astro_dist.models.device:numerics"),
    )
