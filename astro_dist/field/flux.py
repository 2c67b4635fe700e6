"""How bright placed objects are: k of RADiff's exponential law, or the fluxes of a catalogue.

An object's library shape times its amplitude is what is added to the map, in Jy/beam. In mode
``radiff`` the shape has unit peak and the amplitude is sigma * k, so that k is the peak signal-to-noise
over the local rms sigma. In mode ``radiff_stretched`` (the paper to the letter) the shape is the pixel
on the network's side of the paper's stretch: tanh((snr + 3.3) / 13.5), zero where the snr is below -3.3,
on the pixels of the object's own mask, without taper and with the pedestal of tanh(3.3 / 13.5) = 0.24
that an empty sky has there; the peak signal-to-noise is then k times the shape's maximum, below k. In
mode ``catalogue`` the amplitude makes the sum of the added pixels over the beam area the given flux.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.errors import ConfigError
from astro_dist.field.config import FluxConfig
from astro_dist.sky.maps import Coordinates
from astro_dist.sky.stretch import stretch
from astro_dist.sky.user_files import read_columns

PixelOf = Callable[[NDArray[np.float64], NDArray[np.float64]], Coordinates]


def draw_k(n: int, flux: FluxConfig, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw ``n`` values of k, in ``(minimum, cap]``.

    Drawing again whatever lies outside an interval is drawing from the distribution truncated to it. An
    exponential has no memory: above the minimum it begins anew. So each k is the minimum and one uniform
    number put through the inverse of the (truncated) exponential distribution.
    """
    high = -np.expm1(-(flux.cap - flux.minimum) / flux.scale) if flux.above == "redraw" else 1.0
    share = 1 - rng.random(n)
    with np.errstate(divide="ignore"):
        k = flux.minimum - flux.scale * np.log1p(-share * high)
    return np.asarray(np.minimum(k, flux.cap))


def stretch_shape(
    image_jy_beam: NDArray[np.float32], inside: NDArray[np.bool_], rms_jy_beam: float
) -> NDArray[np.float32]:
    """Return the pixels of an object as the paper's network has them, in [0, 1], 0 outside its mask."""
    stretched = np.clip(stretch(image_jy_beam, 0.0, rms_jy_beam, "tanh"), 0, 1)
    return np.where(inside, stretched, 0).astype(np.float32)


@dataclass(frozen=True)
class FluxCatalogue:
    """The rows of a user's catalogue.

    Attributes
    ----------
    flux_jy
        Shape (n,), positive.
    sky_deg
        Right ascension and declination, shape (2, n), ICRS; None when it gives none.
    """

    flux_jy: NDArray[np.float64]
    sky_deg: NDArray[np.float64] | None

    @classmethod
    def read(cls, path: Path) -> "FluxCatalogue":
        """Read a table with the column flux_jy and, if it has them, ra_deg and dec_deg.

        Raises
        ------
        ConfigError
            When the file or the column is missing, a flux is not positive, or a position not finite.
        """
        table = read_columns(path, required=("flux_jy",), optional=("ra_deg", "dec_deg"))
        if not (np.isfinite(table["flux_jy"]) & (table["flux_jy"] > 0)).all():
            raise ConfigError(f"{path}: every flux_jy must be a positive number; leave the other rows out")
        sky = [table[name] for name in ("ra_deg", "dec_deg") if name in table]
        if len(sky) == 1:
            raise ConfigError(f"{path}: it has one of ra_deg and dec_deg; give both columns or neither")
        if not np.isfinite(sky).all():
            raise ConfigError(f"{path}: every ra_deg and dec_deg must be finite; leave the other rows out")
        return cls(table["flux_jy"], np.array(sky) if sky else None)

    def rows_in(self, shape: Sequence[int], pixel_of: PixelOf, wanted: int) -> NDArray[np.int64]:
        """Return the rows whose position is in a field, in order, or all rows where there are no positions.

        Parameters
        ----------
        pixel_of
            ``(ra_deg, dec_deg) -> (y, x)``, NaN where a position does not project.

        Raises
        ------
        ConfigError
            When there are fewer than ``wanted``.
        """
        rows = np.arange(len(self.flux_jy))
        if self.sky_deg is not None:
            spots = nearest_pixels(pixel_of, self.sky_deg)
            rows = np.flatnonzero(((spots >= 0) & (spots < shape)).all(axis=1))
        if len(rows) < wanted:
            raise ConfigError(
                f"assemble.flux.catalogue: it has {len(rows)} rows for this field and assemble.objects is "
                f"{wanted}; lower assemble.objects to {len(rows)} or give more rows"
            )
        return rows


def nearest_pixels(pixel_of: PixelOf, sky_deg: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the pixels (y, x) of positions on the sky, shape (n, 2), (-1, -1) where they do not project."""
    pixels = np.stack(pixel_of(*sky_deg), axis=1)
    return np.asarray(np.floor(np.nan_to_num(pixels, nan=-1) + 0.5).astype(np.int64))
