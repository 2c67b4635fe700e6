"""Names of array types used everywhere, so that each name means one type in all rooms."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]
"""Pixels as networks and maps hold them, one image or a stack; the user's text names axes and unit."""
AnyImage = NDArray[np.floating]
"""Pixels of any floating type, for functions that compute in float64 whatever they are given."""
Columns = dict[str, NDArray[Any]]
"""A table: arrays of one length by the names of their columns."""
