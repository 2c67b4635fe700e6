"""The sources of a field by its mode, each with the object of the library that stands for it, or none.

Points and Gaussians need no object: what is narrower than two beams shows nothing but its widths. Larger
sources are objects of the library, chosen by size and resized: a source of 30 arcsec is one of 20 to 45.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

import numpy as np

from astro_dist.engine.arrays import Columns, Floats, Integers
from astro_dist.engine.errors import ConfigError
from astro_dist.field.catalogue import BY_SIZE, MOST_NAMED
from astro_dist.field.config import AssembleConfig
from astro_dist.field.donors import MOST_RESIZED, Donors, Wanted, choose_donors
from astro_dist.field.flux import draw_k
from astro_dist.field.given import Given, by_catalogue, by_counts, read_catalogue
from astro_dist.field.library import Library
from astro_dist.field.models import MAX_NOISE
from astro_dist.field.sources import Sources, Stream, dealt
from astro_dist.sky.beams import Pixel
from astro_dist.sky.classes import SourceClass
from astro_dist.sky.maps import SkyMap
from astro_dist.sky.tangent import ellipses, moments_of_ellipses

EXTENDED_BEAMS = 1.8
"""Area in beams from which a source is extended, as `astro_dist.sky.classify` has it."""


@dataclass(frozen=True)
class Surroundings:
    """What the background of a field says of its sources.

    Attributes
    ----------
    rms_jy_beam
        Typical noise.
    open_share
        Part of the pixels where sources may be placed.
    """

    rms_jy_beam: float
    open_share: float


def choose_sources(
    field: SkyMap,
    library: Library,
    config: AssembleConfig,
    look_around: Callable[[], Surroundings],
    stream: Stream,
) -> Sources:
    """Return the sources of a field, by the mode of its fluxes.

    Parameters
    ----------
    look_around
        Reads the background; called in the modes that need it only.

    Raises
    ------
    ConfigError
        When the library holds too few objects, or the catalogue too few rows.
    """
    if config.flux.mode == "counts":
        around = look_around()
        given = by_counts(field, around.open_share, config, stream)
        return realise(given, field, library, config, around.rms_jy_beam, stream)
    catalogue = read_catalogue(config)
    if catalogue is not None and catalogue.has_shapes:
        given = by_catalogue(field, catalogue, config, stream)
        return realise(given, field, library, config, look_around().rms_jy_beam, stream)
    pool = np.flatnonzero(library.table["class"] != SourceClass.SPURIOUS)
    columns: Columns = {}
    if catalogue is not None:
        given = by_catalogue(field, catalogue, config, stream)
        columns = {name: getattr(given, name) for name in ("flux_jy", "spectral_index", "places", "rows")}
    count = int(config.objects or len(columns["rows"]))
    _check_supply(config, count, len(pool))
    objects = dealt(pool, count, stream("assemble", "objects", "sources"))
    if catalogue is None:
        columns = {"k": draw_k(count, config.flux, stream("assemble", "flux"))}
    return Sources.of_objects(objects, library.table["class"][objects], **columns)


def _check_supply(config: AssembleConfig, wanted: int, accepted: int) -> None:
    supply = accepted * config.reuse
    if wanted > supply:
        raise ConfigError(
            f"assemble.objects: {wanted} are promised, but {accepted} accepted objects at "
            f"assemble.reuse {config.reuse} are {supply}; raise generate.objects or assemble.reuse, "
            f"or lower assemble.objects to {supply}"
        )


def realise(
    given: Given,
    field: SkyMap,
    library: Library,
    config: AssembleConfig,
    rms_jy_beam: float,
    stream: Stream,
) -> Sources:
    """Return sources as points, Gaussians and objects; raise `ConfigError` when an object is missing."""
    pool = np.flatnonzero((library.table["class"] == SourceClass.EXTENDED) & (library.table["drawn"] == 0))
    wanted = Wanted(given.flux_jy[given.is_object], given.major_arcsec[given.is_object])
    donors = Donors(object_sizes(library)[0][pool], rms_jy_beam * bearable(library)[pool])
    # A size of a catalogue is what somebody asked for; one drawn by a law may be the nearest there is.
    clip = config.flux.mode == "counts"
    choice = choose_donors(wanted, donors, config.reuse, stream("assemble", "donors"), clip=clip)
    missing = np.flatnonzero(given.is_object)[choice.donor < 0]
    if len(missing):
        _refuse(given, missing, len(pool), config)
    return _sources(given, pool[choice.donor], choice.factor, field, library)


def _refuse(given: Given, missing: Integers, donors: int, config: AssembleConfig) -> NoReturn:
    sizes, count = given.major_arcsec[missing], np.count_nonzero(given.is_object)
    rows = ", ".join(str(row + 1) for row in given.rows[missing[:MOST_NAMED]].tolist() if row >= 0)
    named = f"{config.flux.catalogue}: row {rows}: " if rows else ""
    raise ConfigError(
        f"{named}{len(missing)} of {count} sources have no object, of {np.nanmin(sizes, initial=np.inf):.3g} "
        f"to {np.nanmax(sizes, initial=0):.3g} arcsec: {donors} extended objects are there, each used "
        f"assemble.reuse {config.reuse} times and resized by {MOST_RESIZED} at most; raise generate.objects "
        "or assemble.reuse, or leave such sources out"
    )


def bearable(library: Library) -> Floats:
    """Return the flux over the field's noise, in beams, up to which each model may be placed.

    That is as bright as it was drawn, or brighter where the noise of its model stays below `MAX_NOISE` of the
    peak.
    """
    return np.asarray(library.table["flux_snr"] * np.maximum(1, MAX_NOISE * library.table["peak_snr"]))


def object_sizes(library: Library) -> tuple[Floats, Floats]:
    """Return the intrinsic major full width, arcsec, of all objects, and its angle from +y to -x, deg.

    The width is that of a Gaussian with the same second moments: 1.2 times the distance of two equal lobes,
    0.7 times the length of a bar.
    """
    table = library.table
    yy, yx, xx = (table[name] + table[f"spread_{name}"] for name in ("yy", "yx", "xx"))
    dy, dx = table["dy_arcsec"], table["dx_arcsec"]
    moments = np.array([[yy * dy * dy, -yx * dy * dx], [-yx * dy * dx, xx * dx * dx]]).transpose(2, 0, 1)
    major, _, angle = ellipses(moments)
    return major, angle


def _sources(given: Given, donor: Integers, resized: Floats, field: SkyMap, library: Library) -> Sources:
    own, n = ~given.is_object, len(given)
    objects, factor, turn = np.full(n, -1), np.ones(n), np.full(n, np.nan)
    objects[~own], factor[~own] = donor, resized
    # NaN where no angle is given, so that the turn is drawn.
    turn[~own] = given.image_pa_deg[~own] - object_sizes(library)[1][donor]
    major, minor = np.where(own, given.major_arcsec, 0), np.where(own, given.minor_arcsec, 0)
    minor = np.where(np.isnan(minor), major, minor)
    spread = gaussian_spreads(major, minor, np.nan_to_num(given.image_pa_deg), field.pixel)
    compact = own & (_beam_areas(spread, field) <= EXTENDED_BEAMS)
    seen = np.where(compact, int(SourceClass.COMPACT), int(SourceClass.EXTENDED))
    kinds = np.where(given.source_class == BY_SIZE, seen, given.source_class).astype(np.uint8)
    return Sources.of_objects(
        objects,
        kinds,
        flux_jy=given.flux_jy,
        spread_pix=spread,
        size_factor=factor,
        turn_deg=turn,
        places=given.places,
        spectral_index=given.spectral_index,
        rows=given.rows,
    )


def gaussian_spreads(major: Floats, minor: Floats, image_pa_deg: Floats, pixel: Pixel) -> Floats:
    """Return the second moments yy, yx and xx, pix^2, of Gaussians from full widths, shape (n, 3)."""
    moments = moments_of_ellipses(major, minor, image_pa_deg)
    dy, dx = pixel.dy_arcsec, pixel.dx_arcsec
    # The frame of the image has -x as its second axis.
    return np.stack(
        [moments[:, 0, 0] / dy**2, -moments[:, 0, 1] / (dy * dx), moments[:, 1, 1] / dx**2], axis=1
    )


def _beam_areas(spread: Floats, field: SkyMap) -> Floats:
    """Return the areas of Gaussians through the beam over the beam's."""
    beam = field.beam.covariance_pix(field.pixel)
    yy, yx, xx = spread.T
    wide = (yy + beam[0, 0]) * (xx + beam[1, 1]) - (yx + beam[0, 1]) ** 2
    return np.asarray(np.sqrt(wide / np.linalg.det(beam)))
