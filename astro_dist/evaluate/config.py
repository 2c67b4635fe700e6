"""Settings of the evaluation."""

from typing import Annotated, Literal

from pydantic import Field

from astro_dist.engine.config import Section

Positive = Annotated[int, Field(ge=1)]


class EvaluateConfig(Section):
    """Settings of the evaluation on cutouts that the model was not trained on."""

    enabled: bool = False
    """Whether `run` evaluates; this trains two more networks. The commands of evaluation always evaluate."""
    stamps: Annotated[int, Field(ge=2)] = 256
    """Number of held-out masks to draw stamps for, and of images on each side of a distance; fewer when the
    store has fewer."""
    splits: tuple[Literal["validation", "test"], ...] = Field(("test",), min_length=1)
    """The splits that count as held out; no training is stopped or selected by either."""
    per_task: Positive = 64
    """Stamps per drawing task; best a multiple of generate.micro_batch, to which a rest is padded."""
    resamples: Annotated[int, Field(ge=0)] = 200
    """Bootstrap resamples behind each interval."""
    threads: Positive = 1
    """CPU threads per worker. A setting, because their number changes the last bits of sums."""
