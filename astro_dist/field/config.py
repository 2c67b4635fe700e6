"""Settings of objects and of the field: its size and sky, the brightness of its objects, its background."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from astro_dist.engine.config import Section, nearest
from astro_dist.sky.classes import SourceClass


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


CATALOGUE = ("flux_jy", "ra_deg", "dec_deg")
"""Columns that are read from a catalogue of fluxes."""


class FluxConfig(Section):
    """The brightness of placed objects."""

    mode: Literal["radiff", "radiff_stretched", "catalogue"] = "radiff"
    """radiff: a unit-peak shape times the local rms times k; radiff_stretched: the stretched pixels times the
    same; catalogue: a shape scaled to the flux of the catalogue's next row."""
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
    later: ClassVar[frozenset[str]] = frozenset({"columns"})

    @model_validator(mode="after")
    def _check(self) -> "FluxConfig":
        if self.minimum >= self.cap:
            raise ValueError(f"minimum {self.minimum:g} must lie below cap {self.cap:g}; lower minimum")
        if (self.mode == "catalogue") != (self.catalogue is not None):
            raise ValueError("mode catalogue and a catalogue file go together; set both or neither")
        if self.columns and self.catalogue is None:
            raise ValueError("columns name those of a catalogue; give a catalogue or leave them out")
        if unknown := sorted(set(self.columns) - set(CATALOGUE)):
            raise ValueError(f"columns: unknown key {unknown[0]!r}: {nearest(unknown[0], CATALOGUE)}")
        return self


class BackgroundConfig(Section):
    """The background that the objects are added to."""

    kind: Literal["noise", "map"] = "noise"
    """noise: simulated, with the field's beam; map: a real map, which also gives shape, WCS and beam."""
    rms_jy_beam: float | None = Field(default=None, gt=0, le=1e9)
    """Noise of a simulated background; by default the median of the source survey."""
    path: str | None = None
    """FITS file of a real map; a missing unit or beam may be given in `maps`, as for the survey."""
    islands: Literal["replace", "keep"] = "replace"
    """Treatment of the real sources: replaced by noise of the local rms, or kept and listed apart."""
    min_snr: float = Field(default=5.0, gt=0)
    """Peak signal-to-noise from which an island of a real map counts as a source."""

    @model_validator(mode="after")
    def _check(self) -> "BackgroundConfig":
        if (self.kind == "map") != (self.path is not None):
            raise ValueError("kind map and a path go together; set both or neither")
        if self.kind == "map" and self.rms_jy_beam is not None:
            raise ValueError("a map brings its own noise; leave rms_jy_beam out")
        return self


class AssembleConfig(Section):
    """The synthetic field and what is placed in it."""

    # The largest maps of RADiff's survey collection have this size.
    shape: tuple[int, int] = (12000, 15000)
    """Rows and columns of the field; a background map brings its own."""
    objects: int = Field(default=1000, ge=1)
    """Number of sources in the field; exact, because a field with fewer is refused."""
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
    density: str | None = None
    """FITS image of the relative density of sources, stretched over the field; by default it is uniform."""
    max_overlap: float = Field(default=0.0, ge=0, le=1)
    """Share of an object's footprint that may lie on larger objects placed before it."""
    turns: bool = True
    """Turn and flip objects at random, but only in ways that leave the beam and the pixel unchanged."""
    spurious: bool = False
    """Also place generated artefacts, in their own proportion; they are in the mask, never in the truth."""
    mask_snr: float = Field(default=3.0, gt=0)
    """Brightness over the local rms down to which mask and instances reach, at most half an object's peak."""
    sdc1_angle: Literal["east_of_north", "clockwise"] = "east_of_north"
    """Angles of truth_sdc1.txt: from north to east, as SKAO's own solution of that challenge writes them, or
    clockwise from the direction of longitude, as the challenge's text defines them."""
    band_rows: int = Field(default=512, ge=1)
    """Rows of the field per task; the number changes no byte of the map."""
    later: ClassVar[frozenset[str]] = frozenset({"sdc1_angle"})

    @property
    def files(self) -> dict[str, Path]:
        """Files of the user by the setting that names them, those of a background map first."""
        named = {
            "background.path": self.background.path,
            "flux.catalogue": self.flux.catalogue,
            "density": self.density,
        }
        return {key: Path(value) for key, value in named.items() if value is not None}

    @model_validator(mode="after")
    def _check(self) -> "AssembleConfig":
        if min(self.shape) < 1:
            raise ValueError(f"shape {list(self.shape)}: both numbers must be positive")
        pixel = self.pixel_arcsec
        # Not `Field(gt=0)`, which cannot compare a pair with a number.
        if pixel is not None and min(pixel if isinstance(pixel, tuple) else (pixel,)) <= 0:
            raise ValueError("pixel_arcsec must be positive")
        if self.background.kind == "map" and (self.beam_major_arcsec, pixel) != (None, None):
            raise ValueError("a background map brings its own beam and pixels; leave those of the field out")
        if self.beam_major_arcsec is None and (self.beam_minor_arcsec, self.beam_pa_deg) != (None, None):
            raise ValueError("beam_minor_arcsec and beam_pa_deg need beam_major_arcsec; give it too")
        if (self.beam_minor_arcsec or 0) > (self.beam_major_arcsec or float("inf")):
            raise ValueError("beam_minor_arcsec is above beam_major_arcsec; exchange them")
        return self
