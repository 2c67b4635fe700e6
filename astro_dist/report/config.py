"""Settings of the report page."""

from typing import Annotated

from pydantic import Field

from astro_dist.engine.config import Section

EARLIER = (
    *("simulate", "annotate", "cutouts", "autoencoder", "diffusion", "masks", "generate", "assemble"),
    *("byol", "segmenter", "evaluate"),
)


class ReportConfig(Section):
    """The report page."""

    zooms: tuple[Annotated[int, Field(ge=2)], ...] = (2, 5, 10, 40)
    """How many times smaller than the field each view is, ascending; the last two also show the truth."""
    examples: Annotated[int, Field(ge=1, le=16)] = 8
    """Number of stamps of each class that are shown beside their real cutouts."""
