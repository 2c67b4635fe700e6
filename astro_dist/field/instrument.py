"""The instrument of a field: size, WCS, beam and pixels, and the check that the objects fit them.

A model is rendered in the field's own beam and on its own pixels, so that only two things are asked: the
field is hardly sharper than the drawings were, and its pixels sample its beam. What is placed as it was drawn
is pixels that already contain a beam, so the field must then have the pixels and the beam of the survey.
Settings left out come from the survey or from a real background.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from astro_dist.engine.errors import ConfigError
from astro_dist.field.config import AssembleConfig
from astro_dist.sky.beams import Beam, Pixel, least_moment
from astro_dist.store.config import BACKGROUND_ONLY

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from astro_dist.sky.coordinates import Coordinates
    from astro_dist.sky.maps import SkyMap

MAX_DIFFERENCE = 0.1
"""Largest relative difference of pixels and beams between a field and objects placed as they were drawn."""
MIN_FWHM_PIX = 2.5
"""Fewest pixels per full width of the beam, along its narrow axis, that sample it."""
SHARPEST = 0.8
"""Least width of the field's beam over that of a donor, in any direction, for models."""


@dataclass(frozen=True)
class Survey:
    """The properties of one source map of a store of cutouts that a field must agree with."""

    name: str
    beam: Beam
    pixel: Pixel
    frequency_hz: float | None

    @classmethod
    def of_store(cls, attrs: dict[str, Any]) -> list["Survey"]:
        """Return the source maps from the attributes of ``cutouts.zarr``, without those of backgrounds."""
        return [
            cls(m["name"], Beam(**m["beam"]), Pixel(*m["pixel_arcsec"]), m["frequency_hz"])
            for m in attrs["maps"]
            if not m.get(BACKGROUND_ONLY)
        ]


@dataclass(frozen=True)
class Instrument:
    """Size, beam, pixel and frequency of a field, as its header states them, and where it lies.

    Attributes
    ----------
    centre_deg
        Right ascension and declination of the middle of a simulated field.
    real
        The real map whose sky the field has; ``centre_deg`` then has no meaning.
    """

    shape: tuple[int, int]
    beam: Beam
    pixel: Pixel
    frequency_hz: float | None
    centre_deg: tuple[float, float] = (0.0, 0.0)
    real: "SkyMap | None" = None

    @cached_property
    def wcs(self) -> Any:
        """The astropy WCS; a plan needs none, and loads no astropy."""
        from astro_dist.sky.fits_file import plane_wcs

        return self.real.wcs if self.real is not None else plane_wcs(self.shape, self.pixel, *self.centre_deg)

    def pixel_of(self, ra_deg: "NDArray[np.float64]", dec_deg: "NDArray[np.float64]") -> "Coordinates":
        """Return the pixel positions ``(y, x)`` of ICRS positions, for a WCS that is in ICRS as well."""
        x, y = self.wcs.wcs_world2pix(ra_deg, dec_deg, 0)
        return y, x


