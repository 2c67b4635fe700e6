"""The artefact of a survey's bright sources: what is left of it when many of them are laid over each other.

In real maps bright sources stand in sidelobes that calibration and cleaning have left. The mean of the
surroundings of many bright compact sources, each over its peak, keeps what they have in common, such as the
directions of an array's arms, and averages noise and neighbours away.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from astro_dist.engine.arrays import Floats
from astro_dist.engine.errors import ConfigError
from astro_dist.engine.files import publish_file
from astro_dist.sky.beams import Beam, Pixel
from astro_dist.sky.classes import SourceClass
from astro_dist.sky.windows import Window
from astro_dist.store.reader import StoreReader

STACK_FILE = "artefact_stack.npy"
LEAST_SNR, BRIGHTEST_SNR = 100.0, 1000.0
"""Sources above the first are stacked; none weighs more than one of the second."""
FEWEST = 10
"""Fewest sources that make a stack."""
FROM_BEAMS = 1.5
"""Distance from the source at which the artefact begins, in beam widths; it is whole at twice that."""
PORTION = 256
"""Cutouts read at once."""
ENOUGH = 0.1
"""Least weight of a pixel of the stack, over the largest."""


@dataclass(frozen=True, eq=False)
class StackedArtefact:
    """The stack round one source, at its nearest pixel.

    Attributes
    ----------
    y, x
        The source's brightest point, pix.
    image
        (2 r + 1, 2 r + 1) float32 artefact over the source's peak.
    peak_jy_beam
        The source's peak.
    """

    y: float
    x: float
    image: NDArray[np.float32]
    peak_jy_beam: float

    @property
    def window(self) -> Window:
        """The pixels that the artefact touches, also beyond the map's edge."""
        reach, y, x = len(self.image) // 2, math.floor(self.y + 0.5), math.floor(self.x + 0.5)
        return Window(y - reach, y + reach + 1, x - reach, x + reach + 1)

    def draw(self) -> NDArray[np.float32]:
        """Return the artefact, the pixels of `window`, Jy/beam."""
        return self.image * np.float32(self.peak_jy_beam)


def write_stack(cutouts: StoreReader, folder: Path) -> None:
    """Stack the bright compact sources of a survey, and write the artefact over the peak to ``folder``.

    Raises
    ------
    ConfigError
        When the survey has too few sources that are bright enough.
    """
    total = _Stack.empty(cutouts.attrs["size_pix"])
    widths = []
    for found in _bright_sources(cutouts):
        total.add(found)
        widths.append(found.fwhm_pix)
    if len(widths) < FEWEST:
        raise ConfigError(
            f"assemble.artefacts_pattern survey: {len(widths)} compact sources above {LEAST_SNR:g} sigma "
            f"outshine their cutouts, and a stack needs {FEWEST}; set it to drawn"
        )
    with publish_file(folder / STACK_FILE) as hidden, hidden.open("wb") as handle:
        np.save(handle, total.artefact(float(np.median(widths))))


@dataclass(frozen=True, eq=False)
class _Source:
    """A bright source in its cutout: brightness over its peak, which pixels count, its place, its snr."""

    image: Floats
    free: NDArray[np.bool_]
    y: int
    x: int
    snr: float
    fwhm_pix: float


@dataclass(frozen=True, eq=False)
class _Stack:
    """Weighted sums over sources, on offsets from -reach to reach along both axes."""

    values: Floats
    weights: Floats
    variances: Floats

    @classmethod
    def empty(cls, size_pix: int) -> "_Stack":
        shape = (size_pix - 1, size_pix - 1) if size_pix % 2 == 0 else (size_pix, size_pix)
        return cls(*(np.zeros(shape) for _ in range(3)))

    def add(self, source: _Source) -> None:
        """Add a source, weighted by the square of its signal-to-noise."""
        reach = len(self.values) // 2
        weight = min(source.snr, BRIGHTEST_SNR) ** 2
        height, width = source.image.shape
        here = Window(source.y - reach, source.y + reach + 1, source.x - reach, source.x + reach + 1)
        part = here & Window(0, height, 0, width)
        assert part is not None
        into, weights = part.within(here), weight * source.free[part.slices]
        self.values[into] += weights * np.where(source.free, source.image, 0)[part.slices]
        self.weights[into] += weights
        self.variances[into] += (weights / source.snr) ** 2

    def artefact(self, fwhm_pix: float) -> NDArray[np.float32]:
        """Return the mean, shrunk where its own noise is most of it, and faded at the source and the rim."""
        seen = self.weights > ENOUGH * self.weights.max()
        weights = np.where(seen, self.weights, 1)
        mean, noise = np.where(seen, self.values / weights, 0), np.where(seen, self.variances / weights**2, 0)
        power, expected = (ndimage.gaussian_filter(image, fwhm_pix) for image in (mean**2, noise))
        kept = np.clip(1 - expected / np.maximum(power, 1e-30), 0, 1)
        reach = len(mean) // 2
        r = np.hypot(*np.ogrid[-reach : reach + 1, -reach : reach + 1])
        # Nothing where the source itself is, nor at the rim.
        outside = np.clip((r / fwhm_pix - FROM_BEAMS) / FROM_BEAMS, 0, 1)
        fade = np.clip(1 - (r / reach) ** 2, 0, 1) * outside**2 * (3 - 2 * outside)
        return np.asarray(mean * kept * fade, np.float32)


def _bright_sources(cutouts: StoreReader) -> Iterator[_Source]:
    """Yield the compact sources that are bright enough and by far the brightest of their cutouts."""
    chosen = cutouts.select("train")
    columns, maps = cutouts.columns, cutouts.attrs["maps"]
    chosen = chosen[columns["rms_jy_beam"][chosen] > 0]
    seen: set[tuple[int, ...]] = set()
    for first in range(0, len(chosen), PORTION):
        some = chosen[first : first + PORTION]
        arrays = (cutouts.read(name, some) for name in ("image", "mask", "instances"))
        for i, image, mask, instances in zip(some.tolist(), *arrays, strict=True):
            number = int(columns["source_map"][i])
            snr = (image.astype(np.float64) - columns["background_jy_beam"][i]) / columns["rms_jy_beam"][i]
            source = _look(snr, mask, instances, maps[number])
            if source is None:
                continue
            # Cutouts may overlap: each source counts once.
            at = (number, int(columns["y0"][i]) + source.y, int(columns["x0"][i]) + source.x)
            if at not in seen:
                seen.add(at)
                yield source


def _look(
    snr: Floats, mask: NDArray[np.uint8], instances: NDArray[np.integer[Any]], about: dict[str, Any]
) -> _Source | None:
    """Return the brightest source of a cutout if it is compact and bright."""
    inside = np.where((mask > 0) & np.isfinite(snr), snr, 0)
    y, x = (int(n) for n in np.unravel_index(int(inside.argmax()), inside.shape))
    peak, own = float(inside[y, x]), instances == instances[y, x]
    if peak < LEAST_SNR or mask[y, x] != SourceClass.COMPACT or inside[~own].max(initial=0) > 0.2 * peak:
        return None
    fwhm_pix = Beam(**about["beam"]).fwhm_pix(Pixel(*about["pixel_arcsec"]))
    # Spurious islands are what is looked for, so only other sources are left out.
    others = (mask > SourceClass.SPURIOUS) & ~own
    near = ndimage.maximum_filter(others, 2 * math.ceil(2 * fwhm_pix) + 1)
    return _Source(snr / peak, np.isfinite(snr) & ~near, y, x, peak, fwhm_pix)
