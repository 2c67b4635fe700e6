"""Colours by the planes a and b of CIE Lab, whose distances are about those that people see."""

import numpy as np

from astro_dist.engine.arrays import AnyImage, Floats

WHITE = np.array([0.95047, 1.0, 1.08883])
XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
"""Linear sRGB to XYZ, D65 (IEC 61966-2-1)."""
BLOCK_PIX = 8


def find_ab(rgb_N3HW: AnyImage) -> Floats:
    """Return a and b of CIE Lab (D65), shape (N, 2, H, W), of sRGB pictures from 0 to 1."""
    rgb = np.asarray(rgb_N3HW, np.float64)
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((np.maximum(rgb, 0) + 0.055) / 1.055) ** 2.4)
    xyz = np.einsum("ij,njhw->nihw", XYZ / WHITE[:, None], linear)
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.stack([500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], 1)


def colour_distances(made_N3HW: AnyImage, true_N3HW: AnyImage) -> Floats:
    """Return the mean distance in a and b of each picture (N,), in units of Lab."""
    a, b = np.moveaxis(find_ab(made_N3HW) - find_ab(true_N3HW), 1, 0)
    return np.asarray(np.hypot(a, b).mean((1, 2)))


def block_chroma(rgb_N3HW: AnyImage, side_pix: int = BLOCK_PIX) -> Floats:
    """Return the mean chroma (N,) of means over blocks, in which the noise of pixels has averaged out."""
    n, _, height, width = rgb_N3HW.shape
    blocks = rgb_N3HW.reshape(n, 3, height // side_pix, side_pix, width // side_pix, side_pix)
    a, b = np.moveaxis(find_ab(blocks.mean((3, 5))), 1, 0)
    return np.asarray(np.hypot(a, b).mean((1, 2)))
