"""The pipeline `enhance`: colour, super-resolution and cleaning of pictures and of survey maps.

A stage is part of a run where its section is given. Importing this module imports settings and declarations,
and none of the libraries that the stages use.
"""

from collections.abc import Collection, Mapping

from astro_dist.engine.config import Section
from astro_dist.engine.later import Later
from astro_dist.engine.pipeline import Pipeline, Tree
from astro_dist.enhance.byol_config import settle_byol
from astro_dist.enhance.byol_stage import BYOL
from astro_dist.enhance.chain_settings import learns, settle_chain, settle_with
from astro_dist.enhance.chain_stage import ENHANCE as CHAIN
from astro_dist.enhance.cleaner_stage import CLEANER
from astro_dist.enhance.cleaning_config import settle_cleaner, settle_cleaning
from astro_dist.enhance.cleaning_stage import CLEANING
from astro_dist.enhance.colourise_config import settle_colourise
from astro_dist.enhance.colourise_stage import COLOURISE
from astro_dist.enhance.config import EnhanceConfig
from astro_dist.enhance.figures_config import settle_figures
from astro_dist.enhance.figures_stage import EVALUATE
from astro_dist.enhance.superres_config import settle_superres
from astro_dist.enhance.superres_stage import SUPERRES
from astro_dist.report.stage import report_on
from astro_dist.sky.stages import ANNOTATE, SIMULATE
from astro_dist.store.picture_stage import PICTURES
from astro_dist.store.stage import CUTOUTS

STAGES = (
    PICTURES,
    SIMULATE,
    ANNOTATE,
    CUTOUTS,
    COLOURISE,
    SUPERRES,
    BYOL,
    CLEANER,
    CLEANING,
    CHAIN,
    EVALUATE,
)
REPORT = report_on(STAGES, (), Later("astro_dist.report.enhance:build_page"))
OF_MAPS = ("simulate", "annotate", "cutouts")
"""Stages that make cutouts of maps, which take the place of the pictures."""
OPTIONAL = {
    "colourise": "colours are learned only with a section colourise",
    "superres": "super-resolution is trained only with a section superres",
    "byol": "an encoder is trained without labels only with a section byol",
    "cleaner": "a network that finds objects is trained only with a section cleaner",
    "cleaning": "objects are painted over only with a section cleaning",
    "enhance": "pictures and maps are enhanced only with a section enhance",
    "evaluate": "the chain is measured only with a section evaluate",
}
"""Why a stage of the same name as its section is left out where that section is not given."""


def include(tree: Tree, names: Collection[str]) -> Tree:
    """Add the sections of the stages among ``names`` that a configuration leaves out."""
    asked = {name for name in OPTIONAL if name in names}
    if "evaluate" in asked:
        asked.add("enhance")
    if set(names) & set(OF_MAPS):
        asked.add("maps")
    if "byol" in asked:
        asked.add("cleaner")
    return {**{name: {} for name in sorted(asked)}, **tree}


def leave_out(config: EnhanceConfig) -> Mapping[str, str]:
    """Return the stages that a configuration leaves out, each with the reason."""
    if config.maps is None:
        absent = dict.fromkeys(OF_MAPS, "maps are read only with a section maps")
    else:
        absent = {"pictures": "with a section maps there are no pictures"}
        if config.maps.files:
            absent["simulate"] = "with map files no sky is simulated"
    alone = config.enhance is not None and config.enhance.files and "superres" not in config.enhance.chain
    if alone:
        trainings = ("colourise", "superres", "byol", "cleaner", "cleaning")
        absent |= dict.fromkeys(trainings, "the chain over enhance.files has no network")
    if config.enhance is not None and (alone or not learns(config)):
        if config.enhance.files:
            absent |= dict.fromkeys(
                ("pictures", "simulate"), "enhance.files are enhanced without any training"
            )
        absent |= dict.fromkeys(("annotate", "cutouts"), "no network learns from cutouts")
    if _is_bicubic_of_files(config):
        absent["evaluate"] = "no network doubles these files, so that held-out images have nothing to measure"
    return absent | {name: why for name, why in OPTIONAL.items() if getattr(config, name) is None}


def _is_bicubic_of_files(config: EnhanceConfig) -> bool:
    chain = config.enhance
    return (
        chain is not None and (config.maps is not None or bool(chain.files)) and "superres" not in chain.chain
    )


def settle(config: EnhanceConfig) -> EnhanceConfig:
    """Fill in defaults that depend on other sections, and refuse settings that contradict each other."""
    config = settle_with(config)
    changes: dict[str, Section] = {}
    maps = config.maps is not None
    if config.colourise is not None:
        changes["colourise"] = settle_colourise(config.pictures, config.colourise, maps)
    if config.superres is not None:
        cutouts = None if config.maps is None else config.cutouts
        changes["superres"] = settle_superres(config.pictures, cutouts, config.superres)
    if config.cleaner is not None:
        changes["cleaner"] = settle_cleaner(config.pictures, config.cleaner, maps)
    if config.byol is not None:
        changes["byol"] = settle_byol(config.pictures, config.byol, config.cleaner)
    if config.cleaning is not None:
        settle_cleaning(config.pictures, config.cleaning, maps, config.cleaner is not None)
    config = config.model_copy(update=changes)
    if config.enhance is not None:
        config = config.model_copy(update={"enhance": settle_chain(config, config.enhance)})
    if config.evaluate is not None:
        config = config.model_copy(update={"evaluate": settle_figures(config, config.evaluate)})
    return config


ENHANCE = Pipeline(
    name="enhance",
    help="colour, super-resolution and cleaning of pictures and of survey maps",
    config=EnhanceConfig,
    stages=(*STAGES, REPORT),
    left_out=leave_out,
    settle=settle,
    include=include,
    shown={
        "pictures": "pictures.zarr",
        "super-resolution": "models/superres",
        "enhanced": "enhanced",
        "report": "report.html",
    },
    summary=Later("astro_dist.enhance.summary:summarise"),
)
