"""Figures from the arrays of all rows: value, bootstrap interval, number of images behind it, and meaning.

Features are compared by their direction, as BYOL's loss compares them. Their length grows with the brightest
source of an image, by a factor of 15 within a survey, so that a few bright images would dominate every
distance. All distances between sets have the same reference, as many images of the training set. The distance
of real held-out images to that reference is the floor; a row's excess over the floor is due to the model.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.work import Run
from astro_dist.evaluate.config import EvaluateConfig
from astro_dist.evaluate.masks import HeldOutMasks
from astro_dist.evaluate.rows import ROWS, SKY_EDGES, TRAIN, U_EDGES, Arrays
from astro_dist.metrics.frechet import frechet_distance, kernel_distance, polynomial_kernel
from astro_dist.metrics.intervals import Counts, bootstrap, weighted_median
from astro_dist.metrics.memorisation import distance_ratio, nearest_distances, share_too_near
from astro_dist.metrics.noise import describe_noise
from astro_dist.metrics.segmentation import image_scores
from astro_dist.metrics.similarity import RINGS, distribution_distance, ring_frequencies, spectrum_distance
from astro_dist.sky.classes import CLASS_NAMES, SourceClass
from astro_dist.sky.symmetries import apply_symmetry

Statistic = Callable[[Counts], float]
"""A figure as a function of how often each image counts."""
Distances = NDArray[np.float64]
BANDS = {"coarse": (1, 4), "middle": (4, 8), "fine": (8, 12), "finest": (12, RINGS)}
"""Rings of `power_spectra`, each 1/48 cycles per pixel wide; a beam of 4 pixels ends in ``fine``."""
MEANINGS = {
    "kid": "kernel distance of features to training images, unbiased; the real row is the floor",
    "frechet": "Frechet distance of features to training images; the real row is the floor",
    "kid_excess": "kid less its floor; resampled together, so that what the two share cancels",
    "frechet_excess": "frechet less its floor; resampled together, so that what the two share cancels",
    "segmentation_score": "mean over images of the segmenter's IoU, averaged over their classes",
    "segmentation_ratio": "segmentation score over that of the real images of the same masks",
    "island_iou": "IoU of islands (5 sigma seeds, 3 sigma edges) and masks, all pixels together",
    "island_ratio": "island IoU over that of the real images of the same masks",
    **{
        f"{kind}_iou_{name}": f"IoU of the {what} and the {name} pixels of the masks, all images together"
        for kind, what in (("segmentation", "segmenter's class"), ("island", "islands of the class"))
        for name in CLASS_NAMES[1:]
    },
    "flux_bias_dex": "median of log10 flux over that of the real object of the same mask (peak > 5 sigma)",
    "flux_bias_compact_dex": "the same of compact objects",
    "flux_bias_extended_dex": "the same of extended objects",
    "flux_scatter_dex": "half the width of the central 68 % of those logarithms",
    "flux_lost": "share of those objects without any flux",
    "ssim": "mean structural similarity to the real image of the same mask, in network range",
    "spectrum_dex": "rms over frequencies of log10 mean power over that of the real images",
    "pixels_distance": "Wasserstein distance of pixel values to those of real images, in network range",
    "island_flux_dex": "Wasserstein distance of log10 island flux to that of real images",
    "island_size_dex": "Wasserstein distance of log10 island area to that of real images",
    "noise_rms": "rms of pixels outside objects, in units of the noise",
    "noise_kurtosis": "kurtosis of those pixels; 3 for a Gaussian",
    **{
        f"noise_{side}_{k}": f"share of those pixels {side} {sign}{k} sigma; {gauss} for a Gaussian"
        for k, gauss in ((3, "1.3e-3"), (4, "3.2e-5"), (5, "2.9e-7"))
        for side, sign in (("below", "-"), ("above", ""))
    },
    **{
        f"noise_power_{name}": f"their power at {low / 48:.2f} to {high / 48:.2f} cycles per pixel over real"
        for name, (low, high) in BANDS.items()
    },
    "noise_islands": "islands per image that touch no object (5 sigma seeds, 3 sigma edges)",
    "stripes": "their power in the strongest of 12 directions over the mean of all; 1.25 without stripes",
    "copy_features_ratio": "median distance to the nearest training image over that of real held-out ones",
    "copy_features_share": "share nearer to a training image than all but 1 % of real held-out ones",
    "copy_pixels_ratio": "as copy_features_ratio, of pixels averaged to 16 x 16, in all turns and flips",
    "copy_pixels_share": "as copy_features_share, of pixels averaged to 16 x 16, in all turns and flips",
    "copy_donor_ratio": "median feature distance to the own cutout for training masks over held-out ones",
}
FEW_IMAGES = 2000
"""Below this number of images KID is the headline: `metrics.frechet` says how biased the other is."""


@dataclass(frozen=True)
class Figure:
    """One number about one row; ``low`` and ``high`` are NaN where no interval is drawn."""

    row: str
    name: str
    value: float
    low: float
    high: float
    n: int


class FigureTable:
    """The figures of all rows, computed from their arrays.

    Parameters
    ----------
    run
        The run, whose seed draws the resamples.
    masks
        The cutouts that the rows were made from.
    rows
        Arrays of `astro_dist.evaluate.rows.RowJudge` by name of the row; ``real`` and ``train`` are required.
    """

    def __init__(self, run: Run, masks: HeldOutMasks, rows: Mapping[str, Arrays]) -> None:
        self.run, self.masks = run, masks
        self.rows = {name: {**row, "features": _directions(row["features"])} for name, row in rows.items()}
        self.real = self.rows["real"]
        # The row `TRAIN` follows `masks.train`, which is ascending: a search finds the entry of a cutout.
        places = np.searchsorted(masks.train, masks.reference)
        self.reference = self.rows[TRAIN]["features"][places]
        # Filled by the first row, ``real``: `ROWS` begins with it.
        self.floors: dict[str, Statistic] = {}
        self.found: list[Figure] = []

    def measure(self) -> list[Figure]:
        """Return all figures, row by row."""
        for name in ROWS:
            if name in self.rows:
                self._distances(name)
                self._segmentation(name)
                self._noise(name)
            if name in self.rows and name not in ("real", "trained"):
                self._fluxes(name)
                self._similarity(name)
                self._islands(name)
        self._copies()
        return self.found

    def curves(self) -> dict[str, list[float]]:
        """Return the mean power spectrum of each row, in network range squared, and the frequencies."""
        shown = {name: row["power"].mean(0).tolist() for name, row in self.rows.items() if "power" in row}
        return {"frequency_per_pix": ring_frequencies().tolist(), **shown}

    def sky(self) -> dict[str, list[float]]:
        """Return for each row the share of sky pixels per bin of brightness, and the middles of the bins."""
        counts = {name: row["sky_values"].sum(0) for name, row in self.rows.items() if "sky_values" in row}
        shares = {name: (count / max(1, count.sum())).tolist() for name, count in counts.items()}
        return {"snr": ((SKY_EDGES[1:] + SKY_EDGES[:-1]) / 2).tolist(), **shares}

    def _add(self, row: str, name: str, statistic: Statistic, n: int | None = None) -> None:
        # Each figure has a stream of its own, so a new figure does not change the intervals of the others.
        rng, settings = self.run.stream("evaluate", "bootstrap", row, name), self.run.section(EvaluateConfig)
        figures = bootstrap(statistic, self.masks.n, rng, settings.resamples)
        self.found.append(Figure(row, name, *figures, self.masks.n if n is None else n))

    def _distances(self, row: str) -> None:
        ours, theirs = self.rows[row]["features"], self.reference
        pairs = ((ours, ours), (theirs, theirs), (ours, theirs))
        within_ours, within_theirs, between = (polynomial_kernel(a, b) for a, b in pairs)

        # One resample serves both sides: image i of one side has nothing to do with image i of the other.
        def kid(w: Counts) -> float:
            return kernel_distance(within_ours, within_theirs, between, w, w)

        def frechet(w: Counts) -> float:
            return frechet_distance(ours, theirs, w, w)

        for name, distance in (("kid", kid), ("frechet", frechet)):
            self._add(row, name, distance)
            floor = self.floors.setdefault(name, distance)
            if row not in ("real", "trained"):

                def excess(w: Counts, a: Statistic = distance, b: Statistic = floor) -> float:
                    return a(w) - b(w)

                self._add(row, f"{name}_excess", excess)

    def _segmentation(self, row: str) -> None:
        score, islands = image_scores(self.rows[row]["classes"]), self.rows[row]["islands"][:, 0]
        self._add(row, "segmentation_score", lambda w: _mean(score, w), int(np.isfinite(score).sum()))
        self._add(row, "island_iou", lambda w: _iou(islands, w))
        self._overlaps(row)
        if row in ("real", "trained"):
            return
        # Both sides of a ratio have the same masks and are resampled together. The row `trained` has other
        # masks than `real`, hence the return above.
        best, most = image_scores(self.real["classes"]), self.real["islands"][:, 0]
        self._add(row, "segmentation_ratio", lambda w: _mean(score, w) / _mean(best, w))
        self._add(row, "island_ratio", lambda w: _iou(islands, w) / _iou(most, w))

    def _overlaps(self, row: str) -> None:
        """Add the IoU of each class, spurious too, by the segmenter and by islands."""
        # The first entry of `islands` is that of all classes together.
        ours = {"segmentation": self.rows[row]["classes"], "island": self.rows[row]["islands"][:, 1:]}
        for kind, counts in ours.items():
            for i, name in enumerate(CLASS_NAMES[1:]):

                def iou(w: Counts, overlaps: NDArray[np.int64] = counts[:, i]) -> float:
                    return _iou(overlaps, w)

                self._add(row, f"{kind}_iou_{name}", iou, int((counts[:, i, 1] > 0).sum()))

    def _fluxes(self, row: str) -> None:
        image, dex, source_class = (self.rows[row][f"flux_{k}"] for k in ("image", "dex", "class"))
        kinds = {"flux_bias_dex": np.ones(len(dex), bool)}
        for wanted in (SourceClass.COMPACT, SourceClass.EXTENDED):
            kinds[f"flux_bias_{wanted.name.lower()}_dex"] = source_class == wanted
        # Resamples draw images, not objects: objects of one image share its sky and are not independent.
        for name, kept in kinds.items():
            self._add(row, name, _median_of(dex[kept], image[kept]), int(kept.sum()))
        if len(dex):
            self._add(row, "flux_scatter_dex", lambda w: _scatter(np.repeat(dex, w[image])), len(dex))
            self._add(row, "flux_lost", lambda w: _mean(np.isneginf(dex).astype(float), w[image]), len(dex))

    def _similarity(self, row: str) -> None:
        ours, real = self.rows[row], self.real
        # Histograms of images add up, so a resample of images needs no pixels.
        centres = (U_EDGES[1:] + U_EDGES[:-1]) / 2
        self._add(row, "ssim", lambda w: _mean(ours["ssim"], w))
        self._add(row, "spectrum_dex", lambda w: spectrum_distance(w @ ours["power"], w @ real["power"]))
        self._add(
            row,
            "pixels_distance",
            lambda w: distribution_distance(centres, centres, w @ ours["pixels"], w @ real["pixels"]),
        )

    def _islands(self, row: str) -> None:
        ours, real = self.rows[row], self.real
        for name in ("flux", "size"):
            # An island without positive flux counts as 1e-3, so that its logarithm is finite.
            a, b = (np.log10(np.maximum(x[f"island_{name}"], 1e-3)) for x in (ours, real))

            def distance(w: Counts, a: NDArray[Any] = a, b: NDArray[Any] = b) -> float:
                return distribution_distance(a, b, w[ours["island_image"]], w[real["island_image"]])

            self._add(row, f"island_{name}_dex", distance, len(a))

    def _noise(self, row: str) -> None:
        ours, real = self.rows[row], self.real
        for name in describe_noise(ours["noise"].sum(0)):

            def described(w: Counts, name: str = name) -> float:
                return describe_noise(w @ ours["noise"])[name]

            self._add(row, f"noise_{name}", described)
        self._add(row, "noise_islands", lambda w: _mean(ours["stray"], w))
        self._add(row, "stripes", lambda w: _mean(ours["stripes"], w))
        if row in ("real", "trained"):
            return
        for name, band in BANDS.items():

            def ratio(w: Counts, rings: slice = slice(*band)) -> float:
                return float(np.sum((w @ ours["sky_power"])[rings]) / np.sum((w @ real["sky_power"])[rings]))

            self._add(row, f"noise_power_{name}", ratio)

    def _copies(self) -> None:
        train = self.rows[TRAIN]
        rows = ("real", "generated", "trained")
        nearest = {
            "features": {r: nearest_distances(self.rows[r]["features"], train["features"]) for r in rows},
            "pixels": {r: _nearest_turned(self.rows[r]["coarse"], train["coarse"]) for r in rows},
        }
        for kind, distances in nearest.items():
            held_out = distances["real"]
            for row in rows[1:]:
                ours = distances[row]

                def ratio(w: Counts, a: Distances = ours, b: Distances = held_out) -> float:
                    return distance_ratio(a, b, w)

                self._add(row, f"copy_{kind}_ratio", ratio)
                share, nan = share_too_near(ours, held_out), float("nan")
                self.found.append(Figure(row, f"copy_{kind}_share", share, nan, nan, self.masks.n))
        # A copying model draws images for training masks that are nearer to the masks' own cutouts.
        own = train["features"][np.searchsorted(self.masks.train, self.masks.trained)]
        seen = np.linalg.norm(self.rows["trained"]["features"] - own, axis=1)
        unseen = np.linalg.norm(self.rows["generated"]["features"] - self.real["features"], axis=1)
        self._add("trained", "copy_donor_ratio", lambda w: distance_ratio(seen, unseen, w))


def to_json(figures: list[Figure]) -> list[dict[str, float | str | int | None]]:
    """Return figures as plain values of six digits; NaN and infinity become None (null in JSON)."""
    return [{k: _plain(v) for k, v in asdict(figure).items()} for figure in figures]


def _plain(value: float | str | int) -> float | str | int | None:
    if not isinstance(value, float):
        return value
    return float(f"{value:.6g}") if np.isfinite(value) else None


def _directions(features_NF: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the features of each image, scaled to unit mean square."""
    values = np.asarray(features_NF, np.float64)
    rms_N1 = np.sqrt(np.mean(values**2, axis=1, keepdims=True))
    # An image whose features are all 0 has no direction and stays 0.
    return np.asarray(values / np.maximum(rms_N1, 1e-12))


