"""The stage `evaluate` of `enhance`; its functions are imported when they are used."""

import math
from pathlib import Path

from astro_dist.engine.errors import ConfigError
from astro_dist.engine.later import Later
from astro_dist.engine.work import Estimate, Run, Stage, make_folder
from astro_dist.enhance.chain_config import ChainConfig
from astro_dist.enhance.figures_config import FiguresConfig
from astro_dist.enhance.superres_config import SuperresConfig
from astro_dist.models.super_presets import SUPER
from astro_dist.pictures.config import PicturesConfig
from astro_dist.store.config import CutoutsConfig


def sources(run: Run) -> list[Path]:
    """Return the user's pictures of something else."""
    from astro_dist.engine.foreign import expand_home

    paths = [expand_home(name) for name in run.section(FiguresConfig).others]
    if missing := [path for path in paths if not path.is_file()]:
        raise ConfigError(f"evaluate.others: there is no file {missing[0]}; mend the path")
    return paths


def refuse(run: Run) -> None:
    """Refuse pictures that are not there, and one picture, of which none can be held out."""
    sources(run)
    pictures = run.settings.sections.get("pictures")
    if isinstance(pictures, PicturesConfig) and pictures.path is not None and pictures.folder.is_file():
        raise ConfigError(
            "evaluate: of one picture none can be held out to measure on; leave this section out, or name a "
            "folder in pictures.path"
        )


def estimate(run: Run) -> Estimate:
    """Return an upper bound of the cost: samples of all held-out images, and of those that are probed."""
    config, chain = run.section(FiguresConfig), run.section(ChainConfig)
    maps = "maps" in run.settings.sections
    side = run.section(CutoutsConfig).size_pix if maps else run.section(PicturesConfig).size_pix
    tasks = math.ceil(config.most / config.per_task) + 2
    cpu_s = 0.05 * config.most + 20.0
    if "superres" in chain.chain:
        call_s = SUPER[run.section(SuperresConfig).preset].cost[1] / 3 * (side / 64) ** 2
        drawn = config.most * chain.samples + 2 * (2 * config.probed + len(config.others))
        cpu_s += chain.calls * drawn * call_s
    size = 12 * 3 * side**2 * config.examples + 20_000 * config.most
    return Estimate(tasks, int(size), 2 * tasks, 2_000_000_000, cpu_s, exact=False)


EVALUATE = Stage(
    name="evaluate",
    product="evaluation",
    plan=Later("astro_dist.enhance.figures:plan"),
    run=Later("astro_dist.enhance.figures:run_task"),
    prepare=make_folder,
    open=Later("astro_dist.enhance.figures:open_state"),
    finish=Later("astro_dist.enhance.figures:finish"),
    sources=sources,
    refuse=refuse,
    estimate=estimate,
    sections=("evaluate", "enhance"),
    reads=("maps", "pictures", "cutouts", "superres", "cleaning"),
    own="evaluate",
    # The stage `cleaning` stands for its settings.
    inputs=("pictures", "cutouts", "colourise", "superres", "cleaner", "cleaning", "enhance"),
    numerics=Later("astro_dist.models.device:numerics"),
    gpu=True,
)