def median_survey(surveys: Sequence[Survey]) -> Survey:
    """Return the map whose beam has the median solid angle."""
    # The name breaks ties, so that the order of the maps does not choose the instrument.
    ordered = sorted(surveys, key=lambda s: (s.beam.major_arcsec * s.beam.minor_arcsec, s.name))
    return ordered[len(ordered) // 2]


def design_instrument(config: AssembleConfig, surveys: Sequence[Survey], real: "SkyMap | None") -> Instrument:
    """Return the instrument of the config; settings left out are those of the median survey map.

    Raises
    ------
    ConfigError
        When the field does not suit the models of the source maps (`check_models`), or what is placed as it
        was drawn (`check_drawings`).
    """
    if real is not None:
        field = Instrument(real.shape, real.beam, real.pixel, real.frequency_hz, real=real)
    else:
        field = _simulated(config, median_survey(surveys))
    if config.flux.mode != "radiff_stretched":
        check_models(field, surveys)
    if config.drawn_kinds:
        check_drawings(field, surveys, config.drawn_kinds[0])
    return field


def check_models(field: Instrument, surveys: Iterable[Survey]) -> None:
    """Refuse a field that is sharper than the drawings were, or whose pixels do not sample its beam."""
    check_sampling(field.beam, field.pixel)
    for survey in surveys:
        ratio = _sharpness(field.beam, survey.beam)
        if ratio < SHARPEST:
            raise ConfigError(
                f"the field has a {_describe(field)}, the objects of {survey.name} were drawn in a "
                f"{_describe(survey)}; the field's may be {SHARPEST:g} times as wide at least, in every "
                f"direction, and is {ratio:.2f}: set assemble.beam_major_arcsec higher, or leave that map out"
            )


def check_sampling(beam: Beam, pixel: Pixel) -> None:
    """Refuse a pixel that does not sample the beam.

    Raises
    ------
    ConfigError
        When the beam has fewer than `MIN_FWHM_PIX` pixels per full width in some direction.
    """
    narrow = least_moment(*beam.moments_pix(pixel)) * 8 * math.log(2)  # a full width squared
    # A hair, because a beam of exactly 2.5 pixels is asked for by hand.
    if narrow < MIN_FWHM_PIX**2 * (1 - 1e-9):
        raise ConfigError(
            f"a pixel of {pixel.dy_arcsec:g} x {pixel.dx_arcsec:g} arcsec does not sample a beam of "
            f"{beam.major_arcsec:g} x {beam.minor_arcsec:g} arcsec: {math.sqrt(narrow):.2f} pixels per "
            f"full width; lower assemble.pixel_arcsec, to have at least {MIN_FWHM_PIX:g} per full width"
        )


def _sharpness(field: Beam, donor: Beam) -> float:
    """Return the least width of a beam over that of another, over all directions."""
    one, other = (beam.moments_pix(Pixel(1.0, 1.0)) for beam in (field, donor))
    # The smaller root of det(one - r other) = 0, a quadratic in r, which is the ratio of squared widths.
    a = other[0] * other[2] - other[1] ** 2
    b = one[0] * other[2] + one[2] * other[0] - 2 * one[1] * other[1]
    c = one[0] * one[2] - one[1] ** 2
    return math.sqrt(2 * c / (b + math.sqrt(max(0.0, b * b - 4 * a * c))))


def check_drawings(field: Instrument, surveys: Iterable[Survey], kind: str) -> None:
    """Refuse a field whose beam or pixels are not those of its drawings.

    Parameters
    ----------
    kind
        The setting by which something is placed as it was drawn, for the message.

    Raises
    ------
    ConfigError
        When no source map has pixels and beam within 10 % of the field's, or when the beam in pixels,
        which is part of a drawing, differs by more than that in some source map.
    """
    # Maps of equal beam and pixel need one check and one mention in the message.
    known = {(s.beam, s.pixel): s for s in surveys}
    # In arcsec one map must agree, in pixels every map: objects are pixels, and a beam with other pixels and
    # the same shape in pixels fits the field as well.
    if not any(_scales_agree(field, survey) for survey in known.values()):
        raise ConfigError(
            f"{kind}: what is as drawn or measured keeps its beam and pixels; the field has a "
            f"{_describe(field)}, the objects come from {_list(known.values())}; they may differ by 10 %: "
            "set assemble.pixel_arcsec and beam_* nearer to them, or place models"
        )
    for survey in known.values():
        if not _same_in_pixels(field, survey):
            raise ConfigError(
                f"{kind}: the drawings of {survey.name} carry a {_describe(survey)}, in pixels more than "
                f"10 % off the field's {_describe(field)}; leave that map out of maps, or place models"
            )


def _simulated(config: AssembleConfig, survey: Survey) -> Instrument:
    size = config.pixel_arcsec
    pixel = survey.pixel if size is None else Pixel(*(size if isinstance(size, tuple) else (size, size)))
    beam = survey.beam
    if config.beam_major_arcsec is not None:
        minor = config.beam_minor_arcsec or config.beam_major_arcsec
        beam = Beam(config.beam_major_arcsec, minor, config.beam_pa_deg or 0.0)
    ny, nx = config.shape
    # A SIN projection shows half of the sky, a disc of one radian. Pixels beyond it have no position, and the
    # truth would hold NaN. From the middle of the field to the middle of a pixel in its corner:
    corner_arcsec = math.hypot((ny - 1) / 2 * pixel.dy_arcsec, (nx - 1) / 2 * pixel.dx_arcsec)
    if math.radians(corner_arcsec / 3600) > 1:
        raise ConfigError(
            f"a field of {ny} x {nx} pixels of {pixel.dy_arcsec:g} x {pixel.dx_arcsec:g} arcsec reaches "
            "beyond the half sphere that its projection shows; lower assemble.shape or pixel_arcsec"
        )
    frequency_hz = config.frequency_hz or survey.frequency_hz
    return Instrument(config.shape, beam, pixel, frequency_hz, (config.ra_deg, config.dec_deg))


def _scales_agree(field: Instrument, survey: Survey) -> bool:
    def sizes(item: Instrument | Survey) -> tuple[float, ...]:
        beam, pixel = item.beam, item.pixel
        return pixel.dy_arcsec, pixel.dx_arcsec, beam.major_arcsec, beam.minor_arcsec

    pairs = zip(sizes(field), sizes(survey), strict=True)
    return all(abs(mine - theirs) <= MAX_DIFFERENCE * theirs for mine, theirs in pairs)


def _same_in_pixels(field: Instrument, survey: Survey) -> bool:
    """Return whether the second moments of the beams in pixels agree, position angle included."""
    mine, theirs = (i.beam.moments_pix(i.pixel) for i in (field, survey))
    # Moments are widths squared, hence the square of the allowed ratio.
    allowed = (1 + MAX_DIFFERENCE) ** 2 - 1
    return _norm(*(a - b for a, b in zip(mine, theirs, strict=True))) <= allowed * _norm(*theirs)


def _norm(yy: float, yx: float, xx: float) -> float:
    """Return the Frobenius norm of a symmetric matrix."""
    return math.sqrt(yy**2 + 2 * yx**2 + xx**2)


def _describe(item: Instrument | Survey) -> str:
    beam, pixel = item.beam, item.pixel
    return (
        f"beam of {beam.major_arcsec:.4g} x {beam.minor_arcsec:.4g} arcsec at {beam.pa_deg:.3g} deg on "
        f"pixels of {pixel.dy_arcsec:.4g} x {pixel.dx_arcsec:.4g} arcsec"
    )


def _list(surveys: Iterable[Survey]) -> str:
    """Return a description of at most three of the maps."""
    items = [f"{s.name} (a {_describe(s)})" for s in surveys]
    more = f" and {len(items) - 3} other kinds" if len(items) > 3 else ""
    return ", ".join(items[:3]) + more
