"""The stage `enhance`: over FITS images, or over the pictures of a store."""

from typing import Any

from astro_dist.engine.errors import ConfigError
from astro_dist.engine.ledger import Result
from astro_dist.engine.work import Results, Run, Task
from astro_dist.enhance import map_chain
from astro_dist.enhance.chain_config import ChainConfig
from astro_dist.enhance.map_chain import MapState
from astro_dist.enhance.map_inputs import of_files, open_inputs


def plan(run: Run, results: Results) -> list[Task]:
    """Return the tasks that can be done now; a `Stage.plan`."""
    return map_chain.plan(run, results)


def open_state(run: Run) -> MapState:
    """Open images and networks; a `Stage.open`."""
    return MapState.open(run)


def prepare(run: Run) -> None:
    """Create what the tasks fill; a `Stage.prepare`."""
    map_chain.prepare(run)


def run_task(state: Any, task: Task) -> Result:
    """Do one task; a `Stage.run`."""
    return map_chain.run_task(state, task)


def seal(run: Run, results: Results) -> Results:
    """Write headers that follow from the results; a `Stage.seal`."""
    return map_chain.seal(run, results)


def finish(run: Run, results: Results) -> dict[str, Any]:
    """Write tables and figures; a `Stage.finish`."""
    return map_chain.finish(run, results)


def refuse(run: Run) -> None:
    """Refuse images that cannot be enhanced; a `Stage.refuse`."""
    if not of_files(run):
        raise ConfigError("enhance: give FITS files or a section maps")
    if run.section(ChainConfig).files or run.product("maps").exists():
        open_inputs(run)


def numerics(run: Run) -> Result:
    """Return what the last bits of networks depend on; without a network they depend on nothing."""
    if "superres" not in run.section(ChainConfig).chain:
        return {}
    from astro_dist.models.device import numerics as of_networks

    return of_networks(run)
