"""Errors of colours beside their baselines: grey, and a quadratic map of grey and its blurs."""

import numpy as np
from scipy.ndimage import gaussian_filter

from astro_dist.enhance.colourise import to_grey, to_unit

WHITE = np.array([0.95047, 1.0, 1.08883])
XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
BLURS_PIX = (1, 2, 4, 8)


def find_ab(rgb_N3HW):
    """Return a and b of CIE Lab (D65), shape (N, 2, H, W), of sRGB pictures from 0 to 1."""
    linear = np.where(rgb_N3HW <= 0.04045, rgb_N3HW / 12.92, ((rgb_N3HW + 0.055) / 1.055) ** 2.4)
    xyz = np.einsum("ij,njhw->nihw", XYZ / WHITE[:, None], linear)
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.stack([500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], 1)


def distances(made, true):
    """Return the mean distance in a and b of each picture."""
    return np.hypot(*np.moveaxis(find_ab(made) - find_ab(true), 1, 0)).mean((1, 2))


def block_chroma(rgb_N3HW, side=8):
    """Return the mean chroma of means over blocks, one number for each picture."""
    n, _, height, width = rgb_N3HW.shape
    means = rgb_N3HW.reshape(n, 3, height // side, side, width // side, side).mean((3, 5))
    return np.hypot(*np.moveaxis(find_ab(means), 1, 0)).mean((1, 2))


def colour(colouriser, pictures):
    """Return pictures (N, 3, H, W) from 0 to 1, coloured from their brightness."""
    return np.stack([colouriser.apply(grey) for grey in to_grey(to_unit(pictures))])


def measure(colouriser, pictures):
    """Return the error in a, b of grey and of the colouriser, and its share of the true chroma of blocks."""
    true = to_unit(pictures)
    made, grey = colour(colouriser, pictures), np.repeat(to_grey(true), 3, 1)
    share = block_chroma(made).sum() / block_chroma(true).sum()
    return {
        "grey": float(distances(grey, true).mean()),
        "made": float(distances(made, true).mean()),
        "chroma": float(share),
        "n": len(pictures),
    }


def features(grey_NHW):
    """Return what the quadratic map sees of each pixel: products of grey and its blurs, (M, F)."""
    seen = [grey_NHW, *(gaussian_filter(grey_NHW, (0, s, s)) for s in BLURS_PIX)]
    first = [np.ones_like(grey_NHW), *seen]
    return np.stack([a * b for i, a in enumerate(first) for b in first[i:]], -1).reshape(-1, 21)


def quadratic_map(train, test):
    """Return pictures coloured by the least-squares quadratic map of grey and its blurs."""
    grey, true = to_grey(to_unit(train)), to_unit(train)
    x, y = features(grey[:, 0].astype(float)), (true - grey).transpose(0, 2, 3, 1).reshape(-1, 3)
    weights = np.linalg.lstsq(x.T @ x, x.T @ y, rcond=None)[0]
    grey = to_grey(to_unit(test))
    chroma = (features(grey[:, 0].astype(float)) @ weights).reshape(len(test), *test.shape[2:], 3)
    return np.clip(grey + chroma.transpose(0, 3, 1, 2), 0, 1)
