"""The flux of generated objects over the flux of the real objects whose masks they were drawn for."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from astro_dist.sky.classes import SourceClass


@dataclass(frozen=True, eq=False)
class FluxRatios:
    """The objects of one stack of images, compared with the same objects of another stack.

    Attributes
    ----------
    image
        (n,) index of the image that holds each object.
    source_class
        (n,) class of the object.
    real_snr
        (n,) brightest pixel of the real object in units of the noise.
    dex
        (n,) ``log10`` of the object's flux over the real flux; -inf where the flux is not positive.
    """

    image: NDArray[np.int64]
    source_class: NDArray[np.int64]
    real_snr: NDArray[np.float64]
    dex: NDArray[np.float64]


def flux_ratios(
    snr: NDArray[np.floating],
    real_snr: NDArray[np.floating],
    mask: NDArray[np.integer],
    instances: NDArray[np.integer],
    min_snr: float = 5.0,
) -> FluxRatios:
    """Compare the flux of every compact and extended object over the pixels of its instance.

    An isophote holds only a part of a source's flux. Both images lose the same part, so the ratio needs no
    correction for the flux outside.

    Parameters
    ----------
    snr, real_snr
        (N, S, S) brightness above the background in units of the noise; NaN counts as zero.
    mask, instances
        (N, S, S) class and object per pixel.
    min_snr
        Objects whose real peak is fainter are left out, because noise dominates their ratio.
    """
    rows = []
    for index, numbers in enumerate(instances):
        labels = np.arange(1, int(numbers.max(initial=0)) + 1)
        if not labels.size:
            continue
        real = np.nan_to_num(real_snr[index])
        # Where the pixels of an object have several classes, the highest counts, as in `models.masks`.
        classes = ndimage.maximum(mask[index], numbers, labels)
        peaks = ndimage.maximum(real, numbers, labels)
        fluxes, wanted = (ndimage.sum_labels(x, numbers, labels) for x in (np.nan_to_num(snr[index]), real))
        # A sum below zero, for which there is no logarithm, counts as no flux.
        with np.errstate(divide="ignore", invalid="ignore"):
            dex = np.log10(np.maximum(fluxes, 0) / wanted)
        # Noise can bring the sum of a real object to 0 or below, and there is no ratio to such a sum.
        kept = (
            np.isin(classes, (SourceClass.COMPACT, SourceClass.EXTENDED)) & (peaks >= min_snr) & (wanted > 0)
        )
        rows += [(index, *row) for row in zip(classes[kept], peaks[kept], dex[kept], strict=True)]
    # The shape keeps four columns where no object is left.
    columns = np.array(rows, np.float64).reshape(-1, 4).T
    return FluxRatios(columns[0].astype(np.int64), columns[1].astype(np.int64), columns[2], columns[3])
