"""Settings of the maps, of the search for islands and of the rules that class them; light to import."""

import re
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from astro_dist.engine.config import Section, nearest
from astro_dist.engine.errors import ConfigError

PLANE_NAME = re.compile("[a-z][a-z0-9_]{0,30}")
JOIN_COLUMNS = ("ra_deg", "dec_deg", "source")
TABLE = "table"
"""Key beside names of columns: the HDU of a FITS file, where several of its tables have them."""
"""Columns of a table that says which islands are one source."""
Stokes = Literal["I", "Q", "U", "V", "RR", "LL", "RL", "LR", "XX", "YY", "XY", "YX", "any"]


class FilesConfig(Section):
    """Maps, and facts that their headers leave out."""

    files: tuple[str, ...] = ()
    """FITS files or patterns such as ``maps/*.fits``; when empty, a survey is simulated."""
    hdu: int | str | None = None
    """Number from 0 or EXTNAME of the image to read; by default the one image with a sky and a unit."""
    plane: int | tuple[int, ...] | None = None
    """Plane of a cube, counted from 0; a list where several of its axes have more than one."""
    stokes: Stokes = "I"
    """The Stokes parameter of the maps; a map of another one is refused, and any takes all."""
    unit: str | None = None
    """Unit of the pixels where BUNIT is missing or not known: Jy/beam, Jy/pixel, Jy/sr, K and the like."""
    blank: float | None = None
    """A value that means no data, as the pixels hold it, beside NaN, BLANK and regions of zeros."""
    zeros: Literal["data", "blank"] | None = None
    """Whether regions of exact zeros are measurements (data) or hold none (blank): by default data in model
    images (Jy/pixel) and sparse counts, blank in all others."""
    beam_major_arcsec: float | None = Field(default=None, gt=0, lt=1e6)
    """Full width of the beam along its major axis, in place of BMAJ."""
    beam_minor_arcsec: float | None = Field(default=None, gt=0, lt=1e6)
    """Full width of the beam along its minor axis; by default the beam is round."""
    beam_pa_deg: float | None = None
    """Position angle of the beam's major axis, east of north; by default BPA, or 0 for a width given here."""
    frequency_hz: float | None = Field(default=None, gt=1e6, lt=1e13)
    """Observing frequency, in place of the header's."""

    @model_validator(mode="after")
    def _check_beam(self) -> Self:
        if self.beam_minor_arcsec is not None and self.beam_major_arcsec is None:
            raise ValueError("a beam needs beam_major_arcsec too; give it or leave both out")
        if self.beam_major_arcsec is not None:
            # Here, because beams need numpy, and most settings name none.
            from astro_dist.sky.beams import Beam

            try:
                Beam(self.beam_major_arcsec, self.beam_minor_arcsec or self.beam_major_arcsec)
            except ConfigError as error:
                raise ValueError(str(error)) from None
        return self

    @property
    def widths(self) -> tuple[float | None, float | None, float | None]:
        """Widths of the beam in arcsec and its angle in degrees, None where the headers give them."""
        return self.beam_major_arcsec, self.beam_minor_arcsec, self.beam_pa_deg


class SurveyConfig(FilesConfig):
    """The maps of one survey."""

    survey: str = "survey"
    """Name of the survey, as stores, catalogues and the report show it."""
    rms_files: tuple[str, ...] = ()
    """Maps of the noise, one on the pixels of each map; by default the noise is measured."""
    weight_files: tuple[str, ...] = ()
    """Maps of weights in their place: the noise falls with them, and its size is measured."""
    weight_power: float = Field(default=0.5, gt=0, le=4)
    """The noise goes as one over this power of the weight: 0.5 for weights of 1/sigma^2, 1 for the gain of a
    primary beam."""
    background_only: bool = False
    """Maps of any Stokes parameter that give backgrounds alone to the survey of this name: no source in them
    is looked for."""
    later = frozenset(
        {
            "hdu",
            "plane",
            "stokes",
            "blank",
            "zeros",
            "rms_files",
            "weight_files",
            "weight_power",
            "background_only",
        }
    )

    @model_validator(mode="after")
    def _check_unit(self) -> Self:
        if self.rms_files and self.weight_files:
            raise ValueError("rms_files and weight_files both say what the noise is; leave one out")
        if self.unit is not None:
            # Here, because units need astropy.
            from astro_dist.sky.units import known_unit

            try:
                known_unit(self.unit)
            except ConfigError as error:
                raise ValueError(str(error)) from None
        return self


