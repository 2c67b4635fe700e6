"""The pipeline `flare`: from a folder of pictures to a classifier, and what synthetic pictures add to it.

Importing this module imports settings and declarations, and none of the libraries that the stages use.
"""

from collections.abc import Collection, Mapping

from astro_dist.engine.pipeline import Pipeline, Tree
from astro_dist.flare.classify_config import check_cells, settle_arms
from astro_dist.flare.classify_stage import CLASSIFY, JUDGE
from astro_dist.flare.combine_stage import COMBINE
from astro_dist.flare.config import FlareConfig
from astro_dist.flare.upscale_config import settle_crop
from astro_dist.flare.upscale_stage import UPSCALE, UPSCALER
from astro_dist.store.picture_stage import PICTURES

STAGES = (PICTURES, UPSCALER, UPSCALE, JUDGE, COMBINE, CLASSIFY)


def include(tree: Tree, names: Collection[str]) -> Tree:
    """Add the sections of the stages among ``names`` that a configuration leaves out."""
    if set(names) & {"upscaler", "upscale"}:
        tree = {"upscaler": {}, **tree}
    if "judge" in names:
        tree = {"judge": {}, **tree}
    return tree


def leave_out(config: FlareConfig) -> Mapping[str, str]:
    """Return the stages that a configuration leaves out, each with the reason."""
    absent: dict[str, str] = {}
    if config.upscaler is None:
        absent |= dict.fromkeys(("upscaler", "upscale"), "pictures are enlarged only with a section upscaler")
    if config.judge is None:
        absent["judge"] = "a judge is trained only with a section judge"
    return absent


def settle(config: FlareConfig) -> FlareConfig:
    """Fill in defaults that depend on other sections, and refuse settings that contradict each other."""
    if config.upscaler is not None:
        upscaler = settle_crop(config.pictures, config.upscaler)
        config = config.model_copy(update={"upscaler": upscaler})
    combine = settle_arms(config.combine, upscaler=config.upscaler is not None, painter=False)
    check_cells(config.classify, combine, bool(config.pictures.macro))
    return config.model_copy(update={"combine": combine})


FLARE = Pipeline(
    name="flare",
    help="from a folder of pictures to a classifier, and what synthetic pictures add to it",
    config=FlareConfig,
    stages=STAGES,
    left_out=leave_out,
    settle=settle,
    include=include,
    shown={"pictures": "pictures.zarr", "classifiers": "classifiers"},
)
