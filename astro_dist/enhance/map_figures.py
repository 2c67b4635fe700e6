"""Figures of a network that doubles maps, on held-out cutouts, in units of the noise of their 2 x 2 means.

Shape letters: P planes (one), H W pixels of the truth, h w those of its 2 x 2 means.
"""

import json
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from astro_dist.engine.arrays import AnyImage, Floats
from astro_dist.engine.seeds import stream
from astro_dist.engine.work import Run
from astro_dist.enhance.baselines import LinearDoubling
from astro_dist.enhance.calibration import LEVELS, Calibration, Pair, read_pairs
from astro_dist.enhance.chain_config import ChainConfig
from astro_dist.enhance.figures_config import FiguresConfig
from astro_dist.enhance.figures_table import CHAIN, say_difference
from astro_dist.enhance.held_out import held_out
from astro_dist.enhance.likeness import Likeness
from astro_dist.enhance.map_chain import MapState
from astro_dist.enhance.map_checks import CALIBRATION
from astro_dist.enhance.probe import Probe
from astro_dist.enhance.projection import enlarge_bicubic, halve_mean, project, repeat_twice
from astro_dist.enhance.tiles import TileMaker
from astro_dist.metrics.similarity import octave_powers
from astro_dist.models.device import choose_device
from astro_dist.sky.stretch import stretch, unstretch
from astro_dist.store.reader import StoreReader

BRIGHT_SIGMA, STRONG_SIGMA = 5.0, 20.0
MEANINGS = {
    "rms": "rms of the error in units of the noise of the cutout",
    "rms_bright": "the same of pixels above 5 sigma in the truth",
    "lost": "share of the islands above 5 sigma of the truth with no pixel above 5 sigma",
    "invented": "pixels above 5 sigma for which the input does not reach 4 sigma within a beam",
    "flux": "mean distance of the flux of islands from the true one, for peaks above 20 sigma",
    "position": "mean distance of the brightness-weighted places of these islands, in pixels",
    "means": "largest difference of a 2 x 2 mean from the input, over the input's largest value",
    "power": "power over the original's in the octaves 1/16-1/8, 1/8-1/4 and 1/4-1/2 cycles per pixel",
    **{f"within_{level:g}": f"share of pixels in intervals of {100 * level:g} %" for level in LEVELS},
    **{f"within_{level:g}_bright": "the same where the result is above 5 sigma" for level in LEVELS},
    "unlike": "share of the cutouts that count as unlike the training",
}
ROWS = {
    "nearest": "each pixel as 2 x 2 equal ones",
    "bicubic": "bicubic enlargement",
    "projected": "bicubic enlargement, fluxes kept",
    "linear": "the linear map of 5 x 5 pixels, fluxes kept",
    "one sample": "one sample of the network, fluxes kept",
    CHAIN: "what is published (enhance.estimate), fluxes kept, nothing invented",
}
BASELINES = ("bicubic", "projected", "linear")


