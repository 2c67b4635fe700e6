"""The images that are judged: real ones, and drawn ones as a map would show them.

All are brightness above the background in units of the noise. When the model draws sources on an empty sky,
its sources are set into a real sky from which the objects were removed; for the blind set that is the sky of
another cutout. Real sources set into the same skies (the row ``reassembled``) measure how much of a figure
comes from setting them there.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.arrays import Image
from astro_dist.generate.conditions import sky_of
from astro_dist.metrics.segmentation import add_noise
from astro_dist.models.planes import source_taper
from astro_dist.sky.stretch import stretch, unstretch
from astro_dist.store.reader import StoreReader

Indices = Sequence[int] | NDArray[np.integer]


def read_snr(reader: StoreReader, indices: Indices) -> Image:
    """Return real cutouts (N, S, S) above their background in units of their noise; NaN without data."""
    names = ("background_jy_beam", "rms_jy_beam")
    background, rms = (reader.columns[name][indices][:, None, None] for name in names)
    return np.asarray((reader.read("image", indices) - background) / rms, np.float32)


def tapers_of(reader: StoreReader, indices: Indices) -> Image:
    """Return the weights (N, S, S) in [0, 1] of each cutout's pixels in the source target."""
    masks = reader.read("mask", indices)
    return np.stack([_taper(reader, int(i), mask) for i, mask in zip(indices, masks, strict=True)])


def set_in_sky(reader: StoreReader, sources_snr: Image, donors: Indices, skies: Indices, seed: int) -> Image:
    """Set sources on an empty sky into the skies of some cutouts.

    With taper t a source carries noise of rms t. The sky is added with weight sqrt(1 - t^2), so that the
    noise of the sum has rms 1 everywhere: variances of independent noise add. Objects and missing pixels of
    the sky are replaced by beam noise.

    Parameters
    ----------
    reader
        The store of cutouts.
    sources_snr
        Sources in units of the noise, (N, S, S).
    donors
        Indices of the cutouts whose masks the sources were drawn for.
    skies
        Indices of the cutouts whose skies the sources are set into.
    seed
        Seed of the beam noise.
    """
    tapers, empty = tapers_of(reader, donors), read_skies(reader, skies, seed)
    return np.asarray(sources_snr + np.sqrt(1 - tapers**2) * empty, np.float32)


def read_skies(reader: StoreReader, indices: Indices, seed: int) -> Image:
    """Return cutouts (N, S, S) with their objects and missing pixels replaced by beam noise of one sigma."""
    snr, masks = read_snr(reader, indices), reader.read("mask", indices)
    skies = []
    for i, image, mask in zip(indices, snr, masks, strict=True):
        kept = 1 - _taper(reader, int(i), ((mask > 0) | ~np.isfinite(image)).astype(np.uint8))
        # 0 times NaN is NaN: a weight of 0 alone would not remove missing pixels.
        filled = np.nan_to_num(image) * kept
        # `kept` is the amplitude of the noise that is left, so the fill makes it one sigma everywhere.
        # The key is the cutout's, so a sky is filled alike in every row.
        skies.append(add_noise(filled, kept, *sky_of(reader, int(i)), seed, ("evaluate", "sky", int(i))))
    return np.stack(skies)


def to_network_range(reader: StoreReader, snr: Image) -> Image:
    """Return images in the networks' range (the store's stretch); NaN becomes the background, 0."""
    return stretch(np.nan_to_num(snr), 0.0, 1.0, str(reader.attrs["stretch"]))


def from_network_range(reader: StoreReader, u: Image) -> Image:
    """Return images in the networks' range as brightness in units of the noise."""
    return unstretch(u, 0.0, 1.0, str(reader.attrs["stretch"]))


def _taper(reader: StoreReader, index: int, mask: NDArray[np.uint8]) -> Image:
    beam, pixel = sky_of(reader, index)
    return source_taper(mask, beam.fwhm_pix(pixel))
