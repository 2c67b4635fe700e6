"""The components of the sources of a field: the pieces that a source's mask had when it was drawn.

A source of several islands is one object with one id. Each pixel of a drawing, and each point of a model,
belongs to the nearest piece of the mask, so that the fluxes of the components of a source add up to its flux.
The band that measures a source measures its components (`astro_dist.field.measures`).
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.arrays import Columns
from astro_dist.field.columns import COLUMNS, SIZE_COLUMNS, SIZES, write_columns_file
from astro_dist.field.library import Library
from astro_dist.field.truth import size_columns, sizes_on_sky
from astro_dist.sky.classes import SourceClass
from astro_dist.sky.fits_tables import Column, write_table
from astro_dist.sky.maps import SkyMap

NAMES = (
    *("ra_deg", "dec_deg", "ra_peak_deg", "dec_peak_deg", "x_pix", "y_pix", "x_peak_pix", "y_peak_pix"),
    *("peak_jy_beam", "flux_jy", *SIZES, "image_pa_deg", *(f"intrinsic_{name}" for name in SIZES), "n_pix"),
)
COMPONENT_COLUMNS = {
    "id": Column("", "meta.id.parent", "number of the source, as in the truth"),
    "component": Column("", "meta.id", "number of the component in its source, that of most flux is 1"),
    "n_components": Column("", "meta.number", "components of the source"),
    "flags": COLUMNS["flags"],
    **{name: COLUMNS[name] for name in NAMES},
    "flux_part": Column("", "phot.flux.density;arith.ratio", "flux over that of the source"),
}


def count_components(layout: Columns, library: Library) -> NDArray[np.int32]:
    """Return the number of components of each placement; a point or Gaussian of its own is one."""
    known = layout["object"] >= 0
    count = np.ones(len(known), np.int32)
    count[known] = library.table["n_components"][layout["object"][known]]
    return count


def list_components(placements: Columns, parts: Columns, field: SkyMap) -> Columns:
    """Return the components of the sources among the placements, by id, with `COMPONENT_COLUMNS`.

    Parameters
    ----------
    parts
        Measures of the components of placements that have several (`astro_dist.field.measures`); a placement
        without any is its own component.
    """
    alone = np.flatnonzero(placements["n_components"] == 1)
    columns = {
        "row": np.concatenate([alone, parts["row"]]),
        "component": np.concatenate([np.ones(len(alone), np.int32), parts["component"]]),
    }
    for name, whole in _WHOLE.items():
        columns[name] = np.concatenate([placements[whole][alone], parts[name]])
    area = placements["beam_area_pix"][columns["row"]]
    moments = np.stack([parts[name] for name in ("yy", "yx", "yx", "xx")], axis=-1).reshape(-1, 2, 2)
    own = size_columns(moments, field.beam, field.pixel)
    columns |= {name: np.concatenate([placements[name][alone], own[name]]) for name in SIZE_COLUMNS}
    columns["flux_jy"] = np.concatenate([placements["flux_jy"][alone], parts["sum"] / area[len(alone) :]])
    row = columns["row"]
    order = np.lexsort((columns["component"], placements["id"][row]))
    order = order[placements["class"][row[order]] != SourceClass.SPURIOUS]
    columns = {name: values[order] for name, values in columns.items()}
    row = columns["row"]
    sky = field.sky_of(columns["y"], columns["x"]), field.sky_of(columns["peak_y"], columns["peak_x"])
    table = {
        "id": placements["id"][row],
        "component": columns["component"].astype(np.int32),
        "n_components": placements["n_components"][row],
        "flags": placements["flags"][row],
        **dict(zip(("ra_deg", "dec_deg", "ra_peak_deg", "dec_peak_deg"), (*sky[0], *sky[1]), strict=True)),
        **{"x_pix": columns["x"], "y_pix": columns["y"]},
        **{name: columns[key].astype(np.int32) for name, key in _PEAKS.items()},
        "peak_jy_beam": columns["peak"],
        "flux_jy": columns["flux_jy"],
        "n_pix": columns["n_pix"].astype(np.int32),
        "flux_part": columns["flux_jy"] / placements["flux_jy"][row],
    }
    table |= sizes_on_sky(columns | table, field)
    return {name: table[name] for name in COMPONENT_COLUMNS}


_WHOLE = {"y": "y_pix", "x": "x_pix", "peak_y": "y_peak_pix", "peak_x": "x_peak_pix"} | {
    "peak": "peak_jy_beam",
    "n_pix": "n_pix",
}
_PEAKS = {"x_peak_pix": "peak_x", "y_peak_pix": "peak_y"}


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
