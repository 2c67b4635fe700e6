"""Masks in the forms of finders and of people who draw: COCO's JSON, label images, regions."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from astro_dist.engine.files import publish_bytes, publish_json
from astro_dist.engine.work import Run
from astro_dist.exports.pieces import Piece
from astro_dist.field.truth_text import crtf_lines, region_lines
from astro_dist.sky.annotations import Annotations
from astro_dist.sky.classes import SourceClass
from astro_dist.sky.coco import CATEGORIES, describe_object
from astro_dist.sky.fits_file import BandedImage, publish_image, radio_header
from astro_dist.sky.maps import SkyMap, open_maps
from astro_dist.sky.windows import Window

REGIONS = {"ds9": (".reg", region_lines), "crtf": (".crtf", crtf_lines)}
CLASSES, SOURCES = "-classes.fits", "-sources.fits"


def write_coco(path: Path, pieces: Iterable[Piece], about: str) -> None:
    """Write the objects of some pieces as COCO has them; the image of each is ``NAME.fits``."""
    images, annotations = list[dict[str, Any]](), list[dict[str, Any]]()
    for piece in pieces:
        height, width = piece.mask.shape
        images.append(
            {"id": piece.index, "file_name": f"{piece.name}.fits", "height": height, "width": width}
        )
        for entry in _entries(piece.mask, piece.instances.astype(np.int64)):
            annotations.append({"id": len(annotations) + 1, "image_id": piece.index, **entry})
    info = {"description": f"{about}; rows count from the first of the FITS image"}
    publish_json(path, {"info": info, "categories": CATEGORIES, "images": images, "annotations": annotations})


def _entries(mask: Any, numbers: Any) -> Iterator[dict[str, Any]]:
    """Yield an entry for each object: pixels of one number, of the highest class among them."""
    found = np.unique(numbers[mask > 0])
    labels = np.where(mask > 0, np.searchsorted(found, numbers) + 1, 0)
    for label, box in enumerate(ndimage.find_objects(labels), 1):
        y, x = np.nonzero(labels[box] == label)
        y, x = y + box[0].start, x + box[1].start
        number = int(found[label - 1])
        entry = {"category_id": int(mask[y, x].max()), "object": number}
        yield entry | describe_object(y, x, mask.shape)


def export_annotations(folder: Path, run: Run, forms: Iterable[str]) -> list[Path]:
    """Write the islands of every map of a run, joined to sources; return the files.

    Parameters
    ----------
    forms
        ``fits``: an image of classes and one of source numbers for each map, with its WCS. ``coco``: one JSON
        file for all maps. ``ds9``, ``crtf``: an ellipse for each source, of its measured widths.

    Raises
    ------
    ConfigError
        A map of the run is gone, or the run has no annotations.
    """
    annotations = Annotations.load(run.product("annotations"))
    maps = {sky_map.name: sky_map for sky_map in open_maps(run)}
    images, entries, written = list[dict[str, Any]](), list[dict[str, Any]](), list[Path]()
    for index, name in enumerate(annotations.map_names):
        sky_map = maps[name]
        mask, numbers = annotations.paint(index, Window.of_shape(sky_map.shape))
        if "fits" in forms:
            written += _write_labels(folder, sky_map, mask, numbers)
        here = annotations.here(annotations.sources, index)
        rows = {column: values[here] for column, values in annotations.sources.items()}
        for form, (suffix, lines) in REGIONS.items():
            if form in forms:
                written.append(folder / f"{name}{suffix}")
                text = "".join(lines(rows | {"id": rows["source"]}))
                publish_bytes(written[-1], text.encode())
        ny, nx = sky_map.shape
        images.append({"id": index, "file_name": sky_map.path.name, "height": ny, "width": nx})
        for entry in _entries(mask, numbers):
            entries.append({"id": len(entries) + 1, "image_id": index, **entry})
    if "coco" in forms:
        info = {
            "description": f"{run.name}: sources of its maps; rows count from the first of the FITS image"
        }
        value = {"info": info, "categories": CATEGORIES, "images": images, "annotations": entries}
        publish_json(folder / "annotations.json", value)
        written.append(folder / "annotations.json")
    return written


def _write_labels(folder: Path, sky_map: SkyMap, mask: Any, numbers: Any) -> list[Path]:
    paths = []
    for suffix, pixels, dtype, content in (
        (CLASSES, mask, np.uint8, "class of each pixel"),
        (SOURCES, numbers, np.int32, "number of the source of each pixel, 0 where none"),
    ):
        cards: dict[str, Any] = {"TELESCOP": sky_map.survey, "CONTENT": content}
        cards |= {f"CLASS{c.value}": c.name.lower() for c in SourceClass}
        cards["SYNTH"] = (False, "labels of a map")
        header = radio_header(
            sky_map.shape, sky_map.wcs, unit="", object_name=sky_map.name, dtype=dtype, cards=cards
        )
        paths.append(folder / f"{sky_map.name}{suffix}")
        publish_image(paths[-1], BandedImage(header, sky_map.shape, dtype), pixels)
    return paths
