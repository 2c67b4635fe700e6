"""Figures of a score: curves with their intervals, errors of measurement, and pictures of what was missed."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from astro_dist.field.panels import noise_stretch
from astro_dist.report.style import (
    ACCENT,
    INK,
    MUTED,
    NO_DATA,
    SKY_COLOURS,
    data_uri,
    in_style,
    log_axis,
    new_graph,
)


@in_style
def plot_shares(curves: Mapping[str, Sequence[Mapping[str, Any]]], label: str) -> Figure:
    """Draw shares against signal-to-noise or flux, each with its 95 % interval.

    Parameters
    ----------
    curves
        ``{name: points}``, a point with ``middle``, ``value``, ``low`` and ``high``.
    label
        What the points lie at.
    """
    figure, axes = new_graph()
    for (name, points), colour in zip(curves.items(), (ACCENT, "#D55E00", MUTED), strict=False):
        some = [point for point in points if point["middle"] > 0]
        x, y = (np.array([point[key] for point in some]) for key in ("middle", "value"))
        ends = np.array([[point["value"] - point["low"], point["high"] - point["value"]] for point in some])
        errors = np.maximum(ends.reshape(-1, 2).T, 0)
        axes.errorbar(x, y, errors, color=colour, marker="o", markersize=3.5, capsize=2, label=name)
    axes.set(xlabel=label, ylabel="share", ylim=(-0.03, 1.03))
    log_axis(axes, "x")
    axes.legend(loc="best")
    return figure


@in_style
def plot_errors(points: Sequence[Mapping[str, Any]], label: str, right: float) -> Figure:
    """Draw medians of an error in bins of signal-to-noise, their intervals, and the scatter as a band."""
    figure, axes = new_graph()
    x, y, scatter = (np.array([point[key] for point in points]) for key in ("middle", "median", "scatter"))
    ends = np.array([[point["median"] - point["low"], point["high"] - point["median"]] for point in points])
    axes.fill_between(x, y - scatter, y + scatter, color=ACCENT, alpha=0.14, linewidth=0)
    axes.errorbar(
        x, y, np.maximum(ends.reshape(-1, 2).T, 0), color=ACCENT, marker="o", markersize=3.5, capsize=2
    )
    axes.axhline(right, color=INK, linewidth=0.8, linestyle=":")
    axes.set(xlabel="signal-to-noise ratio", ylabel=label)
    log_axis(axes, "x")
    return figure


def paint_cut(image: NDArray[np.float32]) -> str:
    """Return a cutout of the map as a data URI, over its own noise; the last row of the sky comes first."""
    level = noise_stretch(image).level(image)
    colours = colormaps[SKY_COLOURS].with_extremes(bad=NO_DATA)
    pixels = colours(np.where(np.isfinite(image), level, np.nan), bytes=True)[::-1, :, :3]
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "webp", quality=90)
    return data_uri(buffer.getvalue(), "image/webp")
