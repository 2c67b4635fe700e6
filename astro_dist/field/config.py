"""Settings of objects and of the field: its size and sky, the brightness of its objects, its background."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from astro_dist.engine.config import Section, nearest
from astro_dist.sky.classes import SourceClass
from astro_dist.sky.config import TABLE

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class AcceptConfig(Section):
    """The conditions under which a generated source becomes an object that may be placed on a map."""

    classes: tuple[str, ...] = ("compact", "extended")
    """The classes whose instances are wanted; spurious objects are kept besides, for assemble.spurious."""
    min_snr: Annotated[float, Field(gt=0)] = 10.0
    """Least peak over the noise: scaling bright objects down is better than scaling faint ones up."""
    threshold_snr: Annotated[float, Field(gt=0)] = 3.0
    """Level of the isophote, in units of the noise, whose shape is compared with the mask."""
    min_iou: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Least intersection over union of that isophote and the mask, and least part of each of its pieces."""
    min_beam_fraction: Annotated[float, Field(ge=0)] = 0.75
    """Least flux over peak in beam areas, since no source can appear smaller than the beam."""
    # Networks draw points narrower than the beam, by a tenth to a third of the peak; a model mends that.
    max_residual: Annotated[float, Field(gt=0)] = 0.35
    """Largest difference of an object and its model seen through the beam, over its peak and besides noise;
    from 1 on anything is allowed."""
    grow_beams: Annotated[float, Field(lt=1000)] = 0.5
    """Distance from its mask up to which an object is kept whole, in beam widths."""
    taper_beams: Annotated[float, Field(lt=1000)] = 1.0
    """Distance over which the object then falls to zero, in beam widths."""

    @field_validator("classes")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        valid = [c.name.lower() for c in SourceClass if c is not SourceClass.BACKGROUND]
        if not names or not set(names) <= set(valid):
            raise ValueError(f"name one or more of {', '.join(valid)}, found {list(names)}")
        return names

    @model_validator(mode="after")
    def _positive(self) -> "AcceptConfig":
        if self.threshold_snr <= 0 or self.min_snr < self.threshold_snr:
            raise ValueError("min_snr must be at least threshold_snr, and that above 0")
        if self.grow_beams < 0 or self.taper_beams <= 0:
            raise ValueError("grow_beams must not be negative and taper_beams must be above 0")
        return self

    def with_spurious(self) -> "AcceptConfig":
        """Return the same conditions for spurious objects too."""
        name = SourceClass.SPURIOUS.name.lower()
        others = (c for c in self.classes if c != name)
        return self.model_copy(update={"classes": (*others, name)})

    @property
    def wanted(self) -> tuple[SourceClass, ...]:
        """The classes as members of `SourceClass`."""
        return tuple(SourceClass[name.upper()] for name in self.classes)


class CountsConfig(Section):
    """The sources of a field by published counts, see `astro_dist.sky.counts`."""

    limit_jy: float | None = Field(default=None, ge=1e-6, lt=10)
    """Flux from which sources are drawn, at the field's frequency; mode counts needs it. Four times the noise
    is where sources begin to be seen; below 0.05 mJy the counts are continued, not measured."""
    highest_jy: float = Field(default=10.0, gt=1e-6, le=1e3)
    """Flux up to which sources are drawn."""
    # Median -0.7 (Smolcic et al. 2017, A&A 602, A1); spread 0.21-0.22 (Tiwari 2016, arXiv:1609.01308).
    spectral_index: float = Field(default=-0.7, ge=-3, le=3)
    """Mean of the spectral indices alpha, in S ~ frequency^alpha; the counts are those of 1.4 GHz."""
    spectral_spread: float = Field(default=0.22, ge=0, le=1)
    """Standard deviation of the spectral indices."""
    object_beams: float = Field(default=2.0, ge=0.3, le=100)
    """Size in beam widths above which a source is an object of the library and no point or Gaussian."""

    @model_validator(mode="after")
    def _check(self) -> "CountsConfig":
        if self.limit_jy is not None and self.limit_jy >= self.highest_jy:
            raise ValueError("limit_jy must lie below highest_jy; lower limit_jy")
        return self

    @property
    def limit(self) -> float:
        """The flux limit in Jy of mode counts, which has one."""
        assert self.limit_jy is not None
        return self.limit_jy


