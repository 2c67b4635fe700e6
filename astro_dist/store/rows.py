"""Windows round the rows of a catalogue: one for each row, or the reason why a row has none.

The nearest pixel is that of astropy's ``Cutout2D``: the middle of a window is at most half a pixel from the
position along each axis.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.arrays import Floats, Integers
from astro_dist.engine.errors import ConfigError
from astro_dist.sky.maps import SkyMap
from astro_dist.sky.user_files import UserTable, read_table
from astro_dist.sky.windows import Window
from astro_dist.store.config import POSITION, CutoutsConfig

NO_POSITION, OFF_MAPS, NEAR_EDGE = "no_position", "off_every_map", "near_an_edge"
ON_BLANKS = "on_blanks"
"""The reason that is known once pixels are read: such a row has a cutout, with the flag ``little_data``."""
OUTLINE, NEAR_COS = 33, 0.5
"""Points of a side of a map's outline, and cosine of the largest radius, 60 degrees, that it is used for."""
MOST_NAMED, MOST_LISTED = 5, 1000
"""Most rows of a reason that a message names, and that a store lists."""


@dataclass(frozen=True, eq=False)
class RowWindows:
    """The windows of a catalogue's rows.

    Attributes
    ----------
    map_index, y0, x0
        Map of each row, and first row and column of its window there, shape (rows,); -1 without a window.
    refused
        Rows without a usable window, ascending, by the reason.
    """

    map_index: Integers
    y0: Integers
    x0: Integers
    refused: Mapping[str, Integers]

    def summary(self, config: CutoutsConfig) -> dict[str, Any]:
        """Return the figures of the catalogue, and the first refused rows of each reason, as JSON."""
        counts = {reason: len(rows) for reason, rows in self.refused.items()}
        return {
            "file": Path(str(config.catalogue)).name,
            "rows": len(self.map_index),
            "used": len(self.map_index) - sum(counts.values()),
            "refused": counts,
            "refused_rows": {reason: rows[:MOST_LISTED].tolist() for reason, rows in self.refused.items()},
        }

    def notes(self) -> list[str]:
        """Return the sentence that says which rows are refused, in a list; none where all are used."""
        if not (refused := self.describe()):
            return []
        n = sum(map(len, self.refused.values()))
        return [f"{n} of {len(self.map_index)} rows of cutouts.catalogue give no usable cutout: {refused}"]

    def describe(self) -> str:
        """Return how many rows are refused, why, and which come first, counted from 0."""
        parts = []
        for reason, rows in self.refused.items():
            more = " ..." if len(rows) > MOST_NAMED else ""
            first = ", ".join(map(str, rows[:MOST_NAMED].tolist())) + more
            if len(rows):
                parts.append(f"{len(rows)} {reason.replace('_', ' ')} (rows from 0: {first})")
        return "; ".join(parts)


def read_positions(config: CutoutsConfig) -> tuple[Floats, Floats]:
    """Return right ascension and declination, degrees, of the rows of the catalogue; NaN for none.

    Raises
    ------
    ConfigError
        The file is missing or cannot be read, lacks a column, or has no rows.
    """
    columns = _read(config).columns
    return columns["ra_deg"], columns["dec_deg"]


def note_catalogue(config: CutoutsConfig) -> tuple[str, ...]:
    """Return sentences on what is taken for granted about the catalogue; raises as `read_positions`."""
    return _read(config).notes


def _read(config: CutoutsConfig) -> UserTable:
    path = config.catalogue_path
    if path is None:
        raise ConfigError("cutouts.catalogue names no table; give one, or choose another cutouts.mode")
    age = path.stat().st_mtime_ns if path.is_file() else 0
    return _read_once(path, age, tuple(sorted(config.columns.items())))


# Plan, tasks and finish of one process read the same table.
@lru_cache(maxsize=1)
def _read_once(path: Path, mtime_ns: int, names: tuple[tuple[str, str], ...]) -> UserTable:
    table = read_table(path, POSITION, names=MappingProxyType(dict(names)))
    if not len(table.columns["ra_deg"]):
        raise ConfigError(f"{path}: it has no rows; give cutouts.catalogue a table of positions")
    return table


