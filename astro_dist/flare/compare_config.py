"""Settings of the comparison of training sets."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from astro_dist.engine.config import Section
from astro_dist.train.config import Positive

MEASURE, SPREAD, CLUSTERS, GRADIENTS = "measure", "spread", "clusters", "gradients"
"""Names of the tasks of `compare`."""


class CompareConfig(Section):
    """Gains of the training sets over each other, and the data of the figures."""

    against: Mapping[str, tuple[str, ...]] = {}
    """Sets that a set is compared with; by default the same real pictures as they are, and augmented."""
    pictures: Positive = 40
    """Pictures of each class and set whose brightness and spread are measured."""
    clusters: bool = True
    """Whether the features of the test pictures are drawn as a map of clusters (t-SNE)."""
    perplexity: Annotated[float, Field(gt=1)] = 20.0
    """Size of the neighbourhoods of these maps; lowered where there are few pictures."""
    gradients: bool = True
    """Whether integrated gradients show what a classifier looks at, in a test picture of each class."""
    gradient_steps: Positive = 64
    """Steps of the integral."""
    threads: Positive = 1
    """CPU threads per worker; a setting, because the number of threads changes the last bits of sums."""
