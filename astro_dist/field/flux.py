"""The brightness of placed objects: k of RADiff's exponential law, or the fluxes of a catalogue.

The pixels that an object adds to the map, in Jy/beam, are its library shape times its amplitude. The law is
that of section 5.3 of RADiff (Sortino et al. 2024): amplitude sigma * k, with the local rms sigma and k drawn
from an exponential distribution of mean 3, at most 10.

In mode ``radiff`` the shape has unit peak, so that k is the peak signal-to-noise. In mode
``radiff_stretched`` (the paper to the letter) the shape is the stamp's pixels in the paper's stretch:
tanh((snr + 3.3) / 13.5), zero where the snr is below -3.3, on the pixels of the object's own mask, without a
taper. The shape includes the pedestal of tanh(3.3 / 13.5) = 0.24 that an empty sky has in that stretch; the
peak signal-to-noise is k times the shape's maximum, so below k. In mode ``catalogue`` the amplitude is such
that the sum of the added pixels over the beam area is the given flux.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.errors import ConfigError
from astro_dist.field.config import FluxConfig
from astro_dist.sky.coordinates import Coordinates
from astro_dist.sky.stretch import stretch
from astro_dist.sky.user_files import read_table

# Far above the sources of any survey (Cassiopeia A has 1e4 Jy), and far below the end of float32 at 3e38.
MOST_JY = 1e9
PixelOf = Callable[[NDArray[np.float64], NDArray[np.float64]], Coordinates]


def draw_k(n: int, flux: FluxConfig, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw ``n`` values of k, in ``(minimum, cap]``.

    To draw again until k lies in an interval is to draw from the distribution truncated to that interval. An
    exponential has no memory: the excess over the minimum has the same distribution as k itself. So one
    uniform number per k is enough: k is the minimum plus the inverse of the (truncated) cumulative
    distribution, and the number of draws does not depend on their values.
    """
    # expm1 and log1p keep the digits that 1 - exp(-x) loses when the interval is short against the scale.
    high = -np.expm1(-(flux.cap - flux.minimum) / flux.scale) if flux.above == "redraw" else 1.0
    # In (0, 1], so that k is above the minimum. A share of 1 without truncation is infinite, hence the clip.
    share = 1 - rng.random(n)
    with np.errstate(divide="ignore"):
        k = flux.minimum - flux.scale * np.log1p(-share * high)
    return np.asarray(np.minimum(k, flux.cap))


def stretch_shape(
    image_jy_beam: NDArray[np.float32], inside: NDArray[np.bool_], rms_jy_beam: float
) -> NDArray[np.float32]:
    """Return the pixels of an object in the paper's stretch, in [0, 1], 0 outside its mask."""
    # The background is 0, because stamps hold the brightness above it.
    stretched = np.clip(stretch(image_jy_beam, 0.0, rms_jy_beam, "tanh"), 0, 1)
    return np.where(inside, stretched, 0).astype(np.float32)


@dataclass(frozen=True)
class FluxCatalogue:
    """The rows of a user's catalogue.

    Attributes
    ----------
    flux_jy
        Shape (n,), positive; NaN in rows without a flux, which are never placed.
    sky_deg
        Right ascension and declination, shape (2, n), ICRS; None when the catalogue has no positions.
    notes
        Sentences on what was taken for granted about the table.
    """

    flux_jy: NDArray[np.float64]
    sky_deg: NDArray[np.float64] | None
    notes: tuple[str, ...] = ()

    @classmethod
    def read(cls, path: Path, names: Mapping[str, str] = MappingProxyType({})) -> "FluxCatalogue":
        """Read a table with the column flux_jy and, optionally, ra_deg and dec_deg.

        Parameters
        ----------
        names
            Names of these columns in the table, see `read_columns`.

        Raises
        ------
        ConfigError
            When the file or the column is missing, no row has a flux, a flux is not positive or above
            `MOST_JY`, a position is not finite, or only one of the two position columns is there.
        """
        read = read_table(path, required=("flux_jy",), optional=("ra_deg", "dec_deg"), names=names)
        table, notes = read.columns, read.notes
        flux_jy = table["flux_jy"]
        empty = np.isnan(flux_jy)
        if empty.all() or not (empty | (np.isfinite(flux_jy) & (flux_jy > 0))).all():
            raise ConfigError(f"{path}: every flux_jy must be a positive number; leave the other rows out")
        if empty.any():
            first = np.flatnonzero(empty)[0] + 1
            notes += (
                f"{path.name}: {empty.sum()} rows have no flux, the first is row {first}; none is placed",
            )
        if len(rows := np.flatnonzero(flux_jy > MOST_JY)):
            raise ConfigError(
                f"{path}: row {rows[0] + 1} has a flux_jy of {flux_jy[rows[0]]:.4g}, above {MOST_JY:g} Jy; "
                "mend its number or its unit, or leave the row out"
            )
        sky = [table[name] for name in ("ra_deg", "dec_deg") if name in table]
        if len(sky) == 1:
            raise ConfigError(f"{path}: it has one of ra_deg and dec_deg; give both columns or neither")
        if not np.isfinite([axis[~empty] for axis in sky]).all():
            raise ConfigError(f"{path}: every ra_deg and dec_deg must be finite; leave the other rows out")
        return cls(flux_jy, np.array(sky) if sky else None, notes)

    def rows_in(self, shape: Sequence[int], pixel_of: PixelOf, wanted: int) -> NDArray[np.int64]:
        """Return the rows with a flux whose position is in a field, in order.

        Parameters
        ----------
        pixel_of
            ``(ra_deg, dec_deg) -> (y, x)``, NaN where a position does not project.

        Raises
        ------
        ConfigError
            When there are fewer rows than ``wanted``.
        """
        known = ~np.isnan(self.flux_jy)
        if self.sky_deg is not None:
            spots = nearest_pixels(pixel_of, self.sky_deg)
            known &= ((spots >= 0) & (spots < shape)).all(axis=1)
        rows = np.flatnonzero(known)
        if len(rows) < wanted:
            raise ConfigError(
                f"assemble.flux.catalogue: it has {len(rows)} rows for this field and assemble.objects is "
                f"{wanted}; lower assemble.objects to {len(rows)} or give more rows"
            )
        return rows


def nearest_pixels(pixel_of: PixelOf, sky_deg: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the pixels (y, x) of sky positions, shape (n, 2), (-1, -1) for positions that do not project."""
    # floor(x + 0.5) and not a rounding to even, by which every other pixel would get both its edges.
    pixels = np.stack(pixel_of(*sky_deg), axis=1)
    return np.asarray(np.floor(np.nan_to_num(pixels, nan=-1) + 0.5).astype(np.int64))
