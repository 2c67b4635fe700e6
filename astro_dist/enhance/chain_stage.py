"""The stage `enhance`; its functions are imported when they are used."""

from pathlib import Path

from astro_dist.engine.later import Later
from astro_dist.engine.work import Estimate, Run, Stage
from astro_dist.enhance.chain_config import ChainConfig


def sources(run: Run) -> list[Path]:
    """Return the user's files that are enhanced."""
    from astro_dist.enhance.map_inputs import find_paths

    return list(find_paths(run))


def estimate(run: Run) -> Estimate:
    """Return the cost; exact in tasks and bytes where the files are there."""
    from astro_dist.enhance.costs import estimate_chain

    return estimate_chain(run, run.section(ChainConfig))


ENHANCE = Stage(
    name="enhance",
    product="enhanced",
    plan=Later("astro_dist.enhance.chain:plan"),
    run=Later("astro_dist.enhance.chain:run_task"),
    prepare=Later("astro_dist.enhance.chain:prepare"),
    open=Later("astro_dist.enhance.chain:open_state"),
    seal=Later("astro_dist.enhance.chain:seal"),
    finish=Later("astro_dist.enhance.chain:finish"),
    sources=sources,
    refuse=Later("astro_dist.enhance.chain:refuse"),
    estimate=estimate,
    sections=("enhance", "maps"),
    reads=("simulate", "cutouts", "superres", "pictures", "colourise", "cleaning"),
    own="enhance",
    inputs=("pictures", "simulate", "cutouts", "colourise", "superres", "cleaning"),
    check=Later("astro_dist.enhance.chain:check"),
    scratch=("looks",),
    numerics=Later("astro_dist.enhance.chain:numerics"),
    gpu=True,
)
