"""Sources whose fluxes and sizes are given, by counts or by a catalogue, in the frame of a field."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.arrays import Floats, Integers
from astro_dist.engine.errors import ConfigError
from astro_dist.field.catalogue import BY_SIZE, PixelOf, SourceCatalogue
from astro_dist.field.config import AssembleConfig, FluxConfig
from astro_dist.field.population import Stream, draw_population
from astro_dist.sky.beams import Beam
from astro_dist.sky.maps import SkyMap
from astro_dist.sky.tangent import local_axes

SAMPLES = 17


@dataclass(frozen=True, eq=False)
class Given:
    """What is given of sources, in columns of one length.

    Attributes
    ----------
    flux_jy, spectral_index
        Flux at the field's frequency; exponent of frequency, NaN where unknown.
    major_arcsec, minor_arcsec, image_pa_deg
        Full widths without the beam, and angle of the major axis in the frame of the image. An object has its
        size in the first, or NaN where any will do; NaN elsewhere: a round source, an angle to be drawn.
    is_object
        Whether an object of the library stands for the source.
    source_class
        `SourceClass` of each, `BY_SIZE` where it follows from how the source looks.
    places
        (n, 2) y and x in the field, NaN where a place is to be drawn.
    rows
        Row of the catalogue from 0, -1 where there is none.
    """

    flux_jy: Floats
    spectral_index: Floats
    major_arcsec: Floats
    minor_arcsec: Floats
    image_pa_deg: Floats
    is_object: NDArray[np.bool_]
    source_class: NDArray[np.uint8]
    places: Floats
    rows: Integers

    def __len__(self) -> int:
        return len(self.flux_jy)


def area_sr(field: SkyMap) -> float:
    """Return the solid angle of a map, whatever its projection; pixels that show no sky have none."""
    y, x = (edge.ravel() for edge in np.meshgrid(*(_middles(n) for n in field.shape), indexing="ij"))
    pixel = np.abs(np.linalg.det(local_axes(field.sky_of, y, x)))
    return float(np.nan_to_num(pixel).mean() * math.prod(field.shape) * math.radians(1 / 3600) ** 2)


def _middles(n: int) -> Floats:
    return (np.arange(SAMPLES) + 0.5) * n / SAMPLES - 0.5


def by_counts(field: SkyMap, open_share: float, config: AssembleConfig, stream: Stream) -> Given:
    """Draw the sources of the open part of a field by published counts.

    Raises
    ------
    ConfigError
        When the field has no frequency.
    """
    if field.frequency_hz is None:
        raise ConfigError("assemble.frequency_hz: flux.mode counts needs the frequency of the field; set it")
    law = config.flux.counts
    found = draw_population(
        law, open_share * area_sr(field), field.frequency_hz, fwhm_arcsec(field.beam), stream
    )
    return Given(
        found.flux_jy,
        found.spectral_index,
        found.major_arcsec,
        found.minor_arcsec,
        # An object is turned and flipped as any other.
        np.where(found.is_object, np.nan, found.image_pa_deg),
        found.is_object,
        np.full(len(found), int(BY_SIZE), np.uint8),
        np.full((len(found), 2), np.nan),
        np.full(len(found), -1),
    )


def by_catalogue(field: SkyMap, catalogue: SourceCatalogue, config: AssembleConfig, stream: Stream) -> Given:
    """Return the sources of a catalogue that lie in a field; raise `ConfigError` when none or too few do."""
    rows = choose_rows(catalogue, field.shape, field.pixel_of, config)
    if catalogue.sky_deg is None:
        # Shuffled before the cut: of a catalogue sorted by flux, the first rows are the extremes.
        rows = stream("assemble", "catalogue").permutation(rows)
    rows = rows[: config.objects]
    places = np.full((len(rows), 2), np.nan)
    angle = np.full(len(rows), np.nan)
    if catalogue.sky_deg is not None:
        places = np.stack(field.pixel_of(*catalogue.sky_deg[:, rows]), axis=1)
        angle = _image_angles(field, places, catalogue.pa_deg[rows])
    largest = config.flux.counts.object_beams * fwhm_arcsec(field.beam)
    ratio, law = frequency_ratio(config.flux, field.frequency_hz), config.flux.counts
    flux = catalogue.flux_at(ratio, law.spectral_index)
    return Given(
        flux[rows],
        catalogue.spectral_index[rows],
        catalogue.major_arcsec[rows],
        catalogue.minor_arcsec[rows],
        angle,
        catalogue.is_extended(largest)[rows],
        catalogue.source_class[rows],
        places,
        rows,
    )


def choose_rows(
    catalogue: SourceCatalogue, shape: Sequence[int], pixel_of: PixelOf, config: AssembleConfig
) -> Integers:
    """Return the rows of a catalogue that may be placed; raise `ConfigError` when they are too few."""
    try:
        rows = catalogue.rows_in(shape, pixel_of)
    except ConfigError as error:
        raise ConfigError(f"{config.flux.catalogue}: {error}") from None
    if len(rows) < (config.objects or 0):
        raise ConfigError(
            f"assemble.flux.catalogue: it has {len(rows)} rows for this field and assemble.objects is "
            f"{config.objects}; lower assemble.objects to {len(rows)} or give more rows"
        )
    return rows


def frequency_ratio(flux: FluxConfig, field_hz: float | None) -> float | None:
    """Return the field's frequency over the catalogue's, None where the latter is not given.

    Raises
    ------
    ConfigError
        When the catalogue's is given and the field has none.
    """
    if flux.catalogue_hz is None:
        return None
    if field_hz is None:
        raise ConfigError(
            "assemble.frequency_hz: fluxes of flux.catalogue_hz are scaled to the frequency of the field, "
            "which is unknown; set it"
        )
    return field_hz / flux.catalogue_hz


def _image_angles(field: SkyMap, places: Floats, pa_deg: Floats) -> Floats:
    """Return angles on the sky, east of north, as angles in the frame of the image, from +y to -x."""
    axes = local_axes(field.sky_of, *places.T)
    north_east = np.stack([np.cos(np.radians(pa_deg)), np.sin(np.radians(pa_deg))], axis=-1)
    dy, dx = np.linalg.solve(axes, north_east[..., None])[..., 0].T
    return np.degrees(np.arctan2(-dx * field.pixel.dx_arcsec, dy * field.pixel.dy_arcsec)) % 180


def fwhm_arcsec(beam: Beam) -> float:
    """Return the full width of a beam, the geometric mean of its axes."""
    return math.sqrt(beam.major_arcsec * beam.minor_arcsec)


def read_catalogue(config: AssembleConfig) -> SourceCatalogue | None:
    """Read the catalogue that a configuration names."""
    flux = config.flux
    if flux.catalogue is None:
        return None
    return SourceCatalogue.read(
        Path(flux.catalogue), flux.columns, {str(k): v for k, v in flux.classes.items()}
    )
