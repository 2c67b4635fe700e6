"""Planes of cutouts: maps at other frequencies on the pixels of each window, at one beam where that is asked.

Which maps a window meets, and the beam, follow from the positions of the windows alone. Pixels decide between
several maps that a window meets, when it is cut.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.arrays import Floats, Integers
from astro_dist.engine.errors import ConfigError
from astro_dist.engine.work import Run
from astro_dist.sky.beams import Beam
from astro_dist.sky.common_beam import MISSED, beam_of_moments, find_common, find_excess, moments_of_beam
from astro_dist.sky.coordinates import wcs_cards
from astro_dist.sky.map_files import UNPACKED
from astro_dist.sky.maps import SkyMap
from astro_dist.sky.planes import PlaneMap, open_plane
from astro_dist.sky.resample import KERNEL_SIGMAS, beam_moments, resample
from astro_dist.sky.tangent import FWHM_PER_SIGMA
from astro_dist.sky.windows import Window
from astro_dist.store.config import COMMON, CutoutsConfig
from astro_dist.store.rows import find_near, find_on_map, to_directions
from astro_dist.store.schema import COMMON_BEAM, PLANES

PLACES = 3
"""Places along a side of a window at which it is asked which maps hold it."""
BEAM_DIGITS = 6
BYTES_PER_PIXEL = 64
"""Memory for each pixel of a plane under a window: the pixels, their convolution and its spectra."""


@dataclass(frozen=True, eq=False)
class Planes:
    """The planes of all windows of a run.

    Attributes
    ----------
    maps
        The maps of `open_maps`, whose pixels the windows are of.
    windows
        Map, first row and first column of each window, shape (n, 3); map -1 for one that has no planes.
    size_pix
        Side of the windows.
    planes
        The maps of each plane, by its name.
    held
        For each plane, how many of 9 places of each window each of its maps holds, shape (maps, n).
    common
        Beam of all planes, in the frame of the image of each map; None where each keeps its own.
    """

    maps: Sequence[SkyMap]
    windows: Integers
    size_pix: int
    planes: Mapping[str, Sequence[PlaneMap]]
    held: Mapping[str, NDArray[np.uint8]]
    common: Beam | None

    @property
    def attributes(self) -> dict[str, Any]:
        """The attributes of a store with these planes."""
        planes = [
            {
                "name": name,
                "unit": maps[0].unit.name,
                "maps": [describe_map(one.sky_map, one.beam) for one in maps],
            }
            for name, maps in self.planes.items()
        ]
        return {PLANES: planes} | ({} if self.common is None else {COMMON_BEAM: asdict(self.common)})

    @property
    def columns(self) -> list[str]:
        """The names of the columns that `cut` returns."""
        return [f"source_map_{name}" for name in self.planes]

    def notes(self) -> list[str]:
        """Return a sentence for each plane that some windows are not on, or that has no frequency."""
        has_planes = self.windows[:, 0] >= 0
        missing = {name: int((~held.any(axis=0) & has_planes).sum()) for name, held in self.held.items()}
        notes = [describe_missing(name, n, int(has_planes.sum())) for name, n in missing.items() if n]
        for name, maps in self.planes.items():
            if any(one.sky_map.frequency_hz is None for one in maps):
                notes.append(f"the plane {name} has no frequency; frequency_hz in its entry may give it")
        return notes

    @property
    def window_bytes(self) -> int:
        """The most memory that cutting one window takes, to a factor of 2."""
        widest = max(max(one.pixel.dy_arcsec, one.pixel.dx_arcsec) for one in self.maps)
        pixels = [one.sky_map.pixel for maps in self.planes.values() for one in maps]
        finest = min(min(one.dy_arcsec, one.dx_arcsec) for one in pixels)
        # A window turned by 45 degrees lies in one of twice the area, and its kernel reaches beyond it.
        side = math.sqrt(2) * self.size_pix * max(1.0, widest / finest)
        if self.common is not None:
            side += 2 * KERNEL_SIGMAS / FWHM_PER_SIGMA * self.common.major_arcsec / min(widest, finest)
        return int(BYTES_PER_PIXEL * side**2)

    def cut(self, members: Iterable[int], stacks: Mapping[str, NDArray[Any]]) -> dict[str, list[int]]:
        """Fill ``image_NAME`` and ``valid_NAME`` of some windows; return the map of each, -1 for none.

        Parameters
        ----------
        stacks
            Arrays of shape (members, s, s), by name.
        """
        found: dict[str, list[int]] = {name: [] for name in self.columns}
        for place, i in enumerate(members):
            if self.common is not None:
                stacks[f"image_{COMMON}"][place] = self._cut_common(i)
            for name in self.planes:
                image, number = self._cut_one(name, i)
                stacks[f"image_{name}"][place] = image
                found[f"source_map_{name}"].append(number)
        for name in [*self.planes, *([] if self.common is None else [COMMON])]:
            np.isfinite(stacks[f"image_{name}"], out=stacks[f"valid_{name}"])
        return found

    def _window(self, i: int) -> tuple[SkyMap, Window]:
        map_index, y0, x0 = self.windows[i].tolist()
        return self.maps[map_index], Window(y0, y0 + self.size_pix, x0, x0 + self.size_pix)

    def _cut_common(self, i: int) -> NDArray[np.float32]:
        if self.windows[i, 0] < 0:
            return self._empty()
        own, window = self._window(i)
        return resample(own, window, PlaneMap.of_map(own), self.common)

    def _cut_one(self, name: str, i: int) -> tuple[NDArray[np.float32], int]:
        """Return a window of the map that gives it the most valid pixels, and the map's number."""
        best, number, most = self._empty(), -1, 0
        held = self.held[name][:, i]
        for one in np.argsort(-held.astype(int), kind="stable")[: np.count_nonzero(held)].tolist():
            own, window = self._window(i)
            image = resample(own, window, self.planes[name][one], self.common)
            valid = int(np.isfinite(image).sum())
            if valid > most:
                best, number, most = image, one, valid
            if most == image.size:
                break
        return best, number

    def _empty(self) -> NDArray[np.float32]:
        return np.full((self.size_pix, self.size_pix), np.nan, np.float32)


