"""One tile of a map enhanced: samples, their mean and spread, fluxes kept, invented sources taken back.

A tile is computed with a halo, as wide as what a pixel depends on, so that tiles equal the whole map. Blocks
with an invented source take the mean of more samples, then the projected bicubic enlargement, and in the end
the input itself with each pixel as 2 x 2 equal ones, which shows no source that the input does not.

Shape letters: P planes, h w pixels of the input, H W = 2h 2w new pixels, N samples.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.arrays import AnyImage, Floats, Image
from astro_dist.engine.stopping import check_stop
from astro_dist.enhance.inventions import Judge, blocks_of, peaks
from astro_dist.enhance.projection import (
    BICUBIC_REACH_PIX,
    FILL_REACH_PIX,
    enlarge_bicubic,
    fill_blanks,
    project,
    repeat_twice,
)
from astro_dist.sky.stretch import stretch, unstretch
from astro_dist.sky.windows import Window

NO_DATA, MORE_SAMPLES, BICUBIC, REPEATED, UNLIKE, OTHER_BEAM = 1, 2, 4, 8, 16, 32
"""Bits of ``flags``: no data; the mean of more samples; projected bicubic in place of the network; pixels of
the input repeated; unlike the training; a beam that is none of the training's."""
WAYS = {MORE_SAMPLES: "more samples", BICUBIC: "projected bicubic", REPEATED: "pixels repeated"}


class Doubler(Protocol):
    """A network that draws samples of a doubled tile, such as `astro_dist.models.super_res.SuperRes`."""

    @property
    def halo_pix(self) -> int | None:
        """Pixels of the input that a sample depends on round a pixel; None for the whole tile."""
        ...

    def draw(self, tile_Phw: Image, sample: int, origin: tuple[int, int]) -> Image:
        """Return one sample of a tile whose first pixel lies at ``origin`` of the map."""
        ...

    def expect(self, tile_Phw: Image, sample: int, origin: tuple[int, int]) -> Image:
        """Return what the network expects of such a sample before the first step."""
        ...


@dataclass(frozen=True)
class Source:
    """Pixels of a map with what is known of its background and noise.

    Attributes
    ----------
    image_Phw
        In the unit of the map, NaN where there are no data.
    background_Phw, rms_Phw
        Of the same shape.
    window
        Where the pixels lie in the map.
    """

    image_Phw: AnyImage
    background_Phw: Image
    rms_Phw: Image
    window: Window

    @property
    def snr_Phw(self) -> Floats:
        """Brightness above the background in units of the noise."""
        return np.asarray((self.image_Phw.astype(np.float64) - self.background_Phw) / self.rms_Phw)


@dataclass
class Tile:
    """What is published of a tile, float64 brightness, and the sources that were invented before.

    ``spread_PHW`` is the standard deviation of the samples, None without a network.
    """

    image_PHW: Floats
    spread_PHW: Floats | None
    flags_HW: NDArray[np.uint8]
    samples_NPHW: list[Floats]
    invented: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class TileMaker:
    """The network, or none, and the rules for a tile.

    Attributes
    ----------
    doubler, stretch
        The network and the stretch it was trained in; without one the bicubic enlargement is published.
    samples, most_samples, keep_samples, estimate
        As in `ChainConfig`.
    judge
        What finds invented sources.
    """

    judge: Judge
    doubler: Doubler | None = None
    stretch: str = "asinh"
    samples: int = 8
    most_samples: int = 32
    keep_samples: int = 0
    estimate: str = "mean"

    @property
    def halo_pix(self) -> int:
        """Pixels of the input round a tile that what is published of it depends on."""
        own = BICUBIC_REACH_PIX if self.doubler is None else (self.doubler.halo_pix or 0)
        return max(own + FILL_REACH_PIX, self.judge.reach_pix)

    def make(self, source: Source, core: Window) -> Tile:
        """Return the tile ``core`` of a source that holds the tile and its halo, cut at the map's edges."""
        inner = core.within(source.window)
        inner_large = tuple(slice(2 * part.start, 2 * part.stop) for part in inner)
        instead = fill_blanks(source.image_Phw, source.background_Phw)
        cut = (slice(None), *inner_large)
        image_Phw = source.image_Phw[(slice(None), *inner)]
        bicubic = project(enlarge_bicubic(instead)[cut], image_Phw)
        flags_HW = np.where(np.isnan(bicubic).all(0), NO_DATA, 0).astype(np.uint8)
        tile = Tile(bicubic, None, flags_HW, [])
        state = _Levels(self, source, inner, core)
        ways: Iterator[tuple[int, Floats]] = iter([(REPEATED, repeat_twice(image_Phw).astype(np.float64))])
        if self.doubler is not None:
            draws = _Draws(self, source, instead, cut, image_Phw)
            draws.take(self.samples)
            tile.image_PHW, tile.spread_PHW = draws.estimate, draws.spread
            tile.samples_NPHW = draws.kept
            ways = self._ways(draws, bicubic, image_Phw)
        return state.settle(tile, ways)

    def _ways(self, draws: "_Draws", bicubic: Floats, image_Phw: AnyImage) -> Iterator[tuple[int, Floats]]:
        """Yield what takes the place of an invented source, one after the other, computed when asked for."""
        draws.take(self.most_samples)
        yield MORE_SAMPLES, draws.estimate
        yield BICUBIC, bicubic
        yield REPEATED, repeat_twice(image_Phw).astype(np.float64)


