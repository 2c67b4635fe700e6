"""What is known of islands that belong together, and needs no rule.

The user says it by a table of positions or by label images of the maps. Of simulated maps the truth is
known: an island is of the source that has most of its brightness, by the pixels in which that source is the
brightest, or of none where an artefact or plain noise has more. Islands of one source are joined. An island
over two galaxies is thus of one of them and never joins the two: what else the other one has is a source by
itself. Spurious islands belong to no source.
"""

import contextlib
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from astro_dist.engine.config import nearest
from astro_dist.engine.errors import ConfigError
from astro_dist.engine.work import Run
from astro_dist.sky.classes import SourceClass
from astro_dist.sky.config import JOIN_COLUMNS, AnnotateConfig, JoinConfig, MapsConfig
from astro_dist.sky.islands import in_beams
from astro_dist.sky.joining import GIVEN, TRUTH, Link
from astro_dist.sky.labels import Plane
from astro_dist.sky.maps import SkyMap
from astro_dist.sky.pairs import Candidates
from astro_dist.sky.survey import instances_file
from astro_dist.sky.user_files import read_columns
from astro_dist.sky.windows import bands

BAND_ROWS = 512
NEAR_BEAMS = 1.0
"""A row of the table belongs to the island with the nearest pixel, if that is not farther."""
Numbers = NDArray[np.int64]


def open_truth(run: Run, maps: Sequence[SkyMap]) -> list[Plane | None]:
    """Return the image of source numbers of each map that `simulate` published with one, else None."""
    join = run.section(AnnotateConfig).join
    if run.section(MapsConfig).files or not join.enabled or join.by != "truth":
        return [None] * len(maps)
    paths = [one.path.with_name(instances_file(one.name)) for one in maps]
    return [Plane.open(path, 1) if path.is_file() else None for path in paths]


def true_links(found: Candidates, truth: Plane) -> list[Link]:
    """Return the links between the islands of a simulated map that are of one source, see the module."""
    number, owner = _read_numbers(found, truth), found.islands.owner
    pairs, place = np.unique(np.stack([owner, number]), axis=1, return_inverse=True)
    value = found.islands.pixels.value_jy_beam.astype(np.float64)
    flux = np.bincount(place.ravel(), value, pairs.shape[1])
    # The last of each island, sorted by flux; of equal ones the least number, by the order of `unique`.
    order = np.lexsort((-pairs[1], flux, pairs[0]))
    last = order[np.flatnonzero(np.append(np.diff(pairs[0][order]), 1))]
    island, source = pairs[:, last]
    real = (source > 0) & (found.classes[island] >= SourceClass.COMPACT)
    links = _link(island[real].astype(np.int64), source[real].astype(np.int64), TRUTH)
    return [link for link in links if link.first != link.second]


def given_links(found: Candidates, sky_map: SkyMap, config: JoinConfig) -> list[Link]:
    """Return the links between the islands of a map that the user's files give one number.

    Raises
    ------
    ConfigError
        A file cannot be used, or a label image has another shape than its map.
    """
    parts: list[tuple[Numbers, Numbers]] = []
    if config.catalogue is not None:
        parts.append(_named_in_table(found, sky_map, config))
    if sky_map.name in config.labels:
        with _naming(f"annotate.join.labels.{sky_map.name}"):
            parts.append(_named_in_labels(found, sky_map, Path(config.labels[sky_map.name])))
    # Each file counts its sources for itself.
    return [link for island, number in parts for link in _link(island, number)]


def leave_settled(links: Sequence[Link], given: Sequence[Link]) -> list[Link]:
    """Return the links of islands that the user's files do not name."""
    settled = {island for link in given for island in (link.first, link.second)}
    return [link for link in links if not settled & {link.first, link.second}]