def describe_map(sky_map: SkyMap, beam: Beam | None) -> dict[str, Any]:
    """Return what the attributes of a store say of a map."""
    return {
        "name": sky_map.name,
        "shape": list(sky_map.shape),
        "header": wcs_cards(sky_map.wcs),
        **({} if beam is None else {"beam": asdict(beam)}),
        "pixel_arcsec": [sky_map.pixel.dy_arcsec, sky_map.pixel.dx_arcsec],
        "frequency_hz": sky_map.frequency_hz,
    }


def describe_missing(name: str, n: int, total: int) -> str:
    """Return the sentence about a plane that ``n`` of the cutouts lack."""
    return f"{n} of {total} cutouts have no pixel of the plane {name.removeprefix('source_map_')}"


def open_planes(run: Run) -> dict[str, list[PlaneMap]]:
    """Open the maps of all planes.

    Raises
    ------
    ConfigError
        See `open_plane`; also when a common beam is asked for and a plane has none.
    """
    config = run.section(CutoutsConfig)
    planes = {one.name: open_plane(one, run.root / UNPACKED) for one in config.planes}
    for name, maps in planes.items():
        for one in maps:
            if one.beam is None and config.common_beam is not False:
                raise ConfigError(
                    f"cutouts.common_beam: the map {one.sky_map.name} of the plane {name} has no beam; give "
                    "its beam_major_arcsec, or leave common_beam out"
                )
    return planes


def lay_planes(
    run: Run, maps: Sequence[SkyMap], map_index: Integers, y0: Integers, x0: Integers
) -> Planes | None:
    """Lay the planes under windows; None where the settings name no planes.

    Parameters
    ----------
    map_index, y0, x0
        Map, first row and first column of each window, shape (n,); map -1 for one without planes.

    Raises
    ------
    ConfigError
        See `open_planes`; also when no map of a plane meets a window, or a plane cannot have the common beam.
    """
    config = run.section(CutoutsConfig)
    if not config.planes:
        return None
    opened = open_planes(run)
    windows = np.column_stack([map_index, y0, x0])
    places = _places(maps, windows, config.size_pix)
    held = {
        name: np.stack([_count_held(one.sky_map, *places) for one in planes])
        for name, planes in opened.items()
    }
    for name, counts in held.items():
        if not counts.any():
            n, first = np.count_nonzero(map_index >= 0), opened[name][0].sky_map.name
            raise ConfigError(
                f"cutouts.planes {name}: none of its maps ({first} the first) meets any of the {n} cutouts; "
                "give other maps or take the plane out"
            )
    laid = Planes(maps, windows, config.size_pix, opened, held, None)
    return replace(laid, common=_choose_beam(laid, config.common_beam))