CATALOGUE = (
    *("flux_jy", "ra_deg", "dec_deg", "major_arcsec", "minor_arcsec", "pa_deg", "class"),
    *("spectral_index", "size"),
)
"""Columns that are read from a catalogue of fluxes."""


class FluxConfig(Section):
    """The brightness of placed objects."""

    mode: Literal["radiff", "radiff_stretched", "catalogue", "counts"] = "radiff"
    """radiff: a unit-peak shape times the local rms times k; radiff_stretched: the stretched pixels times the
    same; catalogue: sources with the fluxes of a catalogue; counts: as many sources of every flux as the sky
    has, see `counts`."""
    # RADiff's "lambda = 3", read as a mean: read as a rate, k would be 0.33 on average, and the cap of 10
    # would be reached with a probability of exp(-30).
    scale: float = Field(default=3.0, gt=0, le=1e9)
    """Scale (mean) of the exponential distribution of k, the peak signal-to-noise of an object."""
    cap: float = Field(default=10.0, gt=0, le=1e9)
    """Largest k."""
    # With clip a share of exp(-10 / 3) = 3.6 % of all objects would lie exactly at the cap.
    above: Literal["redraw", "clip"] = "redraw"
    """Treatment of a k above the cap: redraw draws it again, clip sets it to the cap."""
    minimum: float = Field(default=0.0, ge=0)
    """Smallest k; smaller ones are drawn again."""
    catalogue: str | None = None
    """Table with fluxes in a form of docs/catalogues.md; positions in it fix those of the objects. Columns
    flux_jy, ra_deg and dec_deg are known, and the names of finders and surveys."""
    columns: Mapping[str, str] = {}
    """Names of the catalogue's columns where they are others, such as {flux_jy: Total_flux}; a unit follows
    in brackets where the table states none: {flux_jy: "S1400 [mJy]"}."""
    classes: Mapping[int | str, Literal["compact", "extended"]] = {}
    """Classes of the catalogue's numbers where they are others than 2, compact, and 3: {1: extended}."""
    catalogue_hz: float | None = Field(default=None, gt=1e6, lt=1e13)
    """Frequency of the catalogue's fluxes, which are scaled to that of the field by each row's spectral
    index, or by that of `counts`; by default they are those of the field."""
    counts: CountsConfig = CountsConfig()
    """Sources of mode counts."""
    bands_hz: tuple[Annotated[float, Field(gt=1e6, lt=1e13)], ...] = ()
    """Frequencies of other bands whose fluxes the truth has too, by the spectral index of each source; modes
    counts and catalogue. [144e6, 3e9] adds flux_144mhz_jy and flux_3000mhz_jy."""
    later: ClassVar[frozenset[str]] = frozenset({"columns", "classes", "catalogue_hz", "counts", "bands_hz"})

    @model_validator(mode="after")
    def _check(self) -> "FluxConfig":
        if self.minimum >= self.cap:
            raise ValueError(f"minimum {self.minimum:g} must lie below cap {self.cap:g}; lower minimum")
        if (self.mode == "catalogue") != (self.catalogue is not None):
            raise ValueError("mode catalogue and a catalogue file go together; set both or neither")
        if self.catalogue is None and (self.columns or self.classes or self.catalogue_hz):
            raise ValueError(
                "columns, classes and catalogue_hz belong to a catalogue; give one or leave them out"
            )
        if "spectral_index" in self.columns and self.catalogue_hz is None:
            raise ValueError("columns.spectral_index needs the frequency of the fluxes; set catalogue_hz too")
        if self.bands_hz and self.mode not in ("counts", "catalogue"):
            raise ValueError(f"sources of mode {self.mode} have no spectral index; leave bands_hz out")
        if len(set(self.bands_hz)) < len(self.bands_hz):
            raise ValueError("bands_hz: a frequency comes twice; give each once")
        if self.mode == "counts" and self.counts.limit_jy is None:
            raise ValueError("mode counts needs the flux that it begins at; set counts.limit_jy")
        if unknown := sorted(set(self.columns) - {*CATALOGUE, TABLE}):
            raise ValueError(
                f"columns: unknown key {unknown[0]!r}: {nearest(unknown[0], (*CATALOGUE, TABLE))}"
            )
        return self


