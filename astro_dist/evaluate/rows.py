"""The rows of an evaluation: sets of images, each reduced to arrays with one entry per image.

Every row has its masks and, for each mask, the real cutout that the mask belongs to. The arrays suffice for
all figures and their intervals, so that each image is read or drawn only once.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.arrays import Image
from astro_dist.evaluate import images
from astro_dist.evaluate.examples import choose_examples
from astro_dist.evaluate.masks import HeldOutMasks, Indices
from astro_dist.evaluate.networks import Networks
from astro_dist.metrics.noise import count_stray, measure_stripes, sum_noise
from astro_dist.metrics.photometry import flux_ratios
from astro_dist.metrics.segmentation import ALL, count_classes, label_islands, overlap_masks
from astro_dist.metrics.similarity import power_spectra, ssim
from astro_dist.sky.classes import CLASS_NAMES, SourceClass

COARSE_PIX = 16
EXAMPLES = 8
# 450 bins of 0.02, which in the asinh stretch span -400 to 160,000 sigma.
U_EDGES = np.linspace(-3, 6, 451)
"""Edges of the histogram of pixels in network range; pixels beyond them are counted in the end bins."""
# 64 bins of a quarter of a sigma.
SKY_EDGES = np.linspace(-8, 8, 65)
"""Edges of the histogram of sky pixels in units of the noise; likewise."""
READ_AT_ONCE = 256
Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Row:
    """A set of images and its meaning in words.

    ``blind`` is True when a stamp is drawn in the sky of another cutout, False when in its own, which is part
    of the answer, and None for rows of real images.
    """

    name: str
    meaning: str
    blind: bool | None = None


ROWS = {
    row.name: row
    for row in (
        Row("real", "real held-out cutouts"),
        Row("reconstructed", "real held-out cutouts after the autoencoder, there and back"),
        Row("reassembled", "real held-out sources set in the sky of another cutout"),
        Row("generated", "stamps for held-out masks, in the sky of another cutout", blind=True),
        Row("generated_own", "stamps for held-out masks, in their own sky: not blind", blind=False),
        Row("trained", "stamps for masks of the training, in a held-out sky", blind=True),
    )
}
TRAIN = "train"
DRAWN = {"generated": "blind", "generated_own": "own", "trained": "train"}


def rows_of(target: str) -> list[str]:
    """Return the rows for a model's target; ``reassembled`` is left out when the model draws the sky too."""
    return [name for name in ROWS if target == "source" or name != "reassembled"]


