"""The measured catalogue: one row per island, from its own pixels above the local background."""

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.arrays import Columns
from astro_dist.sky.beams import Pixel
from astro_dist.sky.classes import SourceClass
from astro_dist.sky.fits_tables import Column
from astro_dist.sky.islands import Islands, Pixels
from astro_dist.sky.maps import SkyMap
from astro_dist.sky.mesh import Mesh, Wide
from astro_dist.sky.tangent import FWHM_PER_SIGMA, ellipses, frame_step, local_axes, to_sky

Values = NDArray[np.float64]

FLUX, ROW, COLUMN = "phot.flux.density;em.radio", "pos.cartesian.y;instr.det", "pos.cartesian.x;instr.det"
COLUMNS = {
    "map": Column("", "meta.dataset", "name of the map"),
    "island": Column("", "meta.id", "number of the island in its map, from 1"),
    "y0": Column("pix", f"{ROW};stat.min", "first row of the smallest window that holds it, from 0"),
    "y1": Column("pix", f"{ROW};stat.max", "row after the last of that window"),
    "x0": Column("pix", f"{COLUMN};stat.min", "first column of that window, from 0"),
    "x1": Column("pix", f"{COLUMN};stat.max", "column after the last of that window"),
    "n_pix": Column("pix", "phys.area", "pixels of the island"),
    "peak_y": Column("pix", ROW, "row of the pixel of the highest snr"),
    "peak_x": Column("pix", COLUMN, "column of the pixel of the highest snr"),
    "peak_jy_beam": Column("Jy/beam", f"{FLUX};stat.max", "brightness there above the background"),
    "snr": Column("", "stat.snr", "brightness there over the local rms"),
    "flux_jy": Column("Jy", FLUX, "sum of the pixels above the background, over the beam area"),
    "background_jy_beam": Column("Jy/beam", "instr.background", "background at the highest pixel"),
    "rms_jy_beam": Column("Jy/beam", "stat.stdev;phot.flux.density", "local rms at the highest pixel"),
    "y": Column("pix", ROW, "row of the centroid of brightness, the first is 0"),
    "x": Column("pix", COLUMN, "column of the centroid of brightness, the first is 0"),
    "ra_deg": Column("deg", "pos.eq.ra;meta.main", "right ascension of the centroid, ICRS"),
    "dec_deg": Column("deg", "pos.eq.dec;meta.main", "declination of the centroid, ICRS"),
    "major_arcsec": Column(
        "arcsec", "phys.angSize.smajAxis", "full width of the major axis, not deconvolved"
    ),
    "minor_arcsec": Column(
        "arcsec", "phys.angSize.sminAxis", "full width of the minor axis, not deconvolved"
    ),
    "pa_deg": Column("deg", "pos.posAng", "angle of the major axis, east of north in ICRS at the source"),
    "image_pa_deg": Column("deg", "pos.posAng;instr.det", "that angle in the image, from +y to -x, as BPA"),
    "class": Column("", "src.class", "spurious, compact or extended"),
    "rule": Column("", "meta.note;src.class", "the rule that gave the class"),
    "n_peaks": Column("", "meta.number", "separate peaks of the island or source"),
    "source": Column("", "meta.id;meta.main", "number of the source in its map: that of its first island"),
    "joined_by": Column("", "meta.note", "the rule that joined the island to its source, empty for none"),
    "flags": Column("", "meta.code.qual", "1 cut by the edge of the map, 2 cut by missing data, 3 by both"),
    "n_components": Column("", "meta.number", "islands of the source"),
    "wide": Column("", "meta.id;meta.main", "number of the wide emission in its map, from 1"),
    "islands_jy": Column("Jy", FLUX, "flux of the extended islands whose highest pixel lies on it"),
}
"""Every column of the catalogues of islands."""


