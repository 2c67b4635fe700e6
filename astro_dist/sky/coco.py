"""Masks in COCO's JSON: polygons, and run lengths as numbers or as COCO's text.

Rows count as in the array of the image: the first is the lowest of a FITS map in its usual display.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.errors import ConfigError
from astro_dist.engine.foreign import read_mapping
from astro_dist.sky.class_words import ClassWords
from astro_dist.sky.classes import CLASS_NAMES, SourceClass
from astro_dist.sky.fill import MOST_PIXELS, Spots, fill_polygon
from astro_dist.sky.label_pieces import Frame, Piece

COCO_BYTES = 1 << 27
CATEGORIES = [
    {
        "id": int(c),
        "name": CLASS_NAMES[c],
        "supercategory": "artefact" if c == SourceClass.SPURIOUS else "source",
    }
    for c in (SourceClass.SPURIOUS, SourceClass.COMPACT, SourceClass.EXTENDED)
]
"""Our classes as COCO lists them."""
MOST_ANNOTATIONS = 1_000_000
MOST_SIDE = 1 << 20


def is_coco(about: dict[str, Any]) -> bool:
    """Return whether a JSON mapping is one of COCO's with objects."""
    return "annotations" in about and "images" in about


def read_coco(path: Path, words: ClassWords) -> list[Frame]:
    """Return the images of a COCO file in their order, with the objects of each.

    Raises
    ------
    ConfigError
        In one line without the path, with the number of the annotation that is wrong.
    """
    about = read_mapping(path, COCO_BYTES)
    names = {item["id"]: str(item.get("name", "")) for item in _items(about, "categories", "id")}
    shapes = {
        item["id"]: (_side(item, "height"), _side(item, "width")) for item in _items(about, "images", "id")
    }
    pieces: dict[Any, list[Piece]] = {key: [] for key in shapes}
    annotations = _items(about, "annotations", "image_id")
    if len(annotations) > MOST_ANNOTATIONS:
        raise ConfigError(f"{len(annotations)} annotations, at most {MOST_ANNOTATIONS} are read")
    for number, item in enumerate(annotations, 1):
        where = f"annotation {number}"
        if item["image_id"] not in shapes:
            raise ConfigError(f"{where} belongs to the image {item['image_id']!r}, which is not listed")
        category = names.get(item.get("category_id"), str(item.get("category_id")))
        try:
            spots = fill_segmentation(item.get("segmentation"), shapes[item["image_id"]])
        except (TypeError, ValueError, OverflowError):
            raise ConfigError(f"{where} has a segmentation that is neither polygons nor runs") from None
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from None
        pieces[item["image_id"]].append(Piece(spots, words.require([category], where)))
    files = {item["id"]: str(item.get("file_name", "")) for item in about["images"]}
    return [Frame(shape, tuple(pieces[key]), files[key]) for key, shape in shapes.items()]


def _items(about: dict[str, Any], name: str, key: str) -> list[dict[str, Any]]:
    items = about.get(name, [])
    if not isinstance(items, list) or not all(isinstance(item, dict) and key in item for item in items):
        raise ConfigError(f"its {name} are no list of items with {key}")
    if not all(isinstance(item[key], int | str) for item in items):
        raise ConfigError(f"its {name} have {key}s that are neither numbers nor words")
    return items


def _side(item: dict[str, Any], name: str) -> int:
    value = item.get(name)
    if not isinstance(value, int) or not 1 <= value <= MOST_SIDE:
        raise ConfigError(f"the image {item['id']!r} has the {name} {value!r}")
    return value


def fill_segmentation(segmentation: Any, shape: tuple[int, int]) -> Spots:
    """Return the pixels of a segmentation: polygons, or run lengths as numbers or as text.

    Raises
    ------
    ConfigError, TypeError, ValueError, OverflowError
        It is none of these, or not one of an image of ``shape``.
    """
    if isinstance(segmentation, dict):
        return _fill_runs(segmentation, shape)
    if not isinstance(segmentation, list) or not segmentation:
        raise ConfigError("it has no segmentation; a box alone is no mask")
    parts = []
    for polygon in segmentation:
        corners = np.asarray(polygon, np.float64)
        if corners.ndim != 1 or len(corners) < 6 or len(corners) % 2:
            raise ValueError
        # COCO's pixel i reaches from i to i + 1; ours is centred on i.
        parts.append(fill_polygon(corners[1::2] - 0.5, corners[::2] - 0.5, shape))
    return _union(parts, shape)


