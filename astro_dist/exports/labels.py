"""Masks in the forms of finders and of people who draw: COCO, label images, regions, RADiff's folders."""

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from astro_dist.engine.files import publish_bytes, publish_json
from astro_dist.engine.origins import Origin, history_lines
from astro_dist.engine.work import Run
from astro_dist.exports.observed import observation_of
from astro_dist.exports.pieces import Piece
from astro_dist.exports.radiff import publish_radiff
from astro_dist.exports.target import Target
from astro_dist.sky.annotations import Annotations
from astro_dist.sky.classes import CLASS_NAMES, SourceClass
from astro_dist.sky.coco import CATEGORIES, describe_object
from astro_dist.sky.expert_files import CLASSES, COCO_FILE, RADIFF_FOLDER, SOURCES, SUFFIXES
from astro_dist.sky.fits_arrays import cut_wcs
from astro_dist.sky.fits_file import BandedImage, publish_image, radio_header
from astro_dist.sky.maps import SkyMap, open_maps
from astro_dist.sky.region_lines import crtf_outlines, ds9_outlines
from astro_dist.sky.windows import Window
from astro_dist.store.cutouts import find_origins

OUTLINES = {"ds9": ds9_outlines, "crtf": crtf_outlines}
RIM_PIX = 16
"""Pixels of a map round an object in RADiff's layout."""


def write_coco(path: Path, pieces: Iterable[Piece], about: str, origins: Iterable[Origin]) -> None:
    """Write the objects of some pieces as COCO has them; the image of each is ``NAME.fits``.

    The licences of the file are the terms of ``origins``.
    """
    images, entries = list[dict[str, Any]](), list[dict[str, Any]]()
    for piece in pieces:
        images.append(_image(piece.index, f"{piece.name}.fits", piece.mask.shape))
        entries += [{"image_id": piece.index, **entry} for entry in _entries(piece)]
    _publish_coco(path, about, origins, images, entries)


def _image(number: int, name: str, shape: tuple[int, ...]) -> dict[str, Any]:
    return {"id": number, "file_name": name, "height": shape[0], "width": shape[1]}


def _publish_coco(
    path: Path, about: str, origins: Iterable[Origin], images: list[Any], entries: list[dict[str, Any]]
) -> None:
    info = {"description": f"{about}; rows count from the first of the FITS image"}
    licences = [
        {"id": number, "name": " ".join(history_lines([origin])), "url": ""}
        for number, origin in enumerate(origins, 1)
    ]
    annotations = [{"id": number, **entry} for number, entry in enumerate(entries, 1)]
    said = {"info": info, "licenses": licences, "categories": CATEGORIES}
    publish_json(path, {**said, "images": images, "annotations": annotations})


def _entries(piece: Piece) -> Iterator[dict[str, Any]]:
    """Yield an entry for each object: pixels of one number, of the highest class among them."""
    mask, numbers = piece.mask, piece.instances.astype(np.int64)
    found = np.unique(numbers[mask > 0])
    labels = np.where(mask > 0, np.searchsorted(found, numbers) + 1, 0)
    for label, box in enumerate(ndimage.find_objects(labels), 1):
        y, x = np.nonzero(labels[box] == label)
        y, x = y + box[0].start, x + box[1].start
        entry = {"category_id": int(mask[y, x].max()), "object": int(found[label - 1])}
        yield entry | describe_object(y, x, mask.shape)


