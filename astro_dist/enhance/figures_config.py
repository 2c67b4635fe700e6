"""Settings of the figures of a chain, stage `evaluate`."""

from typing import Annotated, Any, Literal

from pydantic import Field

from astro_dist.engine.config import Section
from astro_dist.engine.errors import ConfigError
from astro_dist.train.config import Positive


class FiguresConfig(Section):
    """What the chain is measured on: pictures, or cutouts of maps, that no training has seen."""

    most: Positive = 32
    """Held-out pictures or cutouts that are measured at most, spread over all."""
    split: Literal["test", "validation"] = "test"
    """The split that they are of; intervals of maps are scaled on validation."""
    learnt: Positive = 48
    """Training pictures or cutouts that baselines are fitted to, and that copies are looked for in."""
    filtered: bool | None = None
    """Whether figures against the bilaterally filtered original are added; by default where a step of the
    chain needs OpenCV."""
    others: tuple[str, ...] = ()
    """Pictures of something else, such as faces, that the probe of memorised detail doubles too: files."""
    probed: Annotated[int, Field(ge=2, le=64)] = 8
    """Images of each kind in that probe."""
    examples: Annotated[int, Field(ge=1, le=16)] = 6
    """Images that the report shows with every step."""
    resamples: Annotated[int, Field(ge=0)] = 200
    """Bootstrap resamples of the images behind each interval."""
    per_task: Positive = 8
    """Images per task."""
    threads: Positive = 1
    """CPU threads per worker; a setting, because the number of threads changes the last bits of sums."""


def settle_figures(config: Any, figures: FiguresConfig) -> FiguresConfig:
    """Return the settings with what follows from the chain.

    Raises
    ------
    ConfigError
        There is no chain, or what is asked for needs OpenCV and it is not installed.
    """
    if config.enhance is None:
        raise ConfigError("evaluate: measures the chain of a section enhance; add `enhance: {}`")
    smooths = config.superres is not None and config.superres.filtered
    filtered = figures.filtered
    if filtered is None:
        filtered = smooths or bool({"cleaning", "bilateral"} & set(config.enhance.chain))
    if filtered:
        # Here, because few settings need it.
        from astro_dist.enhance.opencv import require_opencv

        require_opencv("evaluate.filtered: filtered originals")
    return figures.model_copy(update={"filtered": filtered})
