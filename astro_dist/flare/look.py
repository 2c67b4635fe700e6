"""What the figures of the report are drawn from: clusters of features, copies, gradients, brightness, spread.

Shape letters: N pictures, P planes, S side in pixels, F features, K classes.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from astro_dist.engine.arrays import Integers
from astro_dist.engine.errors import ConfigError
from astro_dist.engine.work import Run
from astro_dist.flare.classifiers import Splits
from astro_dist.flare.grid_scores import CellName
from astro_dist.flare.predictions import extract
from astro_dist.flare.rows import Gallery, RowSamples, classes_of
from astro_dist.flare.sets import SOURCES, PictureSet, read_pictures_set
from astro_dist.flare.upscale_config import AugmentConfig
from astro_dist.metrics.gains import find_copies
from astro_dist.models.attribution import integrated_gradients, missing_share
from astro_dist.models.classifier import Classifier
from astro_dist.models.classifier_files import load_classifier
from astro_dist.models.device import flushed_denormals

BATCH = 32
"""Pictures that a network sees at once; the last bits depend on it."""
MOST_COPIED = 2000
"""Most synthetic pictures that are compared with training pictures."""


@dataclass(frozen=True)
class Viewer:
    """The sets, pictures and classifiers of a run.

    Attributes
    ----------
    run
        The run.
    cells
        Names of the cells of the grid.
    """

    run: Run
    cells: tuple[CellName, ...]

    @cached_property
    def network(self) -> str:
        """The first network of the grid whose features are trained; else the first."""
        names = list(dict.fromkeys(cell.network for cell in self.cells))
        return next((name for name in names if name != "probe"), names[0])

    def classifier(self, arm: str, level: str) -> Classifier | None:
        """Return the classifier of a set with the first seed, None where there is none."""
        for cell in self.cells:
            if cell[:3] == (arm, self.network, level):
                name = f"{arm}__{self.network}__{level}__s{cell.seed}"
                return load_classifier(self.run.product("classifiers") / name)
        return None

    def splits(self, size_pix: int, level: str) -> Splits:
        """Return the run's own pictures at the side of a network."""
        return Splits.open(self.run, size_pix, level)

    def rows(self, arm: str) -> PictureSet:
        """Return the rows of a set."""
        return read_pictures_set(self.run.product("sets") / f"{arm}.parquet")[0]

    def gallery(self, size_pix: int) -> Gallery:
        """Return the pictures of all stores at one side."""
        return Gallery(self.run.root, size_pix, self.run.seed, self.run.section(AugmentConfig).kinds)


def side_of(network: Classifier) -> int:
    """Return the side of the pictures that a classifier takes."""
    return int(network.facts["size_pix"])


def find_clusters(viewer: Viewer, arms: list[str], level: str, perplexity: float) -> dict[str, NDArray[Any]]:
    """Return a place in the plane for every test picture, as the classifier of each set sees it (t-SNE).

    Returns
    -------
    dict
        Columns ``arm``, ``level``, ``label``, ``x`` and ``y``; sets without a classifier are left out.
    """
    parts = []
    for arm in arms:
        network = viewer.classifier(arm, level)
        if network is None:
            continue
        rows = viewer.splits(side_of(network), level).rows("test")
        places_N2 = embed(extract(network, rows, BATCH, "cpu"), perplexity, viewer.run.seed)
        names = {"arm": np.full(len(rows), arm), "level": np.full(len(rows), level)}
        parts.append({**names, "label": rows.labels, "x": places_N2[:, 0], "y": places_N2[:, 1]})
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]} if parts else {}


def embed(features_NF: NDArray[np.float32], perplexity: float, seed: int) -> NDArray[np.float32]:
    """Return places (N, 2) whose neighbourhoods are those of the features (t-SNE, van der Maaten 2008).

    Raises
    ------
    ConfigError
        scikit-learn is not installed.
    """
    try:
        from sklearn.manifold import TSNE
    except ImportError:
        raise ConfigError(
            "compare.clusters: needs scikit-learn; pip install 'astro_dist[flare]', or set it to false"
        ) from None
    n = len(features_NF)
    if n < 4:
        return np.zeros((n, 2), np.float32)
    # Exact sums: those of Barnes and Hut depend on the number of threads.
    maker = TSNE(perplexity=min(perplexity, (n - 1) / 3), method="exact", init="pca", random_state=seed)
    spread = features_NF.std(axis=0)
    return np.asarray(maker.fit_transform(features_NF / np.where(spread > 0, spread, 1)), np.float32)


