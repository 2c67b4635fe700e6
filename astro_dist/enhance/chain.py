"""The stage `enhance`: over FITS images, or over the pictures of a store."""

from pathlib import Path
from typing import Any

from astro_dist.engine.errors import ConfigError
from astro_dist.engine.ledger import Result
from astro_dist.engine.work import Results, Run, Task, make_folder
from astro_dist.enhance import map_chain
from astro_dist.enhance.chain_config import ChainConfig
from astro_dist.enhance.costs import note_unused
from astro_dist.enhance.map_chain import MapState
from astro_dist.enhance.map_inputs import of_files, open_inputs, refuse_alike
from astro_dist.enhance.superres_config import SuperresConfig


def plan(run: Run, results: Results) -> list[Task]:
    """Return the tasks that can be done now; a `Stage.plan`."""
    if of_files(run):
        return map_chain.plan(run, results)
    from astro_dist.enhance import picture_chain

    return picture_chain.plan(run, results)


def open_state(run: Run) -> Any:
    """Open images and networks; a `Stage.open`."""
    if of_files(run):
        return MapState.open(run)
    from astro_dist.enhance import picture_chain

    return picture_chain.open_pictures(run)


def prepare(run: Run) -> None:
    """Create what the tasks fill; a `Stage.prepare`."""
    make_folder(run)
    if of_files(run):
        map_chain.prepare(run)


def run_task(state: Any, task: Task) -> Result:
    """Do one task; a `Stage.run`."""
    if isinstance(state, MapState):
        return map_chain.run_task(state, task)
    from astro_dist.enhance import picture_chain

    return picture_chain.run_task(state, task)


def seal(run: Run, results: Results) -> Results:
    """Write headers that follow from the results; a `Stage.seal`."""
    return map_chain.seal(run, results) if of_files(run) else {}


def finish(run: Run, results: Results) -> dict[str, Any]:
    """Write tables and figures; a `Stage.finish`."""
    facts = _finish(run, results)
    return {**facts, "notes": [*facts.get("notes", []), *note_unused(run)]}


def _finish(run: Run, results: Results) -> dict[str, Any]:
    if of_files(run):
        return map_chain.finish(run, results)
    from astro_dist.enhance import picture_chain

    return picture_chain.finish(run, results)


def check(path: Path) -> list[str]:
    """Return the faults of a published product by its own checksums; a `Stage.check`."""
    from astro_dist.sky.fits_file import verify_fits
    from astro_dist.store.verify import verify_store

    if stores := sorted(path.glob("*.zarr")):
        return [fault for store in stores for fault in verify_store(store)]
    return [fault for file in sorted(path.glob("*.fits")) for fault in verify_fits(file)[0]]


def refuse(run: Run) -> None:
    """Refuse images that cannot be enhanced or are named alike, and other networks; a `Stage.refuse`."""
    _refuse_network(run)
    if not of_files(run):
        return refuse_samples(run)
    refuse_alike(run, map_chain.with_network(run))
    if run.section(ChainConfig).files or run.product("maps").exists():
        open_inputs(run)
    return None


def _refuse_network(run: Run) -> None:
    word = run.section(ChainConfig).with_
    start_from = run.section(SuperresConfig).start_from if word is not None else None
    if word is not None and start_from is not None:
        # Torch, which few settings need.
        from astro_dist.enhance.superres_stage import RECIPE
        from astro_dist.models.enlargers import check_word
        from astro_dist.train.start import find_start

        check_word(find_start(RECIPE, start_from), "superres", word, "enhance.with")


def refuse_samples(run: Run) -> None:
    """Refuse several samples of a network that draws none.

    Raises
    ------
    ConfigError
        The weights that the run begins with are such a network's.
    """
    from astro_dist.enhance.superres_stage import RECIPE
    from astro_dist.train.start import find_start

    config = run.section(ChainConfig)
    start_from = run.section(SuperresConfig).start_from if "superres" in config.chain else None
    if start_from is None or config.samples == 1:
        return
    # Torch, which only networks need.
    from astro_dist.models.enlargers import KINDS, kind_of

    if not KINDS[kind := kind_of(find_start(RECIPE, start_from), "superres")].sampled:
        raise ConfigError(
            f"enhance.samples: {kind} of superres.start_from makes one picture, not samples; set it to 1"
        )


def numerics(run: Run) -> Result:
    """Return what the last bits of networks depend on; without a network they depend on nothing."""
    if of_files(run) and not map_chain.with_network(run):
        return {}
    from astro_dist.models.device import numerics as of_networks

    return of_networks(run)
