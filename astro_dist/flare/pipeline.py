"""The pipeline `flare`: from a folder of pictures to a classifier, and what synthetic pictures add to it.

Importing this module imports settings and declarations, and none of the libraries that the stages use.
"""

from collections.abc import Collection, Mapping

from astro_dist.engine.errors import ConfigError
from astro_dist.engine.pipeline import Pipeline, Tree
from astro_dist.flare.classify_config import CombineConfig, check_cells, settle_arms
from astro_dist.flare.classify_stage import CLASSIFY, JUDGE
from astro_dist.flare.combine_stage import COMBINE
from astro_dist.flare.config import FlareConfig
from astro_dist.flare.painter_trainings import CAPTIONER, CLIP, UNIDIFFUSER, VAE
from astro_dist.flare.synthesise_stage import SYNTHESISE
from astro_dist.flare.upscale_config import settle_crop
from astro_dist.flare.upscale_stage import UPSCALE, UPSCALER
from astro_dist.store.picture_stage import PICTURES

STAGES = (
    PICTURES,
    UPSCALER,
    UPSCALE,
    JUDGE,
    VAE,
    CLIP,
    CAPTIONER,
    UNIDIFFUSER,
    SYNTHESISE,
    COMBINE,
    CLASSIFY,
)
PARTS = ("vae", "clip", "captioner")
"""Trainings of the parts that a painter's folder has already."""
PAINTING = (*PARTS, "unidiffuser", "synthesise")


def include(tree: Tree, names: Collection[str]) -> Tree:
    """Add the sections of the stages among ``names`` that a configuration leaves out."""
    if set(names) & {"upscaler", "upscale"}:
        tree = {"upscaler": {}, **tree}
    if "judge" in names:
        tree = {"judge": {}, **tree}
    if set(names) & set(PAINTING):
        tree = {"synthesise": {}, **tree}
    return tree


def leave_out(config: FlareConfig) -> Mapping[str, str]:
    """Return the stages that a configuration leaves out, each with the reason."""
    absent: dict[str, str] = {}
    if config.upscaler is None:
        absent |= dict.fromkeys(("upscaler", "upscale"), "pictures are enlarged only with a section upscaler")
    if config.judge is None:
        absent["judge"] = "a judge is trained only with a section judge"
    if config.unidiffuser.folder is not None:
        absent |= dict.fromkeys(PARTS, "unidiffuser.folder has the parts of a painter")
    if config.synthesise is None:
        absent |= dict.fromkeys(PAINTING, "pictures are painted only with a section synthesise")
    return absent


def settle(config: FlareConfig) -> FlareConfig:
    """Fill in defaults that depend on other sections, and refuse settings that contradict each other."""
    if config.upscaler is not None:
        upscaler = settle_crop(config.pictures, config.upscaler)
        config = config.model_copy(update={"upscaler": upscaler})
    has = {"upscaler": config.upscaler is not None, "painter": config.synthesise is not None}
    combine = settle_arms(_settle_variants(config), **has)
    check_cells(config.classify, combine, bool(config.pictures.macro))
    return config.model_copy(update={"combine": combine})


def _settle_variants(config: FlareConfig) -> CombineConfig:
    """Return the settings of the sets with as many synthetic pictures of each real one as are painted."""
    combine, painted = config.combine, config.synthesise and config.synthesise.k
    if painted is None or combine.k_synthetic == painted:
        return combine
    if "k_synthetic" in combine.model_fields_set:
        raise ConfigError(
            f"combine.k_synthetic is {combine.k_synthetic} and synthesise.k {painted}; make them equal, or "
            "leave the first out"
        )
    return combine.model_copy(update={"k_synthetic": painted})


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
