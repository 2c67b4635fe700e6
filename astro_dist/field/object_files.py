"""The file of accepted objects that is written beside a shard of stamps: each as drawn, and as a model.

The pixels are ragged columns: ``shape_pixels`` as drawn, ``model_pixels`` of the model (empty for a spurious
object, which has none), ``piece_pixels`` with the nearest piece of the mask for each drawn pixel (empty where
the mask is of one piece).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from astro_dist.engine.arrays import Columns
from astro_dist.engine.files import sha256_file
from astro_dist.field.modelling import core_of
from astro_dist.field.objects import SkyObject
from astro_dist.field.truth import moments_of
from astro_dist.sky.tables import write_table_file

SHAPE, MODEL, PIECES = "shape_pixels", "model_pixels", "piece_pixels"
MODEL_PREFIX = "model_"
"""Begins the columns of a model that have a counterpart of the drawn shape."""
TYPES = {
    "stamp": "i4",
    "instance": "i4",
    "class": "u1",
    "donor_snr": "f4",
    "iou": "f4",
    "beam_major_arcsec": "f8",
    "beam_minor_arcsec": "f8",
    "beam_pa_deg": "f8",
    "dy_arcsec": "f8",
    "dx_arcsec": "f8",
    "residual": "f4",
    "residual_snr": "f4",
    "peak_snr": "f4",
    "flux_snr": "f4",
}
PIXEL_TYPES = {
    "y0": "f8",
    "x0": "f8",
    "height": "i4",
    "width": "i4",
    "core_y": "f8",
    "core_x": "f8",
    "spread_yy": "f8",
    "spread_yx": "f8",
    "spread_xx": "f8",
}
"""Columns of each kind of pixels, those of a model with `MODEL_PREFIX`; places are in the stamp."""
MOMENT_TYPES = dict.fromkeys(("sum", "y", "x", "yy", "xx", "yx"), "f8") | {
    "peak": "f4",
    "peak_y": "i4",
    "peak_x": "i4",
    "n_pix": "i4",
}
COLUMNS = (
    *TYPES,
    *(prefix + name for prefix in ("", MODEL_PREFIX) for name in (*PIXEL_TYPES, *MOMENT_TYPES)),
)
"""Every column but the ragged ones."""
ObjectPixels = NDArray[np.float32]
"""Pixels of one object, (h, w), or of many one after the other, (n,)."""
_NOTHING = np.zeros((0, 0), np.float32)


def write_objects(path: Path, objects: Sequence[SkyObject]) -> str:
    """Publish objects with their pixels as one parquet file, and return its sha256."""
    table = _columns([_facts(o) for o in objects], TYPES)
    shapes = [o.shape for o in objects]
    models = [_NOTHING if o.model is None else o.model.pixels for o in objects]
    for prefix, pixels, rows in (
        ("", shapes, [_place_of_shape(o) for o in objects]),
        (MODEL_PREFIX, models, [_place_of_model(o) for o in objects]),
    ):
        both = _columns(rows, PIXEL_TYPES) | moment_columns(pixels)
        table |= {prefix + name: values for name, values in both.items()}
    pieces = [np.zeros(0, np.uint8) if o.pieces is None else o.pieces for o in objects]
    lists = {SHAPE: _ragged(shapes, "f4"), MODEL: _ragged(models, "f4"), PIECES: _ragged(pieces, "u1")}
    # A dictionary of float pixels costs time and saves nothing.
    write_table_file(path, pa.table({**table, **lists}), compression="zstd", use_dictionary=False)
    return sha256_file(path)


def moment_columns(images: Sequence[ObjectPixels]) -> Columns:
    """Return the moments of images (see `moments_of`), zeros for those without pixels."""
    nothing = dict.fromkeys(MOMENT_TYPES, 0)
    return _columns([moments_of(image) if image.size else nothing for image in images], MOMENT_TYPES)


def flat(images: Sequence[NDArray[Any]], dtype: str = "f4") -> NDArray[Any]:
    """Return the pixels of images one after the other, of none an empty array."""
    # The empty array comes first, because numpy refuses to concatenate nothing.
    return np.concatenate([np.zeros(0, dtype), *(image.ravel() for image in images)])


def _columns(rows: Sequence[Mapping[str, Any]], types: Mapping[str, str]) -> Columns:
    # By name, so that an empty shard has its typed columns too.
    return {name: np.array([row[name] for row in rows], kind) for name, kind in types.items()}


def _ragged(images: Sequence[NDArray[Any]], dtype: str) -> pa.ListArray:
    # The offsets of an arrow list are 32-bit; the objects of a shard have far fewer than 2^31 pixels.
    offsets = np.cumsum([0, *(image.size for image in images)]).astype(np.int32)
    return pa.ListArray.from_arrays(offsets, flat(images, dtype))


def _facts(o: SkyObject) -> dict[str, Any]:
    return {
        "stamp": o.stamp,
        "instance": o.instance,
        "class": int(o.source_class),
        "donor_snr": o.snr,
        "iou": o.iou,
        "beam_major_arcsec": o.beam.major_arcsec,
        "beam_minor_arcsec": o.beam.minor_arcsec,
        "beam_pa_deg": o.beam.pa_deg,
        "dy_arcsec": o.pixel.dy_arcsec,
        "dx_arcsec": o.pixel.dx_arcsec,
        "residual": np.nan if o.model is None else o.model.residual,
        "residual_snr": np.nan if o.model is None else o.model.residual_snr,
        "peak_snr": np.nan if o.model is None else o.model.peak_snr,
        "flux_snr": np.nan if o.model is None else o.model.flux_snr,
    }


def _place_of_shape(o: SkyObject) -> dict[str, Any]:
    y, x = divmod(int(np.argmax(o.shape)), o.shape.shape[1])
    spread = dict.fromkeys(("spread_yy", "spread_yx", "spread_xx"), 0.0)
    size = {"height": o.shape.shape[0], "width": o.shape.shape[1]}
    return {"y0": o.box.y0, "x0": o.box.x0, "core_y": o.box.y0 + y, "core_x": o.box.x0 + x, **size, **spread}


def _place_of_model(o: SkyObject) -> dict[str, Any]:
    model = o.model
    if model is None:
        return dict.fromkeys(PIXEL_TYPES, 0)
    names = ("y0", "x0", "height", "width", "core_y", "core_x", "spread_yy", "spread_yx", "spread_xx")
    core = core_of(model, o.drawing.beam_pix)
    return dict(zip(names, (model.y0, model.x0, *model.pixels.shape, *core, *model.spread_pix), strict=True))
