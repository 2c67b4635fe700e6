"""Names of array types used everywhere, so that each name means one type in all rooms."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]
"""Pixels as networks and maps hold them, one image or a stack; each use names axes and unit."""
AnyImage = NDArray[np.floating]
"""Pixels of any floating type, for functions that compute in float64 whatever they are given."""
Floats = NDArray[np.float64]
"""Numbers computed in double precision, of any shape."""
Integers = NDArray[np.int64]
"""Counts, positions in pixels or indices of rows, of any shape."""
Columns = dict[str, NDArray[Any]]
"""A table: arrays of one length by the names of their columns."""
