"""Graphs of the report: learning curves and the distributions of the truth.

Each function takes plain numbers and returns a matplotlib figure; none reads a file.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from astro_dist.field.config import FluxConfig
from astro_dist.report.style import ACCENT, CLASS_COLOURS, INK, MUTED, in_style, log_axis, new_graph
from astro_dist.sky.counts import euclidean_counts as euclidean_curve
from astro_dist.sky.counts import published

Values = NDArray[Any]
MAX_DECADES = 4


@in_style
def plot_curve(curve: Mapping[str, Sequence[tuple[int, float]]]) -> Figure:
    """Draw the loss of a training against its step, as measured and as a running mean.

    Parameters
    ----------
    curve
        ``{quantity: [(step, value), ...]}`` as from `astro_dist.report.gather.read_curve`; ``loss``,
        ``mask_loss`` and ``validation_loss`` are drawn, as far as the mapping has them.
    """
    figure, axes = new_graph()
    colours = {"loss": ACCENT, "mask_loss": CLASS_COLOURS["extended"]}
    names = {"loss": "training loss", "mask_loss": "training loss on objects"}
    for key, colour in colours.items():
        if curve.get(key):
            step, value = np.array(curve[key]).T
            axes.plot(step, value, color=colour, alpha=0.22, linewidth=0.9)
            axes.plot(step, _running_mean(value), color=colour, label=names[key])
    if curve.get("validation_loss"):
        step, value = np.array(curve["validation_loss"]).T
        axes.plot(step, value, "o-", color=INK, markersize=3.5, linewidth=1.0, label="validation loss")
    values = [v for key in (*colours, "validation_loss") for _, v in curve.get(key, ()) if np.isfinite(v)]
    if values and min(values) > 0 and max(values) > 3 * min(values):
        log_axis(axes, "y")
    axes.set(xlabel="optimiser step", ylabel="loss")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    _legend(axes)
    return figure


@in_style
def plot_peaks(k: Values, classes: Values, flux: FluxConfig | None) -> Figure:
    """Draw the histogram of the peak signal-to-noise ratios beside the configured distribution.

    Parameters
    ----------
    k
        Peak over local rms of every object.
    classes
        Class name of every object.
    flux
        The settings of the exponential; None when the fluxes follow another law or come from a catalogue.
    """
    figure, axes = new_graph()
    # Of every flux that the sky has nearly all would be in one bin of a linear axis.
    top = max(flux.cap if flux else 0.0, float(np.max(k))) * (1 + 1e-9)
    edges = np.linspace(min(0.0, float(np.min(k))), top, 41) if flux else _log_edges(k)
    _histograms(axes, k, classes, edges)
    counts, _ = np.histogram(np.maximum(k, edges[0]), edges)
    axes.stairs(counts, edges, color=INK, linewidth=1.2, label=f"all ({len(k):,})")
    if flux:
        centres = np.linspace(flux.minimum, flux.cap, 400)
        # Density times width of a bin times number of objects: the count that a bin is expected to have.
        wanted = len(k) * (edges[1] - edges[0]) * exponential_density(centres, flux)
        label = f"asked for: scale {flux.scale:g}, cap {flux.cap:g}"
        axes.plot(centres, wanted, color=INK, linestyle=(0, (4, 2)), linewidth=1.3, label=label)
    else:
        log_axis(axes, "x")
    axes.set(xlabel="peak signal-to-noise ratio k", ylabel="objects per bin")
    log_axis(axes, "y")
    # Below 1, so that a bar of one object has a height on a logarithmic axis.
    axes.set_ylim(bottom=0.7)
    _legend(axes)
    return figure


@in_style
def plot_fluxes(flux_jy: Values, peak_jy_beam: Values, classes: Values) -> Figure:
    """Draw the histogram of the integrated fluxes by class, and that of all peaks as an outline."""
    figure, axes = new_graph()
    flux_mjy, peak_mjy = 1e3 * flux_jy, 1e3 * peak_jy_beam
    edges = _log_edges(np.concatenate([flux_mjy, peak_mjy]))
    _histograms(axes, flux_mjy, classes, edges)
    counts, _ = np.histogram(peak_mjy, edges)
    label = "all, peak (mJy/beam)"
    axes.stairs(counts, edges, color=INK, linestyle=(0, (4, 2)), linewidth=1.2, label=label)
    axes.set(xlabel="integrated flux (mJy)", ylabel="objects per bin")
    log_axis(axes, "x")
    log_axis(axes, "y")
    axes.set_ylim(bottom=0.7)
    _legend(axes)
    return figure


@in_style
def plot_sizes(major_arcsec: Values, classes: Values, beam_arcsec: float) -> Figure:
    """Draw the histogram of the major axes by class, and a line at the beam's."""
    figure, axes = new_graph()
    edges = _log_edges(np.append(major_arcsec, beam_arcsec))
    _histograms(axes, major_arcsec, classes, edges)
    axes.axvline(beam_arcsec, color=INK, linestyle=(0, (1, 1.5)), linewidth=1.3, label="beam")
    axes.set(xlabel="major axis, full width at half maximum (arcsec)", ylabel="objects per bin")
    log_axis(axes, "x")
    log_axis(axes, "y")
    axes.set_ylim(bottom=0.7)
    _legend(axes)
    return figure


