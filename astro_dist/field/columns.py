"""The tables of a field: the columns of its truth, layout and placements, with unit, UCD and meaning.

``layout.parquet`` is what is drawn before any pixel is; ``placements.parquet`` has the measures of the pixels
as well; the truth is those of its rows that are sources, with sizes and angles on the sky.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from astro_dist.engine.arrays import Columns
from astro_dist.sky.fits_tables import Column
from astro_dist.sky.tables import read_table_file, write_table_file

COLUMNS = {
    "id": Column("", "meta.id;meta.main", "number of the source, its value in instances.fits"),
    "class": Column("", "src.class", "2 compact, 3 extended, as in mask.fits"),
    "class_name": Column("", "meta.note;src.class", "compact or extended"),
    "ra_deg": Column("deg", "pos.eq.ra;meta.main", "right ascension of the centroid, ICRS"),
    "dec_deg": Column("deg", "pos.eq.dec;meta.main", "declination of the centroid, ICRS"),
    "ra_peak_deg": Column("deg", "pos.eq.ra", "right ascension of the brightest pixel, ICRS"),
    "dec_peak_deg": Column("deg", "pos.eq.dec", "declination of the brightest pixel, ICRS"),
    "x_pix": Column("pix", "pos.cartesian.x;instr.det", "column of the centroid, the first is 0"),
    "y_pix": Column("pix", "pos.cartesian.y;instr.det", "row of the centroid, the first is 0"),
    "x_peak_pix": Column("pix", "pos.cartesian.x;instr.det", "column of the brightest pixel"),
    "y_peak_pix": Column("pix", "pos.cartesian.y;instr.det", "row of the brightest pixel"),
    "anchor": Column("", "meta.note", "core or centroid: the point that lies at x_anchor_pix, y_anchor_pix"),
    "x_anchor_pix": Column("pix", "pos.cartesian.x;instr.det", "column of the drawn or given position"),
    "y_anchor_pix": Column("pix", "pos.cartesian.y;instr.det", "row of the drawn or given position"),
    "k": Column("", "stat.snr", "amplitude over the local rms"),
    "snr": Column("", "stat.snr;phot.flux.density", "brightest pixel over the local rms"),
    "integrated_snr": Column("", "stat.snr;phot.flux", "flux over its error in the area of the source"),
    "detectable": Column("", "meta.code", "1 when snr or integrated_snr reaches assemble.detect_snr"),
    "sigma_jy_beam": Column("Jy/beam", "stat.stdev;phot.flux.density", "local rms at the anchor"),
    "peak_jy_beam": Column("Jy/beam", "phot.flux.density;stat.max", "brightest added pixel"),
    "flux_jy": Column("Jy", "phot.flux.density;em.radio", "sum of the added pixels over the beam area"),
    "flux_given_jy": Column(
        "Jy", "phot.flux.density;em.radio", "flux that was asked for, NaN in radiff modes"
    ),
    "catalogue_row": Column("", "meta.id", "row of the catalogue, the first is 0; -1 where there is none"),
    "spectral_index": Column("", "spect.index", "exponent of frequency, NaN where unknown"),
    "core_fraction": Column("", "phot.flux.density;arith.ratio", "peak_jy_beam over flux_jy, at most 1"),
    "beam_area_pix": Column("pix", "phys.angArea;instr.beam", "solid angle of the beam"),
    "major_arcsec": Column("arcsec", "phys.angSize.smajAxis", "full width along the major axis, observed"),
    "minor_arcsec": Column("arcsec", "phys.angSize.sminAxis", "full width along the minor axis, observed"),
    "pa_deg": Column("deg", "pos.posAng", "angle of the major axis, east of north in ICRS at the source"),
    "image_pa_deg": Column("deg", "pos.posAng;instr.det", "pa_deg in the image, from +y to -x, as BPA"),
    "intrinsic_major_arcsec": Column("arcsec", "phys.angSize.smajAxis", "major_arcsec without the beam"),
    "intrinsic_minor_arcsec": Column("arcsec", "phys.angSize.sminAxis", "minor_arcsec without the beam"),
    "intrinsic_pa_deg": Column("deg", "pos.posAng", "pa_deg without the beam"),
    "n_pix": Column("pix", "phys.area", "pixels the source was added to"),
    "blend": Column("", "meta.id.assoc", "least id of the detectable sources that touch or overlap this one"),
    "blend_size": Column("", "meta.number", "number of these sources, 1 for a source on its own"),
    "flags": Column("", "meta.code", "1 where its box reaches beyond the field, whose edge cuts it"),
    "n_components": Column("", "meta.number", "pieces of the mask it was drawn for, see truth_components"),
    "object": Column("", "meta.id", "row of the object in objects.parquet, -1: a point or a Gaussian"),
    "stamp": Column("", "meta.id", "generated stamp the object comes from, -1 for none"),
    "instance": Column("", "meta.id", "number of the object in the instances of its stamp"),
    "turn_deg": Column("deg", "pos.posAng", "turn of the object from +y to -x, after the flip"),
    "flip": Column("", "meta.code", "1 when the object was mirrored left to right"),
    "size_factor": Column("", "arith.factor", "factor of the object's size"),
    "drawn": Column("", "meta.code", "1 when it was added as drawn, 0 when its model was rendered"),
    "y0": Column("pix", "pos.cartesian.y;stat.min", "first row of the box that the source was added in"),
    "x0": Column("pix", "pos.cartesian.x;stat.min", "first column of that box"),
    "height": Column("pix", "phys.size", "rows of that box"),
    "width": Column("pix", "phys.size", "columns of that box"),
    "donor_snr": Column("", "stat.snr", "peak signal-to-noise the object was generated at, NaN for none"),
}
IMAGE = "image_"
"""Begins the names of sizes and angles in the frame of the image, see `astro_dist.sky.tangent.frame_step`."""
SIZES = ("major_arcsec", "minor_arcsec", "pa_deg")
SIZE_COLUMNS = {
    IMAGE + name: replace(COLUMNS[name], meaning=f"{name} in the frame of the image (axes +y, -x)")
    for name in (prefix + size for prefix in ("", "intrinsic_") for size in SIZES)
}
SPREAD_COLUMNS = {
    f"spread_{name}": Column("pix2", "stat.variance", f"{name} of a source without an object")
    for name in ("yy", "yx", "xx")
}
_KIND = {"class": Column("", "src.class", "1 spurious, 2 compact, 3 extended")}
_LEVEL = Column("Jy/beam", "phot.flux.density;stat.min", "least added pixel of mask and instances")
PLACEMENT_COLUMNS = {**COLUMNS, **SIZE_COLUMNS, **SPREAD_COLUMNS, **_KIND, "level_jy_beam": _LEVEL}
"""Every column of ``placements.parquet``."""
_DRAWN = (
    *("id", "object", "stamp", "instance", "donor_snr", "drawn", "x_anchor_pix", "y_anchor_pix"),
    *("turn_deg", "flip", "size_factor", "k", "flux_given_jy", "catalogue_row", "spectral_index"),
    *("sigma_jy_beam", "y0", "x0", "height", "width"),
)
LAYOUT_COLUMNS = {name: COLUMNS[name] for name in _DRAWN} | SPREAD_COLUMNS | _KIND
"""Every column of ``layout.parquet``; its boxes may reach beyond the field."""


def write_columns_file(path: Path, table: Columns, known: Mapping[str, Column] = COLUMNS) -> None:
    """Publish a table; the metadata of its fields hold units, UCDs and meanings from ``known``."""
    fields = []
    for name, values in table.items():
        column = known[name]
        notes = {"unit": column.unit, "ucd": column.ucd, "description": column.meaning}
        metadata = {key: text for key, text in notes.items() if text}
        fields.append(pa.field(name, pa.array(values[:0]).type, nullable=False, metadata=metadata))
    write_table_file(path, pa.table(list(table.values()), schema=pa.schema(fields)))


def read_columns_file(path: Path, columns: Sequence[str] | None = None) -> Columns:
    """Return columns of a table as arrays, by default all columns; see `read_table_file`."""
    table = read_table_file(path, columns)
    return {name: table[name].to_numpy() for name in table.column_names}