def measure(
    islands: Islands, classes: NDArray[np.uint8], mesh: Mesh, sky_map: SkyMap, merge: float
) -> Columns:
    """Measure the islands of one map.

    Parameters
    ----------
    classes
        `SourceClass` of each island.
    merge
        The snr above which pixels belong to islands.

    Returns
    -------
    dict
        One value per island: ``island`` (from 1); ``y0 y1 x0 x1``, the smallest window that holds it;
        ``n_pix``; ``peak_y peak_x peak_jy_beam snr``, of the pixel of the highest snr;
        ``background_jy_beam rms_jy_beam`` there; ``flux_jy``, the sum over the beam area;
        ``y x ra_deg dec_deg``, the centroid of brightness; ``major_arcsec minor_arcsec pa_deg``, full
        widths on the sky of the Gaussian of the same second moments, angle east of north in ICRS at the
        source, not deconvolved; ``image_pa_deg``, its angle in the image from +y to -x, as BPA.
        Brightness is counted from the background.

    Notes
    -----
    The pixels above t of a Gaussian of peak P hold the part 1 - t/P of its flux and the part
    1 + (t/P) ln(t/P) / (1 - t/P) of its second moments. Compact sources are corrected for both. Other
    islands are no Gaussians and stay as summed.
    """
    pixels, pixel = islands.pixels, sky_map.pixel
    top = pixels[islands.brightest]
    background, rms = mesh.evaluate_at(top.y, top.x)
    value = pixels.value_jy_beam.astype(np.float64)
    total = _sum(islands, value)
    # Only what an expert drew may be negative as a whole: its dark pixels then weigh nothing.
    bright = np.maximum(value, 0)
    bright = np.where(_sum(islands, bright)[islands.owner] > 0, bright, 1.0)
    value = np.where((total > 0)[islands.owner], value, bright)
    weight = _sum(islands, value)
    y, x = (_sum(islands, value * axis) / weight for axis in (pixels.y, pixels.x))
    ra, dec = sky_map.sky_of(y, x)
    # t/P of the notes; 0 leaves flux and moments as they are summed.
    cut = np.where(classes == SourceClass.COMPACT, merge / top.snr.astype(np.float64), 0.0)
    # Pixels that an expert drew below the threshold hold the flux that the correction is for.
    lowest = np.minimum.reduceat(pixels.snr, islands.starts) if len(islands) else top.snr
    cut[lowest < merge] = 0.0
    dy, dx = pixels.y - y[islands.owner], pixels.x - x[islands.owner]
    yy, yx, xx = (_sum(islands, value * m) / weight for m in (dy**2, dy * dx, dx**2))
    # The part of the second moments in the pixels, see the notes; 1e-9 keeps the unused branch finite.
    kept = 1 + np.where(cut > 0, cut * np.log(np.maximum(cut, 1e-9)) / (1 - cut), 0.0)
    moments = np.stack([yy, yx, yx, xx], axis=-1).reshape(-1, 2, 2) / kept[:, None, None]
    sizes = _sizes(moments, local_axes(sky_map.sky_of, y, x), pixel)
    columns = {
        "island": np.arange(1, len(islands) + 1, dtype=np.int32),
        **_boxes(islands),
        "n_pix": islands.sizes.astype(np.int32),
        "peak_y": top.y,
        "peak_x": top.x,
        "peak_jy_beam": top.value_jy_beam,
        "snr": top.snr,
        "flux_jy": total / (1 - cut) / sky_map.beam_area_pix(y, x),
        "background_jy_beam": background,
        "rms_jy_beam": rms,
    }
    sky = {"y": y, "x": x, "ra_deg": ra, "dec_deg": dec}
    return columns | sky | sizes