class BackgroundConfig(Section):
    """The background that the objects are added to."""

    kind: Literal["noise", "map"] = "noise"
    """noise: simulated, with the field's beam; map: a real map, which also gives shape, WCS and beam."""
    rms_jy_beam: float | None = Field(default=None, gt=0, le=1e9)
    """Noise of a simulated background; by default the median of the source survey."""
    texture: Literal["beam", "survey"] = "beam"
    """Power of simulated noise: that of the beam alone, or as measured between the sources of the cutouts,
    with stripes and wide emission; the field then needs the survey's beam and pixels, to 10 %."""
    path: str | None = None
    """FITS file of a real map; a missing unit or beam may be given in `maps`, as for the survey."""
    islands: Literal["replace", "keep"] = "replace"
    """Treatment of the real sources: replaced by noise of the local rms, or kept and listed apart."""
    min_snr: float = Field(default=5.0, gt=0)
    """Peak signal-to-noise from which an island of a real map counts as a source."""
    later: ClassVar[frozenset[str]] = frozenset({"texture"})

    @model_validator(mode="after")
    def _check(self) -> "BackgroundConfig":
        if (self.kind == "map") != (self.path is not None):
            raise ValueError("kind map and a path go together; set both or neither")
        if self.kind == "map" and (self.rms_jy_beam is not None or self.texture == "survey"):
            raise ValueError("a map brings its own noise; leave rms_jy_beam and texture out")
        return self


class SeenConfig(Section):
    """The same sky at another frequency: sources, places and turns are those of the field without it."""

    frequency_hz: float | None = Field(default=None, gt=1e6, lt=1e13)
    """Frequency of the map, to which each flux is carried by its source's spectral index, or by that of
    flux.counts where a catalogue gives none; by default that of the field. Modes counts and catalogue."""
    rms_jy_beam: float | None = Field(default=None, gt=0, le=1e9)
    """Noise of the map, which is drawn anew at each frequency; by default that of the field."""
    beam_major_arcsec: float | None = Field(default=None, gt=0, lt=1e6)
    """Full width of the map's beam along its major axis; by default the beam of the field."""
    beam_minor_arcsec: float | None = Field(default=None, gt=0, lt=1e6)
    """Full width along the minor axis; by default the beam is round when a major axis is given."""
    beam_pa_deg: float | None = None
    """Position angle of the beam's major axis, east of north; by default 0 when a major axis is given."""

    @model_validator(mode="after")
    def _check(self) -> "SeenConfig":
        check_beam(self.beam_major_arcsec, self.beam_minor_arcsec, self.beam_pa_deg)
        if self.frequency_hz is None and (self.rms_jy_beam, self.beam_major_arcsec) != (None, None):
            raise ValueError("noise and beam of another frequency need it; set frequency_hz too")
        return self


def check_beam(major_arcsec: float | None, minor_arcsec: float | None, pa_deg: float | None) -> None:
    """Refuse the axes of a beam that contradict each other."""
    if major_arcsec is None and (minor_arcsec, pa_deg) != (None, None):
        raise ValueError("beam_minor_arcsec and beam_pa_deg need beam_major_arcsec; give it too")
    if (minor_arcsec or 0) > (major_arcsec or float("inf")):
        raise ValueError("beam_minor_arcsec is above beam_major_arcsec; exchange them")


