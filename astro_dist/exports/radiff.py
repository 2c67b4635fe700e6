"""RADiff's layout of masks: an image, JSON beside it, and an image of ones for each object."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.files import publish_json
from astro_dist.sky.fits_file import BandedImage, publish_image

Header = Callable[[Any, str, str], Any]
"""Returns the header of an image of a type, a unit and a meaning."""


def publish_radiff(
    folder: Path,
    name: str,
    image: NDArray[np.float32],
    objects: Iterable[tuple[int, str, NDArray[np.uint8]]],
    header: Header,
    about: Mapping[str, Any],
) -> Path:
    """Write ``NAME.fits``, ``NAME_object-N.fits`` for each object, and last ``NAME.json``, which is returned.

    Parameters
    ----------
    objects
        Number, name of the class and pixels (0 or 1) of each.
    about
        What the JSON file says beside the image, its size and its objects.
    """
    shape, entries = image.shape, list[dict[str, Any]]()
    told = header(np.float32, "Jy/beam", "brightness")
    publish_image(folder / f"{name}.fits", BandedImage(told, shape, np.float32), image)
    for number, kind, pixels in objects:
        mask = f"{name}_object-{number}.fits"
        told = header(np.uint8, "", f"pixels of object {number}, {kind}")
        publish_image(folder / mask, BandedImage(told, shape, np.uint8), pixels)
        entries.append({"mask": mask, "class": kind, "object": number})
    path = folder / f"{name}.json"
    publish_json(path, {"img": f"{name}.fits", "nx": shape[1], "ny": shape[0], "objs": entries, **about})
    return path
