"""The uncertainty of a doubled map, scaled on held-out cutouts so that it holds what it says.

Split conformal prediction (Vovk et al. 2005; Angelopoulos & Bates 2021, section 2) on the ratio of error to
spread, apart for faint and bright pixels, since these differ in what the network leaves open.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.arrays import AnyImage, Floats
from astro_dist.enhance.projection import halve_mean
from astro_dist.enhance.tiles import Source, TileMaker
from astro_dist.sky.windows import Window
from astro_dist.store.reader import StoreReader

LEVELS = (0.68, 0.95)
EDGES_SIGMA = (2.0, 5.0, 20.0)
"""Pixels are calibrated apart below and above these levels of the published image."""
FLOOR = 0.05
"""Spread, in units of the noise of the input, that is added: samples may agree by chance."""
BRIGHT_SIGMA = 4.0
"""Level of the input below which nothing is published above 5 sigma: it would count as invented."""
LEAST_PIXELS = 200
"""Pixels of a class without which it takes the factors of the class below."""


@dataclass(frozen=True)
class Pair:
    """A cutout and its 2 x 2 means, (1, s, s) in units of the noise above the background."""

    large_PHW: Floats
    small_Phw: Floats

    @property
    def source(self) -> Source:
        """The small one, as a map of noise 1."""
        ones = np.ones(self.small_Phw.shape, np.float32)
        return Source(self.small_Phw, 0 * ones, ones, Window.of_shape(self.small_Phw.shape[1:]))


def read_pairs(reader: StoreReader, rows: Sequence[int] | NDArray[np.int64]) -> Iterator[Pair]:
    """Yield cutouts as images of known truth; those with pixels without data are left out."""
    columns = reader.columns
    for row in rows:
        image = reader.read("image", [int(row)])[0].astype(np.float64)
        if np.isfinite(image).all():
            snr = ((image - columns["background_jy_beam"][row]) / columns["rms_jy_beam"][row])[None]
            yield Pair(snr, halve_mean(snr))


@dataclass(frozen=True)
class Calibration:
    """Factors on the spread for each level of `LEVELS` and class of pixels, and the pixels of each class."""

    factors: tuple[tuple[float, ...], ...]
    pixels: tuple[int, ...]

    @classmethod
    def fit(cls, errors: Floats, spreads: Floats, levels: Floats) -> "Calibration":
        """Return, for each class of ``levels``, the factor with which ``spreads`` cover ``errors``."""
        ratios, number = np.abs(errors) / widen(spreads), np.digitize(levels, EDGES_SIGMA)
        classes = [np.sort(ratios[number == i]) for i in range(len(EDGES_SIGMA) + 1)]
        factors = [list(_factor(classes[0], level) for level in LEVELS)]
        for own in classes[1:]:
            enough = len(own) >= LEAST_PIXELS
            factors.append([_factor(own, level) for level in LEVELS] if enough else factors[-1])
        return cls(tuple(map(tuple, factors)), tuple(len(own) for own in classes))

    def widths(self, spreads: AnyImage, levels: AnyImage) -> list[Floats]:
        """Return half the width of the interval of each level of `LEVELS`, in the unit of ``spreads``."""
        number = np.digitize(levels, EDGES_SIGMA)
        table = np.array(self.factors)
        return [table[number, i] * widen(spreads) for i in range(len(LEVELS))]

    def to_json(self) -> dict[str, Any]:
        """Return plain lists."""
        return {
            "levels": list(LEVELS),
            "edges_sigma": list(EDGES_SIGMA),
            "factors": [[round(x, 6) for x in row] for row in self.factors],
            "pixels": list(self.pixels),
        }

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> "Calibration":
        """Return what `to_json` wrote."""
        return cls(tuple(map(tuple, found["factors"])), tuple(found["pixels"]))


def widen(spreads: AnyImage) -> Floats:
    """Return spreads in units of the noise with `FLOOR` added in squares."""
    return np.hypot(np.asarray(spreads, np.float64), FLOOR)


def _factor(ratios: Floats, level: float) -> float:
    # The quantile of n + 1, the new one being as likely in any place.
    place = min(len(ratios) - 1, math.ceil(level * (len(ratios) + 1)) - 1)
    return float(ratios[place]) if len(ratios) else 1.0


def calibrate(maker: TileMaker, pairs: Iterable[Pair], bright: Iterable[Pair] = ()) -> Calibration:
    """Return the calibration of what a maker publishes for cutouts of known truth.

    Parameters
    ----------
    pairs
        Cutouts as they come.
    bright
        Further ones, in whose input something rises to `BRIGHT_SIGMA`. Nearly all pixels that are published
        above the second of `EDGES_SIGMA` are of such cutouts, so that these may be counted beside the others;
        fainter pixels of them are not.
    """
    found = [_errors(maker, pair) for pair in pairs]
    found += [_only_above(_errors(maker, pair), EDGES_SIGMA[1]) for pair in bright]
    if not found:
        return Calibration(((1.0,) * len(LEVELS),) * (len(EDGES_SIGMA) + 1), (0,) * (len(EDGES_SIGMA) + 1))
    return Calibration.fit(*(np.concatenate(part) for part in zip(*found, strict=True)))


def _errors(maker: TileMaker, pair: Pair) -> tuple[Floats, Floats, Floats]:
    """Return error, spread and published level of the pixels of a cutout."""
    tile = maker.make(pair.source, pair.source.window)
    assert tile.spread_PHW is not None
    error = pair.large_PHW - tile.image_PHW
    return error.ravel(), tile.spread_PHW.ravel(), tile.image_PHW.ravel()


def _only_above(found: tuple[Floats, Floats, Floats], level: float) -> tuple[Floats, Floats, Floats]:
    errors, spreads, levels = (part[found[2] > level] for part in found)
    return errors, spreads, levels


def is_bright(pair: Pair) -> bool:
    """Return whether something rises to `BRIGHT_SIGMA` in the input."""
    return bool(pair.small_Phw.max() >= BRIGHT_SIGMA)
