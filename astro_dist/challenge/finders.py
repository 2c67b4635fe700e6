"""Widths without the beam in the catalogues of finders, and that of CAESAR, whose columns have no names."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from astro_dist.engine.arrays import Columns, Floats
from astro_dist.engine.errors import ConfigError

DECONVOLVED: tuple[tuple[str, str, str, float], ...] = (
    ("dc_maj", "dc_min", "dc_pa", 3600.0),
    ("maj_axis_deconv", "min_axis_deconv", "pos_ang_deconv", 1.0),
)
"""Widths without the beam of PyBDSF, in degrees, and of Selavy, in arcsec."""
OBSERVED = ("a", "b", "pa", "psf_a", "psf_b", "psf_pa")
"""Widths of Aegean and of its beam, arcsec and degrees."""
CAESAR = re.compile(rb"#[^\n]*detected by CAESAR")
CAESAR_COLUMNS = {
    **{"ra_deg": 8, "dec_deg": 9, "peak_jy_beam": 13, "flux_jy": 15, "beam_pix": 19},
    **{"intrinsic_major_arcsec": 35, "intrinsic_minor_arcsec": 36, "intrinsic_pa_deg": 37},
}
"""Columns of a file of fitted components by their numbers, from 0."""
HEAD_BYTES = 4096


def read_caesar(path: Path) -> Columns | None:
    """Return the components of a text file of CAESAR, None where the file is of another kind.

    Fluxes are sums of pixels in Jy/beam there, and are divided by the pixels of a beam.

    Raises
    ------
    ConfigError
        A row has fewer columns than a component, as in CAESAR's other file, of islands.
    """
    with path.open("rb") as handle:
        if CAESAR.search(handle.read(HEAD_BYTES)) is None:
            return None
    rows: list[list[float]] = []
    for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        words = line.split("\t")
        try:
            rows.append([float(words[at]) for at in CAESAR_COLUMNS.values()])
        except (IndexError, ValueError):
            raise ConfigError(
                f"{path}: line {number} is no fitted component of CAESAR; give its file of components"
            ) from None
    table = dict(zip(CAESAR_COLUMNS, np.array(rows).reshape(-1, len(CAESAR_COLUMNS)).T, strict=True))
    table["flux_jy"] = table["flux_jy"] / table.pop("beam_pix")
    return table


def remove_beam(
    major: Floats, minor: Floats, pa_deg: Floats, beam: Sequence[Floats]
) -> tuple[Floats, Floats, Floats]:
    """Return the widths and the angle of Gaussians without the one of the beam; 0 where none is left.

    The covariance of a convolution is the sum of both.
    """
    rest = _covariance(major, minor, pa_deg) - _covariance(*beam)
    trace, spread = rest[:, 0] + rest[:, 1], np.hypot(rest[:, 0] - rest[:, 1], 2 * rest[:, 2])
    wide, narrow = (np.sqrt(np.maximum((trace + sign * spread) / 2, 0.0)) for sign in (1, -1))
    angle = np.degrees(np.arctan2(2 * rest[:, 2], rest[:, 0] - rest[:, 1]) / 2) % 180
    return wide, narrow, angle


def _covariance(major: Floats, minor: Floats, pa_deg: Floats) -> Floats:
    """Return the squares of widths to the north and to the east, and what mixes them."""
    cos, sin = np.cos(np.radians(pa_deg)), np.sin(np.radians(pa_deg))
    north = (major * cos) ** 2 + (minor * sin) ** 2
    east = (major * sin) ** 2 + (minor * cos) ** 2
    return np.stack([north, east, (major**2 - minor**2) * sin * cos], axis=1)