class AssembleConfig(Section):
    """The synthetic field and what is placed in it."""

    # The largest maps of RADiff's survey collection have this size.
    shape: tuple[int, int] = (12000, 15000)
    """Rows and columns of the field; a background map brings its own."""
    seed: int | None = Field(default=None, ge=0, lt=2**63)
    """Seed of the places, the fluxes and the noise of this field; by default that of the run. Fields of other
    seeds have nothing in common but the drawings, and need no new ones."""
    objects: int | None = Field(default=1000, ge=1)
    """Number of sources in the field; exact, because a field with fewer is refused. In mode catalogue the
    default is all rows in the field; in mode counts the flux limit rules, and no number may be given."""
    reuse: int = Field(default=1, ge=1)
    """Largest number of times that one generated object may be placed."""
    pixel_arcsec: float | tuple[float, float] | None = None
    """Size of a pixel, one number or rows and columns; by default that of the source survey."""
    beam_major_arcsec: float | None = Field(default=None, gt=0, lt=1e6)
    """Full width of the field's beam along its major axis; by default the beam of the source survey."""
    beam_minor_arcsec: float | None = Field(default=None, gt=0, lt=1e6)
    """Full width along the minor axis; by default the beam is round when a major axis is given."""
    beam_pa_deg: float | None = None
    """Position angle of the beam's major axis, east of north; by default 0 when a major axis is given."""
    ra_deg: float = Field(default=180.0, ge=0, lt=360)
    """Right ascension of the field's centre."""
    dec_deg: float = Field(default=-30.0, ge=-90, le=90)
    """Declination of the field's centre."""
    frequency_hz: float | None = Field(default=None, gt=1e6, lt=1e13)
    """Observing frequency; by default that of the source survey."""
    flux: FluxConfig = FluxConfig()
    """Brightness of the objects."""
    background: BackgroundConfig = BackgroundConfig()
    """Background that the objects are added to."""
    seen: SeenConfig = SeenConfig()
    """The map at another frequency than that of the field, with the same sources."""
    density: str | None = None
    """FITS image of the relative density of sources, stretched over the field; by default it is uniform."""
    max_overlap: float = Field(default=0.0, ge=0, le=1)
    """Share of an object's footprint that may lie on larger objects placed before it; 1, which is the default
    of the modes counts and catalogue: places are free."""
    compact: Literal["model", "drawn"] = "model"
    """Compact objects as fitted points or small Gaussians through the field's beam, or as they were drawn."""
    anchor: Literal["core", "centroid"] = "centroid"
    """Point of a source that lies at its drawn or given position: its brightest point or its centroid."""
    turns: bool = True
    """Turn and flip objects at random: models by any angle, drawings only as beam and pixel allow."""
    spurious: bool = False
    """Also place generated artefacts, in their own proportion; they are in the mask, never in the truth."""
    artefacts: bool = True
    """Add residual sidelobes round bright sources, as real maps have them; spurious in the mask, and listed
    in artefacts.parquet."""
    artefacts_snr: float = Field(default=30.0, gt=0)
    """Peak over the local rms above which a source has an artefact; one that would be weaker than the noise
    is left out."""
    # 2.0 to 3.5 beams from sources of 400 sigma artefacts have an rms of 0.17 % of the peak in FIRST and of
    # 0.52 % in SUMSS, the deepest pixel of one in ten reaches -0.9 % and -3.0 %; 0.008 gives 0.34 %, -1.9 %.
    artefacts_level: float = Field(default=0.008, gt=0, le=0.1)
    """Typical level of an artefact over the peak of a source of 1000 sigma; it goes as 1 / sqrt(peak), up to
    2 %. 0.004 is as in FIRST, 0.02 as in SUMSS."""
    artefacts_pattern: Literal["drawn", "survey"] = "drawn"
    """drawn: spokes, rings and rays as `simulate` draws them; survey: the mean of the surroundings of the
    survey's bright compact sources, at their own level; the field then needs its beam and pixels, to 10 %."""
    mask_snr: float = Field(default=3.0, gt=0)
    """Brightness over the local rms down to which mask and instances reach, at most half an object's peak."""
    detect_snr: float = Field(default=5.0, gt=0)
    """Peak or integrated signal-to-noise from which a source is detectable; fainter ones are in the truth,
    not in the mask, and in the instances with the negative of their number."""
    sdc1_angle: Literal["east_of_north", "clockwise"] = "east_of_north"
    """Angles of truth_sdc1.txt: from north to east, as SKAO's own solution of that challenge writes them, or
    clockwise from the direction of longitude, as the challenge's text defines them."""
    band_rows: int = Field(default=512, ge=1)
    """Rows of the field per task; the number changes no byte of the map."""
    later: ClassVar[frozenset[str]] = frozenset({"sdc1_angle", "seed", "artefacts_pattern", "seen"})

    @model_validator(mode="before")
    @classmethod
    def _follow_mode(cls, tree: Any) -> Any:
        """Set the number of sources and their overlap where they are left out and the mode has its own."""
        flux = tree.get("flux") if isinstance(tree, Mapping) else None
        mode = flux.get("mode") if isinstance(flux, Mapping) else getattr(flux, "mode", None)
        if mode not in ("counts", "catalogue"):
            return tree
        if mode == "counts" and tree.get("objects") is not None:
            raise ValueError(
                f"objects {tree['objects']}: in mode counts the number follows from flux.counts.limit_jy; "
                "leave it out"
            )
        return {"objects": None, "max_overlap": 1.0, **tree}

    @property
    def files(self) -> dict[str, Path]:
        """Files of the user by the setting that names them, those of a background map first."""
        named = {
            "background.path": self.background.path,
            "flux.catalogue": self.flux.catalogue,
            "density": self.density,
        }
        return {key: Path(value) for key, value in named.items() if value is not None}

    def as_drawn(self, classes: "NDArray[np.integer[Any]]") -> "NDArray[np.bool_]":
        """Return which objects of some classes are placed as they were drawn, with the donor's beam."""
        drawn = classes == SourceClass.SPURIOUS
        if self.compact == "drawn":
            drawn |= classes == SourceClass.COMPACT
        return drawn | (self.flux.mode == "radiff_stretched")

    @property
    def as_seen(self) -> "AssembleConfig":
        """The settings of the map, which are those of the field unless ``seen`` gives others."""
        given = {name: value for name, value in vars(self.seen).items() if value is not None}
        rms = given.pop("rms_jy_beam", self.background.rms_jy_beam)
        if "beam_major_arcsec" in given:
            given = {"beam_minor_arcsec": None, "beam_pa_deg": None, **given}
        return self.model_copy(
            update={**given, "background": self.background.model_copy(update={"rms_jy_beam": rms})}
        )

    @property
    def stacks(self) -> bool:
        """Whether bright sources have the artefact of the survey's own."""
        return self.artefacts and self.artefacts_pattern == "survey"

    @property
    def drawn_kinds(self) -> list[str]:
        """What keeps the survey's beam and pixels, by the setting that says so; empty when all are models."""
        kinds = {
            "assemble.background.texture survey": self.background.texture == "survey",
            "assemble.artefacts_pattern survey": self.stacks,
            "assemble.flux.mode radiff_stretched": self.flux.mode == "radiff_stretched",
            "assemble.compact drawn": self.compact == "drawn",
            "assemble.spurious": self.spurious,
        }
        return [name for name, wanted in kinds.items() if wanted]

    @model_validator(mode="after")
    def _check(self) -> "AssembleConfig":
        if self.objects is None and self.flux.mode not in ("counts", "catalogue"):
            raise ValueError(f"objects: mode {self.flux.mode} needs the number of sources; give one")
        if min(self.shape) < 1:
            raise ValueError(f"shape {list(self.shape)}: both numbers must be positive")
        pixel = self.pixel_arcsec
        # Not `Field(gt=0)`, which cannot compare a pair with a number.
        if pixel is not None and min(pixel if isinstance(pixel, tuple) else (pixel,)) <= 0:
            raise ValueError("pixel_arcsec must be positive")
        if self.background.kind == "map" and (self.beam_major_arcsec, pixel) != (None, None):
            raise ValueError("a background map brings its own beam and pixels; leave those of the field out")
        check_beam(self.beam_major_arcsec, self.beam_minor_arcsec, self.beam_pa_deg)
        if self.seen.frequency_hz is not None and self.flux.mode not in ("counts", "catalogue"):
            raise ValueError(f"sources of mode {self.flux.mode} have no spectral index; leave seen out")
        if self.seen.frequency_hz is not None and self.background.kind == "map":
            raise ValueError("a background map has one frequency, its own; leave seen out")
        return self
