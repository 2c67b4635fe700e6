"""Checks of a field before anything runs, because hours may lie between the start of a run and `assemble`.

They read only the configuration, the headers of the maps, and the user's small files. Making the field checks
the same conditions again, or fails on them.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from astro_dist.engine.config import Section
from astro_dist.engine.errors import ConfigError
from astro_dist.engine.work import Run
from astro_dist.field.config import AcceptConfig, AssembleConfig
from astro_dist.field.instrument import Instrument, Survey, design_instrument
from astro_dist.field.population import Expected, expect, solid_angle_sr
from astro_dist.sky.beams import Beam, Pixel
from astro_dist.sky.config import MapsConfig
from astro_dist.sky.survey import SimulateConfig
from astro_dist.store.config import CutoutsConfig


def check_field(run: Run) -> None:
    """Refuse a field that could not be made.

    Raises
    ------
    ConfigError
        When pixels or beam do not suit the survey's objects, when the field is smaller than a stamp or much
        too small for its objects, or when a catalogue or density cannot be used.
    """
    config, field = run.section(AssembleConfig), find_field(run)
    if config.seen.frequency_hz is not None:
        _check_seen(config, run)
    # The room that draws objects is above this one; of its settings few matter here.
    generate: Any = run.section(Section, "generate")
    origin = "assemble.shape" if field.real is None else str(field.real.path)
    _check_size(field, run.section(CutoutsConfig).size_pix, origin)
    # With overlap footprints may have more area than the field, and stretched shapes have no taper, so that
    # the least footprint does not hold for them.
    if config.max_overlap == 0 and config.objects and config.flux.mode != "radiff_stretched":
        _check_room(field, config.objects, generate.accept)
    if (needed := count_sources(config, field)) is not None:
        _check_objects(needed, config, generate)
    further = {"flux.bands_hz": config.flux.bands_hz, "seen.frequency_hz": config.seen.frequency_hz}
    if field.frequency_hz is None and (asked := [name for name, given in further.items() if given]):
        raise ConfigError(
            f"assemble.{asked[0]}: fluxes at other frequencies need that of the field; set "
            "assemble.frequency_hz"
        )
    if config.density is not None:
        _check_density(config.density, field)


def _check_seen(config: AssembleConfig, run: Run) -> None:
    try:
        design_instrument(config.as_seen, find_surveys(run), None)
    except ConfigError as error:
        raise ConfigError(f"assemble.seen: {error}") from None


def find_field(run: Run) -> Instrument:
    """Return the instrument of the field from the configuration and the headers of the maps.

    It is the one that sources and places are drawn for; `assemble.seen` shows them on the same pixels.
    """
    config, real = run.section(AssembleConfig), None
    if config.background.path is not None:
        from astro_dist.field.assembly import open_background

        real = open_background(run)
    return design_instrument(config, find_surveys(run), real)


@dataclass(frozen=True)
class Needed:
    """The number of sources of a field, and of the distinct objects that they need.

    Attributes
    ----------
    extended
        Whether only extended objects can stand for the sources.
    notes
        Sentences for the plan.
    bright
        Sources of mode counts that may have an artefact, 0 in mode catalogue.
    """

    sources: int
    objects: int
    extended: bool
    notes: tuple[str, ...]
    bright: int = 0


def count_sources(config: AssembleConfig, field: Instrument) -> Needed | None:
    """Return the expected number of sources by counts or in a catalogue, None in other modes.

    Raises
    ------
    ConfigError
        When a frequency is missing, or a catalogue cannot be used.
    """
    if config.flux.mode == "counts":
        expected = expect_counts(config, field)
        sources, objects = round(expected.sources), math.ceil(expected.most_objects / config.reuse)
        note = f"{sources} sources are expected, which need {objects} distinct objects"
        bright = _count_bright(config, field) if config.artefacts else 0
        return Needed(sources, objects, extended=True, notes=(note,), bright=bright)
    return None if config.flux.catalogue is None else _count_rows(config, field)


LIMIT_SNR = 4.0
"""Least signal-to-noise of a field's sources by `CountsConfig.limit_jy`, where its noise is not known yet."""


def _count_bright(config: AssembleConfig, field: Instrument) -> int:
    """Return the mean number of sources by counts above the limit of artefacts, about."""
    law = config.flux.counts
    bright_jy = law.limit * max(config.artefacts_snr / LIMIT_SNR, 1)
    if bright_jy >= law.highest_jy:
        return 0
    flux = config.flux.model_copy(update={"counts": law.model_copy(update={"limit_jy": bright_jy})})
    return math.ceil(expect_counts(config.model_copy(update={"flux": flux}), field).sources)