@dataclass(frozen=True)
class Reference:
    """The published counts at 1.4 GHz as they are at another frequency.

    Attributes
    ----------
    ratio
        Flux there over flux at 1.4 GHz.
    limit_jy
        Flux from which a field has sources by these counts, or None.
    """

    ratio: float
    limit_jy: float | None = None

    def scaled(self, flux_jy: Values, counts: Values) -> tuple[Values, Values]:
        """Return fluxes and Euclidean counts at the other frequency from those at 1.4 GHz."""
        # S^2.5 dN/dS: 2.5 powers of the ratio, and one less for the narrower unit of flux.
        return flux_jy * self.ratio, counts * self.ratio**1.5


@in_style
def plot_counts(
    flux_jy: Values, classes: Values, area_sr: float, reference: Reference | None = None
) -> Figure:
    """Draw Euclidean-normalised differential source counts, all and by class, with Poisson errors.

    Parameters
    ----------
    reference
        Draw the published counts too.
    """
    figure, axes = new_graph()
    edges = _log_edges(flux_jy, per_decade=5)
    if reference and reference.limit_jy:
        # From the limit on, because a bin that begins below it holds too few.
        edges = reference.limit_jy * edges / edges[0]
    if reference:
        _draw_published(axes, reference, edges)
    series = {"all": (flux_jy, INK, "o")}
    for (name, colour), marker in zip(CLASS_COLOURS.items(), "s^v", strict=True):
        if len(chosen := flux_jy[classes == name]):
            series[name] = (chosen, colour, marker)
    for label, (values, colour, marker) in series.items():
        centre, counts, errors = euclidean_counts(values, area_sr, edges)
        axes.errorbar(
            1e3 * centre, counts, errors, fmt=marker, color=colour, markersize=4, linewidth=1, label=label
        )
    axes.set(
        xlabel="integrated flux S (mJy)", ylabel=r"$S^{2.5}\,\mathrm{d}N/\mathrm{d}S$ (Jy$^{1.5}$ sr$^{-1}$)"
    )
    log_axis(axes, "x")
    axes.set_yscale("log")
    _legend(axes)
    return figure


def _draw_published(axes: Axes, reference: Reference, edges_jy: Values) -> None:
    """Draw the published counts in the range of some bins: the points, and the curve through them."""
    table = published()
    flux, counts = reference.scaled(table.flux_jy, table.counts)
    shown = table.fitted & (flux >= edges_jy[0]) & (flux <= edges_jy[-1])
    errors = np.stack([table.below, table.above])[:, shown] * reference.ratio**1.5
    look: dict[str, Any] = {"fmt": ".", "color": MUTED, "markersize": 3, "linewidth": 0.6, "alpha": 0.6}
    axes.errorbar(1e3 * flux[shown], counts[shown], errors, label="published", **look)
    curve = np.geomspace(edges_jy[0], edges_jy[-1], 200) / reference.ratio
    flux, counts = reference.scaled(curve, euclidean_curve(curve))
    axes.plot(1e3 * flux, counts, color=ACCENT, linewidth=1.3, label="curve through them")


@in_style
def plot_spectra(frequency_per_pix: Values, spectra: Mapping[str, Values]) -> Figure:
    """Draw mean power spectra, each divided by the first one."""
    figure, axes = new_graph()
    reference = np.asarray(next(iter(spectra.values())))
    for name, power in spectra.items():
        axes.plot(frequency_per_pix, np.asarray(power) / reference, label=name.replace("_", " "))
    axes.set(xlabel="spatial frequency (cycles per pixel)", ylabel="power over that of real cutouts")
    log_axis(axes, "y")
    _legend(axes)
    return figure