class MapsConfig(SurveyConfig):
    """The maps that are read, of one survey or of several."""

    more: tuple[SurveyConfig, ...] = ()
    """Further surveys to learn from, each with `files` and a `survey` name of its own; a field can only be
    filled from surveys whose beams have the same size in pixels."""

    @model_validator(mode="after")
    def _check_more(self) -> Self:
        if self.more and not all(one.files for one in self.surveys):
            raise ValueError(
                "each of several surveys needs files; give them, or take the entry out of maps.more"
            )
        names = [one.survey for one in self.surveys if not one.background_only]
        if len(set(names)) < len(names):
            raise ValueError("two surveys have one name; give each a `survey` name of its own")
        if alone := [one.survey for one in self.surveys if one.survey not in names]:
            raise ValueError(
                f"maps that are background_only belong to a survey, and none is named {alone[0]!r}; give the "
                "entry in maps.more the `survey` name of maps with sources"
            )
        return self

    @property
    def surveys(self) -> tuple[SurveyConfig, ...]:
        """All surveys, the one of these settings first."""
        return (self, *self.more)

    @property
    def name(self) -> str:
        """The names of all surveys."""
        return " and ".join(one.survey for one in self.surveys if not one.background_only)


class PlaneConfig(FilesConfig):
    """Maps of the sky at another frequency, as a plane beside that of the maps."""

    name: str = Field(default="", pattern=f"^{PLANE_NAME.pattern}$", validate_default=True)
    """Name of the plane, in small letters, as the arrays of the store have it."""
    per: Literal["beam", "angle", "pixel"] | None = None
    """What a value counts for, where the unit leaves that open: pixel keeps the sum on other pixels, angle
    the value, and beam the peak of a point at a common beam."""
    later = frozenset({"per", "zeros"})

    @model_validator(mode="after")
    def _check_files(self) -> Self:
        if not self.files:
            raise ValueError(f"the plane {self.name} needs files; give them or take the entry out")
        return self


class RulesConfig(Section):
    """The numbers in the rules that class islands."""

    narrow: float = Field(default=0.4, ge=0, le=1)
    """Islands below this part of a point source's area are spurious; 0 turns the rule off."""
    depth: float = Field(default=0.8, gt=0)
    """Islands are spurious beside negative pixels this many times as strong."""
    near_beams: float = Field(default=3.0, gt=0)
    """Largest distance of those negative pixels, beam widths."""
    trim_ratio: float = Field(default=5.0, gt=1)
    """Islands so many times brighter than negative pixels nearby lose their pixels fainter than those."""
    reach_beams: float = Field(default=60.0, gt=0)
    """Largest distance between a bright source and its sidelobes, beam widths."""
    mirror_ratio: float = Field(default=20.0, gt=1)
    """How much brighter the source in the middle of an antisymmetric pair is."""
    ratio: float = Field(default=50.0, gt=1)
    """How much brighter the source of a ray or a ring is."""
    long: float = Field(default=2.5, gt=1)
    """How much longer than wide a ray or a ring is."""
    extended_area: float = Field(default=1.8, gt=1)
    """Extended islands cover more than this many times a point source's area ..."""
    extended_margin: float = Field(default=0.5, ge=0)
    """... and this many beam areas."""


