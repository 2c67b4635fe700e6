"""What a network adds to images: copies of training images, what it has learnt of all of them, or noise.

The addition is what a sample has more than the bicubic enlargement of what the network was given. It is
looked at on held-out images, whose true addition is known, on images of something else, and on noise.

* Copies: patches of the detail are compared with those of the training images, in all turns and flips, by
  direction. Patches of independent images have a distance too: that of held-out originals.
* Noise differs from sample to sample; what is learnt comes back. The correlation of the additions of two
  samples says which share of them comes back.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.arrays import AnyImage, Floats
from astro_dist.enhance.baselines import brightness
from astro_dist.enhance.projection import enlarge_bicubic
from astro_dist.metrics.intervals import share_interval
from astro_dist.metrics.memorisation import distance_ratio, nearest_distances
from astro_dist.metrics.peaks import find_peaks
from astro_dist.metrics.similarity import octave_powers
from astro_dist.sky.symmetries import apply_symmetry

PATCH_PIX, STEP_PIX = 16, 4
"""Side of a patch, and the distance of the training patches that it is compared with."""
NEAR_QUANTILE, MOST_NEAR = 0.01, 0.05
"""A patch is near where it is nearer than all but this share of those of held-out originals; there are copies
where the interval of the share of near ones begins above the second number."""
LEAST_LENGTH = 1e-3
LEAST_COMMON = 0.5
"""Correlation of two samples' additions from which on they are mostly learnt."""
SHOWN = 6
HELD = "held out"


@dataclass(frozen=True)
class Probe:
    """The network and the reduction that it was trained to undo.

    Attributes
    ----------
    draw
        ``(image, sample) -> doubled image``.
    shrink
        Makes an image half as large.
    """

    draw: Callable[[Any, int], Any]
    shrink: Callable[[Any], Any]

    def examine(
        self, kinds: Mapping[str, Sequence[AnyImage]], true: Sequence[AnyImage], learnt: Sequence[AnyImage]
    ) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Return for each kind of images what is added to them, and some of them beside it.

        Parameters
        ----------
        kinds
            Images (P, h, w) that are doubled; the first kind are held-out ones.
        true
            Originals of the held-out ones, (P, H, W).
        learnt
            Training images, (P, H, W).
        """
        known = np.concatenate([_patches(self.detail(one), STEP_PIX) for one in learnt])
        usual = self._nearest([self.detail(one) for one in true], known)
        truth = np.mean(
            [
                np.mean((one - enlarge_bicubic(small)) ** 2)
                for one, small in zip(true, kinds[HELD], strict=True)
            ]
        )
        found: dict[str, Any] = {}
        panels: dict[str, NDArray[Any]] = {}
        for kind, images in kinds.items():
            drawn = [[self.draw(image, 1000 * i + k) for k in range(2)] for i, image in enumerate(images)]
            added = [
                [one - enlarge_bicubic(image) for one in both]
                for both, image in zip(drawn, images, strict=True)
            ]
            near = self._nearest([self.detail(both[0]) for both in drawn], known)
            found[kind] = _figures(added, near, usual, float(truth))
            key = kind.replace(" ", "_")
            panels[f"{key}_given"] = np.stack(images[:SHOWN])
            panels[f"{key}_drawn"] = np.stack([both[0] for both in drawn[:SHOWN]])
            for k in range(2):
                panels[f"{key}_added_{k}"] = np.stack([brightness(both[k]) for both in added[:SHOWN]])
        found["truth"] = _figures(
            [[one - enlarge_bicubic(small)] for one, small in zip(true, kinds[HELD], strict=True)],
            usual,
            usual,
            float(truth),
        )
        return {"patch_pix": PATCH_PIX, "patches": len(known), "kinds": found}, panels

    def detail(self, image_PHW: AnyImage) -> Floats:
        """Return the brightness of an image less what is left of it at half the side."""
        return np.asarray(brightness(image_PHW - enlarge_bicubic(self.shrink(image_PHW))))

    def _nearest(self, details: Sequence[Floats], known: Floats) -> Floats:
        """Return the distance of each patch to the nearest training patch in any turn or flip."""
        patches = np.concatenate([_patches(one, PATCH_PIX) for one in details])
        if not len(patches) or not len(known):
            return np.zeros(0)
        square = patches.reshape(-1, PATCH_PIX, PATCH_PIX)
        turned = [
            nearest_distances(np.stack([apply_symmetry(one, turn).ravel() for one in square]), known)
            for turn in range(8)
        ]
        return np.asarray(np.min(turned, 0))


def _patches(detail_HW: Floats, step_pix: int) -> Floats:
    """Return patches of detail (n, `PATCH_PIX` squared), each of length 1; blank ones are left out."""
    seen = np.lib.stride_tricks.sliding_window_view(detail_HW, (PATCH_PIX, PATCH_PIX))
    rows = seen[::step_pix, ::step_pix].reshape(-1, PATCH_PIX**2)
    rows = rows - rows.mean(1, keepdims=True)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    # A blank patch has no direction, and would be the nearest to all that are like nothing.
    return np.asarray((rows / np.maximum(length, LEAST_LENGTH))[length[:, 0] > LEAST_LENGTH])


def _figures(added: Sequence[Sequence[Floats]], near: Floats, usual: Floats, truth: float) -> dict[str, Any]:
    first = [both[0] for both in added]
    light = [brightness(one) for one in first]
    told = len(near) > 0 and len(usual) > 0
    close = int((near < np.quantile(usual, NEAR_QUANTILE)).sum()) if told else 0
    pixels = sum(one.size for one in light)
    powers = np.sum([octave_powers(one) for one in light], 0)
    return {
        "images": len(added),
        "strength": float(np.sqrt(np.mean([np.mean(one**2) for one in first]) / max(truth, 1e-12))),
        "common": _common(added),
        "points": 1e4 * sum(len(find_peaks(one)) for one in light) / pixels,
        "powers": (powers / max(powers.sum(), 1e-30)).tolist(),
        "near": dict(
            zip(("value", "low", "high"), share_interval(close, len(near) if told else 0), strict=True)
        ),
        "patches": len(near),
        "distance_ratio": distance_ratio(near, usual) if told else None,
    }


def _common(added: Sequence[Sequence[Floats]]) -> float | None:
    """Return the correlation of the additions of two samples, over all pixels of all images."""
    if len(added[0]) < 2:
        return None
    a, b = (np.concatenate([brightness(both[k]).ravel() for both in added]) for k in range(2))
    # Nothing that is added has nothing in common.
    return float(np.corrcoef(a, b)[0, 1]) if a.std() and b.std() else None


def judge(kind: Mapping[str, Any]) -> str:
    """Return what the additions to a kind of images are: copies, prior or noise."""
    if (kind["near"]["low"] or 0.0) > MOST_NEAR:
        return "copies"
    return "prior" if (kind["common"] or 0.0) >= LEAST_COMMON else "noise"


def answer_probe(probe: Mapping[str, Any] | None) -> list[str]:
    """Return a sentence about what the network adds."""
    if probe is None:
        return []
    words = {
        "copies": "detail near to training images more often than held-out originals are (copies)",
        "prior": "the same detail in every sample (what it has learnt), and no copies",
        "noise": "detail that differs from sample to sample (noise), and no copies",
    }
    said = [
        f"to {name} images {words[judge(one)]}"
        for name, one in probe["kinds"].items()
        if name not in ("truth", "noise")
    ]
    blank = probe["kinds"]["noise"]
    said.append(f"to noise {words[judge(blank)]}, {blank['strength']:.2g} times as strong as true detail")
    return [f"The network adds {'; '.join(said)}."]