class RowJudge:
    """Makes the images of a row and reduces them to the arrays that the figures need."""

    def __init__(self, masks: HeldOutMasks, networks: Networks, drawn: Path, target: str) -> None:
        self.masks, self.reader, self.networks = masks, masks.reader, networks
        self.drawn, self.target = drawn, target
        self.seed = int(masks.run.seed)

    def judge(self, name: str) -> Arrays:
        """Return the arrays of one row, see `_measure`; `TRAIN` has only features and coarse pixels."""
        if name == TRAIN:
            return self._fingerprint_all(self.masks.train)
        donors = self.masks.donors(DRAWN.get(name, "blind"))
        real = images.read_snr(self.reader, donors)
        # Pixels without data in the real cutout are 0 in every row, so that no row is judged on them.
        shown = np.where(np.isfinite(real), self._make(name, donors, real), 0).astype(np.float32)
        return self._measure(donors, shown, real)

    def _make(self, name: str, donors: Indices, real: Image) -> Image:
        """Return the images of a row in units of the noise."""
        if name == "real":
            return real
        if name == "reconstructed":
            u = self.networks.reconstructions(images.to_network_range(self.reader, real))
            return images.from_network_range(self.reader, u)
        if name == "reassembled":
            sources = np.nan_to_num(real) * images.tapers_of(self.reader, donors)
            return images.set_in_sky(self.reader, sources, donors, self.masks.skies("blind"), self.seed)
        # Names end in the first index with six digits, so their order is that of the stamps.
        parts = sorted(self.drawn.glob(f"{DRAWN[name]}-*.npy"))
        drawn = np.concatenate([np.load(part) for part in parts])
        if self.target != "source":
            return drawn
        return images.set_in_sky(self.reader, drawn, donors, self.masks.skies(DRAWN[name]), self.seed)

    def _measure(self, donors: Indices, snr: Image, real: Image) -> Arrays:
        u, real_u = (images.to_network_range(self.reader, x) for x in (snr, real))
        mask, instances = (self.reader.read(array, donors) for array in ("mask", "instances"))
        low, high = float(real_u.min()), float(real_u.max())
        # SSIM needs values from 0 to a known maximum, so images are clipped to the range of the real ones.
        pairs = [(np.clip(a, low, high) - low, b - low) for a, b in zip(u, real_u, strict=True)]
        fluxes = flux_ratios(snr, real, mask, instances)
        # Not `mask == 0`: a source's taper reaches beyond its mask, and the sky begins where the taper ends.
        sky = (images.tapers_of(self.reader, donors) == 0) & np.isfinite(real)
        return {
            **self._fingerprint(u),
            **_describe_islands(snr, mask),
            "classes": count_classes(self.networks.classes(u), mask),
            "ssim": np.array([ssim(a, b, high - low) for a, b in pairs]),
            "power": power_spectra(u),
            "pixels": np.stack([np.histogram(x, U_EDGES)[0] for x in np.clip(u, U_EDGES[0], U_EDGES[-1])]),
            **_describe_sky(snr, mask, sky),
            "flux_image": fluxes.image,
            "flux_class": fluxes.source_class,
            "flux_dex": fluxes.dex,
            **_pick_examples(snr, mask),
        }

    def _fingerprint(self, u: Image) -> Arrays:
        """Return features, and pixels averaged to 16 x 16: noise would hide a copied image."""
        block = u.shape[-1] // COARSE_PIX
        # Up to 15 pixels at the far sides are left out where 16 does not divide the side.
        side = block * COARSE_PIX
        blocks = u[:, :side, :side].reshape(len(u), COARSE_PIX, block, COARSE_PIX, block)
        return {"features": self.networks.features(u), "coarse": blocks.mean((2, 4), dtype=np.float32)}

    def _fingerprint_all(self, indices: Indices) -> Arrays:
        parts = []
        for start in range(0, len(indices), READ_AT_ONCE):
            some = images.read_snr(self.reader, indices[start : start + READ_AT_ONCE])
            parts.append(self._fingerprint(images.to_network_range(self.reader, some)))
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _pick_examples(snr: Image, mask: NDArray[np.uint8]) -> Arrays:
    """Return example images of each class of sources; every row shows the same masks."""
    classes = (SourceClass.COMPACT, SourceClass.EXTENDED)
    chosen = {c: choose_examples(mask, c, EXAMPLES) for c in classes}
    places = np.concatenate(list(chosen.values()))
    names = np.repeat([int(c) for c in classes], [len(found) for found in chosen.values()])
    return {"shown": snr[places], "shown_mask": mask[places], "shown_class": names.astype(np.uint8)}


def _describe_sky(snr: Image, mask: NDArray[np.uint8], sky: NDArray[np.bool_]) -> Arrays:
    """Return noise, spectra, stripes and stray islands of the sky between the objects of each image."""
    edges = np.clip(snr, SKY_EDGES[0], SKY_EDGES[-1])
    return {
        "noise": sum_noise(snr, sky),
        "sky_power": power_spectra(np.where(sky, snr, 0)),
        "sky_values": np.stack([np.histogram(x[s], SKY_EDGES)[0] for x, s in zip(edges, sky, strict=True)]),
        "stripes": measure_stripes(snr, sky),
        "stray": count_stray(snr, mask),
    }


def _describe_islands(snr: Image, mask: NDArray[np.uint8]) -> Arrays:
    """Return the overlap of islands and mask in each image, and flux and size of every island."""
    overlaps, image, flux, size = [], [], [], []
    for index, (one, classes) in enumerate(zip(snr, mask, strict=True)):
        # The thresholds here and below are the defaults of both functions, which are the same.
        parts = overlap_masks(one, classes)
        overlaps.append([(parts[k].intersection, parts[k].union) for k in (ALL, *CLASS_NAMES[1:])])
        islands = label_islands(one)
        # Number 0 is the background, hence [1:].
        size += np.bincount(islands.ravel())[1:].tolist()
        flux += np.bincount(islands.ravel(), one.ravel())[1:].tolist()
        image += [index] * int(islands.max())
    return {
        "islands": np.array(overlaps, np.int64),
        "island_image": np.array(image, np.int64),
        "island_flux": np.array(flux, np.float64),
        "island_size": np.array(size, np.int64),
    }
