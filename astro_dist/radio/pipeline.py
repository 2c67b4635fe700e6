"""The radio pipeline: from survey maps to a synthetic field with an exact truth.

Importing this module imports settings and declarations, and none of the libraries that the stages use.
"""

import math
from collections.abc import Collection, Mapping
from typing import Any, Literal

from pydantic import model_validator

from astro_dist.challenge.config import ChallengeConfig
from astro_dist.challenge.stage import PACKAGE
from astro_dist.engine.config import apply_set
from astro_dist.engine.errors import ConfigError
from astro_dist.engine.later import Later
from astro_dist.engine.pipeline import Pipeline, PipelineConfig, Tree
from astro_dist.evaluate.config import EvaluateConfig
from astro_dist.evaluate.stage import EVALUATE
from astro_dist.field.checks import expect_counts
from astro_dist.field.config import AssembleConfig
from astro_dist.field.instrument import Survey, design_instrument
from astro_dist.field.stage import ASSEMBLE
from astro_dist.generate.config import GenerateConfig
from astro_dist.generate.stage import GENERATE
from astro_dist.radio.config import (
    AutoencoderConfig,
    ByolConfig,
    DiffusionConfig,
    MasksTrainingConfig,
    SegmenterConfig,
)
from astro_dist.radio.trainings import AUTOENCODER, BYOL, DIFFUSION, MASKS, SEGMENTER
from astro_dist.report.config import ReportConfig
from astro_dist.report.stage import report_on
from astro_dist.sky.config import AnnotateConfig, MapsConfig
from astro_dist.sky.stages import ANNOTATE, SIMULATE
from astro_dist.sky.survey import SimulateConfig
from astro_dist.store.config import CutoutsConfig
from astro_dist.store.stage import CUTOUTS
from astro_dist.train.config import TrainingConfig

EVALUATION = ("byol", "segmenter", "evaluate")
TRAININGS = ("autoencoder", "diffusion", "masks", "byol", "segmenter")
STAGES = (
    SIMULATE,
    ANNOTATE,
    CUTOUTS,
    AUTOENCODER,
    DIFFUSION,
    MASKS,
    GENERATE,
    ASSEMBLE,
    BYOL,
    SEGMENTER,
    EVALUATE,
)

REPORT = report_on(STAGES, ("maps", "assemble", "challenge"), Later("astro_dist.report.radio:build_page"))


class RadioConfig(PipelineConfig):
    """All settings of a run of the radio pipeline."""

    pipeline: Literal["radio"] = "radio"
    """Pipeline of this configuration."""
    maps: MapsConfig = MapsConfig()
    """The survey maps that the networks learn from; without files a sky is simulated."""
    simulate: SimulateConfig = SimulateConfig()
    """The simulated survey, used where no map files are given."""
    annotate: AnnotateConfig = AnnotateConfig()
    """Background, rms, islands and their classes."""
    cutouts: CutoutsConfig = CutoutsConfig()
    """Cutouts of the maps, for training."""
    autoencoder: AutoencoderConfig = AutoencoderConfig()
    """Training of the autoencoder."""
    diffusion: DiffusionConfig = DiffusionConfig()
    """Training of the latent diffusion model."""
    masks: MasksTrainingConfig = MasksTrainingConfig()
    """Training of the model that draws masks, where generate.masks.model asks for one."""
    generate: GenerateConfig = GenerateConfig()
    """Stamps drawn from the model."""
    assemble: AssembleConfig = AssembleConfig()
    """The synthetic field."""
    byol: ByolConfig = ByolConfig()
    """Training of the feature encoder in whose features evaluation measures distances."""
    segmenter: SegmenterConfig = SegmenterConfig()
    """Training of the segmenter that finds the objects of stamps for evaluation."""
    evaluate: EvaluateConfig = EvaluateConfig()
    """The measurement of the model on held-out cutouts."""
    report: ReportConfig = ReportConfig()
    """The report page."""
    challenge: ChallengeConfig = ChallengeConfig()
    """The field as a data challenge."""

    @model_validator(mode="before")
    @classmethod
    def _move_trackers(cls, tree: Any) -> Any:
        """Move `machine.trackers` of version 0.1.0 into the sections of the trainings."""
        machine = tree.get("machine") if isinstance(tree, dict) else None
        if not isinstance(machine, dict) or "trackers" not in machine:
            return tree
        kept = {name: value for name, value in machine.items() if name != "trackers"}
        if not machine["trackers"]:
            return {**tree, "machine": kept}
        given = {name: tree.get(name) or {} for name in TRAININGS}
        # A section that is no mapping stays in the tree, and the validation refuses it by its name.
        sections = {name: own for name, own in given.items() if isinstance(own, dict)}
        # The section's own value comes last and wins.
        moved = {name: {"trackers": machine["trackers"], **own} for name, own in sections.items()}
        return {**tree, "machine": kept, **moved}


def include(tree: Tree, names: Collection[str]) -> Tree:
    """Switch on the optional stages among ``names``: evaluation, the training of masks, the package."""
    if set(names) & set(EVALUATION):
        tree = apply_set(tree, "evaluate.enabled=true")
    if "masks" in names:
        tree = apply_set(tree, "generate.masks.model=true")
    if PACKAGE.name in names:
        tree = apply_set(tree, "challenge.enabled=true")
    return tree


