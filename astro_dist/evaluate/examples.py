"""Which images are shown of many: some of each class, evenly spread."""

import numpy as np
from numpy.typing import NDArray

from astro_dist.sky.classes import SourceClass


def choose_examples(masks: NDArray[np.uint8], source_class: SourceClass, n: int) -> NDArray[np.int64]:
    """Return up to ``n`` positions, evenly spread, of masks (m, s, s) that show a class.

    Compact ones show compact sources only; the others show the class among what else there is.
    """
    shows = (masks == source_class).any(axis=(1, 2))
    if source_class == SourceClass.COMPACT:
        shows &= ~np.isin(masks, (SourceClass.EXTENDED, SourceClass.SPURIOUS)).any(axis=(1, 2))
    found = np.flatnonzero(shows)
    return found[spread_evenly(len(found), n)]


def spread_evenly(n: int, most: int) -> NDArray[np.int64]:
    """Return up to ``most`` positions, spread evenly over ``n``."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).astype(np.int64))