class JoinConfig(Section):
    """How islands are joined to sources: by the truth of a simulation, by rules, or as a file says."""

    enabled: bool = True
    """Whether islands are joined at all; otherwise each is a source of its own."""
    by: Literal["truth", "rules"] = "truth"
    """Islands of simulated maps are joined as they were drawn (truth), or by the rules as in real maps."""
    chance: float = Field(default=0.01, ge=0, le=1)
    """Largest expected number of unrelated sources as near, as bright and as well in line."""
    flux_ratio: float = Field(default=4.0, ge=1)
    """Largest ratio of the fluxes of two lobes."""
    near_beams: float = Field(default=3.0, ge=0)
    """Largest gap of islands that are joined without a core, a bridge or a direction, beam widths."""
    reach_beams: float = Field(default=60.0, gt=0)
    """Largest length of a source that is joined, beam widths."""
    linked_chance: float = Field(default=0.1, ge=0, le=1)
    """Like ``chance``, before the evidence of a core, a bridge or a direction is counted."""
    bridge_sigma: float = Field(default=4.0, gt=0)
    """Least mean brightness of a bridge over the error of the mean."""
    bridge_beams: float = Field(default=15.0, ge=0)
    """Longest bridge; 0 turns the rule off and saves reading the map again."""
    catalogue: str | None = None
    """Table (ra_deg, dec_deg, source) of parts of sources: islands at rows of one number are one source."""
    columns: Mapping[str, str] = {}
    """Names of the catalogue's columns where they are others, such as {source: Group}."""
    labels: dict[str, str] = Field(default_factory=dict)
    """Label images of maps, by the map's name: islands under one label are one source."""
    later = frozenset({"by", "columns"})

    @model_validator(mode="after")
    def _check_columns(self) -> Self:
        if self.columns and self.catalogue is None:
            raise ValueError("columns name those of a catalogue; give a catalogue or leave them out")
        if unknown := sorted(set(self.columns) - {*JOIN_COLUMNS, TABLE}):
            raise ValueError(
                f"columns: unknown key {unknown[0]!r}: {nearest(unknown[0], (*JOIN_COLUMNS, TABLE))}"
            )
        return self


class AnnotateConfig(Section):
    """How islands are found in the maps and classed."""

    seed_sigma: float = Field(default=5.0, gt=0)
    """An island has at least one pixel this many times above the local noise."""
    merge_sigma: float = Field(default=3.0, gt=0)
    """Pixels this many times above the noise belong to the island they touch."""
    min_beam: float = Field(default=0.25, ge=0)
    """Islands below this many beam areas are dropped as noise."""
    mesh_beams: float = Field(default=20.0, gt=0)
    """Side of the cells in which background and noise are measured, beam widths."""
    mesh_least_pix: int = Field(default=64, ge=8)
    """The cells are at least this wide."""
    rules: RulesConfig = RulesConfig()
    """The numbers in the rules that class islands."""
    catalogue: Literal["sources", "islands"] = "sources"
    """Rows of the catalogue: sources, with flags and their islands; or islands, as version 0.1.0 wrote."""
    join: JoinConfig = JoinConfig()
    """How islands become sources."""
    structure_sigma: float = Field(default=3.0, ge=0)
    """Emission wider than a few beams that rises so many times the noise is no sky; 0: all of it is."""
    expert: str | None = None
    """Annotations of these maps that an expert edited: a folder or file of `export RUN annotations`."""
    task_mpix: float = Field(default=8.0, gt=1e-6)
    """Million pixels per task; no result depends on it."""

    later = frozenset({"expert"})
    added: ClassVar[frozenset[str]] = frozenset({"catalogue", "join", "structure_sigma", "expert"})
    """Fields that version 0.1.0 did not have; ``catalogue: islands`` stands for all of them."""

    @model_validator(mode="before")
    @classmethod
    def _keep_islands(cls, tree: Any) -> Any:
        """Read a section in which version 0.1.0 wrote every setting of its own as that version did."""
        written = set(cls.model_fields) - cls.added
        if isinstance(tree, Mapping) and written <= set(tree) and not cls.added & set(tree):
            return {**tree, "catalogue": "islands"}
        return tree

    @model_validator(mode="after")
    def _check(self) -> "AnnotateConfig":
        if self.merge_sigma >= self.seed_sigma:
            raise ValueError(
                f"merge_sigma ({self.merge_sigma}) must be below seed_sigma ({self.seed_sigma}); lower one"
            )
        if self.expert is not None and not self.joins:
            raise ValueError("expert needs sources, and catalogue: islands has none; leave one of both out")
        return self

    @property
    def joins(self) -> bool:
        """Whether the catalogue has sources and flags."""
        return self.catalogue == "sources"

    def marks(self) -> dict[str, Any]:
        """Return the values that enter fingerprints: those of version 0.1.0 where the bytes are its own."""
        values = super().marks()
        if not self.joins:
            return {k: v for k, v in values.items() if k not in self.added}
        # Such emission was looked for in whole cells once, under the same setting.
        return {**values, "structure_of": "blocks"} if self.structure_sigma else values
