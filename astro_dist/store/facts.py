"""The facts of a cutout beside its pixels, as numbers of about one for a network.

The numbers stand for a survey in place of its name, since a survey outside the training data has them too.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


def describe_cutouts(attrs: Mapping[str, Any], columns: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
    """Return six numbers for every cutout of a store, shape (N, 6) float32.

    The numbers are log2 of the beam's width over 4 pixels; the two components of the beam's elongation in
    pixels, (yy - xx) and 2 xy over (yy + xx) of its second moments, which no turn that keeps the beam
    changes; log10 of rms over 1 mJy/beam, of the major axis over 10 arcsec, and of the frequency over
    1.4 GHz, 0 where the frequency is unknown.
    """
    maps = [attrs["maps"][int(i)] for i in columns["source_map"]]
    dy, dx = np.array([one["pixel_arcsec"] for one in maps], np.float64).reshape(-1, 2).T
    frequency = np.array([one.get("frequency_hz") or 1.4e9 for one in maps], np.float64)
    major, minor = (columns[f"beam_{axis}_arcsec"].astype(np.float64) for axis in ("major", "minor"))
    cos, sin = (f(np.radians(columns["beam_pa_deg"].astype(np.float64))) for f in (np.cos, np.sin))
    yy = ((major * cos) ** 2 + (minor * sin) ** 2) / dy**2
    xx = ((major * sin) ** 2 + (minor * cos) ** 2) / dx**2
    # A positive angle turns the axis towards east, which is towards smaller x.
    xy = -(major**2 - minor**2) * sin * cos / (dy * dx)
    # The determinant of the moments has the fourth power of the width: the geometric mean of both axes.
    numbers = (
        np.log2((yy * xx - xy**2) ** 0.25 / 4),
        (yy - xx) / (yy + xx),
        2 * xy / (yy + xx),
        np.log10(columns["rms_jy_beam"].astype(np.float64) / 1e-3),
        np.log10(major / 10),
        np.log10(frequency / 1.4e9),
    )
    return np.stack(numbers, axis=-1).astype(np.float32)