class _Draws:
    """Samples of a tile, projected: their mean and spread, and what was expected of them."""

    def __init__(
        self, maker: TileMaker, source: Source, filled: Floats, cut: Sequence[slice], image_Phw: AnyImage
    ) -> None:
        self.maker, self.source, self.cut, self.image_Phw = maker, source, tuple(cut), image_Phw
        self.small = stretch(filled, source.background_Phw, source.rms_Phw, maker.stretch)
        self.level, self.rms = (
            repeat_twice(plane)[self.cut] for plane in (source.background_Phw, source.rms_Phw)
        )
        self.count, self.kept = 0, list[Floats]()

    def take(self, count: int) -> None:
        """Draw samples until there are ``count`` (Welford 1962 for mean and sum of squares)."""
        assert self.maker.doubler is not None
        for sample in range(self.count, count):
            check_stop()
            one = self._project(self.maker.doubler.draw, sample)
            if sample == 0:
                self.mean, self.expected, self.squares = (np.zeros_like(one) for _ in range(3))
            if self.maker.estimate == "expected":
                guess = self._project(self.maker.doubler.expect, sample)
                self.expected += (guess - self.expected) / (sample + 1)
            before = one - self.mean
            self.mean = self.mean + before / (sample + 1)
            self.squares += before * (one - self.mean)
            self.count = sample + 1
            if sample < self.maker.keep_samples:
                self.kept.append(one)

    def _project(self, draw: Callable[[Image, int, tuple[int, int]], Image], sample: int) -> Floats:
        """Return the brightness of a drawn tile, its fluxes kept."""
        origin = (self.source.window.y0, self.source.window.x0)
        drawn = np.concatenate([draw(plane[None], sample, origin) for plane in self.small])
        bright = unstretch(drawn[self.cut], self.level, self.rms, self.maker.stretch)
        return project(bright, self.image_Phw)

    @property
    def estimate(self) -> Floats:
        """What is published."""
        return self.expected if self.maker.estimate == "expected" else self.mean

    @property
    def spread(self) -> Floats:
        """Standard deviation of the samples."""
        return np.asarray(np.sqrt(self.squares / max(1, self.count - 1)))


class _Levels:
    """Search for invented sources in a tile, and what is done about them."""

    def __init__(self, maker: TileMaker, source: Source, inner: Sequence[slice], core: Window) -> None:
        self.judge, self.core = maker.judge, core
        margin = self.judge.reach_pix
        # A beam beyond the tile, where a source may lie that the tile shows the wing of.
        around = core.grown(margin) & source.window
        assert around is not None
        self.around, self.snr = around, source.snr_Phw[(slice(None), *around.within(source.window))]
        self.background, self.rms = (
            repeat_twice(plane[(slice(None), *inner)]) for plane in (source.background_Phw, source.rms_Phw)
        )

    def find(self, image_PHW: Floats) -> tuple[Floats, NDArray[np.bool_]]:
        """Return a tile in sigma, and its invented pixels."""
        levels = (image_PHW - self.background) / self.rms
        cut = tuple(slice(2 * s.start, 2 * s.stop) for s in self.core.within(self.around))
        whole = np.full((len(levels), *(2 * n for n in self.around.shape)), np.nan)
        whole[(slice(None), *cut)] = levels
        return levels, self.judge.find(whole, self.snr)[(slice(None), *cut)]

    def settle(self, tile: Tile, ways: Iterator[tuple[int, Floats]]) -> Tile:
        """Replace what is invented block by block until nothing is left."""
        image = tile.image_PHW
        levels, found = self.find(image)
        while found.any():
            flag, other = next(ways)
            blocks_HW = repeat_twice(blocks_of(found, (self.core.y0, self.core.x0)))
            tile.invented += self._list(levels, found, WAYS[flag])
            image = np.where(blocks_HW, other, image)
            # Spread and samples of the network say nothing of what has taken its place.
            tile.flags_HW[blocks_HW] |= flag
            levels, found = self.find(image)
        tile.image_PHW = image
        return tile

    def _list(self, levels: Floats, found: NDArray[np.bool_], way: str) -> list[dict[str, Any]]:
        return [
            {
                "plane": int(p),
                "y": int(2 * self.core.y0 + y),
                "x": int(2 * self.core.x0 + x),
                "snr": round(float(levels[p, y, x]), 3),
                "replaced_by": way,
            }
            for p, y, x in peaks(levels, found)
        ]
