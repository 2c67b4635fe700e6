"""Annotations that experts have edited, read from every form that `astro-dist export` writes them in."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from astro_dist.engine.config import nearest
from astro_dist.engine.errors import ConfigError
from astro_dist.engine.foreign import expand_home
from astro_dist.engine.work import Run
from astro_dist.sky.class_words import ClassWords
from astro_dist.sky.coco import read_coco
from astro_dist.sky.config import AnnotateConfig
from astro_dist.sky.expert_files import SETTING, SUFFIXES, find_edits, numbers_beside
from astro_dist.sky.fill import Spots
from astro_dist.sky.label_files import (
    MapCanvas,
    read_about,
    read_radiff,
    read_regions,
)
from astro_dist.sky.label_pieces import Frame, Piece, join_frames
from astro_dist.sky.labels import Labels, Plane
from astro_dist.sky.maps import SkyMap

WORDS = ClassWords(setting=None)
Reader = Callable[[], Labels]


def read_edits(run: Run, maps: Sequence[SkyMap]) -> dict[str, Reader]:
    """Return what reads the edited objects of the maps of a run, see `open_edits`; nothing without any."""
    setting = run.section(AnnotateConfig).expert
    searched = [sky_map for sky_map in maps if not sky_map.background_only]
    return {} if setting is None else open_edits(expand_home(setting), searched)


def open_edits(path: Path, maps: Sequence[SkyMap]) -> dict[str, Reader]:
    """Return what reads the edited objects of each map, by its name; maps without any are left out.

    Raises
    ------
    ConfigError
        Also from the readers: in one line with the setting, see `find_edits`; a file belongs to no map.
    """
    form, files = find_edits(path)
    if form == "coco":
        return _read_coco(files[0], maps)
    if form == "radiff":
        return _read_radiff(files, maps)
    read = _read_labels if form == "fits" else _read_outlines
    owners = [(_owner(file.name.removesuffix(SUFFIXES[form]), file, maps), file) for file in files]
    return {sky_map.name: partial(_named, file, read, sky_map) for sky_map, file in owners}


def _owner(name: str, file: Path, maps: Sequence[SkyMap], *, alone: bool = True) -> SkyMap:
    """Return the map of a name; where there is one map alone, any file may be its."""
    by_name = {sky_map.name: sky_map for sky_map in maps}
    if name in by_name:
        return by_name[name]
    if len(maps) == 1 and alone:
        return maps[0]
    raise ConfigError(f"{SETTING}: {file} belongs to no map of the run; {name!r}: {nearest(name, by_name)}")


def _named(file: Path, read: Callable[[Path, SkyMap], Labels], sky_map: SkyMap) -> Labels:
    try:
        labels = read(file, sky_map)
        if labels.shape != sky_map.shape:
            sizes = " and ".join(f"{ny} x {nx}" for ny, nx in (labels.shape, sky_map.shape))
            raise ConfigError(f"it and the map {sky_map.name!r} differ in shape ({sizes} pixels)")
        return labels
    except ConfigError as error:
        text = str(error)
        raise ConfigError(f"{SETTING}: {text if f'{file}' in text else f'{file}: {text}'}") from None


def _read_labels(file: Path, sky_map: SkyMap) -> Labels:
    numbers = numbers_beside(file)
    return Labels.read(Plane.open(file, 1), None if numbers is None else Plane.open(numbers, 1), WORDS)


def _read_outlines(file: Path, sky_map: SkyMap) -> Labels:
    return _one(read_regions(file, WORDS, MapCanvas(sky_map.shape, sky_map.wcs)))


def _one(frame: Frame) -> Labels:
    return join_frames([frame], 1)


def _read_coco(file: Path, maps: Sequence[SkyMap]) -> dict[str, Reader]:
    try:
        frames = read_coco(file, WORDS)
    except ConfigError as error:
        raise ConfigError(f"{SETTING}: {file}: {error}") from None
    by_file = {sky_map.path.name: sky_map for sky_map in maps}
    owned = {(by_file.get(one.name) or _owner(one.name, file, maps)).name: one for one in frames}
    by_name = {sky_map.name: sky_map for sky_map in maps}
    return {name: partial(_named, file, partial(_given, one), by_name[name]) for name, one in owned.items()}


def _given(frame: Frame, file: Path, sky_map: SkyMap) -> Labels:
    return _one(frame)


def _read_radiff(files: Sequence[Path], maps: Sequence[SkyMap]) -> dict[str, Reader]:
    owned: dict[str, list[Path]] = {}
    for file in files:
        sky_map = _owner(str(read_about(file).get("map")), file, maps, alone=False)
        owned.setdefault(sky_map.name, []).append(file)
    by_name = {sky_map.name: sky_map for sky_map in maps}
    return {
        name: partial(_named, some[0].parent, partial(_join_radiff, some), by_name[name])
        for name, some in owned.items()
    }


def _join_radiff(files: Sequence[Path], folder: Path, sky_map: SkyMap) -> Labels:
    pieces = [piece for file in files for piece in _placed(file)]
    ny, nx = sky_map.shape
    for piece in pieces:
        y, x = piece.spots.y, piece.spots.x
        if y.max(initial=0) >= ny or x.max(initial=0) >= nx:
            raise ConfigError(f"an object reaches over the {ny} x {nx} pixels of the map {sky_map.name!r}")
    return _one(Frame(sky_map.shape, tuple(pieces)))


def _placed(file: Path) -> list[Piece]:
    """Return the objects of a cutout in the pixels of its map."""
    about = read_about(file)
    y0, x0 = about.get("y0"), about.get("x0")
    if not (isinstance(y0, int) and isinstance(x0, int) and 0 <= min(y0, x0) <= max(y0, x0) < 1 << 30):
        raise ConfigError(f"{file}: it does not say where in the map its cutout begins (y0, x0)")
    return [
        replace(piece, spots=Spots(piece.spots.y + np.int32(y0), piece.spots.x + np.int32(x0)))
        for piece in read_radiff(file, about, WORDS).pieces
    ]