def measure_wide(mesh: Mesh, wide: Wide, sky_map: SkyMap, islands: Columns) -> Columns:
    """Measure the wide emission of a map of which the extended islands on it hold only a part.

    Parameters
    ----------
    islands
        Catalogue of the islands of the map, with ``class``.

    Returns
    -------
    dict
        As `measure` of islands, from medians of blocks above the background, in which sources that fill less
        than half a block do not count; ``wide``, from 1, in place of ``island``; and ``islands_jy``, the flux
        of the extended islands on it.
    """
    sky, side = replace(mesh, wide=None), mesh.cell_pix * len(mesh.rms) / len(wide.labels)
    y, x = np.nonzero(wide.labels)
    order = np.argsort(wide.labels[y, x], kind="stable")
    y, x = y[order], x[order]
    rows, columns = (
        np.minimum(np.rint(np.arange(n + 1) * side), size).astype(np.int32)
        for n, size in zip(wide.labels.shape, mesh.shape, strict=True)
    )
    area, excess = np.diff(rows)[y] * np.diff(columns)[x], wide.excess[y, x]
    place = [((edges[i] + edges[i + 1]) // 2).astype(np.int32) for edges, i in ((rows, y), (columns, x))]
    snr = excess / sky.evaluate_at(place[0], place[1])[1]
    _, starts = np.unique(wide.labels[y, x], return_index=True)
    value = (excess * area).astype(np.float32)
    blocks = Islands(Pixels(place[0], place[1], value, snr), starts, np.zeros(len(y), np.bool_))
    found = measure(blocks, np.full(len(starts), SourceClass.EXTENDED, np.uint8), sky, sky_map, 0.0)
    found |= {
        "y0": np.minimum.reduceat(rows[y], starts),
        "y1": np.maximum.reduceat(rows[y + 1], starts),
        "x0": np.minimum.reduceat(columns[x], starts),
        "x1": np.maximum.reduceat(columns[x + 1], starts),
        "n_pix": np.add.reduceat(area, starts).astype(np.int32),
        "peak_jy_beam": excess[blocks.brightest],
        "islands_jy": _held(wide, side, islands),
    }
    kept = found["flux_jy"] > found["islands_jy"]
    del found["island"]
    table = {name: values[kept] for name, values in found.items()}
    return {"wide": np.arange(1, kept.sum() + 1, dtype=np.int32), **table}


def _held(wide: Wide, side: float, islands: Columns) -> Values:
    """Return the flux of the extended islands whose highest pixel lies on each wide emission."""
    large = islands["class"] == SourceClass.EXTENDED
    y, x = ((islands[name][large] / side).astype(np.intp) for name in ("peak_y", "peak_x"))
    flux = np.bincount(wide.labels[y, x], islands["flux_jy"][large], int(wide.labels.max()) + 1)
    return np.asarray(flux[1:], np.float64)


def _sum(islands: Islands, values: Values) -> Values:
    """Sum over the pixels of each island, in their order."""
    return np.asarray(np.bincount(islands.owner, values, len(islands)), np.float64)


def _boxes(islands: Islands) -> Columns:
    if not len(islands):
        return {name: np.zeros(0, np.int32) for name in ("y0", "y1", "x0", "x1")}
    y, x, starts = islands.pixels.y, islands.pixels.x, islands.starts
    return {
        "y0": np.minimum.reduceat(y, starts),
        "y1": np.maximum.reduceat(y, starts) + np.int32(1),
        "x0": np.minimum.reduceat(x, starts),
        "x1": np.maximum.reduceat(x, starts) + np.int32(1),
    }


def _sizes(moments_pix: Values, axes: Values, pixel: Pixel) -> Columns:
    """Return full widths and angles of second moments (n, 2, 2) in pixels; ``axes`` see `local_axes`."""
    major, minor, pa = ellipses(to_sky(axes, moments_pix))
    # The second moment of a single pixel, side^2 / 12: an island of one row is not of zero width.
    sides = np.hypot(axes[:, 0], axes[:, 1])
    least = FWHM_PER_SIGMA * sides.min(axis=1) / math.sqrt(12)
    _, _, image_pa = ellipses(to_sky(np.diag(frame_step(pixel)), moments_pix))
    return {
        "major_arcsec": np.maximum(major, least),
        "minor_arcsec": np.maximum(minor, least),
        "pa_deg": pa,
        "image_pa_deg": image_pa,
    }
