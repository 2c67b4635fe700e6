"""The map of the system: every stage, in order, and the configuration that holds all their sections.

This is the only module that knows all stages. Importing it does not import torch or ray.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from astro_dist.engine.config import Section, apply_set, load_yaml, validate
from astro_dist.engine.errors import ConfigError
from astro_dist.engine.work import MachineConfig, Stage
from astro_dist.evaluate.config import EvaluateConfig
from astro_dist.evaluate.stage import EVALUATE
from astro_dist.field.assembly import ASSEMBLE
from astro_dist.field.config import AssembleConfig
from astro_dist.generate.config import GenerateConfig
from astro_dist.generate.stage import GENERATE
from astro_dist.radio.config import (
    AutoencoderConfig,
    ByolConfig,
    DiffusionConfig,
    MasksTrainingConfig,
    SegmenterConfig,
)
from astro_dist.report.stage import REPORT, ReportConfig
from astro_dist.sky.annotate import ANNOTATE, AnnotateConfig
from astro_dist.sky.maps import MapsConfig
from astro_dist.sky.simulate import SIMULATE, SimulateConfig
from astro_dist.store.cutouts import CUTOUTS, CutoutsConfig
from astro_dist.train.stage import AUTOENCODER, BYOL, DIFFUSION, MASKS, SEGMENTER

STAGES: dict[str, Stage] = {
    stage.name: stage
    for stage in (
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
        REPORT,
    )
}
EVALUATION = ("byol", "segmenter", "evaluate")


class Config(Section):
    """Everything a run depends on."""

    name: str = Field("run", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Name of the run; also of its directory below runs/ unless --out names another."""
    seed: int = Field(1, ge=0, lt=2**63)
    """From which all randomness follows."""
    maps: MapsConfig = MapsConfig()
    """The survey maps to learn from; without files a sky is simulated."""
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
    """Training of the features that evaluation measures distances in."""
    segmenter: SegmenterConfig = SegmenterConfig()
    """Training of the segmenter that evaluation asks for the objects of a stamp."""
    evaluate: EvaluateConfig = EvaluateConfig()
    """The measurement of the model on held-out cutouts."""
    report: ReportConfig = ReportConfig()
    """The report page."""
    machine: MachineConfig = MachineConfig()
    """Where the run executes; changes no byte of any product."""


def configure(path: Path, assignments: Sequence[str] = (), asked: Collection[str] = ()) -> Config:
    """Read a configuration, change what ``--set`` says, and let it hold the stages that are asked for.

    Stages that a run leaves out unless they are wanted are wanted when they are named.
    """
    tree = {"name": path.stem, **load_yaml(path)}
    for assignment in assignments:
        tree = apply_set(tree, assignment)
    if set(asked) & set(EVALUATION):
        tree = apply_set(tree, "evaluate.enabled=true")
    if "masks" in asked:
        tree = apply_set(tree, "generate.masks.model=true")
    return resolve(tree)


def resolve(tree: Mapping[str, Any]) -> Config:
    """Check a configuration and settle the defaults that depend on other sections."""
    config = validate(Config, tree)
    _check_start(config)
    needed = math.ceil(config.assemble.objects / config.assemble.reuse)
    if config.generate.objects is None:
        generate = config.generate.model_copy(update={"objects": needed})
        return config.model_copy(update={"generate": generate})
    if config.generate.objects < needed:
        raise ConfigError(
            f"assemble.objects: {config.assemble.objects} placements need {needed} distinct objects at "
            f"assemble.reuse {config.assemble.reuse}, but generate.objects is {config.generate.objects}; "
            "raise generate.objects or assemble.reuse, or lower assemble.objects"
        )
    return config


def _check_start(config: Config) -> None:
    """Refuse weights that could not be begun with, before anything runs."""
    for name in ("byol", "segmenter"):
        if getattr(config, name).start_from is not None:
            raise ConfigError(
                f"{name}.start_from: only the autoencoder, the diffusion model and the model of masks can "
                "begin with weights; leave it out"
            )
    theirs, ours = config.diffusion.start_from, config.autoencoder.start_from
    together = theirs == ours or (theirs and ours and "/" in theirs and "/" in ours)
    if theirs and (not together or config.autoencoder.steps):
        raise ConfigError(
            "diffusion.start_from: a diffusion model knows the latents of one autoencoder only; set "
            "autoencoder.start_from to the weights that belong to it, and autoencoder.steps to 0"
        )
    if ours == "small" and config.cutouts.stretch != "asinh":
        raise ConfigError(
            "autoencoder.start_from: the weights of the package know cutouts stretched by asinh, not by "
            f"{config.cutouts.stretch}; set cutouts.stretch to asinh, or train"
        )


def pipeline(config: Config, to: str | None = None) -> list[Stage]:
    """Return the stages of a run in order; with ``to`` that stage and those it stands on, no others.

    A sky is simulated only where no maps are given; masks are learnt, and the model evaluated, only where
    that is asked for.
    """
    left_out = {"simulate"} if config.maps.files else set()
    if not config.generate.masks.model:
        left_out.add("masks")
    if not config.evaluate.enabled:
        left_out |= set(EVALUATION)
    stages = [stage for name, stage in STAGES.items() if name not in left_out]
    if to is None:
        return stages
    wanted = {to}
    for stage in reversed(stages):
        if stage.name in wanted:
            wanted |= set(stage.inputs)
    return [stage for stage in stages if stage.name in wanted]
