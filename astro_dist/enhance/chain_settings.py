"""Settings of the chain that follow from the other sections of a run."""

from collections.abc import Collection
from typing import Any

from astro_dist.engine.errors import ConfigError
from astro_dist.enhance.chain_config import DOUBLING, OF_PICTURES, ChainConfig, LinkName
from astro_dist.enhance.superres_config import SuperresConfig

TRAINED = ("colourise", "superres")
"""Steps of the chain that are trained by a stage of the same name."""


def learns(config: Any) -> bool:
    """Return whether a network of the run is trained on its pictures or cutouts."""
    return any(getattr(config, name, None) is not None for name in (*TRAINED, "cleaner"))


def unused(names: Collection[str], chain: ChainConfig) -> list[str]:
    """Return what a run has a section of among ``names``, and sends no picture and no map through."""
    return [name for name in (*TRAINED, "cleaning") if name in names and name not in chain.chain]


def _refuse_unused(config: Any) -> None:
    """Refuse networks beside FITS files that go through none: the user would take the result for theirs."""
    if config.superres is not None:
        raise ConfigError(
            "enhance.files: these FITS files would not go through superres, which learns from pictures here; "
            "name them in maps.files, with superres.start_from radio for the weights of the package "
            "(configs/enhance/map.yaml), or set enhance.chain to [bicubic]"
        )
    for name in ("colourise", "cleaning"):
        if getattr(config, name) is not None:
            raise ConfigError(
                f"enhance.files: FITS files are doubled and nothing else, and {name} is for pictures; take "
                f"the section {name} out, or set enhance.chain to [bicubic]"
            )


def settle_with(config: Any) -> Any:
    """Return the configuration of a run with the network that ``enhance.with`` names.

    Whether weights of the user are those of such a network is seen where they are read.

    Raises
    ------
    ConfigError
        Another section contradicts it; the message names both settings.
    """
    chain, superres = config.enhance, config.superres
    if chain is None or chain.with_ is None:
        return config
    if chain.chain and "superres" not in chain.chain:
        raise ConfigError("enhance.with: it names the network of superres; add superres to enhance.chain")
    if superres is None:
        weights = "enhance" if config.maps is None else "radio"
        start = {"preset": "local", "start_from": weights, "steps": 0}
        superres = SuperresConfig.model_validate(start)
    if chain.with_ == "swinir":
        superres, chain = _settle_swinir(superres, config.superres, chain)
        if config.maps is not None:
            raise ConfigError(
                "enhance.with: swinir enlarges pictures, whose brightness is no flux; take superres for maps"
            )
    return config.model_copy(update={"superres": superres, "enhance": chain})


def _settle_swinir(
    superres: SuperresConfig, given: SuperresConfig | None, chain: ChainConfig
) -> tuple[SuperresConfig, ChainConfig]:
    if given is not None and given.steps and "steps" in given.model_fields_set:
        raise ConfigError(
            "enhance.with: train superres trains no swinir, which comes as it is, from the package or from "
            "superres.start_from; set superres.steps to 0"
        )
    if chain.samples > 1 and "samples" in chain.model_fields_set:
        raise ConfigError("enhance.samples: swinir makes one picture, not samples; set it to 1")
    start_from = "flare" if given is None or given.start_from is None else given.start_from
    samples = {"samples": 1, "keep_samples": min(1, chain.keep_samples)}
    return (
        superres.model_copy(update={"steps": 0, "start_from": start_from}),
        chain.model_copy(update=samples),
    )


def settle_chain(config: Any, chain: ChainConfig) -> ChainConfig:
    """Return the settings of the chain with its steps.

    Raises
    ------
    ConfigError
        A step has no training, or is not for maps.
    """
    has = {name: getattr(config, name, None) is not None for name in (*TRAINED, "cleaning")}
    fits = config.maps is not None or bool(chain.files)
    steps = chain.chain
    if not steps and fits and config.maps is None:
        _refuse_unused(config)
    if not steps:
        before: tuple[LinkName, ...] = ("cleaning", "colourise")
        first = () if fits else tuple(name for name in before if has[name])
        trained = has["superres"] and (not fits or config.maps is not None)
        steps = (*first, "superres" if trained else "bicubic")
    for step in steps:
        if fits and step in OF_PICTURES:
            raise ConfigError(
                f"enhance.chain: {step} is for pictures and changes the fluxes of FITS files; take it out"
            )
        if not has.get(step, True):
            raise ConfigError(f"enhance.chain: {step} needs a section {step}; add one, or take {step} out")
    if "cleaning" in steps[1:]:
        raise ConfigError(
            "enhance.chain: cleaning looks for objects in the pictures as they were taken; put it first"
        )
    if fits:
        if not set(steps) & set(DOUBLING):
            raise ConfigError("enhance.chain: FITS files are doubled; add superres or bicubic")
        if "superres" in steps and config.maps is None:
            raise ConfigError(
                "enhance.chain: this superres learns from pictures, whose brightness is no flux; train it on "
                "maps (a section maps), or set the chain to bicubic"
            )
        if "superres" in steps and chain.samples < 2:
            raise ConfigError(
                "enhance.samples: 1 sample has no spread that an error follows from; set it to 2"
            )
    return chain.model_copy(update={"chain": steps})
