"""Maps of the sky at other frequencies, in units of their own and with or without a beam."""

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Literal

from astro_dist.engine.errors import ConfigError
from astro_dist.sky.beams import Beam
from astro_dist.sky.config import PlaneConfig
from astro_dist.sky.files import find_files
from astro_dist.sky.fits_reader import explained
from astro_dist.sky.map_files import own_names
from astro_dist.sky.map_image import find_map
from astro_dist.sky.maps import CHECK_AT_OPEN_BYTES, SkyMap, describe_map, file_age
from astro_dist.sky.units import PlaneUnit, choose_unit, parse_unit, plane_unit, zeros_of


@dataclass(frozen=True)
class PlaneMap:
    """A map that gives a plane.

    Attributes
    ----------
    sky_map
        Where its pixels are; its beam means nothing where the plane has none.
    unit
        What its pixels are in once they are read.
    beam
        Its beam in the frame of the image, or None.
    """

    sky_map: SkyMap
    unit: PlaneUnit
    beam: Beam | None

    @classmethod
    def of_map(cls, sky_map: SkyMap) -> "PlaneMap":
        """Return a map in Jy/beam as a plane."""
        return cls(sky_map, plane_unit(sky_map.unit), sky_map.beam)


def open_plane(config: PlaneConfig, unpacked_in: Path) -> list[PlaneMap]:
    """Open the maps of a plane in the order of their paths.

    Raises
    ------
    ConfigError
        A pattern matches nothing, the maps differ in unit, or one cannot be used: see `SkyMap.open`, apart
        from units and beams. A map in Jy/beam needs a beam, one in another unit does not.
    """
    setting = f"cutouts.planes {config.name}"
    paths = find_files(config, setting)
    names = own_names(paths)
    maps = []
    for path in paths:
        try:
            one = _open_once(path, config, unpacked_in, *file_age(path))
        except ConfigError as error:
            raise ConfigError(f"{setting}: {_of_entry(str(error))}") from None
        maps.append(replace(one, sky_map=replace(one.sky_map, name=names[path])))
    for one in maps[1:]:
        if one.unit.name != maps[0].unit.name:
            raise ConfigError(
                f"{setting}: {maps[0].sky_map.path} is in {maps[0].unit.name} and {one.sky_map.path} in "
                f"{one.unit.name}; make planes of their own of them"
            )
    return maps


def _of_entry(message: str) -> str:
    """Return a message on the settings of a map with the names that they have in the entry of a plane."""
    message = message.replace(", or background_only: true to take its noise alone", "")
    names = "|".join(PlaneConfig.model_fields)
    return re.sub(rf"(?<![\w/.-])maps\.(?=(?:{names})\b)", "", message)


@lru_cache(maxsize=4096)
def _open_once(path: Path, config: PlaneConfig, unpacked_in: Path, mtime_ns: int, size: int) -> PlaneMap:
    with explained(path, ConfigError):
        found = find_map(path, config.hdu, config.plane, config.stokes)
        unit = plane_unit(choose_unit(config.unit, str(found.header.get("BUNIT", ""))), config.per)
        sky_map, beam = describe_map(path, found, config, needs_beam=unit.per == "beam")
        sky_map = replace(
            sky_map,
            to_jy_beam=unit.factor,
            unit=unit.name,
            survey=config.name,
            unpacked=unpacked_in,
            zeros=config.zeros or _zeros_of(unit),
        )
        if beam is not None:
            sky_map.check_beam()
    if sky_map.layout.extent.data_bytes <= CHECK_AT_OPEN_BYTES:
        sky_map.verify()
    return PlaneMap(sky_map, unit, None if beam is None else sky_map.beam)


def _zeros_of(unit: PlaneUnit) -> Literal["data", "blank", "counts"]:
    if unit.per != "pixel":
        return "blank"
    known = parse_unit(unit.name)
    return "counts" if known is None else zeros_of(unit.name)