def export_annotations(target: Target, run: Run, forms: Iterable[str]) -> None:
    """Write the islands of every map of a run, joined to sources.

    `expert.open_edits` reads each form back and finds the same objects in it, pixel for pixel.

    Parameters
    ----------
    forms
        ``fits``: an image of classes and one of source numbers for each map, with its WCS. ``coco``: one JSON
        file for all maps. ``ds9``, ``crtf``: the outline of the pixels of each source. ``radiff``: for each
        source an image of the map round it, JSON, and an image of its pixels.

    Raises
    ------
    ConfigError
        A map of the run is gone, or the run has no annotations.
    """
    annotations = Annotations.load(run.product("annotations"))
    maps = {sky_map.name: sky_map for sky_map in open_maps(run)}
    images, entries = list[dict[str, Any]](), list[dict[str, Any]]()
    # A step for each map, and where every source has files of its own for each of these.
    target.total = len(annotations.map_names)
    if "radiff" in forms:
        target.total += sum(1 for i in range(target.total) for _ in annotations.objects(i))
    for index, name in target.watch(enumerate(annotations.map_names)):
        sky_map = maps[name]
        if "fits" in forms:
            _write_labels(target, sky_map, annotations, index)
        for form in OUTLINES.keys() & set(forms):
            path = target.folder / f"{name}{SUFFIXES[form]}"
            if not target.skips([path], 0):
                publish_bytes(path, "".join(OUTLINES[form](annotations.objects(index))).encode())
        if "radiff" in forms:
            for source in target.watch(annotations.objects(index)):
                _write_radiff(target, sky_map, source)
        if "coco" in forms:
            images.append(_image(index, sky_map.path.name, sky_map.shape))
            for number, kind, y, x in annotations.objects(index):
                entry = {"image_id": index, "category_id": int(kind), "object": number}
                entries.append(entry | describe_object(y, x, sky_map.shape))
    if "coco" in forms:
        about = f"{run.name}: sources of its maps"
        _publish_coco(target.folder / COCO_FILE, about, find_origins(run), images, entries)


def _write_labels(target: Target, sky_map: SkyMap, annotations: Annotations, index: int) -> None:
    paths = [target.folder / f"{sky_map.name}{suffix}" for suffix in (CLASSES, SOURCES)]
    if target.skips(paths, 0):
        return
    window = Window.of_shape(sky_map.shape)
    mask, numbers = annotations.paint(index, window)
    for path, pixels, dtype, content in (
        (paths[0], mask, np.uint8, "class of each pixel"),
        (paths[1], numbers, np.int32, "number of the source of each pixel, 0 where none"),
    ):
        header = _header(sky_map, window, dtype, "", content)
        publish_image(path, BandedImage(header, sky_map.shape, dtype), pixels)


def _write_radiff(target: Target, sky_map: SkyMap, source: tuple[int, SourceClass, Any, Any]) -> None:
    number, kind, y, x = source
    folder, name = target.folder / RADIFF_FOLDER, f"{sky_map.name}-source-{number:06d}"
    # The last of its files.
    if target.skips([folder / f"{name}.json"], 0):
        return
    box = Window(int(y.min()), int(y.max()) + 1, int(x.min()), int(x.max()) + 1)
    window = box.grown(RIM_PIX) & Window.of_shape(sky_map.shape)
    assert window is not None
    mask = np.zeros(window.shape, np.uint8)
    mask[y - window.y0, x - window.x0] = 1
    about = {"map": sky_map.name, "y0": window.y0, "x0": window.x0}
    objects, header = [(number, CLASS_NAMES[kind], mask)], partial(_header, sky_map, window)
    publish_radiff(folder, name, sky_map.read(window), objects, header, about)


def _header(sky_map: SkyMap, window: Window, dtype: Any, unit: str, content: str) -> Any:
    observed = observation_of(sky_map.cards, sky_map.survey)
    cards = {**observed, "CONTENT": content}
    cards |= {f"CLASS{c.value}": c.name.lower() for c in SourceClass}
    cards["SYNTH"] = (False, "labels of a map")
    header = radio_header(
        window.shape,
        cut_wcs(sky_map.wcs, window.y0, window.x0),
        sky_map.beam if unit else None,
        sky_map.frequency_hz if unit else None,
        unit=unit,
        dtype=dtype,
        cards=cards,
        history=[f"from row {window.y0}, column {window.x0} of the map {sky_map.name}, counted from 0"],
    )
    if "TELESCOP" not in observed:
        del header["TELESCOP"]
    return header
