"""Settings of the chain that follow from the other sections of a run."""

from typing import Any

from astro_dist.engine.errors import ConfigError
from astro_dist.enhance.chain_config import DOUBLING, OF_PICTURES, ChainConfig, LinkName

TRAINED = ("colourise", "superres")
"""Steps of the chain that are trained by a stage of the same name."""


def learns(config: Any) -> bool:
    """Return whether a network of the run is trained on its pictures or cutouts."""
    return any(getattr(config, name, None) is not None for name in (*TRAINED, "cleaner"))


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
    if not steps and has["superres"] and fits and config.maps is None:
        raise ConfigError(
            "enhance: this superres learns from pictures, whose brightness is no flux, and does not double "
            "FITS files; train one on maps (a section maps; no weights of the package are for maps), or take "
            "the section superres out for the bicubic enlargement that keeps fluxes"
        )
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
