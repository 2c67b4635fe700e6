"""Settings that are proposed for a map: what its header leaves out, from its pixels where possible."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.errors import ConfigError
from astro_dist.sky.config import FilesConfig, MapsConfig
from astro_dist.sky.fits_reader import explained
from astro_dist.sky.frequency import find_frequency_hz
from astro_dist.sky.header_beams import states_beam
from astro_dist.sky.known_surveys import find_survey
from astro_dist.sky.map_image import find_map
from astro_dist.sky.maps import SkyMap, describe_map
from astro_dist.sky.units import choose_unit, parse_unit
from astro_dist.sky.windows import Window

PATCHES, PATCH_PIX = 4, 256
"""Patches along each side of a map in which its noise is measured, and their largest side."""
CLIP_SIGMA, CLIPS = 3.0, 5
NORMAL = 1.4826
"""Standard deviation of normal numbers over their median absolute deviation."""
GUESSED_PIX, LEAST_PIX = 3.0, 2.5
"""Width in pixels of the beam that is proposed for a map where its noise shows none, or one below the second
number; a field with a narrower beam than that is refused. Surveys have 2.5 to 5 pixels."""


@dataclass(frozen=True)
class Proposal:
    """What a run needs to know of a map.

    Attributes
    ----------
    sky_map
        The map, opened with the proposed settings.
    given
        Settings of `FilesConfig` that the file leaves out, with values to begin with.
    why
        A sentence for each of ``given``.
    rms_jy_beam
        Median of the noise in patches of the map, Jy/beam.
    survey
        The survey that the header tells, None where it tells none.
    """

    sky_map: SkyMap
    given: dict[str, str | float]
    why: dict[str, str]
    rms_jy_beam: float
    survey: str | None = None


def propose_settings(path: Path) -> Proposal:
    """Read the header and some pixels of a map; return what the header gives and what is to be set.

    Raises
    ------
    ConfigError
        The file is no map that can be read, or holds no sky to measure.
    """
    # Opened like this at the end too, so that a cube or a strange file is refused in the words of a run.
    with explained(path, ConfigError):
        found = find_map(path, None, None, "I")
    known = find_survey(found.header)
    given: dict[str, str | float] = {}
    why: dict[str, str] = {}
    if parse_unit(card := choose_unit(None, str(found.header.get("BUNIT", "")))) is None:
        given["unit"] = "Jy/beam"
        why["unit"] = f"a guess: the header {f'says {card!r}' if card.strip() else 'states no unit'}"
    if find_frequency_hz(found.header, found.plane) is None:
        why["frequency_hz"] = "not in the header: give it, then fluxes can follow the counts of the sky"
        if known is not None:
            given["frequency_hz"] = known.frequency_hz
            why["frequency_hz"] = f"that of {known.name}, which the header names without it"
    if not states_beam(found.header, found.beams, found.history, (None, None, None)):
        plain, _ = describe_map(path, found, FilesConfig(files=(str(path),)), needs_beam=False)
        coarse = max(plain.pixel.dy_arcsec, plain.pixel.dx_arcsec)
        trial = _open(path, given | {"beam_major_arcsec": GUESSED_PIX * coarse})
        width_pix = beam_width_pix(_read_patches(trial)) or 0.0
        measured_pix = width_pix if width_pix >= LEAST_PIX else None
        given["beam_major_arcsec"] = float(f"{(measured_pix or GUESSED_PIX) * coarse:.3g}")
        source = "from the noise of the pixels" if measured_pix else "a guess, three pixels"
        why["beam_major_arcsec"] = f"{source}: the header has no beam; put in that of the survey"
    sky_map = _open(path, given)
    rms = [measure_rms(patch) for patch in _read_patches(sky_map)]
    measured = [value for value in rms if math.isfinite(value) and value > 0]
    if not measured:
        raise ConfigError(f"{path}: its pixels are blank or constant; give a map that holds a sky")
    return Proposal(sky_map, given, why, float(np.median(measured)), known.name if known else None)


def _open(path: Path, given: dict[str, str | float]) -> SkyMap:
    return SkyMap.open(path, MapsConfig.model_validate({"files": [str(path)], **given}), verify=False)


def _read_patches(sky_map: SkyMap) -> list[NDArray[np.float32]]:
    """Return patches on a regular grid over a map."""
    ny, nx = sky_map.shape
    height, width = (min(PATCH_PIX, max(1, side // PATCHES)) for side in (ny, nx))
    # At most the side of a patch apart from the edges, where mosaics are often blank.
    tops = np.linspace(0, ny - height, min(PATCHES, max(1, ny // height))).astype(int)
    lefts = np.linspace(0, nx - width, min(PATCHES, max(1, nx // width))).astype(int)
    windows = [Window(int(y), int(y) + height, int(x), int(x) + width) for y in tops for x in lefts]
    return [sky_map.read(window) for window in windows]


def measure_rms(patch: NDArray[np.floating]) -> float:
    """Return the standard deviation of the noise of a patch without its sources; NaN without data."""
    values = patch[np.isfinite(patch)]
    rms = math.nan
    for _ in range(CLIPS):
        if not len(values):
            return math.nan
        middle = np.median(values)
        rms = NORMAL * float(np.median(np.abs(values - middle)))
        values = values[np.abs(values - middle) <= CLIP_SIGMA * rms]
    return rms


def beam_width_pix(patches: list[NDArray[np.float32]]) -> float | None:
    """Return the full width of the beam from the correlation of neighbouring pixels of noise, in pixels.

    The noise of a map is white noise seen through the beam: its autocorrelation is a Gaussian sqrt(2) times
    as wide as the beam. None where the noise is not correlated, or there is none.
    """
    widths = [width for patch in patches if (width := _correlation_pix(patch)) is not None]
    return float(np.median(widths)) / math.sqrt(2) if widths else None


def _correlation_pix(patch: NDArray[np.float32]) -> float | None:
    """Return the full width at half maximum of the autocorrelation of a patch's noise, in pixels."""
    rms = measure_rms(patch)
    if not rms > 0 or not np.isfinite(patch).all():
        return None
    # Clipped, not cut out: a gap would have edges of its own. What is wider than noise is left in, and small.
    noise = np.clip(patch - np.median(patch), -CLIP_SIGMA * rms, CLIP_SIGMA * rms).astype(np.float64)
    power = np.abs(np.fft.fft2(noise - noise.mean())) ** 2
    correlation = np.fft.ifft2(power).real / power.mean()
    halves = [_half_width(line) for line in (correlation[:, 0], correlation[0, :])]
    if any(half is None for half in halves):
        return None
    # An ellipse along any axes has about this mean width.
    return 2 * math.sqrt(math.prod(half for half in halves if half is not None))


def _half_width(line: NDArray[np.float64]) -> float | None:
    """Return where a falling line of correlations reaches a half, from those of the first two pixels.

    A Gaussian exp(-x^2 ln 2 / h^2) at a distance of x: its value at a pixel or two tells h.
    """
    estimates = [
        x * math.sqrt(math.log(2) / -math.log(value))
        for x, value in enumerate(line[: len(line) // 4])
        if 0 < x <= 2 and 0.05 < value < 0.98
    ]
    return float(np.median(estimates)) if estimates else None
