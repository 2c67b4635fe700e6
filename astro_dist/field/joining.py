"""The table of placements: the layout, and what the bands measured of the pixels of each row."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from astro_dist.engine.arrays import Columns
from astro_dist.field.blends import add_up, groups
from astro_dist.field.columns import PLACEMENT_COLUMNS
from astro_dist.field.config import AssembleConfig
from astro_dist.field.measures import join, read_all
from astro_dist.field.truth import size_columns
from astro_dist.sky.classes import SourceClass
from astro_dist.sky.islands import Cut
from astro_dist.sky.maps import SkyMap

MEASURES, OVERLAPS, SIDELOBES = "measures", "overlaps", "artefacts"
SCRATCH = "bands"
"""Folder of the files that bands write for `finish`, no part of the product."""


def band_file(folder: Path, kind: str, band: str) -> Path:
    """Return the path of what a band measured, by kind and name of the band's task."""
    return folder / SCRATCH / f"{band}-{kind}.parquet"


def join_bands(
    folder: Path, bands: Sequence[str], layout: Columns, field: SkyMap, config: AssembleConfig
) -> tuple[Columns, Columns, Columns]:
    """Return the placements, the measures of components, and the pairs of sources that share pixels.

    Parameters
    ----------
    bands
        Names of the tasks of all bands, from the first row on.
    layout
        The table of the layout.

    Returns
    -------
    placements
        A row per row of the layout, with the columns `PLACEMENT_COLUMNS` but ``class_name``, ``anchor`` and
        ``n_components``.
    parts
        Measures of the components of sources that have several, by row of the layout.
    overlaps
        ``id``, ``other`` and ``n_pix`` of pairs of detectable sources.
    """
    measures = read_all([band_file(folder, MEASURES, band) for band in bands])
    pairs = add_up(read_all([band_file(folder, OVERLAPS, band) for band in bands]))
    whole, parts = join(measures, len(layout["id"]))
    columns = layout | _measured(layout, whole, field)
    boxes = clipped(layout, field.shape)
    # Blank pixels cut none: nothing is placed where it would reach onto them.
    smaller = (boxes["height"] < layout["height"]) | (boxes["width"] < layout["width"])
    columns |= boxes | {"flags": (Cut.EDGE * smaller).astype(np.uint8)}
    columns["blend"], columns["blend_size"] = groups(pairs, layout["id"])
    shared = pairs["n_pix"] > 0
    one, other = (layout["id"][pairs[name][shared]] for name in ("row", "other"))
    overlaps = {
        "id": np.minimum(one, other),
        "other": np.maximum(one, other),
        "n_pix": pairs["n_pix"][shared].astype(np.int32),
    }
    order = np.lexsort((overlaps["other"], overlaps["id"]))
    placements = {name: columns[name] for name in PLACEMENT_COLUMNS if name in columns}
    return placements, parts, {name: values[order] for name, values in overlaps.items()}


def _measured(layout: Columns, whole: Mapping[str, np.ndarray], field: SkyMap) -> Columns:
    area = field.beam_area_pix(whole["y"], whole["x"])
    flux = whole["sum"] / area
    ra, dec = field.sky_of(whole["y"], whole["x"])
    ra_peak, dec_peak = field.sky_of(whole["peak_y"], whole["peak_x"])
    moments = np.stack([whole[name] for name in ("yy", "yx", "yx", "xx")], axis=1).reshape(-1, 2, 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        core = np.clip(np.nan_to_num(whole["peak"] / flux), 0, 1).astype(np.float32)
    return {
        "ra_deg": ra,
        "dec_deg": dec,
        "ra_peak_deg": ra_peak,
        "dec_peak_deg": dec_peak,
        "x_pix": whole["x"],
        "y_pix": whole["y"],
        "x_peak_pix": whole["peak_x"],
        "y_peak_pix": whole["peak_y"],
        # With a given flux k is what it comes to.
        "k": np.where(np.isfinite(layout["k"]), layout["k"], whole["snr"]),
        "snr": whole["snr"],
        "integrated_snr": whole["integrated_snr"],
        "detectable": whole["detectable"],
        "peak_jy_beam": whole["peak"],
        "flux_jy": flux,
        "core_fraction": core,
        "beam_area_pix": area,
        **size_columns(moments, field.beam, field.pixel),
        "n_pix": whole["n_pix"],
        "level_jy_beam": whole["level_jy_beam"],
    }


def clipped(layout: Columns, shape: tuple[int, int]) -> Columns:
    """Return the boxes of a layout without what is beyond the field."""
    first = np.stack([layout["y0"], layout["x0"]], axis=1)
    last = first + np.stack([layout["height"], layout["width"]], axis=1)
    low, high = np.maximum(first, 0), np.minimum(last, shape)
    columns = np.concatenate([low, high - low], axis=1).astype(np.int32)
    return dict(zip(("y0", "x0", "height", "width"), columns.T, strict=True))


def is_source(placements: Columns) -> np.ndarray:
    """Return which placements are sources; the others are spurious."""
    return np.asarray(placements["class"] != SourceClass.SPURIOUS)
