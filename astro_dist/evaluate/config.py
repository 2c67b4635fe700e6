"""Settings of the evaluation."""

from typing import Annotated, Literal

from pydantic import Field

from astro_dist.engine.config import Section

Positive = Annotated[int, Field(ge=1)]


class EvaluateConfig(Section):
    """How the model is measured on cutouts that it never saw."""

    enabled: bool = False
    """Whether `run` evaluates, which trains two networks more; the commands of evaluation always do."""
    stamps: Annotated[int, Field(ge=2)] = 256
    """Held-out masks that stamps are drawn for, and images on each side of a distance; fewer where there
    are fewer."""
    splits: tuple[Literal["validation", "test"], ...] = Field(("test",), min_length=1)
    """The splits that are held out; training is stopped and chosen by neither."""
    per_task: Positive = 64
    """Stamps per drawing task; a multiple of generate.micro_batch wastes nothing."""
    resamples: Annotated[int, Field(ge=0)] = 200
    """Bootstrap resamples behind each interval."""
    threads: Positive = 1
    """CPU threads per worker; they change the last bits of sums, so they are a setting."""
