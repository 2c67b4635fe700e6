"""Masks of users in every form that is read: label images, COCO's JSON, RADiff's folders, and regions."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.io.fits import Header
from astropy.wcs import WCS
from numpy.typing import NDArray

from astro_dist.engine.errors import ConfigError
from astro_dist.engine.foreign import check_regular, read_mapping
from astro_dist.sky.class_words import ClassWords
from astro_dist.sky.coco import COCO_BYTES, is_coco, read_coco
from astro_dist.sky.coordinates import check_frame, pixel_in_icrs, read_wcs, sky_in_icrs
from astro_dist.sky.fill import Spots
from astro_dist.sky.fits_reader import Layout, explained
from astro_dist.sky.label_pieces import Frame, Piece, join_frames
from astro_dist.sky.labels import Labels, Plane
from astro_dist.sky.map_image import celestial_cards, find_canvas
from astro_dist.sky.region_shapes import Shape, System, fill_shape
from astro_dist.sky.region_text import parse_crtf, parse_ds9
from astro_dist.sky.user_files import read_plane

REGION_BYTES = 1 << 26
MOST_FILES = 200_000
REGION_SUFFIXES = (".reg", ".crtf", ".ds9", ".rgn", ".region")
Floats = NDArray[np.float64]
OpenCanvas = Callable[[], "MapCanvas"]


def read_labels(
    path: Path,
    least_pix: int,
    words: ClassWords,
    instances: Path | None = None,
    drawn_on: Path | None = None,
    hdu: int | str | None = None,
) -> Labels:
    """Return the objects of a user's masks.

    Parameters
    ----------
    path
        A FITS image of labels; JSON of COCO; a JSON file of RADiff (``objs``, with a FITS image for each
        object), or a folder of such; a region file of DS9 or CASA.
    least_pix
        Least side of an image.
    instances
        FITS image of object numbers, for a FITS image of labels.
    drawn_on
        FITS map that regions are drawn on.
    hdu
        Number from 0 or EXTNAME of the image of that map, where its file has such an image.

    Raises
    ------
    ConfigError
        In one line that names the file: it cannot be read, or a label of it is no class.
    """
    if path.suffix.lower() != ".json" and not path.is_dir() and not _is_region(path):
        mask = Plane.open(path, least_pix)
        numbers = None if instances is None else Plane.open(instances, least_pix)
        return Labels.read(mask, numbers, words)
    if instances is not None:
        raise ConfigError(f"{instances}: numbers of objects go with a FITS image of labels; leave them out")
    canvas = None if drawn_on is None else partial(MapCanvas.open, drawn_on, hdu)
    try:
        return join_frames(list(_frames(path, words, canvas)), least_pix)
    except ConfigError as error:
        text = str(error)
        raise ConfigError(text if text.startswith(f"{path}") else f"{path}: {text}") from None


def label_files(path: Path) -> list[Path]:
    """Return the files that masks are read from: the file itself, and the images that RADiff's JSON names."""
    if path.is_dir():
        return [file for one in radiff_files(path) for file in label_files(one)]
    if path.suffix.lower() == ".json" and path.is_file():
        about = read_about(path)
        if "objs" in about:
            return [path, *(mask for mask, _ in _objects(path, about))]
    return [path]


def _frames(path: Path, words: ClassWords, drawn_on: OpenCanvas | None) -> Iterator[Frame]:
    if path.is_dir():
        for one in radiff_files(path):
            yield read_radiff(one, read_about(one), words)
        return
    check_regular(path)
    if _is_region(path):
        if drawn_on is None:
            raise ConfigError("regions are drawn on a map; name its FITS file as generate.masks.map")
        yield read_regions(path, words, drawn_on())
        return
    about = read_about(path)
    if is_coco(about):
        yield from read_coco(path, words)
    elif "objs" in about:
        yield read_radiff(path, about, words)
    else:
        raise ConfigError("it is neither COCO's JSON (images, annotations) nor RADiff's (objs)")


def _is_region(path: Path) -> bool:
    """Return whether a file is one of regions, by its name or by its first words."""
    if path.suffix.lower() in REGION_SUFFIXES or not path.is_file():
        return path.suffix.lower() in REGION_SUFFIXES
    with path.open("rb") as handle:
        return handle.read(64).lstrip().startswith((b"#CRTF", b"# Region file format: DS9"))


def read_about(path: Path) -> dict[str, Any]:
    """Return the mapping in a JSON file of masks; the error names the file."""
    try:
        return read_mapping(path, COCO_BYTES)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def radiff_files(folder: Path) -> list[Path]:
    """Return the JSON files of a folder that describe masks as RADiff does, sorted."""
    files = sorted(folder.rglob("*.json"))
    if len(files) > MOST_FILES:
        raise ConfigError(f"{folder}: {len(files)} JSON files, at most {MOST_FILES} are read")
    found = [path for path in files if "objs" in read_about(path)]
    if not found:
        raise ConfigError(f"{folder}: no JSON file in it has objs, as those of RADiff's masks do")
    return found


