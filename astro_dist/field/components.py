"""The components of the sources of a field: the pieces that a source's mask had when it was drawn.

A source of several islands is one object with one id. Each pixel of its shape belongs to the nearest piece of
its mask, so that the fluxes of the components of a source add up to its flux. They follow from the stamps and
the placements alone, and nothing is measured back from the map.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from astro_dist.engine.arrays import Columns
from astro_dist.engine.stopping import check_stop
from astro_dist.field.library import READ_STAMPS, Library, ObjectPixels
from astro_dist.field.truth import (
    COLUMNS,
    SIZES,
    moments_of,
    size_columns,
    sizes_on_sky,
    turn_moments,
    write_columns_file,
)
from astro_dist.sky.classes import SourceClass
from astro_dist.sky.fits_tables import Column, write_table
from astro_dist.sky.maps import SkyMap
from astro_dist.store.reader import StoreReader

_EIGHT_NEIGHBOURS = np.ones((3, 3), bool)
NAMES = (
    *("ra_deg", "dec_deg", "ra_peak_deg", "dec_peak_deg", "x_pix", "y_pix", "x_peak_pix", "y_peak_pix"),
    *("peak_jy_beam", "flux_jy", *SIZES, "image_pa_deg", *(f"intrinsic_{name}" for name in SIZES), "n_pix"),
)
COMPONENT_COLUMNS = {
    "id": Column("", "meta.id.parent", "number of the source, as in the truth"),
    "component": Column("", "meta.id", "number of the component in its source, that of most flux is 1"),
    "n_components": Column("", "meta.number", "components of the source"),
    **{name: COLUMNS[name] for name in NAMES},
    "flux_part": Column("", "phot.flux.density;arith.ratio", "flux over that of the source"),
}


def split_shape(shape: ObjectPixels, inside: NDArray[np.bool_]) -> list[ObjectPixels]:
    """Return the part of a shape (h, w) that belongs to each piece of its mask, that of most flux first."""
    pieces, count = ndimage.label(inside, _EIGHT_NEIGHBOURS)
    if count < 2:
        return [shape]
    nearest = ndimage.distance_transform_edt(pieces == 0, return_distances=False, return_indices=True)
    owner = pieces[tuple(nearest)]
    parts = [np.where(owner == number, shape, np.float32(0)) for number in range(1, count + 1)]
    # Stable: of equal ones the first piece in raster order stays first.
    return sorted(parts, key=lambda part: -float(part.sum(dtype=np.float64)))


def find_components(stamps: StoreReader, library: Library, objects: NDArray[np.integer]) -> Columns:
    """Return the moments of the components of some objects.

    Returns
    -------
    dict
        One row per component, by object and flux: ``object``, ``component`` (from 1), ``height`` and
        ``width`` of the object, and the columns of `moments_of`, counted from the object's first pixel.
    """
    table, rows = library.table, []
    for start in range(0, len(objects), READ_STAMPS):
        check_stop()
        some = objects[start : start + READ_STAMPS].tolist()
        instances = stamps.read("instances", [int(table["stamp"][item]) for item in some])
        for item, numbers in zip(some, instances, strict=True):
            shape = library.shape(item)
            y0, x0 = (int(table[name][item]) for name in ("stamp_y0", "stamp_x0"))
            inside = numbers[y0 : y0 + shape.shape[0], x0 : x0 + shape.shape[1]] == table["instance"][item]
            for number, part in enumerate(split_shape(shape, inside), start=1):
                place = {"object": item, "component": number}
                size = {"height": shape.shape[0], "width": shape.shape[1]}
                rows.append(place | size | moments_of(part))
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def list_components(placements: Columns, parts: Columns, field: SkyMap) -> Columns:
    """Return the components of the sources among the placements, by id, with `COMPONENT_COLUMNS`.

    Parameters
    ----------
    parts
        The result of `find_components` for all objects that were placed.
    """
    real = np.flatnonzero(placements["class"] != SourceClass.SPURIOUS)
    real = real[np.argsort(placements["id"][real], kind="stable")]
    placed = placements["object"][real]
    first, last = (np.searchsorted(parts["object"], placed, side) for side in ("left", "right"))
    count = last - first
    # One row per component: its placement, and its row in `parts`.
    row = np.repeat(real, count)
    part = np.repeat(first - np.cumsum(count) + count, count) + np.arange(count.sum())
    unit = turn_moments({name: values[part] for name, values in parts.items()}, placements["turn"][row])
    y, x = placements["y0"][row] + unit["y"], placements["x0"][row] + unit["x"]
    y_peak, x_peak = placements["y0"][row] + unit["peak_y"], placements["x0"][row] + unit["peak_x"]
    amplitude = placements["amplitude_jy_beam"][row]
    flux = unit["sum"] * amplitude.astype(np.float64) / placements["beam_area_pix"][row]
    columns = {
        "id": placements["id"][row],
        "component": unit["component"].astype(np.int32),
        "n_components": np.repeat(count, count).astype(np.int32),
        **dict(zip(("ra_deg", "dec_deg"), field.sky_of(y, x), strict=True)),
        **dict(zip(("ra_peak_deg", "dec_peak_deg"), field.sky_of(y_peak, x_peak), strict=True)),
        **{
            "x_pix": x,
            "y_pix": y,
            "x_peak_pix": x_peak.astype(np.int32),
            "y_peak_pix": y_peak.astype(np.int32),
        },
        "peak_jy_beam": unit["peak"].astype(np.float32) * amplitude,
        "flux_jy": flux,
        "n_pix": unit["n_pix"].astype(np.int32),
        "flux_part": flux / placements["flux_jy"][row],
    }
    moments = np.stack([unit[name] for name in ("yy", "yx", "yx", "xx")], axis=-1).reshape(-1, 2, 2)
    columns |= sizes_on_sky(columns | size_columns(moments, field.beam, field.pixel), field)
    return {name: columns[name] for name in COMPONENT_COLUMNS}


def write_components(folder: Path, table: Columns, cards: Mapping[str, Any], history: Iterable[str]) -> None:
    """Write ``truth_components.parquet`` and ``.fits`` into a folder."""
    write_columns_file(folder / "truth_components.parquet", table, COMPONENT_COLUMNS)
    write_table(
        folder / "truth_components.fits",
        table,
        COMPONENT_COLUMNS,
        name="COMPONENTS",
        cards=cards,
        history=history,
    )
