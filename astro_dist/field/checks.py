"""Checks of a field before anything runs, because hours may lie between the start of a run and `assemble`.

They read only the configuration, the headers of the maps, and the user's small files. Making the field checks
the same conditions again, or fails on them.
"""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from astro_dist.engine.config import Section
from astro_dist.engine.errors import ConfigError
from astro_dist.engine.work import Run
from astro_dist.field.config import AcceptConfig, AssembleConfig
from astro_dist.field.instrument import Instrument, Survey, design_instrument
from astro_dist.sky.beams import Beam, Pixel
from astro_dist.sky.config import MapsConfig
from astro_dist.sky.survey import SimulateConfig
from astro_dist.store.config import CutoutsConfig

if TYPE_CHECKING:
    from astro_dist.sky.maps import SkyMap


def check_field(run: Run) -> None:
    """Refuse a field that could not be made.

    Raises
    ------
    ConfigError
        When pixels or beam do not suit the survey's objects, when the field is smaller than a stamp or much
        too small for its objects, or when a catalogue or density cannot be used.
    """
    config, real = run.section(AssembleConfig), None
    if config.background.path is not None:
        from astro_dist.field.assembly import open_background

        real = open_background(run)
    # The room that draws objects is above this one; of its settings only what it accepts matters here.
    generate: Any = run.section(Section, "generate")
    field = design_instrument(config, find_surveys(run), real)
    origin = "assemble.shape" if real is None else str(real.path)
    _check_size(field, run.section(CutoutsConfig).size_pix, origin)
    # With overlap footprints may have more area than the field, and stretched shapes have no taper, so that
    # the least footprint does not hold for them.
    if config.max_overlap == 0 and config.flux.mode != "radiff_stretched":
        _check_room(field, config.objects, generate.accept)
    if config.flux.catalogue is not None:
        _check_catalogue(config, field, real)
    if config.density is not None:
        _check_density(config.density, field)


def _check_catalogue(config: AssembleConfig, field: Instrument, real: "SkyMap | None") -> None:
    from astro_dist.field.flux import FluxCatalogue

    catalogue = FluxCatalogue.read(Path(str(config.flux.catalogue)), config.flux.columns)
    # The WCS of a real map may be in a frame other than ICRS, which the map's own `pixel_of` converts.
    catalogue.rows_in(field.shape, field.pixel_of if real is None else real.pixel_of, config.objects)


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
