"""Figures of detection: how much of the truth was found, how much of the findings is true, and how exactly.

A share has the interval of Wilson, a median that of order statistics, both of 95 %. Truth and findings count
where the score mask is 0; pairs are those of `astro_dist.challenge.matching` over the whole field, so that a
source beside the edge of the scored part is not false because its position is a little off.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astro_dist.challenge.matching import Matches
from astro_dist.engine.arrays import Columns, Floats, Integers
from astro_dist.metrics.intervals import median_interval, share_interval
from astro_dist.sky.classes import CLASS_NAMES, SourceClass

SNR_EDGES = (0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 20.0, 50.0, 100.0, np.inf)
FLUX_EDGES = tuple(10.0 ** (step / 3) for step in range(-15, 4))
"""Jy, three steps a decade from 10 uJy on."""
BLENDS = ((1, 1, "alone"), (2, 2, "two that touch"), (3, None, "three or more"))
MOST_SHOWN = 50
MISS_COLUMNS = (
    *("id", "class_name", "ra_deg", "dec_deg", "x_pix", "y_pix", "snr", "integrated_snr", "flux_jy"),
    *("major_arcsec", "blend_size"),
)
LEAST_RATIO = 1.2
"""Ratio of the axes from which an angle is compared."""
NMAD = 1.4826
Flags = NDArray[np.bool_]


def measure_detection(
    found: Columns, truth: Columns, pairs: Matches, found_counts: Flags, true_counts: Flags, rms: Floats
) -> dict[str, Any]:
    """Return the figures as plain numbers, None where there are none.

    Parameters
    ----------
    found_counts, true_counts
        Which rows of the submission and of the truth are scored.
    rms
        Local noise at each submitted position, Jy/beam.
    """
    seen = np.zeros(len(truth["id"]), bool)
    seen[pairs.true_row] = True
    real = np.zeros(len(found["flux_jy"]), bool)
    real[pairs.row] = True
    detectable = true_counts & (truth["detectable"] == 1)
    n_found, n_true = int(found_counts.sum()), int(true_counts.sum())
    both = true_counts[pairs.true_row]
    inner = Matches(pairs.row[both], pairs.true_row[both], pairs.apart_arcsec[both])
    return {
        "counts": {
            "submitted": len(found["flux_jy"]),
            "submitted_scored": n_found,
            "true_scored": n_true,
            "true_detectable": int(detectable.sum()),
            "matched": len(inner),
            "false": int((found_counts & ~real).sum()),
            "missed_detectable": int((detectable & ~seen).sum()),
        },
        "completeness": _completeness(truth, seen, true_counts, detectable),
        "reliability": _reliability(found, real, found_counts, rms),
        "residuals": measure_residuals(found, truth, inner),
        "classes": _confusions(found, truth, inner),
        "misses": _misses(truth, detectable & ~seen),
    }


def share(part: int, whole: int) -> dict[str, Any]:
    """Return a share with its interval and its numbers."""
    value, low, high = (None if np.isnan(x) else round(x, 6) for x in share_interval(part, whole))
    return {"value": value, "low": low, "high": high, "n": whole, "k": part}


def _curve(values: Floats, good: Flags, edges: Sequence[float]) -> list[dict[str, Any]]:
    """Return shares in bins of a value; an end without bound is None, a bin without rows is left out."""
    points = []
    for low, high in itertools.pairwise(edges):
        inside = (values >= low) & (values < high)
        if inside.any():
            point = share(int((good & inside).sum()), int(inside.sum()))
            ends = {"from": low, "to": high if np.isfinite(high) else None}
            points.append({**ends, **point, "middle": float(np.median(values[inside]))})
    return points


def _completeness(truth: Columns, seen: Flags, counts: Flags, detectable: Flags) -> dict[str, Any]:
    rows = np.flatnonzero(counts)
    best = np.maximum(truth["snr"], truth["integrated_snr"])
    by_class, blends = {}, {}
    for kind in (SourceClass.COMPACT, SourceClass.EXTENDED):
        here = detectable & (truth["class"] == kind)
        by_class[CLASS_NAMES[kind]] = share(int((seen & here).sum()), int(here.sum()))
    for low, high, name in BLENDS:
        here = detectable & (truth["blend_size"] >= low)
        here &= truth["blend_size"] <= (high or np.iinfo(np.int32).max)
        blends[name] = share(int((seen & here).sum()), int(here.sum()))
    return {
        "all": share(int((seen & counts).sum()), int(counts.sum())),
        "detectable": share(int((seen & detectable).sum()), int(detectable.sum())),
        "by_snr": _curve(best[rows], seen[rows], SNR_EDGES),
        "by_flux_jy": _curve(truth["flux_jy"][rows], seen[rows], FLUX_EDGES),
        "by_class": by_class,
        "by_blend": blends,
    }


def _reliability(found: Columns, real: Flags, counts: Flags, rms: Floats) -> dict[str, Any]:
    rows = np.flatnonzero(counts)
    # Flux over noise is the peak of a point; a peak is better where one is given.
    snr = found.get("peak_jy_beam", found["flux_jy"]) / rms
    kinds = found.get("class", np.zeros(len(real)))
    by_class = {
        CLASS_NAMES[kind]: share(int((real & here).sum()), int(here.sum()))
        for kind in (SourceClass.COMPACT, SourceClass.EXTENDED)
        if (here := counts & (kinds == kind)).any()
    }
    return {
        "all": share(int((real & counts).sum()), int(counts.sum())),
        "by_snr": _curve(snr[rows], real[rows], SNR_EDGES),
        "by_flux_jy": _curve(found["flux_jy"][rows], real[rows], FLUX_EDGES),
        "by_class": by_class,
    }


def measure_residuals(found: Columns, truth: Columns, pairs: Matches) -> dict[str, Any]:
    """Return the errors of flux, place, widths and angle, over all pairs and in bins of signal-to-noise."""
    one, true_one = pairs.row, pairs.true_row
    errors: dict[str, tuple[Floats, Flags]] = {}
    every = np.ones(len(pairs), bool)
    errors["flux_ratio"] = found["flux_jy"][one] / truth["flux_jy"][true_one], every
    east = (found["ra_deg"][one] - truth["ra_deg"][true_one] + 180) % 360 - 180
    errors["east_arcsec"] = east * np.cos(np.deg2rad(truth["dec_deg"][true_one])) * 3600, every
    errors["north_arcsec"] = (found["dec_deg"][one] - truth["dec_deg"][true_one]) * 3600, every
    errors["apart_arcsec"] = pairs.apart_arcsec, every
    major, minor = (truth[f"intrinsic_{name}_arcsec"][true_one].astype(float) for name in ("major", "minor"))
    for name, true_width in (("major", major), ("minor", minor)):
        if (column := f"intrinsic_{name}_arcsec") in found:
            errors[f"{name}_error_arcsec"] = found[column][one] - true_width, every
    if "intrinsic_pa_deg" in found:
        turn = found["intrinsic_pa_deg"][one] - truth["intrinsic_pa_deg"][true_one]
        # An axis has no direction: the angle between two of them is at most 90 degrees.
        long = (major > LEAST_RATIO * minor) & (major > 0.5 * truth["major_arcsec"][true_one])
        errors["angle_deg"] = (turn + 90) % 180 - 90, long
    snr = np.maximum(truth["snr"], truth["integrated_snr"])[true_one]
    return {name: _spread(values, snr, kept) for name, (values, kept) in errors.items()}


def _spread(values: Floats, snr: Floats, kept: Flags) -> dict[str, Any]:
    values, snr = values[kept], snr[kept]
    bins = []
    for low, high in itertools.pairwise(SNR_EDGES):
        inside = (snr >= low) & (snr < high)
        if inside.any():
            ends = {"from": low, "to": high if np.isfinite(high) else None}
            bins.append({**ends, **_median(values[inside]), "middle": float(np.median(snr[inside]))})
    return {**_median(values), "by_snr": bins}


def _median(values: Floats) -> dict[str, Any]:
    if not len(values):
        return {"median": None, "low": None, "high": None, "scatter": None, "n": 0}
    median, low, high = median_interval(values)
    scatter = NMAD * float(np.median(np.abs(values - median)))
    return {"median": median, "low": low, "high": high, "scatter": scatter, "n": len(values)}


def _confusions(found: Columns, truth: Columns, pairs: Matches) -> dict[str, Any]:
    """Return how often each true class was called what, for the columns of classes that are given."""
    made: dict[str, Any] = {}
    for name, kinds in (("class", (2, 3)), ("population", (1, 2, 3))):
        if name in found:
            said, true = found[name][pairs.row], truth[name][pairs.true_row]
            made[name] = {
                str(kind): {str(other): int(((true == kind) & (said == other)).sum()) for other in kinds}
                for kind in kinds
            }
            made[f"{name}_right"] = share(int((said == true).sum()), len(pairs))
    return made


def _misses(truth: Columns, missed: Flags) -> list[Mapping[str, Any]]:
    """Return the worst misses: detectable sources that were not found, the most significant first."""
    rows: Integers = np.flatnonzero(missed)
    best = np.maximum(truth["snr"], truth["integrated_snr"])
    rows = rows[np.lexsort((truth["id"][rows], -best[rows]))][:MOST_SHOWN]
    table = {name: truth[name][rows].tolist() for name in MISS_COLUMNS}
    return [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]
