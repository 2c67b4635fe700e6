"""The pipeline `flare`: from a folder of pictures to a classifier, and what synthetic pictures add to it.

Importing this module imports settings and declarations, and none of the libraries that the stages use.
"""

from collections.abc import Collection, Mapping

from astro_dist.engine.errors import ConfigError
from astro_dist.engine.later import Later
from astro_dist.engine.pipeline import Pipeline, Tree
from astro_dist.flare.classify_config import check_cells, settle_arms
from astro_dist.flare.classify_stage import CLASSIFY, JUDGE
from astro_dist.flare.combine_stage import COMBINE, STORES
from astro_dist.flare.compare_stage import compare_stage
from astro_dist.flare.config import FlareConfig
from astro_dist.flare.painter_trainings import CAPTIONER, CLIP, DIFFUSION, UNIDIFFUSER, VAE
from astro_dist.flare.synthesise_config import without_captions
from astro_dist.flare.synthesise_stage import SYNTHESISE
from astro_dist.flare.upscale_config import settle_crop, settle_with
from astro_dist.flare.upscale_stage import UPSCALE, UPSCALER
from astro_dist.report.stage import report_on
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
    DIFFUSION,
    SYNTHESISE,
    COMBINE,
    CLASSIFY,
    compare_stage(STORES),
)
REPORT = report_on(STAGES, (), Later("astro_dist.report.flare:build_page"))
PARTS = ("vae", "clip", "captioner")
"""Trainings of the parts that a painter's folder has already."""
PAINTING = (*PARTS, "unidiffuser", "diffusion", "synthesise")


def include(tree: Tree, names: Collection[str]) -> Tree:
    """Add the sections of the stages among ``names`` that a configuration leaves out."""
    if set(names) & {"upscaler", "upscale"}:
        tree = {"upscaler": {}, **tree}
    if "judge" in names:
        tree = {"judge": {}, **tree}
    if set(names) & set(PAINTING):
        tree = {"synthesise": {}, **tree}
    if "diffusion" in names:
        tree = {"diffusion": {}, **tree}
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
    if config.diffusion is None:
        absent["diffusion"] = "a painter of classes is trained only with a section diffusion"
    else:
        why = "the painter of classes, section diffusion, takes the place of the one of prompts"
        absent |= dict.fromkeys((*PARTS, "unidiffuser"), why)
    if config.synthesise is None:
        absent |= dict.fromkeys(PAINTING, "pictures are painted only with a section synthesise")
    return absent


def settle(config: FlareConfig) -> FlareConfig:
    """Fill in defaults that depend on other sections, and refuse settings that contradict each other."""
    upscaler = settle_with(config.upscale, config.upscaler)
    if upscaler is not None:
        upscaler = settle_crop(config.pictures, upscaler)
        config = config.model_copy(update={"upscaler": upscaler})
    if config.diffusion is not None:
        config = _settle_diffusion(config)
    painted = config.synthesise.k if config.synthesise is not None else 0
    combine = settle_arms(config.combine, config.upscaler is not None, painted)
    check_cells(config.classify, combine, bool(config.pictures.macro))
    return config.model_copy(update={"combine": combine})


def _settle_diffusion(config: FlareConfig) -> FlareConfig:
    """Return settings that a painter of classes can follow."""
    if config.unidiffuser.folder is not None:
        raise ConfigError(
            "unidiffuser.folder and the section diffusion name two painters; leave one of them out"
        )
    if config.synthesise is None:
        return config
    return config.model_copy(update={"synthesise": without_captions(config.synthesise)})


FLARE = Pipeline(
    name="flare",
    help="from a folder of pictures to a classifier, and what synthetic pictures add to it",
    config=FlareConfig,
    stages=(*STAGES, REPORT),
    left_out=leave_out,
    settle=settle,
    include=include,
    shown={
        "pictures": "pictures.zarr",
        "classifiers": "classifiers",
        "gains": "flare/metrics.json",
        "report": "report.html",
    },
)