def check_given(config: JoinConfig, maps: Sequence[SkyMap]) -> None:
    """Refuse files that cannot be used, before anything runs: see `given_links`.

    Raises
    ------
    ConfigError
        Also when a label image is given for a map that the run does not have.
    """
    if config.catalogue is not None:
        _read_table(Path(config.catalogue), 0, *config.columns.items())
    by_name = {sky_map.name: sky_map for sky_map in maps}
    for name, path in config.labels.items():
        if name not in by_name:
            raise ConfigError(f"annotate.join.labels: there is no map {name!r}: {nearest(name, by_name)}")
        with _naming(f"annotate.join.labels.{name}"):
            plane = _open_labels(Path(path), by_name[name])
            # The first rows; the others are read by the run.
            plane.read_numbers(next(iter(bands(plane.shape, BAND_ROWS))))


@contextlib.contextmanager
def _naming(setting: str) -> Iterator[None]:
    """Put a setting before the faults of its file."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{setting}: {error}") from None


def _open_labels(path: Path, sky_map: SkyMap) -> Plane:
    plane = Plane.open(path, 1)
    if plane.shape != sky_map.shape:
        sizes = " and ".join(f"{ny} x {nx}" for ny, nx in (plane.shape, sky_map.shape))
        raise ConfigError(f"{path} and the map {sky_map.name!r} differ in shape ({sizes} pixels)")
    return plane


def _link(island: Numbers, number: Numbers, rule: str = GIVEN) -> list[Link]:
    """Link each island to the first one of its number; an island of several numbers has the least of them."""
    order = np.argsort(number, kind="stable")
    island, first = np.unique(island[order], return_index=True)
    number = number[order][first]
    links = []
    for one in np.unique(number).tolist():
        members = island[number == one].tolist()
        # An island alone is linked with itself: named by the user, it is joined by no rule.
        links += [Link(0.0, members[0], member, rule) for member in members[1:] or members]
    return links


def _named_in_table(found: Candidates, sky_map: SkyMap, config: JoinConfig) -> tuple[Numbers, Numbers]:
    """Return islands and the numbers of the table's rows that lie on them."""
    path = Path(config.catalogue or "")
    age = path.stat().st_mtime_ns if path.is_file() else 0
    ra, dec, number = _read_table(path, age, *config.columns.items())
    y, x = sky_map.pixel_of(ra, dec)
    seen = np.isfinite(y) & np.isfinite(x)
    rows = in_beams(y[seen], x[seen], found.beam, found.pixel)
    distance, nearest = cKDTree(found.points).query(rows, distance_upper_bound=NEAR_BEAMS)
    near = np.isfinite(distance)
    return found.islands.owner[nearest[near]].astype(np.int64), number[seen][near]


# Each map of a run reads the same table.
@lru_cache(maxsize=2)
def _read_table(
    path: Path, mtime_ns: int, *names: tuple[str, str]
) -> tuple[NDArray[np.float64], NDArray[np.float64], Numbers]:
    table = read_columns(path, JOIN_COLUMNS, names=dict(names))
    if not np.isfinite(table["source"]).all():
        raise ConfigError(f"{path}: a row has no number in the column source; take it out or number it")
    return table["ra_deg"], table["dec_deg"], table["source"].astype(np.int64)


def _named_in_labels(found: Candidates, sky_map: SkyMap, path: Path) -> tuple[Numbers, Numbers]:
    """Return islands and the labels that their pixels have, each pair once."""
    number = _read_numbers(found, _open_labels(path, sky_map))
    pairs = np.unique(np.stack([found.islands.owner, number])[:, number > 0], axis=1).astype(np.int64)
    return pairs[0], pairs[1]


def _read_numbers(found: Candidates, plane: Plane) -> Numbers:
    """Return the number that an image has in each pixel of the islands."""
    pixels = found.islands.pixels
    number = np.zeros(len(pixels), np.int64)
    for window in bands(found.shape, BAND_ROWS):
        here = np.flatnonzero((pixels.y >= window.y0) & (pixels.y < window.y1))
        if len(here):
            number[here] = plane.read_numbers(window)[pixels.y[here] - window.y0, pixels.x[here]]
    return number
