"""The stages `train judge` and `classify`; their functions are imported when they are used."""

from pathlib import Path
from typing import Any

from astro_dist.engine.later import Later
from astro_dist.engine.work import Run
from astro_dist.flare.classify_config import ClassifierConfig, ClassifyConfig, CombineConfig, JudgeConfig
from astro_dist.flare.combine_stage import STORES
from astro_dist.models.classifier_presets import NETWORKS, count_parameters
from astro_dist.pictures.config import PicturesConfig
from astro_dist.train.grid import Arm, grid_stage
from astro_dist.train.recipe import Recipe
from astro_dist.train.stage import training_stage

CLASSES = 8
"""Classes that costs are computed for; the last layer is small beside the others."""


def _cost(config: Any) -> tuple[float, float]:
    preset = NETWORKS[config.preset]
    # Of frozen features the last layer alone is trained and published.
    own = (preset.features + 1) * CLASSES if preset.frozen else count_parameters(config.preset, CLASSES)
    return own, preset.cost


def _find_weights(run: Run, kind: type[ClassifierConfig] = JudgeConfig) -> list[Path]:
    """Return the weights of frozen features, where the network has such."""
    if not NETWORKS[run.section(kind).preset].frozen:
        return []
    return [Later("astro_dist.models.efficientnet:find_feature_weights")()]


def _find_files(run: Run) -> list[Path]:
    """Return the files that cells read beside the products of earlier stages."""
    config, weights = run.section(ClassifyConfig), _find_weights(run, ClassifyConfig)
    if not config.test:
        return weights
    tests: list[Path] = Later("astro_dist.flare.outside:list_files")(config, run.section(PicturesConfig))
    return [*weights, *tests]


JUDGE_RECIPE = Recipe(
    "judge",
    JudgeConfig,
    ("pictures",),
    Later("astro_dist.flare.classifiers:build_judge"),
    _cost,
    Later("astro_dist.flare.classifiers:load"),
    refuse=Later("astro_dist.flare.classifiers:refuse"),
    one_file=True,
    sections=("augment",),
    files=_find_weights,
    keep_best=True,
)
JUDGE = training_stage(JUDGE_RECIPE)
RECIPE = Recipe(
    "classify",
    ClassifyConfig,
    (*STORES, "combine"),
    Later("astro_dist.flare.classifiers:build_cell"),
    _cost,
    Later("astro_dist.flare.classifiers:load"),
    refuse=Later("astro_dist.flare.classifiers:refuse"),
    reads=("pictures",),
    one_file=True,
    sections=("augment",),
    files=_find_files,
    keep_best=True,
)


def list_cells(run: Run) -> list[Arm]:
    """Return the cells of the grid; those of one network, level and seed begin with the same weights."""
    config = run.section(ClassifyConfig)
    return [
        _cell(run, config, arm, network, level, seed)
        for arm in config.arms or tuple(run.section(CombineConfig).arms)
        for network in config.networks
        for level in config.levels
        for seed in range(config.seeds)
    ]


def _cell(run: Run, config: ClassifyConfig, arm: str, network: str, level: str, seed: int) -> Arm:
    own = dict(config.per_network.get(network, {}))  # type: ignore[call-overload]
    # A cell is a grid of one: its settings do not change when others are added.
    alone = {"networks": (network,), "levels": (level,), "arms": (arm,), "seeds": 1, "per_network": {}}
    steps = _count_steps(run, config, arm, own.get("steps", config.steps))
    settings = {**own, **alone, "preset": network, "equal": "steps", "steps": steps}
    rows = {"set": arm, "level": level}
    name = f"{arm}__{network}__{level}__s{seed}"
    return Arm(name, settings, rows, (network, level, seed), _inputs(run.section(CombineConfig), arm))


def _count_steps(run: Run, config: ClassifyConfig, arm: str, steps: int) -> int:
    """Return the steps of an arm: those of the settings, or in proportion to its rows."""
    sets = run.facts("combine").get("sets", {})
    if config.equal == "steps" or arm not in sets:
        return steps
    arms = config.arms or tuple(run.section(CombineConfig).arms)
    return round(steps * sets[arm]["rows"] / min(sets[name]["rows"] for name in arms))


def _inputs(combine: CombineConfig, name: str) -> dict[str, tuple[str, ...]]:
    """Return what a cell reads: its own set, and the stores that the pictures of the set are in."""
    arm = combine.arms[name]
    reads: dict[str, tuple[str, ...]] = {"pictures": (), "combine": (f"{name}.parquet",)}
    if arm.real == "upscaled" and (arm.alpha or arm.synthetic == "held_back"):
        reads["upscale"] = ()
    if arm.painted:
        reads["synthesise"] = ()
    return reads


def refuse(run: Run) -> None:
    """Refuse test sets that are not there, or whose classes stand for none of ours."""
    if run.section(ClassifyConfig).test:
        Later("astro_dist.flare.outside:refuse_tests")(run)


CLASSIFY = grid_stage(
    RECIPE,
    "classify",
    "classifiers",
    list_cells,
    sections=("classify", "augment", "combine"),
    inputs=(*STORES, "combine"),
    refuse=refuse,
)
