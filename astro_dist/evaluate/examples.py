"""The choice of example images: some of each class, evenly spread over all."""

import numpy as np
from numpy.typing import NDArray

from astro_dist.sky.classes import SourceClass


def choose_examples(masks: NDArray[np.uint8], source_class: SourceClass, n: int) -> NDArray[np.int64]:
    """Return up to ``n`` positions, evenly spread, of masks (m, s, s) that show a class.

    Examples of compact sources show no other class; examples of the other classes may show all of them.
    """
    shows = (masks == source_class).any(axis=(1, 2))
    if source_class == SourceClass.COMPACT:
        shows &= ~np.isin(masks, (SourceClass.EXTENDED, SourceClass.SPURIOUS)).any(axis=(1, 2))
    found = np.flatnonzero(shows)
    return found[spread_evenly(len(found), n)]


def spread_evenly(n: int, most: int) -> NDArray[np.int64]:
    """Return up to ``most`` positions, spread evenly over ``n``."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).astype(np.int64))
