"""Errors of colours beside their baselines: grey, and a quadratic map of grey and its blurs."""

import numpy as np
from scipy.ndimage import gaussian_filter

from astro_dist.enhance.colourise import to_grey, to_unit
from astro_dist.metrics.colours import block_chroma, colour_distances

BLURS_PIX = (1, 2, 4, 8)


def colour(colouriser, pictures):
    """Return pictures (N, 3, H, W) from 0 to 1, coloured from their brightness."""
    return np.stack([colouriser.apply(grey) for grey in to_grey(to_unit(pictures))])


def measure(colouriser, pictures):
    """Return the error in a, b of grey and of the colouriser, and its share of the true chroma of blocks."""
    true = to_unit(pictures)
    made, grey = colour(colouriser, pictures), np.repeat(to_grey(true), 3, 1)
    share = block_chroma(made).sum() / block_chroma(true).sum()
    return {
        "grey": float(colour_distances(grey, true).mean()),
        "made": float(colour_distances(made, true).mean()),
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