def expect_counts(config: AssembleConfig, field: Instrument) -> Expected:
    """Return the mean numbers of sources of mode counts."""
    if field.frequency_hz is None:
        raise ConfigError("assemble.frequency_hz: flux.mode counts needs the frequency of the field; set it")
    area = solid_angle_sr(field.shape, (field.pixel.dy_arcsec, field.pixel.dx_arcsec))
    width = math.sqrt(field.beam.major_arcsec * field.beam.minor_arcsec)
    return expect(config.flux.counts, area, field.frequency_hz, width)


def _count_rows(config: AssembleConfig, field: Instrument) -> Needed:
    from astro_dist.field.given import choose_rows, frequency_ratio, read_catalogue

    catalogue = read_catalogue(config)
    assert catalogue is not None
    # The WCS of a real map may be in a frame other than ICRS, which the map's own `pixel_of` converts.
    pixel_of = field.pixel_of if field.real is None else field.real.pixel_of
    rows = choose_rows(catalogue, field.shape, pixel_of, config)
    frequency_ratio(config.flux, field.frequency_hz)
    wanted = len(rows)
    if catalogue.has_shapes:
        width = math.sqrt(field.beam.major_arcsec * field.beam.minor_arcsec)
        extended = catalogue.is_extended(config.flux.counts.object_beams * width)
        wanted = int(extended[rows].sum())
    objects, notes = math.ceil(wanted / config.reuse), catalogue.notes
    return Needed(len(rows), objects, extended=catalogue.has_shapes, notes=notes)


def _check_objects(needed: Needed, config: AssembleConfig, generate: Any) -> None:
    name = "flux.catalogue" if config.flux.catalogue is not None else "flux.counts"
    # A number that the user gave has been compared with `generate.objects` by the pipeline.
    counted = config.objects is None or needed.extended
    if counted and (generate.objects or 0) < needed.objects:
        raise ConfigError(
            f"assemble.{name}: {needed.sources} sources need {needed.objects} distinct objects at "
            f"assemble.reuse {config.reuse}, and generate.objects is {generate.objects or 'not set'}; set it "
            f"to {needed.objects}"
        )
    if needed.extended and needed.objects and generate.accept.classes != ("extended",):
        raise ConfigError(
            f"assemble.{name}: it needs extended objects, and generate.objects counts others too; set "
            "generate.accept.classes to [extended] and generate.masks.compact to 0"
        )


def _check_density(path: str, field: Instrument) -> None:
    import numpy as np

    from astro_dist.field.layout import by_density
    from astro_dist.sky.user_files import read_plane

    # `by_density` checks the image at once and draws nothing here, so that any generator will do.
    by_density(field.shape, read_plane(Path(path)), np.random.default_rng(0))


def find_surveys(run: Run) -> list[Survey]:
    """Return the maps that the model is trained on, from their headers or from the settings of `simulate`."""
    if run.section(MapsConfig).files:
        from astro_dist.sky.maps import open_maps

        maps = [one for one in open_maps(run) if not one.background_only]
        return [Survey(m.name, m.beam, m.pixel, m.frequency_hz) for m in maps]
    sky = run.section(SimulateConfig)
    return [Survey("the simulated survey", sky.beam, sky.pixel, sky.frequency_hz)]


def _check_size(field: Instrument, size_pix: int, origin: str) -> None:
    ny, nx = field.shape
    if min(field.shape) < size_pix:
        raise ConfigError(
            f"{origin}: a field of {ny} x {nx} pixels is smaller than a stamp of {size_pix} x {size_pix}; "
            "make it larger, or lower cutouts.size_pix"
        )


def _check_room(field: Instrument, objects: int, accept: AcceptConfig) -> None:
    """Refuse objects whose footprints have more area than the field.

    Discs placed at random fill about half of a plane, hence the number of objects in the message.
    """
    ny, nx = field.shape
    least = least_footprint_pix(field.beam, field.pixel, accept)
    if objects * least > ny * nx:
        raise ConfigError(
            f"assemble.objects: {objects} do not fit in the {ny} x {nx} field, because each takes at least "
            f"{least:.0f} pixels with its taper; about {int(ny * nx / least / 2)} would fit: lower "
            "assemble.objects, enlarge assemble.shape or allow assemble.max_overlap"
        )


def least_footprint_pix(beam: Beam, pixel: Pixel, accept: AcceptConfig) -> float:
    """Return the area in pixels of the footprint of an isolated mask of one pixel: an ellipse's pi a b."""
    yy, yx, xx = beam.moments_pix(pixel)
    # A pixel is sqrt(xx / det / (8 ln 2)) beam widths long along y, and the same with yy along x.
    steps = math.sqrt(yy * xx) / (yy * xx - yx * yx) / (8 * math.log(2))
    return math.pi * (accept.grow_beams + accept.taper_beams) ** 2 / steps
