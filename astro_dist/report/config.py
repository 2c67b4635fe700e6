"""Settings of the report page."""

from typing import Annotated

from pydantic import Field

from astro_dist.engine.config import Section


class ReportConfig(Section):
    """The report page."""

    zooms: tuple[Annotated[int, Field(ge=2)], ...] = (2, 5, 10, 40)
    """How many times smaller than the field each view is, ascending; the last one is shown with the truth."""
    examples: Annotated[int, Field(ge=1, le=16)] = 8
    """How many stamps of each class stand beside their real cutouts."""
