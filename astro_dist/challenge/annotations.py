"""COCO annotations of a field in tiles: run lengths and boxes of every object, by class.

Rows count from the first of the FITS image. An object that lies in several tiles has an annotation in each,
with its number as ``object``; artefacts have no number, and their connected pixels are one annotation each.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from astro_dist.sky.classes import SourceClass
from astro_dist.sky.coco import CATEGORIES, describe_object
from astro_dist.sky.windows import Window

EIGHT = np.ones((3, 3), np.int8)


def cut_tiles(window: Window, tile_pix: int) -> Iterator[Window]:
    """Yield the tiles of a window, row by row; those at the far edges are smaller."""
    for y in range(window.y0, window.y1, tile_pix):
        for x in range(window.x0, window.x1, tile_pix):
            yield Window(y, min(y + tile_pix, window.y1), x, min(x + tile_pix, window.x1))


class Annotations:
    """The annotations of some tiles, which are added one by one.

    Parameters
    ----------
    classes
        Class of each object by its number.
    """

    def __init__(self, classes: Mapping[int, int]) -> None:
        self.classes = classes
        self.images: list[dict[str, Any]] = []
        self.annotations: list[dict[str, Any]] = []

    def image(self, tile: Window) -> int:
        """Add a tile without annotations; return its number."""
        number = len(self.images) + 1
        self.images.append(
            {
                "id": number,
                "file_name": f"{tile.y0:05d}-{tile.x0:05d}",
                **{"height": tile.height, "width": tile.width, "y0": tile.y0, "x0": tile.x0},
            }
        )
        return number

    def add(self, tile: Window, mask: NDArray[np.uint8], instances: NDArray[np.int32]) -> None:
        """Add a tile: classes and numbers of its pixels."""
        number = self.image(tile)
        ids, labels = np.unique(instances, return_inverse=True)
        labels = labels.reshape(instances.shape)
        # Without zeros among the numbers every pixel is of an object.
        labels = labels if ids[0] == 0 else labels + 1
        for label, box in enumerate(ndimage.find_objects(labels), 1):
            key = int(ids[ids != 0][label - 1])
            self._append(number, tile, labels, label, box, self.classes[key], key)
        artefacts, _ = ndimage.label((mask == SourceClass.SPURIOUS) & (instances == 0), EIGHT)
        for label, box in enumerate(ndimage.find_objects(artefacts), 1):
            self._append(number, tile, artefacts, label, box, int(SourceClass.SPURIOUS), 0)

    def _append(
        self,
        image: int,
        tile: Window,
        labels: NDArray[Any],
        label: int,
        box: tuple[slice, slice],
        kind: int,
        key: int,
    ) -> None:
        y, x = np.nonzero(labels[box] == label)
        shape = tile.height, tile.width
        self.annotations.append(
            {
                **{"id": len(self.annotations) + 1, "image_id": image, "category_id": kind, "object": key},
                **describe_object(y + box[0].start, x + box[1].start, shape),
            }
        )

    def document(self, name: str) -> dict[str, Any]:
        """Return the whole as COCO has it."""
        about = {"description": f"{name}: tiles of a map; rows count from the first of the FITS image"}
        return {
            "info": about,
            "categories": CATEGORIES,
            "images": self.images,
            "annotations": self.annotations,
        }