class MapMeasurer:
    """A `astro_dist.enhance.figures.Measurer` of cutouts of maps.

    Parameters
    ----------
    run
        The run, with the sections of the stage.
    reader
        The store of the cutouts.
    """

    def __init__(self, run: Run, reader: StoreReader) -> None:
        from astro_dist.enhance.links import open_superres

        self.run, self.reader, self.config = run, reader, run.section(FiguresConfig)
        # The links, not the images of the user: these are held-out cutouts.
        self.network: Any = open_superres(run, choose_device(run))
        self.maker = self._make()
        found = json.loads((run.product("enhanced") / CALIBRATION).read_text())
        self.scaled = Calibration.from_json(found["calibration"])
        self.like = Likeness.from_json(found["likeness"]) if found["likeness"] else None

    def _make(self) -> TileMaker:
        chain = self.run.section(ChainConfig).model_copy(update={"keep_samples": 1})
        return MapState(self.run, chain, None, self.network).plain_maker(None)  # type: ignore[arg-type]

    def pairs(self, rows: Any) -> list[Pair]:
        """Return cutouts and their 2 x 2 means in units of the noise, without those with blank pixels."""
        return list(read_pairs(self.reader, rows))

    @cached_property
    def learnt(self) -> list[Pair]:
        """Training cutouts that the linear map is fitted to."""
        rows = self.reader.select("train")
        return self.pairs(rows[:: max(1, -(-len(rows) // self.config.learnt))])

    @cached_property
    def linear(self) -> LinearDoubling:
        """The linear map that doubles."""
        return LinearDoubling.fit((pair.small_Phw, pair.large_PHW) for pair in self.learnt)

    def measure(self, row: int) -> tuple[dict[str, dict[str, Any]], dict[str, NDArray[Any]]] | None:
        """Return the figures of a held-out cutout, and pictures of it; a `Measurer.measure`."""
        if not (pairs := self.pairs([row])):
            return None
        pair = pairs[0]
        small, true = pair.small_Phw, pair.large_PHW
        tile = self.maker.make(pair.source, pair.source.window)
        bicubic = enlarge_bicubic(small)
        images: dict[str, AnyImage] = {
            "nearest": repeat_twice(small),
            "bicubic": bicubic,
            "projected": project(bicubic, small),
            "linear": project(self.linear.double(small), small),
            "one sample": tile.samples_NPHW[0],
            CHAIN: tile.image_PHW,
        }
        rows = {name: self._compare(image, pair) for name, image in images.items()}
        assert tile.spread_PHW is not None
        rows[CHAIN] |= self._cover(tile.image_PHW, tile.spread_PHW, true)
        if self.like is not None:
            distance = self.like.distances(small)[0]
            rows[CHAIN]["unlike"] = [int(distance > self.like.limit), 1]
        width = self.scaled.widths(tile.spread_PHW, tile.image_PHW)[0]
        shown = {
            "input": small,
            "projected bicubic": images["projected"],
            "network": tile.image_PHW,
            "original": true,
        }
        panels: dict[str, NDArray[Any]] = {name: _visible(image) for name, image in shown.items()}
        panels |= {"error": (tile.image_PHW - true)[0], "uncertainty": width[0]}
        return rows, panels

    def _compare(self, image_PHW: AnyImage, pair: Pair) -> dict[str, Any]:
        true, error = pair.large_PHW, image_PHW - pair.large_PHW
        bright = true > BRIGHT_SIGMA
        small = pair.small_Phw
        return {
            "rms": float(np.sqrt(np.mean(error**2))),
            "rms_bright": float(np.sqrt(np.mean(error[bright] ** 2))) if bright.any() else None,
            "means": float(np.abs(halve_mean(image_PHW) - small).max() / np.abs(small).max()),
            "invented": float(self.maker.judge.find(image_PHW, small).sum()),
            **compare_islands(image_PHW[0], true[0]),
            "power": np.stack([octave_powers(image_PHW[0]), octave_powers(true[0])], -1).tolist(),
        }

    def _cover(self, image: Floats, spread: Floats, true: Floats) -> dict[str, Any]:
        bright, found = image > BRIGHT_SIGMA, dict[str, Any]()
        for level, width in zip(LEVELS, self.scaled.widths(spread, image), strict=True):
            inside = np.abs(true - image) <= width
            found[f"within_{level:g}"] = [int(inside.sum()), inside.size]
            found[f"within_{level:g}_bright"] = [int(inside[bright].sum()), int(bright.sum())]
        return found

    def probe(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Return what the network adds to held-out cutouts and to noise, in its stretch."""
        kind = self.network.network.config.stretch
        rows = held_out(self.run, self.reader)[: self.config.probed]
        pairs = self.pairs(rows)
        noise = [self._noise(pairs[0].small_Phw.shape, i) for i in range(len(pairs))]
        kinds = {"held out": [_stretched(p.small_Phw, kind) for p in pairs]}
        kinds["noise"] = [_stretched(one, kind) for one in noise]

        def shrink(image: AnyImage) -> AnyImage:
            return _stretched(halve_mean(unstretch(image, 0.0, 1.0, kind)), kind)

        probe = Probe(self.network.draw, shrink)
        true, learnt = ([_stretched(p.large_PHW, kind) for p in some] for some in (pairs, self.learnt))
        found, panels = probe.examine(kinds, true, learnt)
        return found, {name: _grey(image) if image.ndim == 4 else image for name, image in panels.items()}

    def _noise(self, shape: tuple[int, ...], number: int) -> Floats:
        rng = stream(self.run.seed, "evaluate", "noise", number)
        smooth = ndimage.gaussian_filter(rng.standard_normal(shape), (0, 0.7, 0.7))
        return np.asarray(smooth / smooth.std())

    def describe(self) -> dict[str, Any]:
        """Return how it was measured; a `Measurer.describe`."""
        return {
            "kind": "maps",
            "meanings": MEANINGS,
            "rows": ROWS,
            "baselines": list(BASELINES),
            "halved": "mean",
            "filter": None,
        }

    def answer(self, summed: Mapping[str, Any]) -> list[str]:
        """Return a sentence for each baseline, and one about intervals."""
        said = []
        for row, gains in summed["gains"].items():
            gain = gains["rms"]
            verdict = say_difference(gain, "larger than", "smaller than", "not shown to differ from")
            said.append(
                f"The error is {verdict} that of {row}: {gain['value']:+.3f} sigma ("
                f"{gain['low']:+.3f} to {gain['high']:+.3f}, {gain['n']} cutouts)."
            )
        chain = summed["figures"][CHAIN]
        shares = [
            f"{100 * level:g} % hold {100 * chain[f'within_{level:g}']['value']:.1f} %" for level in LEVELS
        ]
        return [*said, f"Intervals of {' and of '.join(shares)} of the held-out pixels."]


def compare_islands(image_HW: AnyImage, true_HW: AnyImage) -> dict[str, Any]:
    """Return how many islands of the truth are lost, and errors of fluxes and places of strong ones."""
    label, count = ndimage.label(true_HW > BRIGHT_SIGMA, np.ones((3, 3)))
    numbers = np.arange(1, count + 1)
    if not count:
        return {"lost": [0, 0], "flux": None, "position": None}
    peak = ndimage.maximum(true_HW, label, numbers)
    left = ndimage.maximum(image_HW, label, numbers)
    strong = numbers[peak > STRONG_SIGMA]
    found: dict[str, Any] = {
        "lost": [int((left <= BRIGHT_SIGMA).sum()), count],
        "flux": None,
        "position": None,
    }
    if len(strong):
        fluxes = [ndimage.sum_labels(one, label, strong) for one in (image_HW, true_HW)]
        places = [_places(one, label, strong) for one in (image_HW, true_HW)]
        found["flux"] = float(np.abs(fluxes[0] / fluxes[1] - 1).mean())
        found["position"] = float(np.hypot(*(places[0] - places[1]).T).mean())
    return found


def _places(image_HW: AnyImage, label: NDArray[Any], numbers: NDArray[Any]) -> Floats:
    bright = np.maximum(image_HW, 0) + 1e-9
    return np.array(ndimage.center_of_mass(bright, label, numbers)).reshape(-1, 2)


def _stretched(image: AnyImage, kind: str) -> AnyImage:
    return np.asarray(stretch(np.asarray(image, np.float32), 0.0, 1.0, kind))


def _visible(image_PHW: AnyImage) -> AnyImage:
    """Return a cutout in units of the noise from 0 to 1 for the eye."""
    return np.clip((np.arcsinh(np.asarray(image_PHW) / 3) + 1) / 5, 0, 1)


def _grey(images: NDArray[Any]) -> NDArray[Any]:
    """Return stretched images from 0 to 1 for the eye."""
    low, high = np.quantile(images, [0.01, 0.995])
    return np.clip((images - low) / max(high - low, 1e-9), 0, 1)