def _places(maps: Sequence[SkyMap], windows: Integers, size_pix: int) -> tuple[Floats, Floats]:
    """Return the positions of 3 x 3 places of each window, from corner to corner, NaN for no planes."""
    steps = np.linspace(0, size_pix - 1, PLACES)
    dy, dx = (axis.ravel() for axis in np.meshgrid(steps, steps, indexing="ij"))
    sky = np.full((2, len(windows), PLACES**2), np.nan)
    for i, sky_map in enumerate(maps):
        here = windows[:, 0] == i
        if here.any():
            sky[:, here] = sky_map.sky_of(windows[here, 1, None] + dy, windows[here, 2, None] + dx)
    return sky[0], sky[1]


def _count_held(sky_map: SkyMap, ra_deg: Floats, dec_deg: Floats) -> NDArray[np.uint8]:
    """Return how many of the places (n, k) of each window lie on a map, shape (n,)."""
    ra, dec = ra_deg.ravel(), dec_deg.ravel()
    near = np.flatnonzero(np.isfinite(ra) & find_near(sky_map, to_directions(ra, dec)))
    on_map = find_on_map(sky_map, near, ra, dec)[0]
    return np.bincount(on_map // ra_deg.shape[1], minlength=len(ra_deg)).astype(np.uint8)


def _choose_beam(laid: Planes, wanted: bool | tuple[float, float, float]) -> Beam | None:
    if wanted is False:
        return None
    groups = _beams_of(laid)
    if wanted is True:
        beam = beam_of_moments(find_common(np.concatenate([moments for _, moments in groups])))
        # Last bits, which may differ between machines, would be in every pixel.
        common = Beam(
            *(round(value, BEAM_DIGITS) for value in (beam.major_arcsec, beam.minor_arcsec, beam.pa_deg))
        )
    else:
        common = Beam(*wanted)
    _refuse_wide(laid, common)
    for named, moments in groups if wanted is not True else ():
        excess = find_excess(moments_of_beam(common), moments)
        if excess.max() > MISSED:
            own = _show(beam_of_moments(moments[excess.argmax()]))
            raise ConfigError(
                f"cutouts.common_beam: {named} has a beam of {own} there, which cannot be convolved to "
                f"{_show(common)}; give a larger beam, or true for the smallest that all can have"
            )
    return common


def _refuse_wide(laid: Planes, common: Beam) -> None:
    """Refuse a common beam wider than a cutout or than a third of a map: its kernel would have no bound."""
    sides = []
    for i in np.unique(laid.windows[laid.windows[:, 0] >= 0, 0]).tolist():
        one = laid.maps[i]
        ny, nx = one.shape
        dy, dx = one.pixel.dy_arcsec, one.pixel.dx_arcsec
        sides.append((laid.size_pix * min(dy, dx), f"a cutout of {one.name}"))
        sides.append((min(ny * dy, nx * dx) / 3, f"a third of {one.name}"))
    widest, named = min(sides)
    if common.major_arcsec > widest:
        raise ConfigError(
            f"cutouts.common_beam: a beam of {_show(common)} is wider than {named} ({widest:.4g} arcsec); "
            "give a smaller beam, larger cutouts, or leave common_beam out"
        )


def _show(beam: Beam) -> str:
    return f"{beam.major_arcsec:.4g} x {beam.minor_arcsec:.4g} arcsec at {beam.pa_deg:.4g} deg"


def _beams_of(laid: Planes) -> list[tuple[str, Floats]]:
    """Return the moments, in the frames of the images, of the beams of each map at all of its windows."""
    groups: list[tuple[str, Floats]] = []
    middle = (laid.size_pix - 1) / 2
    for i in np.unique(laid.windows[laid.windows[:, 0] >= 0, 0]).tolist():
        own, here = laid.maps[i], laid.windows[:, 0] == i
        y, x = (laid.windows[here, 1:] + middle).T
        groups.append((f"the map {own.name}", beam_moments(own, PlaneMap.of_map(own), y, x)))
        for name, planes in laid.planes.items():
            for one, held in zip(planes, laid.held[name], strict=True):
                y, x = (laid.windows[here & (held > 0), 1:] + middle).T
                named = f"the map {one.sky_map.name} of the plane {name}"
                groups.append((named, beam_moments(own, one, y, x)))
    return [(named, moments) for named, moments in groups if len(moments)]