def place_rows(
    maps: Sequence[SkyMap], ra_deg: Floats, dec_deg: Floats, size_pix: int, least_valid: float = 0.0
) -> RowWindows:
    """Place the window of each row on one map.

    Of several maps that hold the window whole, those of the survey that comes first are taken, and of these
    the one in which the window is farthest from the edge, in pixels; of equal ones the first. A map with too
    few valid pixels in the window comes after all that have enough.

    Parameters
    ----------
    maps
        In the order of surveys; those that give backgrounds alone take no row.
    ra_deg, dec_deg
        ICRS, shape (rows,); NaN for none.
    least_valid
        Valid part of a window that is enough; 0 reads no pixels. Otherwise windows that several maps hold are
        read, in the order of the maps' ranks up to the first that has enough. Which rows are refused does not
        depend on it.
    """
    n = len(ra_deg)
    known = np.isfinite(ra_deg) & np.isfinite(dec_deg)
    on_map, directions = np.zeros(n, np.bool_), to_directions(ra_deg, dec_deg)
    surveys = list(dict.fromkeys(sky_map.survey for sky_map in maps))
    found = [np.zeros((0, len(_Candidate._fields)), np.int64)]
    for i, sky_map in enumerate(maps):
        if sky_map.background_only:
            continue
        rows = np.flatnonzero(known & find_near(sky_map, directions))
        rows, y, x = find_on_map(sky_map, rows, ra_deg, dec_deg)
        on_map[rows] = True
        # The least origin whose window's middle is not more than half a pixel below the position.
        y0, x0 = (np.ceil(axis - size_pix / 2).astype(np.int64) for axis in (y, x))
        ny, nx = sky_map.shape
        margin = np.min([y0, ny - size_pix - y0, x0, nx - size_pix - x0], axis=0)
        rank = np.full(len(rows), surveys.index(sky_map.survey))
        found.append(np.column_stack([rows, rank, -margin, np.full(len(rows), i), y0, x0])[margin >= 0])
    # By row, then in the order in which maps are taken: survey, distance from the edge, place in the list.
    table = np.concatenate(found)
    table = table[np.lexsort(table[:, 3::-1].T)]
    chosen = _first_with_data(maps, table, size_pix, least_valid)
    place = np.full((3, n), -1, np.int64)
    place[:, chosen[:, 0]] = chosen[:, 3:].T
    refused = {
        NO_POSITION: np.flatnonzero(~known),
        OFF_MAPS: np.flatnonzero(known & ~on_map),
        NEAR_EDGE: np.flatnonzero(on_map & (place[0] < 0)),
    }
    return RowWindows(place[0], place[1], place[2], refused)


class _Candidate(NamedTuple):
    """The columns of a table of windows that rows may have."""

    row: int
    survey: int
    minus_margin: int
    map_index: int
    y0: int
    x0: int


def _first_with_data(maps: Sequence[SkyMap], table: Integers, size_pix: int, least_valid: float) -> Integers:
    """Return one candidate for each row: the first with enough valid pixels, or the first of all."""
    _, first, count = np.unique(table[:, 0], return_index=True, return_counts=True)
    chosen = table[first]
    for i in np.flatnonzero(count > 1) if least_valid > 0 else ():
        for one in map(_Candidate._make, table[first[i] : first[i] + count[i]].tolist()):
            window = Window(one.y0, one.y0 + size_pix, one.x0, one.x0 + size_pix)
            if np.isfinite(maps[one.map_index].read(window)).mean() >= least_valid:
                chosen[i] = one
                break
    return chosen


def to_directions(ra_deg: Floats, dec_deg: Floats) -> Floats:
    """Return positions as unit vectors, shape (..., 3)."""
    ra, dec = np.radians(ra_deg), np.radians(dec_deg)
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=-1)


def find_near(sky_map: SkyMap, directions: Floats) -> NDArray[np.bool_]:
    """Return which unit vectors (rows, 3) may lie on a map, much faster than they are projected.

    No position of a map is farther from its middle than its outline, unless the map holds the opposite point.
    """
    (ny, nx), along, zeros = sky_map.shape, np.linspace(0, 1, OUTLINE), np.zeros(OUTLINE)
    y = np.concatenate([[0.5], along, along, zeros, zeros + 1]) * ny - 0.5
    x = np.concatenate([[0.5], zeros, zeros + 1, along, along]) * nx - 0.5
    middle, *outline = to_directions(*sky_map.sky_of(y, x))
    # The margin allows for what the outline does between its points.
    least = np.cos(1.1 * np.arccos(np.clip(np.min(outline @ middle), -1, 1)))
    if not least > NEAR_COS:
        return np.ones(len(directions), np.bool_)
    return np.asarray(directions @ middle >= least)


def find_on_map(
    sky_map: SkyMap, rows: Integers, ra_deg: Floats, dec_deg: Floats
) -> tuple[Integers, Floats, Floats]:
    """Return those of some rows that lie on a map, and their pixel positions."""
    y, x = sky_map.pixel_of(ra_deg[rows], dec_deg[rows])
    # Positions that do not project are NaN and no comparison holds.
    inside: NDArray[np.bool_] = (y >= -0.5) & (y < sky_map.shape[0] - 0.5)
    inside &= (x >= -0.5) & (x < sky_map.shape[1] - 0.5)
    return rows[inside], y[inside], x[inside]


def place_catalogue(config: CutoutsConfig, maps: Sequence[SkyMap], *, look: bool = False) -> RowWindows:
    """Place the windows of the catalogue that the settings name.

    Parameters
    ----------
    look
        Whether pixels decide which of several maps a row gets, see `place_rows`.

    Raises
    ------
    ConfigError
        See `read_positions`; also where no row gets a window.
    """
    least = config.min_valid_fraction if look else 0.0
    placed = place_rows(maps, *read_positions(config), config.size_pix, least)
    if not (placed.map_index >= 0).any():
        raise ConfigError(
            f"{config.catalogue}: none of its {len(placed.map_index)} rows gets a cutout of "
            f"{config.size_pix} pixels: {placed.describe()}; give other maps or another catalogue"
        )
    return placed
