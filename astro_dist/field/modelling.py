"""The models of the accepted objects of a stamp; a drawing that differs from its model is refused."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from astro_dist.field.config import AcceptConfig
from astro_dist.field.models import SkyModel, make_model
from astro_dist.field.objects import SkyObject
from astro_dist.field.rendering import render
from astro_dist.sky.classes import SourceClass


def model_objects(objects: Iterable[SkyObject], config: AcceptConfig) -> tuple[list[SkyObject], Counter[str]]:
    """Give every object but spurious ones its model.

    Returns
    -------
    objects
        Those that have a model, and all spurious ones, in the order of the input.
    rejected
        Number of objects without a model by reason (`astro_dist.field.models.MODEL_REASONS`).
    """
    kept: list[SkyObject] = []
    rejected: Counter[str] = Counter()
    for found in objects:
        if found.source_class is SourceClass.SPURIOUS:
            kept.append(found)
            continue
        model = make_model(found.drawing, found.source_class, config.max_residual)
        if isinstance(model, str):
            rejected[model] += 1
        else:
            kept.append(replace(found, model=model.shifted(found.box.y0, found.box.x0)))
    return kept, rejected


def core_of(model: SkyModel, beam_pix: NDArray[np.float64]) -> tuple[float, float]:
    """Return y and x in the stamp of the brightest point of a model through a beam, to a part of a pixel."""
    if model.pixels.size == 1:
        return model.y0, model.x0
    here = (model.y0, model.x0)
    patch = render(model.pixels, model.spread_pix, here, np.eye(2), here, here, beam_pix)
    values = patch.values
    y, x = divmod(int(np.argmax(values)), values.shape[1])
    # The beam makes the patch wider than the model, so the brightest pixel has neighbours on all sides.
    dy, dx = _vertex(values[y - 1 : y + 2, x]), _vertex(values[y, x - 1 : x + 2])
    return patch.window.y0 + y + dy, patch.window.x0 + x + dx


def _vertex(three: NDArray[np.float64]) -> float:
    """Return where the parabola of the logarithms of three values has its top, from the middle one.

    A beam is a Gaussian, whose logarithm is a parabola.
    """
    low, middle, high = np.log(three).tolist()
    return 0.5 * (low - high) / (low - 2 * middle + high)