@in_style
def plot_tails(snr: Values, shares: Mapping[str, Values]) -> Figure:
    """Draw the distribution of sky pixels in units of the noise, beside a Gaussian of one sigma."""
    figure, axes = new_graph()
    x, width = np.asarray(snr), snr[1] - snr[0]
    for name, share in shares.items():
        values = np.asarray(share) / width
        # NaN breaks the line; zero has no place on a logarithmic axis.
        axes.plot(x, np.where(values > 0, values, np.nan), label=name.replace("_", " "))
    # The normal density with mean 0 and standard deviation 1: the sky is in units of the noise.
    gaussian = np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)
    axes.plot(x, gaussian, color="0.5", linestyle=":", label="Gaussian")
    axes.set(
        xlabel="brightness over the noise", ylabel="sky pixels per sigma", ylim=(1e-7, 1), xlim=(x[0], x[-1])
    )
    log_axis(axes, "y")
    _legend(axes)
    return figure


def exponential_density(k: Values, flux: FluxConfig) -> NDArray[np.float64]:
    """Return the probability density of k under the settings, at the values ``k``.

    It is the exponential density truncated to [minimum, cap] (see `astro_dist.field.flux.draw_k`). With
    ``above: clip`` there is also a spike at the cap, which is left out.
    """
    k = np.asarray(k, np.float64)
    density = np.exp(-k / flux.scale) / flux.scale
    # Mass beyond the cap: drawn again it spreads over the interval, clipped it stays in the spike.
    end = np.exp(-flux.cap / flux.scale) if flux.above == "redraw" else 0.0
    inside = (k >= flux.minimum) & (k <= flux.cap)
    return np.asarray(np.where(inside, density, 0.0) / (np.exp(-flux.minimum / flux.scale) - end))


def euclidean_counts(flux_jy: Values, area_sr: float, edges_jy: Values) -> tuple[Values, Values, Values]:
    """Return centre (Jy), S^2.5 dN/dS (Jy^1.5/sr) and its Poisson errors for the bins that hold a source.

    In a static Euclidean universe dN/dS falls as S^-2.5, so that the normalised counts are flat. The errors
    have shape (2, n), below and above: the limits of one sigma by Gehrels 1986 (ApJ 303, 336), equations 7
    and 14, which hold for a few sources too.
    """
    n, _ = np.histogram(flux_jy, edges_jy)
    # The geometric mean, the middle of a bin on a logarithmic axis.
    centre = np.sqrt(edges_jy[1:] * edges_jy[:-1])
    factor = centre**2.5 / (np.diff(edges_jy) * area_sr)
    filled = n > 0
    n, factor = n[filled].astype(np.float64), factor[filled]
    above = 1 + np.sqrt(n + 0.75)
    below = n * (1 - (1 - 1 / (9 * n) - 1 / (3 * np.sqrt(n))) ** 3)
    return centre[filled], n * factor, np.stack([below, above]) * factor


def _histograms(axes: Axes, values: Values, classes: Values, edges: Values) -> None:
    """Draw one filled histogram per class; values below the first edge are counted in the first bin."""
    held = np.maximum(values, edges[0])
    for name, colour in CLASS_COLOURS.items():
        chosen = held[classes == name]
        if len(chosen):
            counts, _ = np.histogram(chosen, edges)
            axes.stairs(counts, edges, fill=True, color=colour, alpha=0.16)
            axes.stairs(counts, edges, color=colour, linewidth=1.5, label=f"{name} ({len(chosen):,})")


def _log_edges(values: Values, per_decade: int = 20) -> Values:
    """Return logarithmic bin edges over all positive values, at most `MAX_DECADES` below the largest."""
    positive = values[np.isfinite(values) & (values > 0)]
    low, high = (positive.min(), positive.max()) if len(positive) else (1.0, 10.0)
    # The 1e-6 is for values on an edge, which rounding could put to either side of it.
    last = np.floor(np.log10(high) * per_decade + 1e-6) + 1
    first = max(np.floor(np.log10(low) * per_decade - 1e-6), last - MAX_DECADES * per_decade)
    return np.asarray(10 ** (np.arange(min(first, last - 2), last + 1) / per_decade))


def _legend(axes: Axes) -> None:
    """Put the legend above the graph, so that it covers no data."""
    n = len(axes.get_legend_handles_labels()[0])
    axes.legend(
        loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=min(n, 2), columnspacing=1.6, handlelength=1.8
    )


def _running_mean(values: Values) -> Values:
    """Return the running mean over about a thirtieth of the curve; near the ends the window is cut."""
    half = max(1, len(values) // 60)
    # Differences of cumulative sums cost the same for every width of the window.
    total = np.concatenate([[0.0], np.cumsum(values)])
    index = np.arange(len(values))
    low, high = np.maximum(index - half, 0), np.minimum(index + half + 1, len(values))
    return np.asarray((total[high] - total[low]) / (high - low))
