"""Figures of a chain on held-out pictures, which are made small, grey or disturbed and go through its steps.

Shape letters: P planes, H W pixels of the truth, h w those of what the chain is given.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.arrays import AnyImage, Floats, Image
from astro_dist.engine.pixels import from_network
from astro_dist.engine.seeds import stream
from astro_dist.engine.work import Run
from astro_dist.enhance.baselines import ColourTable, LinearDoubling, brightness
from astro_dist.enhance.chain_config import DOUBLING, ChainConfig
from astro_dist.enhance.figures_config import FiguresConfig
from astro_dist.enhance.figures_table import CHAIN, say_difference
from astro_dist.enhance.held_out import held_out
from astro_dist.enhance.picture_chain import open_step
from astro_dist.enhance.picture_spread import CALIBRATION, Spread, draw_picture
from astro_dist.enhance.probe import Probe
from astro_dist.enhance.projection import enlarge_bicubic
from astro_dist.metrics.colours import BLOCK_PIX, block_chroma, colour_distances
from astro_dist.metrics.peaks import count_lost, find_peaks
from astro_dist.metrics.similarity import SSIM_RADIUS_PIX, octave_powers, psnr, ssim
from astro_dist.models.device import choose_device
from astro_dist.pictures.degradations import HalfName, halve
from astro_dist.pictures.objects import Style, draw_things, inject
from astro_dist.store.reader import StoreReader

OBJECTS = Style(
    kinds=("spheres", "dots"), number=(6, 6), radius_pix=(2.5, 6.5), opacity=(0.75, 0.95), hue_turn=0.1
)
"""What pictures are disturbed by where the chain cleans; not the recipe of the training."""
MEANINGS = {
    "psnr": "peak signal-to-noise ratio in dB, range 1",
    "ssim": "structural similarity, Gaussian window of 11 x 11 pixels (sigma 1.5), range 1, mean of planes",
    "ssim_grey": "the same of the brightness (0.299 red + 0.587 green + 0.114 blue)",
    "ssim_filtered": "ssim against the bilaterally filtered original",
    "ssim_grey_filtered": "ssim_grey against the bilaterally filtered original",
    "colour": "mean distance in a and b of CIE Lab (D65) from the original",
    "chroma": f"chroma of means over {BLOCK_PIX} x {BLOCK_PIX} pixels as a share of the original's",
    "lost": "share of the peaks above 5 sigma of the brightness with less than half of their height left",
    "power": "power over the original's in the octaves 1/16-1/8, 1/8-1/4 and 1/4-1/2 cycles per pixel",
    "inside": "share of the original's pixels within the published standard deviation; 0.68 is wanted",
}
ROWS = {
    "bicubic": "what the chain is given, enlarged",
    "table": "bicubic, coloured by a table of grey levels",
    "linear": "the linear map of 5 x 5 pixels, after the table where the chain colours",
    "true colours": "bicubic of the small original in its own colours, which the chain does not see",
    "filtered": "the original, bilaterally filtered",
    "one sample": "the chain with one sample of the network",
    CHAIN: "the result of the chain",
}
BASELINES = ("bicubic", "table", "linear")


@dataclass
class Trace:
    """A picture on its way: the truth, the same at the side of the input, what was given, and each step."""

    true_PHW: Image
    small_Phw: Image
    given_Phw: Image
    steps: dict[str, Image] = field(default_factory=dict)
    samples: list[Image] = field(default_factory=list)

    @property
    def made(self) -> Image:
        """What the last step has made."""
        return self.steps[list(self.steps)[-1]]


class PictureMeasurer:
    """A `astro_dist.enhance.figures.Measurer` of pictures.

    Parameters
    ----------
    run
        The run, with the sections of the stage.
    reader
        The store of the pictures.
    """

    def __init__(self, run: Run, reader: StoreReader) -> None:
        self.run, self.reader = run, reader
        self.chain, self.config = run.section(ChainConfig), run.section(FiguresConfig)
        self.planes = int(reader.attrs["planes"])
        self.doubles = bool(set(self.chain.chain) & set(DOUBLING))
        self.colours = "colourise" in self.chain.chain
        self.filtered = bool(self.config.filtered)
        device = choose_device(run)
        names = [name for name in self.chain.chain if name != "superres"]
        self.steps = {name: open_step(run, name, device) for name in names}

    @cached_property
    def network(self) -> Any:
        """The network of super-resolution, None where the chain has none."""
        if "superres" not in self.chain.chain:
            return None
        from astro_dist.enhance.links import open_superres

        return open_superres(self.run, choose_device(self.run))

    @property
    def half(self) -> HalfName:
        """How pictures are made small: as for the training."""
        half: HalfName = "bicubic" if self.network is None else self.network.half
        return half

    def picture(self, row: int) -> Image:
        """Return a picture of the store from 0 to 1."""
        return _unit(self.reader.read("picture", [row])[0])

    def shrink(self, picture_PHW: Image) -> Image:
        """Return a picture at half its side where the chain doubles, rounded where the store's are."""
        if not self.doubles:
            return picture_PHW
        stored = from_network(2 * np.asarray(picture_PHW, np.float32) - 1, str(self.reader.attrs["dtype"]))
        return _unit(halve(stored, self.half))

    def given(self, small_Phw: Image, row: int) -> Image:
        """Return what the chain is given: with objects where it cleans, else grey where it colours."""
        if "cleaning" in self.chain.chain:
            things = draw_things(
                OBJECTS, small_Phw.shape[-1], stream(self.run.seed, "evaluate", "objects", row)
            )
            return inject(small_Phw, things)[0]
        return brightness(small_Phw)[None].astype(np.float32) if self.colours else small_Phw

    def trace(self, row: int) -> Trace:
        """Return a picture after every step of the chain."""
        true = self.picture(row)
        small = self.shrink(true)
        trace = Trace(true, small, self.given(small, row))
        image = trace.given_Phw
        for name in self.chain.chain:
            if name == "superres":
                drawn = draw_picture(self.network, image, row, self.chain)
                image, trace.samples = drawn.image_PHW, drawn.samples
            else:
                image = self.steps[name](image, row)
                trace.samples = [self.steps[name](sample, row) for sample in trace.samples]
            trace.steps[name] = image
        return trace

    @cached_property
    def learnt(self) -> list[Image]:
        """Training pictures that baselines are fitted to."""
        rows = self.reader.select("train")
        return [self.picture(int(row)) for row in rows[:: max(1, -(-len(rows) // self.config.learnt))]]

    @cached_property
    def table(self) -> ColourTable:
        """The mean colour of each grey level."""
        return ColourTable.fit(self.learnt)

    @cached_property
    def linear(self) -> LinearDoubling:
        """The linear map that doubles."""
        return LinearDoubling.fit((self.shrink(picture), picture) for picture in self.learnt)

    def baselines(self, trace: Trace) -> dict[str, AnyImage]:
        """Return what needs no network, at the side of the truth."""
        grey = brightness(trace.given_Phw)[None] if self.colours else trace.given_Phw
        enlarge = enlarge_bicubic if self.doubles else lambda image: np.asarray(image, np.float64)
        found: dict[str, AnyImage] = {"bicubic": enlarge(grey)}
        if self.colours:
            found["bicubic"] = np.repeat(found["bicubic"], 3, 0)
            found["table"] = self.table.colour(found["bicubic"][0])
        if self.doubles:
            found["linear"] = self.linear.double(self.table.colour(grey[0]) if self.colours else grey)
            if self.colours:
                found["true colours"] = enlarge(trace.small_Phw)
        return found

    def measure(self, row: int) -> tuple[dict[str, dict[str, Any]], dict[str, NDArray[Any]]]:
        """Return the figures of a held-out picture, and pictures of it; a `Measurer.measure`."""
        trace = self.trace(row)
        large, small = (Reference(image, self._filter(image)) for image in (trace.true_PHW, trace.small_Phw))
        rows = {name: large.compare(image) for name, image in self.baselines(trace).items()}
        if large.filtered_PHW is not None:
            rows["filtered"] = large.compare(large.filtered_PHW)
        for name, image in trace.steps.items():
            rows[f"after {name}"] = (large if image.shape[-1] == large.side else small).compare(image)
        if len(trace.samples) > 1:
            rows["one sample"] = large.compare(trace.samples[0])
        rows[CHAIN] = large.compare(trace.made)
        panels: dict[str, NDArray[Any]] = {
            "input": trace.given_Phw,
            **trace.steps,
            "original": trace.true_PHW,
        }
        panels["error"] = brightness(trace.made) - brightness(trace.true_PHW)
        if len(trace.samples) > 1:
            spread = self._scale(np.std(trace.samples, 0, ddof=1, dtype=np.float64))
            error = np.abs(trace.made - trace.true_PHW)
            rows[CHAIN]["inside"] = [int((error <= spread).sum()), error.size]
            panels["uncertainty"] = spread.mean(0)
        return rows, panels

    def _scale(self, spread_PHW: Floats) -> AnyImage:
        """Return a spread as the stage `enhance` has scaled it, or as it is where that did not run."""
        path = self.run.product("enhanced") / CALIBRATION
        return Spread.read(path).scale(spread_PHW) if path.exists() else spread_PHW

    def _filter(self, image_PHW: Image) -> Image | None:
        if not self.filtered:
            return None
        from astro_dist.enhance.filters import filter_bilateral

        numbers = self.chain.filter
        return filter_bilateral(image_PHW, numbers.diameter_pix, numbers.brightness, numbers.radius_pix)

    def probe(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Return what the network adds to held-out pictures, to others and to noise."""
        rows = held_out(self.run, self.reader)[: self.config.probed]
        true = [self.picture(int(row)) for row in rows]
        kinds = {"held out": [self.shrink(one) for one in true]}
        if self.config.others:
            kinds["others"] = [self.shrink(one) for one in self._read_others()]
        level = float(np.median([one.mean() for one in kinds["held out"]]))
        kinds["noise"] = [self._noise(kinds["held out"][0].shape, level, i) for i in range(len(rows))]
        probe = Probe(lambda image, sample: np.clip(self.network.draw(image, sample), 0, 1), self.shrink)
        return probe.examine(kinds, true, self.learnt)

    def _noise(self, shape: tuple[int, ...], level: float, number: int) -> Image:
        rng = stream(self.run.seed, "evaluate", "noise", number)
        return np.clip(level + 0.03 * rng.standard_normal(shape), 0, 1).astype(np.float32)

    def _read_others(self) -> list[Image]:
        from astro_dist.engine.foreign import expand_home
        from astro_dist.pictures.config import PicturesConfig
        from astro_dist.pictures.decode import read_picture

        like = {"size_pix": int(self.reader.attrs["size_pix"]), "planes": self.planes}
        settings = PicturesConfig.model_validate(like)
        return [_unit(read_picture(expand_home(name), name, settings)) for name in self.config.others]

    def describe(self) -> dict[str, Any]:
        """Return how it was measured; a `Measurer.describe`."""
        steps = {f"after {name}": _after(name, self.doubles, self.chain.chain) for name in self.chain.chain}
        return {
            "kind": "pictures",
            "meanings": MEANINGS,
            "rows": {**ROWS, **steps},
            "baselines": [name for name in BASELINES if name in self._made_baselines()],
            "halved": self.half if self.doubles else None,
            "filter": self.chain.filter.model_dump() if self.filtered else None,
        }

    def _made_baselines(self) -> set[str]:
        return {"bicubic", *(["table"] if self.colours else []), *(["linear"] if self.doubles else [])}

    def answer(self, summed: Mapping[str, Any]) -> list[str]:
        """Return a sentence for each baseline."""
        said = []
        for row, gains in summed["gains"].items():
            gain = gains["psnr"]
            ends = f"{gain['low']:+.2f} to {gain['high']:+.2f} dB, {gain['n']} pictures"
            verdict = say_difference(gain, "above", "below", "not shown to differ from")
            said.append(f"The chain is {verdict} {row} in PSNR: {gain['value']:+.2f} dB ({ends}).")
        return said


def _unit(picture: NDArray[Any]) -> Image:
    from astro_dist.enhance.colourise import to_unit

    return to_unit(picture)


def _after(name: str, doubles: bool, chain: tuple[str, ...]) -> str:
    before = doubles and not set(chain[: chain.index(name) + 1]) & set(DOUBLING)
    return "against the original at the side of the input" if before else "against the original"


@dataclass(frozen=True)
class Reference:
    """The original at some side, and filtered; the figures of other images against it."""

    true_PHW: Image
    filtered_PHW: Image | None

    @property
    def side(self) -> int:
        """Pixels of a side."""
        return int(self.true_PHW.shape[-1])

    def compare(self, image_PHW: AnyImage) -> dict[str, Any]:
        """Return the figures of an image; one plane counts as three equal ones where the truth has three."""
        image = np.clip(np.asarray(image_PHW, np.float64), 0, 1)
        if len(image) < len(self.true_PHW):
            image = np.repeat(image, len(self.true_PHW), 0)
        true, grey = self.true_PHW.astype(np.float64), brightness(image)
        found: dict[str, Any] = {"psnr": min(psnr(image, true, 1.0), 99.0)}
        references = {"": true} | ({} if self.filtered_PHW is None else {"_filtered": self.filtered_PHW})
        for name, reference in references.items() if self.side > 2 * SSIM_RADIUS_PIX else ():
            found[f"ssim{name}"] = _mean_ssim(image, reference)
            found[f"ssim_grey{name}"] = ssim(grey, brightness(reference), 1.0)
        if len(true) == 3:
            found["colour"] = float(colour_distances(image[None], true[None])[0])
            if self.side % BLOCK_PIX == 0:
                found["chroma"] = [float(block_chroma(one[None])[0]) for one in (image, true)]
        light = brightness(true)
        peaks = find_peaks(light)
        found["lost"] = [count_lost(peaks, light, grey), len(peaks)]
        found["power"] = np.stack([octave_powers(grey), octave_powers(light)], -1).tolist()
        return found


def _mean_ssim(a: Floats, b: AnyImage) -> float:
    return float(np.mean([ssim(x, y, 1.0) for x, y in zip(a, b, strict=True)]))