def count_copies(viewer: Viewer, level: str, judge: str) -> dict[str, Any]:
    """Return how many synthetic pictures are copies of training pictures, in the features of a classifier.

    Parameters
    ----------
    judge
        The set whose classifier the features come from.
    """
    network = viewer.classifier(judge, level)
    painted = [viewer.rows(arm) for arm in dict.fromkeys(cell.arm for cell in viewer.cells)]
    code = SOURCES.index("synthetic")
    index = np.unique(np.concatenate([rows.index[rows.source == code] for rows in painted]))
    if network is None or not len(index):
        return {}
    splits = viewer.splits(side_of(network), level)
    index = viewer.run.stream("compare", "copies").permutation(index)[:MOST_COPIED]
    zeros = np.zeros(len(index), np.int64)
    shown = RowSamples(
        splits.gallery, PictureSet(zeros + code, index, zeros, zeros, zeros, zeros), splits.classes
    )
    kinds = (shown, splits.rows("train"), splits.rows("test"))
    copies = find_copies(*(extract(network, rows, BATCH, "cpu") for rows in kinds))
    return {"pictures": len(index), "copies": int(copies.found.sum()), "share": copies.share, "judge": judge}


def integrate(viewer: Viewer, arm: str, level: str, upscaled: bool, steps: int) -> dict[str, NDArray[Any]]:
    """Return integrated gradients of a test picture of each class, and of its upscaled version.

    Returns
    -------
    dict
        ``label``, ``index`` (N,), and for each of ``raw`` and ``upscaled`` the picture ``NAME`` (N, P, S, S)
        in network range, its gradients ``NAME_shares`` (N, S, S), summed over planes, and ``NAME_missing``
        (N,), see `astro_dist.models.attribution.missing_share`.
    """
    network = viewer.classifier(arm, level)
    if network is None:
        return {}
    rows = viewer.splits(side_of(network), level).rows("test")
    first = np.array([np.flatnonzero(rows.labels == kind)[0] for kind in np.unique(rows.labels)])
    chosen, class_N = rows.rows.pick(first), rows.labels[first]
    found: dict[str, NDArray[Any]] = {"label": class_N, "index": chosen.index}
    for name in ("raw", "upscaled") if upscaled else ("raw",):
        code = SOURCES.index("pictures" if name == "raw" else "upscaled")
        source = np.full(len(first), code)
        shown = PictureSet(source, chosen.index, chosen.copy, chosen.label, chosen.group, chosen.parents)
        x_NPSS = viewer.gallery(side_of(network)).read(shown)
        shares_NPSS, missing_N = _integrate(network, x_NPSS, class_N, steps)
        found |= {name: x_NPSS, f"{name}_shares": shares_NPSS.sum(1), f"{name}_missing": missing_N}
    return found


def _integrate(
    network: Classifier, x_NPSS: NDArray[np.float32], class_N: Integers, steps: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    x, classes = torch.from_numpy(x_NPSS), torch.from_numpy(class_N)
    black = torch.full_like(x, -1.0)
    with flushed_denormals():
        shares = integrated_gradients(network, x, black, classes, steps)
        missing = missing_share(network, x, black, classes, shares)
    return shares.numpy(), missing.numpy()


def measure_spread(viewer: Viewer, arms: list[str], most: int) -> dict[str, NDArray[Any]]:
    """Return mean and standard deviation of the pixels of each set and class, between 0 and 1.

    Returns
    -------
    dict
        Columns ``arm``, ``label``, ``pictures``, ``mean``, ``spread``; label -1 is all classes, each with
        the weight of its rows among those that were measured.
    """
    reader = viewer.splits(16, "fine").reader
    classes = classes_of(reader.attrs["labels"], {}, "fine")[1]
    gallery, columns = viewer.gallery(int(reader.attrs["size_pix"])), []
    for arm in arms:
        rows, rng = viewer.rows(arm), viewer.run.stream("compare", "spread", arm)
        totals = np.zeros(3)
        for kind in classes:
            members = np.flatnonzero(rows.label == kind)
            members = np.sort(rng.permutation(members)[:most])
            sums = _sum_pixels(gallery, rows.pick(members))
            totals += sums
            columns.append((arm, kind, len(members), *_moments(sums)))
        columns.append((arm, -1, min(len(rows), most * len(classes)), *_moments(totals)))
    names = ("arm", "label", "pictures", "mean", "spread")
    return {name: np.array(column) for name, column in zip(names, zip(*columns, strict=True), strict=True)}


def _sum_pixels(gallery: Gallery, rows: PictureSet) -> NDArray[np.float64]:
    """Return number, sum and sum of squares of all pixels, between 0 and 1."""
    sums = np.zeros(3)
    for first in range(0, len(rows), BATCH):
        pictures = gallery.read(rows.pick(np.arange(first, min(first + BATCH, len(rows)))))
        values = (pictures.astype(np.float64) + 1) / 2
        sums += (values.size, values.sum(), (values**2).sum())
    return sums


def _moments(sums: NDArray[np.float64]) -> tuple[float, float]:
    n, total, squares = sums
    if not n:
        return float("nan"), float("nan")
    mean = total / n
    return float(mean), float(np.sqrt(max(squares / n - mean**2, 0.0)))
