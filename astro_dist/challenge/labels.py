"""Masks of a field as lists of labelled pixels: those of the truth, and those that are handed in.

Labels are handed in as an image of classes, with or without an image of numbers of objects, or as COCO's JSON
in the tiles of the package. Without numbers, connected pixels of a class are an object.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astro_dist.challenge.about import About
from astro_dist.engine.arrays import Floats, Integers
from astro_dist.engine.errors import ConfigError
from astro_dist.engine.foreign import check_regular, read_mapping
from astro_dist.sky.class_words import ClassWords
from astro_dist.sky.classes import CLASS_NAMES, SourceClass
from astro_dist.sky.coco import COCO_BYTES, fill_segmentation
from astro_dist.sky.fits_headers import holds_image
from astro_dist.sky.fits_survey import survey_hdus
from astro_dist.sky.labels import Labels, Plane

KINDS = {name: int(kind) for kind, name in enumerate(CLASS_NAMES) if kind != SourceClass.BACKGROUND}


@dataclass(frozen=True, eq=False)
class LabelledPixels:
    """Labelled pixels of a field; a pixel may belong to several objects.

    Attributes
    ----------
    flat
        ``y * nx + x`` of each.
    owner
        Its object, from 0.
    classes
        `SourceClass` of each object.
    scores
        How sure each object is, higher is surer; where nothing is said, its number of pixels.
    counts
        Which objects are scored as objects; the pixels of all count for their classes.
    """

    flat: Integers
    owner: Integers
    classes: NDArray[np.uint8]
    scores: Floats
    counts: NDArray[np.bool_] | None = None

    @classmethod
    def of_images(cls, mask: Path, instances: Path | None, about: About) -> "LabelledPixels":
        """Read an image of classes and, where given, one of numbers of objects.

        Raises
        ------
        ConfigError
            An image is missing, has another shape than the field, or holds other values.
        """
        classes = Plane.open(mask, 1)
        numbers = None if instances is None else Plane.open(instances, 1)
        for plane in (classes, *([] if numbers is None else [numbers])):
            if plane.shape != about.shape:
                raise ConfigError(
                    f"{plane.path} has {plane.shape[0]} x {plane.shape[1]} pixels, the field "
                    f"{about.shape[0]} x {about.shape[1]}; label every pixel of the map"
                )
        labels = Labels.read(classes, numbers, ClassWords(setting=None))
        if len(labels.classes) and (labels.classes == SourceClass.SPURIOUS).all():
            raise ConfigError(
                f"{mask} has no label but 1, which is spurious, an artefact; write 2 where a compact source "
                "is and 3 where an extended one is, or 2 for all sources"
            )
        flat = labels.y.astype(np.int64) * about.shape[1] + labels.x
        return cls(flat, labels.owner.astype(np.int64), labels.classes, labels.sizes.astype(np.float64))

    @classmethod
    def of_coco(cls, path: Path, about: About) -> "LabelledPixels":
        """Read COCO's JSON in the tiles of the package.

        Annotations of one class with the same ``object``, other than 0, are one object.

        Raises
        ------
        ConfigError
            In one line, with the number of the annotation that is wrong.
        """
        try:
            said = read_mapping(path, COCO_BYTES)
            return _read_annotations(said, about)
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from None
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ConfigError(f"{path}: not as COCO has it ({error!r}); see submission/tiles.json") from None

    def within(self, scored: NDArray[np.bool_]) -> "LabelledPixels":
        """Return the pixels that are scored; of objects count those most of whose pixels are.

        ``scored`` has an entry for each of ``flat``.
        """
        n = len(self.classes)
        inside = np.bincount(self.owner, scored, n)
        counts = 2 * inside > np.bincount(self.owner, minlength=n)
        return replace(self, flat=self.flat[scored], owner=self.owner[scored], counts=counts)

    def of_class(self, kind: int) -> Integers:
        """Return the pixels of a class, each once, sorted."""
        return np.unique(self.flat[self.classes[self.owner] == kind])


def _read_annotations(said: Mapping[str, Any], about: About) -> LabelledPixels:
    images = {item["id"]: _place(item, about) for item in said["images"]}
    kinds = {item["id"]: _kind(item) for item in said.get("categories", [])}
    owners: dict[tuple[int, int], int] = {}
    flats: list[Integers] = []
    numbers: list[Integers] = []
    classes: list[int] = []
    scores: list[float] = []
    for number, item in enumerate(said["annotations"], 1):
        if item["image_id"] not in images or item["category_id"] not in kinds:
            raise ConfigError(f"annotation {number} has an image or a category that is not listed")
        y0, x0, shape = images[item["image_id"]]
        try:
            spots = fill_segmentation(item.get("segmentation"), shape)
        except (ConfigError, TypeError, ValueError, OverflowError) as error:
            raise ConfigError(f"annotation {number}: {error or 'neither polygons nor runs'}") from None
        kind, key = kinds[item["category_id"]], int(item.get("object") or 0)
        owner = owners.setdefault((kind, key), len(classes)) if key else len(classes)
        if owner == len(classes):
            classes.append(kind)
            scores.append(float(item.get("score", np.nan)))
        flats.append((spots.y.astype(np.int64) + y0) * about.shape[1] + spots.x + x0)
        numbers.append(np.full(len(spots.y), owner))
    nothing = [np.zeros(0, np.int64)]
    flat, owner_of = (np.concatenate([*nothing, *some]) for some in (flats, numbers))
    sizes = np.bincount(owner_of, minlength=len(classes)).astype(np.float64)
    given = np.array(scores, np.float64)
    return LabelledPixels(
        flat, owner_of, np.array(classes, np.uint8), np.where(np.isnan(given), sizes, given)
    )


def _place(item: Mapping[str, Any], about: About) -> tuple[int, int, tuple[int, int]]:
    y0, x0, shape = int(item["y0"]), int(item["x0"]), (int(item["height"]), int(item["width"]))
    inside = 0 <= y0 <= y0 + shape[0] <= about.shape[0] and 0 <= x0 <= x0 + shape[1] <= about.shape[1]
    if not inside or min(shape) < 1:
        raise ConfigError(f"the image {item['id']!r} is no tile of the field; see submission/tiles.json")
    return y0, x0, shape


def _kind(item: Mapping[str, Any]) -> int:
    name = str(item.get("name", "")).lower()
    if name not in KINDS:
        raise ConfigError(f"the category {name!r} is none of {', '.join(KINDS)}; rename it")
    return KINDS[name]


def is_labels(path: Path) -> bool:
    """Return whether a file holds labels of pixels: JSON, or FITS with an image and no table.

    Raises
    ------
    ConfigError
        There is no such file, or it is a folder, a pipe or a device.
    """
    if not path.exists():
        raise ConfigError(f"there is no file {path}")
    try:
        check_regular(path)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    if path.suffix.lower() == ".json":
        return True
    with path.open("rb") as handle:
        if not handle.read(6).startswith(b"SIMPLE"):
            return False
    try:
        hdus = survey_hdus(path)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    return any(holds_image(hdu) for hdu in hdus) and not any(hdu.is_table for hdu in hdus)
