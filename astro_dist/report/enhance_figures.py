"""Graphs of the page of `enhance`; each function takes plain numbers and returns a figure."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from astro_dist.report.gain_figures import COLOURS
from astro_dist.report.style import INK, in_style, new_graph


@in_style
def plot_powers(powers: Mapping[str, Sequence[float | None]], octaves: Sequence[str]) -> Figure:
    """Draw the power of each row over the true one in each octave, about a line at 1."""
    figure, axes = new_graph(8.2, 3.4)
    places, width = np.arange(len(octaves)), 0.82 / max(len(powers), 1)
    for i, (name, values) in enumerate(powers.items()):
        heights = [np.nan if value is None else value for value in values]
        offset = (i - (len(powers) - 1) / 2) * width
        axes.bar(places + offset, heights, width, color=COLOURS[i % len(COLOURS)], label=name)
    axes.axhline(1, color=INK, linewidth=1)
    axes.set_xticks(places, octaves)
    axes.set(xlabel="cycles per pixel", ylabel="power over the original's")
    axes.grid(False, axis="x")
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=4)
    return figure
