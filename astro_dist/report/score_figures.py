"""Figures of a score: curves with their intervals, errors of measurement, and pictures of what was missed."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from numpy.typing import NDArray

from astro_dist.field.panels import noise_stretch
from astro_dist.report.images import DPI, MARK, WIDE_IN
from astro_dist.report.style import ACCENT, INK, MUTED, NO_DATA, SKY_COLOURS, in_style, log_axis, new_graph

COLUMNS = 10


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


@in_style
def draw_misses(images: Sequence[NDArray[np.float32]], labels: Sequence[str]) -> Figure:
    """Draw cutouts of the map side by side, each with a ring in the middle and a label above it."""
    rows = -(-len(images) // COLUMNS)
    side, head = WIDE_IN / COLUMNS, 0.3
    figure = Figure(figsize=(WIDE_IN, rows * (side + head)), dpi=DPI)
    colours = colormaps[SKY_COLOURS].with_extremes(bad=NO_DATA)
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        row, column = divmod(i, COLUMNS)
        bottom = 1 - ((row + 1) * (side + head) - 0.04) / (rows * (side + head))
        place = (column / COLUMNS, bottom, 0.95 / COLUMNS, 0.95 * side / (rows * (side + head)))
        axes = figure.add_axes(place)
        level = noise_stretch(image).level(image)
        axes.imshow(np.where(np.isfinite(image), level, np.nan), cmap=colours, vmin=0, vmax=1, origin="lower")
        middle = (image.shape[0] - 1) / 2
        axes.plot(
            middle,
            middle,
            "o",
            markersize=13,
            markerfacecolor="none",
            markeredgecolor=MARK,
            markeredgewidth=1,
        )
        axes.set_axis_off()
        axes.set_title(label, fontsize=6.5, weight="normal", loc="left", pad=2)
    return figure