def _union(parts: list[Spots], shape: tuple[int, int]) -> Spots:
    flat = np.unique(np.concatenate([part.y.astype(np.int64) * shape[1] + part.x for part in parts]))
    return Spots((flat // shape[1]).astype(np.int32), (flat % shape[1]).astype(np.int32))


def _fill_runs(runs: dict[str, Any], shape: tuple[int, int]) -> Spots:
    if runs.get("size") != list(shape):
        raise ConfigError(f"its runs are of an image of {runs.get('size')}, not of {list(shape)}")
    counts = runs.get("counts")
    lengths = _decode(counts) if isinstance(counts, str) else np.asarray(counts, np.int64)
    if lengths.ndim != 1 or (lengths < 0).any() or lengths.sum() != shape[0] * shape[1]:
        raise ConfigError(f"its runs do not add up to the {shape[0]} x {shape[1]} pixels of its image")
    ends = np.cumsum(lengths)
    # Runs of nothing and of the object take turns, down the columns.
    begin, n = ends[:-1:2], lengths[1::2]
    if (total := int(n.sum())) > MOST_PIXELS:
        raise ConfigError(f"an object of {total} pixels is too large")
    flat = np.repeat(begin - (np.cumsum(n) - n), n) + np.arange(total)
    y, x = flat % shape[0], flat // shape[0]
    order = np.lexsort((x, y))
    return Spots(y[order].astype(np.int32), x[order].astype(np.int32))


def _decode(text: str) -> NDArray[np.int64]:
    """Return the runs that COCO packs into text: five bits a character, differences from the third on."""
    return np.array(list(_numbers(text)), np.int64)


def _numbers(text: str) -> Iterator[int]:
    earlier = [0, 0]
    value = shift = count = 0
    for letter in text:
        bits = ord(letter) - 48
        if not 0 <= bits < 64 or shift > 50:
            raise ValueError
        value |= (bits & 0x1F) << shift
        shift += 5
        if bits & 0x20:
            continue
        if bits & 0x10:
            value -= 1 << shift
        # The first two are as they are, later ones counted from the one before the last.
        value += earlier[0] if count > 2 else 0
        yield value
        earlier, count = [earlier[1], value], count + 1
        value = shift = 0


def describe_object(y: NDArray[np.integer], x: NDArray[np.integer], shape: Sequence[int]) -> dict[str, Any]:
    """Return box, area and run lengths of the pixels of an object in an image of ``shape`` (ny, nx)."""
    height, width = shape
    flat = np.sort(x.astype(np.int64) * height + y)
    return {
        "bbox": [int(x.min()), int(y.min()), int(np.ptp(x)) + 1, int(np.ptp(y)) + 1],
        "area": len(y),
        "iscrowd": 0,
        "segmentation": {"size": [height, width], "counts": encode_runs(flat, height * width)},
    }


def encode_runs(flat: NDArray[np.int64], n_pixels: int) -> str:
    """Return COCO's text of run lengths for some pixels, counted down the columns and sorted.

    Parameters
    ----------
    flat
        Numbers of the pixels, ``x * height + y``, strictly ascending.
    n_pixels
        Pixels of the image.
    """
    steps = np.flatnonzero(np.diff(flat) != 1)
    begin = flat[np.concatenate([[0], steps + 1])] if len(flat) else flat
    end = flat[np.concatenate([steps, [-1]])] + 1 if len(flat) else flat
    edges = np.concatenate([[0], np.stack([begin, end], axis=1).reshape(-1), [n_pixels]])
    runs = np.diff(edges).tolist()
    # A run of nothing at the end is left out, as pycocotools leaves it out.
    runs = runs[:-1] if runs[-1] == 0 and len(runs) > 1 else runs
    return "".join(_letters(run - (runs[i - 2] if i > 2 else 0)) for i, run in enumerate(runs))


def _letters(value: int) -> str:
    """Return a number in COCO's letters, five bits each, the lowest first; the sixth bit: more follow."""
    text = ""
    while True:
        bits, value = value & 0x1F, value >> 5
        # The last letter's highest bit is the sign.
        more = value != (-1 if bits & 0x10 else 0)
        text += chr((bits | (0x20 if more else 0)) + 48)
        if not more:
            return text
