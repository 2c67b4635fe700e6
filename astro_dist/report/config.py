"""Settings of the report page."""

from typing import Annotated

from pydantic import Field

from astro_dist.engine.config import Section


class ReportConfig(Section):
    """The report page."""

    zooms: tuple[Annotated[int, Field(ge=2)], ...] = (2, 5, 10, 40)
    """Ratios of the field's side to each view's side, ascending; the last two views also show the truth."""
    examples: Annotated[int, Field(ge=1, le=16)] = 8
    """Number of stamps of each class that are shown beside their real cutouts."""


class PictureReportConfig(Section):
    """The report page of pictures and their classifiers."""

    examples: Annotated[int, Field(ge=1, le=16)] = 8
    """Number of pictures of each kind that are shown, of as many classes."""
