"""The settings of the stage ``cutouts``."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from astro_dist.engine.config import Section, nearest
from astro_dist.engine.errors import ConfigError
from astro_dist.engine.foreign import expand_home
from astro_dist.sky.config import TABLE, PlaneConfig

# Rows of a map that are held at once; reading further rows takes as much again.
BUFFER_BYTES = 16_000_000
BACKGROUND_ONLY = "background_only"
"""Attribute of a map in the attributes of a store of cutouts: it gives backgrounds alone."""
POSITION = ("ra_deg", "dec_deg")
"""Columns of a catalogue of positions."""
COMMON = "common"
"""Name of the plane that is the map itself at the common beam."""


class CutoutsConfig(Section):
    """Which windows are cut out of the maps, and how they are divided and stored."""

    size_pix: int = Field(default=128, ge=16, le=1024, multiple_of=4)
    """Side of a cutout."""
    mode: Literal["islands", "tiles", "catalogue"] = "islands"
    """Windows round islands, tiles that cover the maps, or a window round each row of a catalogue."""
    catalogue: str | None = None
    """Table of positions (ra_deg, dec_deg in ICRS), only in mode catalogue: FITS, CSV, VOTable or another."""
    columns: Mapping[str, str] = {}
    """Names of the catalogue's columns where they are others, such as {ra_deg: lon, dec_deg: lat}."""
    planes: tuple[PlaneConfig, ...] = ()
    """Maps at other frequencies, brought to the pixels of each cutout; only in mode catalogue."""
    common_beam: bool | tuple[float, float, float] = False
    """Beam of all planes: true for the smallest they can have, or [major_arcsec, minor_arcsec, pa_deg]."""
    stride_pix: int | None = Field(default=None, ge=1)
    """Step between tiles; by default their side."""
    jitter_pix: int = Field(default=16, ge=0)
    """Largest random shift of a window from the centre of its island, along each axis."""
    empty_fraction: float = Field(default=0.1, ge=0, lt=1)
    """Share of windows without a source among all windows; only in mode islands."""
    min_valid_fraction: float = Field(default=0.5, ge=0, le=1)
    """A cutout with fewer valid pixels is flagged and left out of training."""
    stretch: Literal["asinh", "tanh"] = "asinh"
    """How brightness becomes network range: asinh loses nothing, tanh (RADiff) saturates bright sources."""
    validation_fraction: float = Field(default=0.1, ge=0, lt=1)
    """Share of windows to validate on, before those that touch another split are taken out."""
    test_fraction: float = Field(default=0.1, ge=0, lt=1)
    """Share of windows to test on."""
    split_block_pix: int = Field(default=1024, ge=1)
    """Side of the blocks of a map that are dealt to the splits whole; halved where a run has few blocks."""
    shard: int = Field(default=256, ge=1)
    """Cutouts per shard file and task."""
    threads: int = Field(default=1, ge=1)
    """Threads that compress in each worker."""
    later: ClassVar[frozenset[str]] = frozenset({"catalogue", "columns", "planes", "common_beam"})

    @model_validator(mode="after")
    def _check(self) -> "CutoutsConfig":
        if self.stride_pix is not None and self.stride_pix > self.size_pix:
            raise ValueError(
                f"a stride_pix of {self.stride_pix} leaves gaps; lower it to {self.size_pix} or less"
            )
        if self.validation_fraction + self.test_fraction >= 1:
            raise ValueError("validation_fraction and test_fraction leave nothing to train on; lower them")
        if (self.mode == "catalogue") != (self.catalogue is not None):
            raise ValueError("mode catalogue and a catalogue belong together; give both or neither")
        if self.columns and self.catalogue is None:
            raise ValueError("columns name those of a catalogue; give a catalogue or leave them out")
        if unknown := sorted(set(self.columns) - {*POSITION, TABLE}):
            raise ValueError(
                f"columns: unknown key {unknown[0]!r}: {nearest(unknown[0], (*POSITION, TABLE))}"
            )
        self._check_planes()
        return self

    def _check_planes(self) -> None:
        if self.planes and self.mode != "catalogue":
            raise ValueError("planes belong to mode catalogue; choose it, or leave planes out")
        if self.common_beam is not False and not self.planes:
            raise ValueError("common_beam is that of planes; give some or leave it out")
        names = [COMMON, *(one.name for one in self.planes)]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"planes: the name {twice[0]} is taken; choose another")
        if isinstance(self.common_beam, tuple):
            # Here, because beams need numpy, and most settings name none.
            from astro_dist.sky.beams import Beam

            try:
                Beam(*self.common_beam)
            except ConfigError as error:
                raise ValueError(f"common_beam: {error}") from None

    @property
    def catalogue_path(self) -> Path | None:
        """The file of the catalogue; None without one."""
        return None if self.catalogue is None else expand_home(self.catalogue)