def _mean(values: NDArray[np.floating], weights: Counts) -> float:
    """Return the weighted mean of the finite values; an image without a score does not count as 0."""
    there = np.isfinite(values)
    total = weights[there].sum()
    return float(values[there] @ weights[there] / total) if total else float("nan")


def _iou(overlaps: NDArray[np.int64], weights: Counts) -> float:
    """Return the sum of intersections over the sum of unions, the two columns of ``overlaps``."""
    intersection, union = weights @ overlaps
    return float(intersection / union) if union else float("nan")


def _median_of(dex: NDArray[np.floating], image: NDArray[np.int64]) -> Statistic:
    return lambda w: weighted_median(dex, w[image])


def _scatter(dex: NDArray[np.floating]) -> float:
    """Return half the width of the central 68 % of the logarithms, over the objects that have a flux."""
    low, high = (
        np.quantile(dex[np.isfinite(dex)], [0.16, 0.84]) if np.isfinite(dex).any() else (np.nan, np.nan)
    )
    return float(high - low) / 2


def _nearest_turned(coarse: NDArray[np.float32], train: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the distance of each image to the nearest training image, the least over all turns and flips."""
    flat = train.reshape(len(train), -1)
    # These images are turned and not those of the training, of which there are at least as many.
    turned = [apply_symmetry(coarse, k).reshape(len(coarse), -1) for k in range(8)]
    return np.asarray(np.min([nearest_distances(each, flat) for each in turned], axis=0))