def leave_out(config: RadioConfig) -> Mapping[str, str]:
    """Return the stages that a configuration leaves out, each with the reason."""
    absent = {}
    if config.maps.files:
        absent["simulate"] = "with map files no sky is simulated"
    if not config.generate.masks.model:
        absent["masks"] = "masks are learnt only with generate.masks.model"
    if not config.evaluate.enabled:
        absent |= dict.fromkeys(EVALUATION, "the model is evaluated only with evaluate.enabled")
    if not config.challenge.enabled:
        absent[PACKAGE.name] = "the field is packaged only with challenge.enabled"
    return absent


def settle(config: RadioConfig) -> RadioConfig:
    """Set the number of drawn objects from the number of placements, and how files of `generate` are read.

    Raises
    ------
    ConfigError
        When initial weights do not fit together, or fewer objects are drawn than the placements need.
    """
    _check_start(config)
    config = _read_alike(config)
    if config.assemble.flux.mode == "counts":
        config = _draw_extended(config)
    if (needed := _needed_objects(config)) is None:
        return config
    if config.generate.objects is None:
        generate = config.generate.model_copy(update={"objects": needed})
        return config.model_copy(update={"generate": generate})
    if config.generate.objects < needed:
        raise ConfigError(
            f"assemble.objects: {config.assemble.objects or 'its'} placements need {needed} distinct objects "
            f"at assemble.reuse {config.assemble.reuse}, but generate.objects is {config.generate.objects}; "
            "raise generate.objects or assemble.reuse, or lower assemble.objects"
        )
    return config


def _needed_objects(config: RadioConfig) -> int | None:
    """Return how many distinct objects the field needs, None where that follows from the user's files."""
    field = config.assemble
    if field.objects is not None:
        return math.ceil(field.objects / field.reuse)
    if field.flux.mode != "counts" or config.maps.files or field.background.kind == "map":
        return None
    sky = config.simulate
    survey = Survey("the simulated survey", sky.beam, sky.pixel, sky.frequency_hz)
    expected = expect_counts(field, design_instrument(field, [survey], None))
    return math.ceil(expected.most_objects / field.reuse)


def _read_alike(config: RadioConfig) -> RadioConfig:
    """Read maps that `generate` names as those of `maps`, unless the configuration says otherwise."""
    generate, maps = config.generate, config.maps
    if not generate.read.is_default or not (generate.background or generate.masks.map):
        return config
    read = generate.read.model_copy(update={"hdu": maps.hdu, "plane": maps.plane, "blank": maps.blank})
    return config.model_copy(update={"generate": generate.model_copy(update={"read": read})})


def _draw_extended(config: RadioConfig) -> RadioConfig:
    """Draw extended objects alone, unless the configuration says otherwise: other sources need no object."""
    generate = config.generate
    if "classes" not in generate.accept.model_fields_set:
        accept = generate.accept.model_copy(update={"classes": ("extended",)})
        generate = generate.model_copy(update={"accept": accept})
    if "compact" not in generate.masks.model_fields_set:
        masks = generate.masks.model_copy(update={"compact": 0.0})
        generate = generate.model_copy(update={"masks": masks})
    return config.model_copy(update={"generate": generate})


def _check_start(config: RadioConfig) -> None:
    """Raise `ConfigError` for initial weights that cannot be used, before anything runs."""
    judges: dict[str, TrainingConfig] = {"byol": config.byol, "segmenter": config.segmenter}
    for name, section in judges.items():
        if section.start_from is not None:
            raise ConfigError(
                f"{name}.start_from: only the autoencoder, the diffusion model and the model of masks can "
                "begin with weights; leave it out"
            )
    # Two names of weights of the package must be equal; two folders of the user cannot be compared yet, and
    # are checked by their sha256 when the weights are loaded.
    theirs, ours = config.diffusion.start_from, config.autoencoder.start_from
    together = theirs == ours or (theirs and ours and "/" in theirs and "/" in ours)
    if theirs and (not together or config.autoencoder.steps):
        raise ConfigError(
            "diffusion.start_from: a diffusion model fits the latents of one autoencoder only; set "
            "autoencoder.start_from to the weights that belong to it, and autoencoder.steps to 0"
        )
    if ours and "/" not in ours and config.cutouts.stretch != "asinh":
        raise ConfigError(
            "autoencoder.start_from: the weights of the package are for cutouts stretched by asinh, not by "
            f"{config.cutouts.stretch}; set cutouts.stretch to asinh, or train"
        )


RADIO = Pipeline(
    name="radio",
    help="from survey maps to a synthetic field with an exact truth",
    config=RadioConfig,
    stages=(*STAGES, REPORT, PACKAGE),
    left_out=leave_out,
    settle=settle,
    include=include,
    summary=Later("astro_dist.radio.summary:summarise"),
    starter=Later("astro_dist.radio.starter:write_starter"),
    shown={
        "map": "field/map.fits",
        "truth": "field/truth.fits",
        "figures": "evaluation/metrics.json",
        "report": "report.html",
        "challenge": "challenge/public",
    },
)
