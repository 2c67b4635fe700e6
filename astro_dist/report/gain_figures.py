"""Graphs of a comparison of training sets; each function takes plain numbers and returns a figure."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from astro_dist.report.style import ACCENT, FAINT, INK, MUTED, in_style, new_graph

# Okabe and Ito's eight colours, and darker ones after them for more classes.
COLOURS = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6D31", "#000000"),
    *("#004466", "#7F3800", "#005E45", "#7A4864", "#8A5F00", "#33708C", "#54411D", "#777777"),
)
MARKERS = "os^vDPX*"
HELPS, HARMS = "#009E73", "#D55E00"
LONGEST = 22


@in_style
def plot_gains(gains: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Figure:
    """Draw gains in percentage points with their intervals, and where it is known the headroom.

    Parameters
    ----------
    gains
        Rows with ``mean``, ``low``, ``high``, ``verdict``, and ``headroom`` or None.
    names
        Text of each row.
    """
    figure, axes = new_graph(8.2, 1.3 + 0.34 * len(gains))
    places = np.arange(len(gains))[::-1]
    axes.axvline(0, color=INK, linewidth=1)
    colours = {"helps": HELPS, "harms": HARMS, "undecided": MUTED}
    labelled: set[str] = set()
    for place, row in zip(places, gains, strict=True):
        mean, low, high = (
            100 * row[key] if row[key] is not None else np.nan for key in ("mean", "low", "high")
        )
        label = row["verdict"] if row["verdict"] not in labelled else None
        labelled.add(row["verdict"])
        style: dict[str, Any] = {"fmt": "o", "markersize": 5, "capsize": 3, "label": label}
        bars = [[np.nan_to_num(mean - low)], [np.nan_to_num(high - mean)]]
        axes.errorbar([mean], [place], xerr=bars, color=colours[row["verdict"]], **style)
        if row.get("headroom") is not None:
            text = "headroom" if "headroom" not in labelled else None
            labelled.add("headroom")
            axes.plot(100 * row["headroom"], place, "|", color=ACCENT, markersize=15, label=text)
    axes.set_yticks(places, names)
    axes.set(xlabel="gain in accuracy, percentage points", ylim=(-0.7, len(gains) - 0.3))
    axes.grid(False, axis="y")
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=4)
    return figure


@in_style
def plot_counts(counts: Mapping[str, Sequence[int]], classes: Sequence[str]) -> Figure:
    """Draw the number of pictures of each class, a bar for each set."""
    figure, axes = new_graph(8.2, 3.6)
    _draw_bars(axes, counts, classes)
    axes.set(ylabel="pictures of the training set")
    return figure


@in_style
def plot_spread(spreads: Mapping[str, Sequence[float]], classes: Sequence[str]) -> Figure:
    """Draw the standard deviation of the pixels of each class, a bar for each set."""
    figure, axes = new_graph(8.2, 3.6)
    _draw_bars(axes, spreads, classes)
    axes.set(ylabel="standard deviation of pixels (0 to 1)")
    return figure


def _draw_bars(axes: Axes, values: Mapping[str, Sequence[float]], classes: Sequence[str]) -> None:
    places, width = np.arange(len(classes)), 0.82 / max(len(values), 1)
    for i, (name, heights) in enumerate(values.items()):
        offset = (i - (len(values) - 1) / 2) * width
        axes.bar(places + offset, heights, width, color=COLOURS[i % len(COLOURS)], label=name)
    axes.set_xticks(places, [shorten(name) for name in classes], rotation=30, ha="right")
    axes.grid(False, axis="x")
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=4)


@in_style
def plot_normals(moments: Mapping[str, tuple[float, float]]) -> Figure:
    """Draw a normal curve for each set, with the mean and the standard deviation of its pixels."""
    figure, axes = new_graph(5.4, 3.5)
    known = {name: each for name, each in moments.items() if np.isfinite(each[1]) and each[1] > 0}
    ends = [mean + side * 3.5 * spread for mean, spread in known.values() for side in (-1, 1)]
    x = np.linspace(min(ends, default=0.0), max(ends, default=1.0), 400)
    for i, (name, (mean, spread)) in enumerate(moments.items()):
        if name in known:
            y = np.exp(-(((x - mean) / spread) ** 2) / 2) / (spread * np.sqrt(2 * np.pi))
            colour = COLOURS[i % len(COLOURS)]
            axes.plot(x, y, color=colour, label=f"{name}: {mean:.3f}, sd {spread:.3f}")
    axes.axvspan(0, 1, color=FAINT, alpha=0.3, linewidth=0)
    axes.set(xlabel="brightness of pixels (0 to 1)", ylabel="density", xlim=(x[0], x[-1]), ylim=(0, None))
    if known:
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=1)
    return figure


@in_style
def plot_clusters(panels: Mapping[str, Mapping[str, NDArray[Any]]], classes: Sequence[str]) -> Figure:
    """Draw one map of clusters for each set: ``x``, ``y`` and ``label`` of every test picture."""
    figure = Figure(figsize=(8.4, 4.3 * -(-len(panels) // 2) + 0.4), layout="constrained")
    grid = figure.subplots(-(-len(panels) // 2), 2, squeeze=False).ravel()
    for axes, (name, points) in zip(grid, panels.items(), strict=False):
        for kind, title in enumerate(classes):
            own = points["label"] == kind
            look: dict[str, Any] = {"s": 16, "linewidths": 0.3, "edgecolors": "white"}
            marker = MARKERS[kind % len(MARKERS)]
            colour = COLOURS[kind % len(COLOURS)]
            axes.scatter(points["x"][own], points["y"][own], color=colour, marker=marker, label=title, **look)
        axes.set(title=name, xticks=[], yticks=[])
        for side in axes.spines.values():
            side.set_visible(True)
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    handles, labels = grid[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4)
    return figure


@in_style
def plot_confusions(matrices: Mapping[str, Sequence[Sequence[int]]], classes: Sequence[str]) -> Figure:
    """Draw the share of each true class that was taken for each class, a panel for each network."""
    columns = min(2, len(matrices))
    rows = -(-len(matrices) // columns)
    side = 1.9 + 0.38 * len(classes)
    figure = Figure(figsize=(side * columns, side * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, (name, counts) in zip(grid, matrices.items(), strict=False):
        counts_CC = np.asarray(counts, float)
        totals = counts_CC.sum(axis=1, keepdims=True)
        shares_CC = np.divide(counts_CC, totals, out=np.zeros_like(counts_CC), where=totals > 0)
        axes.imshow(shares_CC, cmap="Blues", vmin=0, vmax=1)
        for y, x in np.ndindex(shares_CC.shape):
            if counts_CC[y, x]:
                colour = "white" if shares_CC[y, x] > 0.55 else INK
                axes.text(x, y, f"{counts_CC[y, x]:.0f}", ha="center", va="center", color=colour, fontsize=8)
        names = [shorten(name) for name in classes]
        axes.set_xticks(range(len(classes)), names, rotation=45, ha="right")
        axes.set_yticks(range(len(classes)), names)
        axes.set(title=name, xlabel="taken for", ylabel="true class")
    for axes in grid[len(matrices) :]:
        axes.set_axis_off()
    return figure


@in_style
def plot_pictures(rows: Mapping[str, NDArray[Any]], names: Sequence[str]) -> Figure:
    """Draw rows of pictures, (N, P, S, S) each, uint8 or from -1 to 1; a column for each name.

    Rows of shape (N, S, S) are drawn in two colours about 0, each picture to its own largest value.
    """
    width = 1.0 + 1.05 * len(names)
    figure = Figure(figsize=(width, 1.08 * len(rows) + 0.35), layout="constrained", dpi=150)
    grid = figure.subplots(len(rows), len(names), squeeze=False)
    for line, (title, pictures) in zip(grid, rows.items(), strict=True):
        for i, axes in enumerate(line):
            axes.set(xticks=[], yticks=[])
            for side in axes.spines.values():
                side.set_visible(False)
            if i < len(pictures):
                _show(axes, pictures[i])
        line[0].set_ylabel(title, rotation=0, ha="right", va="center", fontsize=8)
    for axes, name in zip(grid[0], names, strict=True):
        axes.set_title(shorten(name), fontsize=7.5, fontweight="normal", loc="center")
    return figure


def _show(axes: Axes, picture: NDArray[Any]) -> None:
    if picture.ndim == 2:
        top = float(np.quantile(np.abs(picture), 0.995)) or 1.0
        axes.imshow(picture, cmap="RdBu_r", vmin=-top, vmax=top)
        return
    shown = picture if picture.dtype == np.uint8 else np.clip((picture + 1) / 2, 0, 1)
    if len(shown) == 1:
        axes.imshow(shown[0], cmap="gray", vmin=0, vmax=255 if shown.dtype == np.uint8 else 1)
    else:
        axes.imshow(np.moveaxis(shown, 0, -1))


def shorten(name: str) -> str:
    """Return a name that fits below a bar."""
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 3]}..."
