"""The look of every figure of the report, and the encoding of figures as data URIs.

pyplot is not used, and matplotlib's settings are changed only while a figure is drawn, so that making a
report has no side effect on the process.
"""

import base64
import io
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

Arguments = ParamSpec("Arguments")

INK, MUTED, FAINT, ACCENT = "#1d2733", "#5d6b7a", "#d5dbe1", "#0b5cad"
# Okabe and Ito's palette: its colours differ for every common kind of colour vision, and in print.
CLASS_COLOURS = {"compact": "#0072B2", "extended": "#D55E00", "spurious": "#7A7F87"}
SKY_COLOURS, PAPER_COLOURS, NO_DATA = "gray", "gray_r", "#3a425c"

STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": "#e8ecf0",
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.6,
    "hatch.linewidth": 0.6,
    "svg.fonttype": "path",
    # The ids in an SVG are hashes, by default with a random salt that no two files would share.
    "svg.hashsalt": "astro_dist",
}


def in_style(draw: Callable[Arguments, Figure]) -> Callable[Arguments, Figure]:
    """Wrap a drawing function: it runs with the report's settings, and matplotlib's own are restored."""

    @wraps(draw)
    def styled(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Figure:
        with rc_context(STYLE):
            return draw(*args, **kwargs)

    return styled


def new_graph(width_in: float = 5.4, height_in: float = 3.5) -> tuple[Figure, Axes]:
    """Return an empty figure with one graph and its axes."""
    figure = Figure(figsize=(width_in, height_in), layout="constrained")
    axes = figure.add_subplot()
    axes.grid(True)
    return figure, axes


def to_svg(figure: Figure) -> str:
    """Return a graph as a data URI of SVG; text is drawn as paths, so that it needs no font of the reader."""
    buffer = io.BytesIO()
    # The settings again, because matplotlib reads those of fonts and ids when a figure is saved.
    with rc_context(STYLE):
        # Without `Date: None` matplotlib writes the time of day into the file.
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return data_uri(buffer.getvalue(), "image/svg+xml")


def to_webp(figure: Figure, quality: int = 90) -> str:
    """Return a picture of pixels as a data URI of WebP; PNG of noise would be five times as large."""
    buffer = io.BytesIO()
    with rc_context(STYLE):
        figure.savefig(buffer, format="webp", dpi=figure.dpi, pil_kwargs={"quality": quality})
    return data_uri(buffer.getvalue(), "image/webp")


def data_uri(content: bytes, media_type: str) -> str:
    """Return bytes as a base64 data URI."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"


def log_axis(axes: Axes, which: str) -> None:
    """Make an axis logarithmic with plain numbers on it."""
    getattr(axes, f"set_{which}scale")("log")
    axis = getattr(axes, f"{which}axis")
    low, high = getattr(axes, f"get_{which}lim")()
    # Below about two decades powers of ten alone would leave one or two numbers on the axis.
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 60 * low else (1,)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axis.set_minor_formatter(NullFormatter())