def _objects(path: Path, about: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    """Yield the mask and the class of each object that a JSON file of RADiff names."""
    objects = about["objs"]
    if not isinstance(objects, list):
        raise ConfigError(f"{path}: its objs are no list")
    for number, item in enumerate(objects, 1):
        name = item.get("mask") if isinstance(item, dict) else None
        if not isinstance(name, str) or not isinstance(item.get("class"), str):
            raise ConfigError(f"{path}: object {number} has no mask or no class")
        # A description of masks has no business elsewhere.
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise ConfigError(f"{path}: object {number} names a mask outside its folder, {name[:60]!r}")
        yield path.parent / name, item["class"]


def read_radiff(path: Path, about: Mapping[str, Any], words: ClassWords) -> Frame:
    """Return the objects that a JSON file of RADiff, ``about``, names with an image for each."""
    shape = about.get("ny"), about.get("nx")
    pieces = []
    for number, (mask, name) in enumerate(_objects(path, about), 1):
        plane = read_plane(mask)
        if shape == (None, None):
            shape = plane.shape
        if plane.shape != shape:
            raise ConfigError(f"{path}: {mask.name} has {plane.shape} pixels, its image {shape}")
        kind = words.require([name], f"{path}: object {number}")
        pieces.append(Piece(Spots.of(np.nan_to_num(plane) > 0, 0, 0), kind))
    ny, nx = shape
    if not isinstance(ny, int) or not isinstance(nx, int) or not 0 < ny * nx < 1 << 31:
        raise ConfigError(f"{path}: its image has the size {ny} x {nx}")
    return Frame((ny, nx), tuple(pieces))


def read_regions(path: Path, words: ClassWords, canvas: "MapCanvas") -> Frame:
    """Return the objects of a region file of DS9 or CASA; errors do not name the file."""
    size = path.stat().st_size
    if size > REGION_BYTES:
        raise ConfigError(f"{size >> 20} MB of regions, at most {REGION_BYTES >> 20} are read")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigError("it is no text; is it a region file?") from None
    pieces = []
    for shape in parse_crtf(text) if text.startswith("#CRTF") else parse_ds9(text):
        kind = words.require(shape.words, f"line {shape.line}")
        if len((spots := _fill(shape, canvas)).y):
            pieces.append(Piece(spots, kind))
    if not pieces:
        raise ConfigError("it holds no circle, ellipse, box or polygon that lies on the map")
    return Frame(canvas.shape, tuple(pieces))


def _fill(shape: Shape, canvas: "MapCanvas") -> Spots:
    try:
        return fill_shape(shape, canvas)
    except ConfigError as error:
        raise ConfigError(f"line {shape.line}: {error}") from None


def _find_canvas(path: Path, hdu: int | str | None) -> tuple[Header, Layout]:
    try:
        return find_canvas(path, hdu)
    except ConfigError as error:
        raise ConfigError(str(error).replace("maps.hdu", "generate.read.hdu")) from None


@dataclass(frozen=True)
class MapCanvas:
    """Size and coordinates of a FITS map; neither unit nor beam is needed to draw on it."""

    shape: tuple[int, int]
    wcs: WCS

    @classmethod
    def open(cls, path: Path, hdu: int | str | None = None) -> "MapCanvas":
        """Read the header of the image of a file that is the map, chosen as for ``maps.files``."""
        with explained(path, ConfigError):
            header, layout = _find_canvas(path, hdu)
            wcs = read_wcs(celestial_cards(header))
            if not wcs.has_celestial or (wcs.wcs.lng, wcs.wcs.lat) != (0, 1):
                raise ConfigError("its first two axes are not those of the sky")
            check_frame(wcs.celestial)
            return cls((layout.axes[-2], layout.axes[-1]), wcs.celestial)

    def sky_of(self, system: System, y: Floats, x: Floats) -> tuple[Floats, Floats]:
        """Return longitude and latitude of pixels in one of the frames of regions."""
        if system in ("image", "map"):
            lon, lat = self.wcs.pixel_to_world_values(x, y)
            return lon, lat
        sky = SkyCoord(*sky_in_icrs(self.wcs, y, x), unit="deg", frame="icrs").transform_to(system)
        return np.asarray(sky.spherical.lon.deg), np.asarray(sky.spherical.lat.deg)

    def place(self, system: System, lon: float, lat: float) -> tuple[float, float]:
        """Return the pixel (y, x) of a position in one of the frames of regions."""
        if system == "map":
            x, y = self.wcs.world_to_pixel_values(lon, lat)
            return float(y), float(x)
        sky = SkyCoord(lon, lat, unit="deg", frame=system).icrs
        y, x = pixel_in_icrs(self.wcs, sky.ra.deg, sky.dec.deg)
        return float(y), float(x)
