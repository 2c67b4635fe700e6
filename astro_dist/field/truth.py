"""The truth catalogue in six formats: parquet, FITS, VOTable, DS9 and CASA regions, SDC1 text.

All are written from the placements; nothing is measured back from the map. Positions and sizes are moments of
the pixels that were added. A size is the full width at half maximum of a Gaussian with the same second
moments. Apparent sizes include the beam; intrinsic ones have the beam's moments subtracted, and are 0 when
nothing is left. Sizes and angles of placements are in the frame of the image, those of the truth on the sky.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any
from xml.sax.saxutils import escape, quoteattr

import numpy as np
from numpy.typing import NDArray

from astro_dist import __version__
from astro_dist.engine.arrays import Columns
from astro_dist.engine.files import publish_bytes
from astro_dist.field.columns import COLUMNS, IMAGE, PLACEMENT_COLUMNS, SIZES, write_columns_file
from astro_dist.field.truth_text import Sdc1Angle, sdc1_columns, sdc1_lines
from astro_dist.sky.beams import Beam, Pixel
from astro_dist.sky.classes import CLASS_NAMES, SourceClass
from astro_dist.sky.fits_tables import Column, write_table
from astro_dist.sky.maps import SkyMap
from astro_dist.sky.region_lines import crtf_lines, region_lines
from astro_dist.sky.tangent import ellipses, frame_step, local_axes, to_sky, turn_ellipses

ROWS_AT_ONCE = 4096
VO_TYPES = {"u1": "unsignedByte", "i2": "short", "i4": "int", "i8": "long", "f4": "float", "f8": "double"}


OVERLAP_COLUMNS = {
    "id": COLUMNS["id"],
    "other": Column("", "meta.id", "number of another source, larger than id"),
    "n_pix": Column("pix", "phys.area", "pixels of the mask that both cover"),
}


def moments_of(image: NDArray[np.float32]) -> dict[str, float]:
    """Return the sum, brightest pixel, centroid and second moments of an object's pixels.

    Negative pixels count for the sum only, because second moments need a positive measure to be positive.
    """
    weight = np.maximum(image, 0).astype(np.float64)
    total = weight.sum()
    # Marginals: every moment but the mixed one needs the sums over rows or columns only.
    rows, columns = weight.sum(axis=1) / total, weight.sum(axis=0) / total
    y, x = np.arange(len(rows)), np.arange(len(columns))
    # Sums of products and no `@`: the order in which BLAS adds depends on the CPU.
    y_mean, x_mean = float((rows * y).sum()), float((columns * x).sum())
    peak_y, peak_x = divmod(int(np.argmax(image)), image.shape[1])
    return {
        "sum": float(image.sum(dtype=np.float64)),
        "peak": float(image[peak_y, peak_x]),
        "peak_y": peak_y,
        "peak_x": peak_x,
        "y": y_mean,
        "x": x_mean,
        "yy": float((rows * (y - y_mean) ** 2).sum()),
        "xx": float((columns * (x - x_mean) ** 2).sum()),
        "yx": float(((y - y_mean) * (weight * (x - x_mean)).sum(axis=1)).sum()) / float(total),
        "n_pix": int(np.count_nonzero(image)),
    }


def turn_moments(rows: Columns, turns: NDArray[np.integer[Any]]) -> Columns:
    """Return the moments and box sizes of turned images from those of the unturned ones.

    Parameters
    ----------
    rows
        The columns of `moments_of`, ``height`` and ``width``; others stay as they are.
    turns
        Shape (n,), as `astro_dist.sky.symmetries.apply_symmetry` counts them.
    """
    rows = {name: values.copy() for name, values in rows.items()}
    for quarter in range(3):
        now = turns % 4 > quarter
        # A quarter turn sends (y, x) to (width - 1 - x, y).
        for y, x in (("y", "x"), ("peak_y", "peak_x")):
            rows[y][now], rows[x][now] = rows["width"][now] - 1 - rows[x][now], rows[y][now]
        # After the positions, which need the width before the turn.
        for one, other in (("yy", "xx"), ("height", "width")):
            rows[one][now], rows[other][now] = rows[other][now], rows[one][now]
        # A quarter turn reverses one of the two axes, as a mirror does, and with it the mixed moment's sign.
        rows["yx"][now] *= -1
    mirrored = turns >= 4
    for x in ("x", "peak_x"):
        rows[x][mirrored] = rows["width"][mirrored] - 1 - rows[x][mirrored]
    rows["yx"][mirrored] *= -1
    return rows


def size_columns(moments_pix: NDArray[np.float64], beam: Beam, pixel: Pixel) -> Columns:
    """Return the observed and the intrinsic sizes of objects with these second moments, in the image's frame.

    Parameters
    ----------
    moments_pix
        Shape (n, 2, 2), axes (y, x), pixels squared.
    """
    table: Columns = {}
    # Second moments add under convolution, so that subtracting the beam's leaves those of the source.
    without_beam = moments_pix - beam.covariance_pix(pixel)
    for prefix, moments in (("", moments_pix), ("intrinsic_", without_beam)):
        sizes = ellipses(to_sky(np.diag(frame_step(pixel)), moments))
        for name, values in zip(SIZES, sizes, strict=True):
            table[f"{IMAGE}{prefix}{name}"] = values.astype(np.float32)
    return table


def write_placements(path: Path, placements: Columns) -> None:
    """Publish the table of placements."""
    table = {name: placements[name] for name in PLACEMENT_COLUMNS if name in placements}
    write_columns_file(path, table, PLACEMENT_COLUMNS)


def select_truth(placements: Columns, field: SkyMap) -> Columns:
    """Return the truth: the placements without the spurious ones, by id, with the columns of `COLUMNS`."""
    real = np.flatnonzero(placements["class"] != SourceClass.SPURIOUS)
    real = real[np.argsort(placements["id"][real], kind="stable")]
    table = {name: values[real] for name, values in placements.items()}
    table["class_name"] = np.array(CLASS_NAMES)[table["class"]]
    table |= sizes_on_sky(table, field)
    return {name: table[name] for name in COLUMNS}


def band_columns(bands_hz: Iterable[float]) -> dict[str, Column]:
    """Return the columns of the fluxes at some frequencies."""
    found = {}
    for frequency_hz in bands_hz:
        mhz = f"{frequency_hz / 1e6:.10g}"
        meaning = f"flux_jy at {mhz} MHz by spectral_index, NaN where that is unknown"
        found[f"flux_{mhz.replace('.', '_')}mhz_jy"] = replace(COLUMNS["flux_jy"], meaning=meaning)
    return found


def band_fluxes(truth: Columns, bands_hz: Iterable[float], frequency_hz: float | None) -> Columns:
    """Return the fluxes at some frequencies of the sources of a field at ``frequency_hz``, by column."""
    assert frequency_hz is not None, "a field without a frequency is refused before"
    flux, index = truth["flux_jy"], truth["spectral_index"].astype(np.float64)
    fluxes = [flux * (band_hz / frequency_hz) ** index for band_hz in bands_hz]
    return dict(zip(band_columns(bands_hz), fluxes, strict=True))


def sizes_on_sky(table: Columns, field: SkyMap) -> Columns:
    """Return sizes and angles on the sky of what `size_columns` gives, and the angles in the image.

    ``table`` needs ``y_pix`` and ``x_pix`` beside those.
    """
    axes, found = local_axes(field.sky_of, table["y_pix"], table["x_pix"]), {}
    for prefix in ("", "intrinsic_"):
        names = [prefix + name for name in SIZES]
        # Version 0.1.0 wrote placements with the same numbers under the names of the truth.
        in_image = [table[IMAGE + name if IMAGE + name in table else name] for name in names]
        found[f"{IMAGE}{names[2]}"] = in_image[2]
        for name, values in zip(names, turn_ellipses(axes, field.pixel, *in_image), strict=True):
            found[name] = values.astype(np.float32)
    return found


def write_truth(
    folder: Path,
    truth: Columns,
    cards: Mapping[str, Any],
    history: Iterable[str],
    beam: Beam,
    sdc1_angle: Sdc1Angle = "east_of_north",
    further: Mapping[str, Column] = MappingProxyType({}),
) -> None:
    """Write ``truth.parquet``, ``.fits``, ``.vot``, ``.reg``, ``.crtf`` and ``truth_sdc1.txt`` into a folder.

    Parameters
    ----------
    beam
        The beam of the field, for the least sizes of the SDC1 text.
    sdc1_angle
        Convention of the angles in the SDC1 text, see `sdc1_lines`.
    further
        Columns of the truth beside `COLUMNS`.
    """
    about = {**COLUMNS, **further}
    write_columns_file(folder / "truth.parquet", truth, about)
    write_table(
        folder / "truth.fits",
        truth,
        about,
        name="TRUTH",
        cards=cards,
        history=history,
    )
    publish_bytes(folder / "truth.vot", "".join(votable_lines(truth, about)).encode())
    publish_bytes(folder / "truth.reg", "".join(region_lines(truth)).encode())
    publish_bytes(folder / "truth.crtf", "".join(crtf_lines(truth)).encode())
    publish_bytes(folder / "truth_sdc1.txt", "".join(sdc1_lines(truth, beam, sdc1_angle)).encode())
    publish_bytes(folder / "truth_sdc1_columns.txt", "".join(sdc1_columns(beam, sdc1_angle)).encode())


def votable_lines(truth: Columns, about: Mapping[str, Column] = COLUMNS) -> Iterable[str]:
    """Yield the text of a VOTable 1.4 with units, UCDs and descriptions, which are those of ``about``."""
    yield (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<VOTABLE version="1.4" xmlns="http://www.ivoa.net/xml/VOTable/v1.3">\n'
        ' <RESOURCE type="results">\n'
        '  <COOSYS ID="sky" system="ICRS"/>\n'
        '  <TABLE name="truth">\n'
        f"   <DESCRIPTION>Sources of a synthetic radio map, astro_dist {__version__}</DESCRIPTION>\n"
    )
    for name, values in truth.items():
        column = about[name]
        # The first character is the byte order.
        kind = VO_TYPES.get(values.dtype.str[1:])
        attributes = f'datatype="{kind}"' if kind else 'datatype="char" arraysize="*"'
        attributes += f" unit={quoteattr(column.unit)}" if column.unit else ""
        attributes += ' ref="sky"' if column.ucd.startswith("pos.eq") else ""
        yield (
            f'   <FIELD name="{name}" {attributes} ucd="{column.ucd}">'
            f"<DESCRIPTION>{escape(column.meaning)}</DESCRIPTION></FIELD>\n"
        )
    yield "   <DATA><TABLEDATA>\n"
    # Some rows at a time, because a number as text takes 128 bytes of an array.
    for first in range(0, len(truth["id"]), ROWS_AT_ONCE):
        some = [values[first : first + ROWS_AT_ONCE] for values in truth.values()]
        # numpy writes the shortest decimals that read back as the same number, so that no digit is lost.
        # VOTable spells what is not a number NaN, numpy nan.
        texts = (np.where(values != values, "NaN", values.astype(str)) for values in some)
        for row in zip(*texts, strict=True):
            yield f"    <TR><TD>{'</TD><TD>'.join(row)}</TD></TR>\n"
    yield "   </TABLEDATA></DATA>\n  </TABLE>\n </RESOURCE>\n</VOTABLE>\n"
