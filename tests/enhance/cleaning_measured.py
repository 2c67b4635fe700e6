"""How well objects are found and painted over, and what a classifier loses by them."""

import itertools

import numpy as np
from scipy.ndimage import gaussian_filter, gaussian_gradient_magnitude, sobel
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from astro_dist.engine.seeds import stream
from astro_dist.pictures.objects import Style, draw_things, inject
from tests.flare.upscaling import deep_sky

OTHER = Style(
    kinds=("spheres", "dots"), number=(6, 6), radius_pix=(2.5, 6.5), opacity=(0.75, 0.95), hue_turn=0.1
)
"""Six objects of another recipe than those of the training: fainter, of more hues."""
MANY = Style(kinds=("spheres", "dots"), number=(0, 15), radius_pix=(2.5, 6.5), opacity=(0.75, 1.0))
PERCENTILES = (1, 10, 25, 50, 75, 90, 99)
SCALES_PIX = (1, 2, 4, 8, 16)


def disturb(pictures, style, name):
    """Return pictures (N, P, S, S), uint8, with objects, and the masks (N, S, S)."""
    side = pictures.shape[-1]
    pairs = [
        inject(one.astype(np.float32) / 255, draw_things(style, side, stream(7, name, i, 0)))
        for i, one in enumerate(pictures)
    ]
    changed = np.stack([np.rint(255 * picture).astype(np.uint8) for picture, _ in pairs])
    masks = np.stack([mask for _, mask in pairs])
    # Rounded colours of faint edges aside, every pixel outside of the masks is the old one.
    return np.where(masks[:, None], changed, pictures), masks


def iou(found, true):
    """Return the intersection over union of each mask with the true one."""
    both, either = (np.count_nonzero(x, (1, 2)) for x in (found & true, found | true))
    return both / np.maximum(either, 1)


def inside_psnr(made, true, masks):
    """Return the mean PSNR in dB of the pixels of objects."""
    errors = [
        ((a[:, m].astype(float) - b[:, m]) ** 2).mean() for a, b, m in zip(made, true, masks, strict=True)
    ]
    return float(np.mean(10 * np.log10(255**2 / np.maximum(errors, 1e-9))))


def measure(cleaner, pictures):
    """Return the figures of a cleaner on pictures with six objects each, and on the same without."""
    changed, masks = disturb(pictures, OTHER, "objects")
    done = [cleaner.clean(one) for one in changed]
    made, grown = (np.stack(part) for part in zip(*done, strict=True))
    assert (made == changed)[~np.broadcast_to(grown[:, None], made.shape)].all()
    found = np.stack([cleaner.find(one) for one in changed])
    clean = np.stack([cleaner.clean(one)[1] for one in pictures])
    return {
        "iou": float(iou(found, masks).mean()),
        "iou_grown": float(iou(grown, masks).mean()),
        "inside_before": inside_psnr(changed, pictures, masks),
        "inside": inside_psnr(made, pictures, masks),
        "clean_masked": float(clean.mean()),
        "n": len(pictures),
    }


def light_lost(cleaner, pictures):
    """Return which share of the light in the middle of each picture, above that of its rim, is taken."""
    side = pictures.shape[-1]
    y, x = np.indices((side, side)) - (side - 1) / 2
    middle, rim = np.hypot(y, x) < side / 4, np.maximum(abs(y), abs(x)) > side / 2 - 3
    found = []
    for picture in pictures:
        before, after = (one.astype(float).mean(0) for one in (picture, cleaner.clean(picture)[0]))
        light = (before - np.median(before[rim])).clip(0)[middle].sum()
        found.append((before - after)[middle].sum() / light)
    return np.array(found)


def describe(pictures):
    """Return features (N, F) of pictures: percentiles of the planes, contrast by scale, profile, slopes."""
    rows = []
    for picture in pictures / 255.0:
        grey = picture.mean(0)
        numbers = [np.percentile(plane, PERCENTILES) for plane in (*picture, grey)]
        blurred = [grey, *(gaussian_filter(grey, s) for s in SCALES_PIX)]
        numbers.append([np.std(a - b) for a, b in itertools.pairwise(blurred)])
        numbers.append([gaussian_gradient_magnitude(grey, s).mean() for s in SCALES_PIX])
        y, x = np.indices(grey.shape) - (np.array(grey.shape)[:, None, None] - 1) / 2
        ring = (np.hypot(y, x) / grey.shape[0] * 24).astype(int).clip(max=11)
        numbers.append(np.bincount(ring.ravel(), grey.ravel(), 12) / np.bincount(ring.ravel(), minlength=12))
        numbers.append(
            [np.std(picture - grey), *(picture - grey).mean((1, 2)), *np.std(picture - grey, (1, 2))]
        )
        numbers.append([np.abs(sobel(grey, axis)).mean() for axis in (0, 1)])
        rows.append(np.concatenate(numbers))
    return np.array(rows)


def classify(pictures, labels):
    """Return which pictures (N,) a support vector machine recognises, in five folds."""
    features, right = describe(pictures), np.zeros(len(labels), bool)
    for train, test in StratifiedKFold(5, shuffle=True, random_state=1).split(features, labels):
        machine = make_pipeline(StandardScaler(), SVC(C=10.0, gamma="scale"))
        right[test] = machine.fit(features[train], labels[train]).predict(features[test]) == labels[test]
    return right


def gain(a, b):
    """Return the mean of a paired difference and half its 95 % interval."""
    difference = a.astype(float) - b
    return float(difference.mean()), float(1.96 * difference.std(ddof=1) / len(difference) ** 0.5)


def compare_classifiers(cleaners, side=128):
    """Return the accuracies of deep-sky pictures clean, with objects and cleaned, and paired gains."""
    found = deep_sky()
    labels = np.concatenate([np.full(len(members), i) for i, members in enumerate(found.values())])
    large = np.concatenate(list(found.values()))
    pictures = large.reshape(len(large), 3, side, 2, side, 2).mean((3, 5)).round().astype(np.uint8)
    changed, _ = disturb(pictures, MANY, "classified")
    arms = {"clean": pictures, "injected": changed}
    arms |= {name: np.stack([one.clean(x)[0] for x in changed]) for name, one in cleaners.items()}
    right = {name: classify(arm, labels) for name, arm in arms.items()}
    return {
        "n": len(labels),
        "accuracy": {name: float(hits.mean()) for name, hits in right.items()},
        "over_injected": {name: gain(hits, right["injected"]) for name, hits in right.items()},
    }
