"""Pictures of pixels: views of the field on the sky, and stamps beside real cutouts.

Each function takes arrays in Jy/beam or in units of the noise and returns a matplotlib figure.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colorbar import Colorbar
from matplotlib.colors import AsinhNorm, FuncNorm, Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Ellipse, Rectangle
from matplotlib.transforms import Affine2D
from numpy.typing import NDArray

from astro_dist.engine.arrays import Image
from astro_dist.field.panels import Stretch, noise_stretch
from astro_dist.report.style import CLASS_COLOURS, INK, NO_DATA, PAPER_COLOURS, SKY_COLOURS, in_style
from astro_dist.sky.beams import Beam, Pixel
from astro_dist.sky.classes import CLASS_NAMES
from astro_dist.sky.windows import Window

MARK, BEAM_COLOUR, OUTLINE = "#ffa62e", "#ffffff", "#7fe0ff"
LOW_SNR = -3.0
MAGNIFICATIONS = (1, 2, 5, 10, 20, 50, 100)
BEAM_SHARE, LABEL_SHARE = 0.025, 0.08
MARGINS_IN = (0.95, 0.82, 0.52, 0.08)  # left, right, bottom, top
DPI = 170
COORDINATES = {
    "RA": "Right ascension",
    "DEC": "Declination",
    "GLON": "Galactic longitude",
    "GLAT": "Galactic latitude",
}
WIDE_IN = 10.6


@dataclass(frozen=True)
class View:
    """A part of the field, reduced to a size that fits a page.

    Attributes
    ----------
    window
        The pixels of the field that the view shows.
    factor
        Pixels of the field along one side of a pixel of the view.
    image_jy_beam
        The brightest pixel of every block, NaN where none has data.
    wcs
        Sky coordinates of the view's pixels.
    classes
        The highest class number of every block, or None where there is no mask.
    """

    window: Window
    factor: int
    image_jy_beam: Image
    wcs: Any
    classes: NDArray[np.uint8] | None = None


@in_style
def draw_view(
    view: View,
    beam: Beam,
    pixel: Pixel,
    *,
    width_in: float,
    boxes: Mapping[str, Window] | None = None,
    truth: bool = False,
    stretch: Stretch | None = None,
) -> Figure:
    """Draw a view of the field with sky coordinates, beam and colour bar.

    Parameters
    ----------
    boxes
        Windows to frame, by their label.
    truth
        Draw the sky dark on white and the classes of the truth as coloured outlines over it.
    stretch
        The grey scale in Jy/beam, by default that of `noise_stretch`.
    """
    ny, nx = view.image_jy_beam.shape
    # Pixels that are oblong on the sky are drawn oblong.
    aspect = pixel.dy_arcsec / pixel.dx_arcsec
    left, right, bottom, top = MARGINS_IN
    height_in = (width_in - left - right) * ny * aspect / nx
    total_in = height_in + bottom + top
    figure = Figure(figsize=(width_in, total_in), dpi=DPI)
    rectangle = (left / width_in, bottom / total_in, 1 - (left + right) / width_in, height_in / total_in)
    axes = figure.add_axes(rectangle, projection=view.wcs)
    norm = _sky_norm(stretch or noise_stretch(view.image_jy_beam))
    colours = colormaps[PAPER_COLOURS if truth else SKY_COLOURS].with_extremes(bad=NO_DATA)
    shown = axes.imshow(1e3 * view.image_jy_beam, norm=norm, cmap=colours, origin="lower", aspect=aspect)
    _label_sky(axes, view.wcs)
    bar = figure.add_axes(
        (rectangle[0] + rectangle[2] + 0.12 / width_in, rectangle[1], 0.14 / width_in, rectangle[3])
    )
    _label_bar(figure.colorbar(shown, cax=bar, extend="max"), norm, "mJy/beam")
    if truth and view.classes is not None:
        _outline_classes(axes, view.classes)
    for label, window in (boxes or {}).items():
        _frame(axes, view, window, label)
    _draw_beam(axes, view, beam, pixel)
    return figure


@in_style
def draw_grid(
    masks: NDArray[np.uint8], rows: Mapping[str, Image], *, top_snr: float, columns: int = 8
) -> Figure:
    """Draw columns of stamps: the mask, and below it one image per row, in units of the local noise.

    Parameters
    ----------
    masks
        Shape (n, s, s), class of every pixel.
    rows
        ``{label: images (n, s, s) as signal-to-noise ratios}``; NaN is drawn as no data.
    top_snr
        Upper end of the colour scale.
    """
    n, size = len(masks), masks.shape[-1]
    gap = max(2, size // 24)
    # Linear up to about 2 sigma, where the noise lies, and logarithmic above.
    norm = AsinhNorm(2.0, LOW_SNR, top_snr)
    colours = colormaps[SKY_COLOURS].with_extremes(bad=NO_DATA)
    tiles = [[_paint_classes(mask) for mask in masks]]
    tiles += [[colours(norm(image))[..., :3] for image in images] for images in rows.values()]
    # Room for `columns` stamps at least, so that a few are not drawn larger than many.
    sheet = _tile(tiles, gap, max(columns, n))
    left, right, margin = 1.05, 0.75, 0.08
    height_in = sheet.shape[0] * (WIDE_IN - left - right) / sheet.shape[1]
    total_in = height_in + 2 * margin
    figure = Figure(figsize=(WIDE_IN, total_in), dpi=DPI)
    bottom, height = margin / total_in, height_in / total_in
    axes = figure.add_axes((left / WIDE_IN, bottom, 1 - (left + right) / WIDE_IN, height))
    axes.imshow(sheet, interpolation="nearest", aspect="auto")
    axes.set_axis_off()
    for row, label in enumerate(["mask", *rows]):
        y = row * (size + gap) + size / 2
        axes.text(-2 * gap, y, label, ha="right", va="center", fontsize=9, linespacing=1.25)
    bar = figure.add_axes((1 - (right - 0.12) / WIDE_IN, bottom, 0.14 / WIDE_IN, height))
    _label_bar(Colorbar(bar, norm=norm, cmap=colours, extend="max"), norm, "signal-to-noise ratio")
    return figure


@in_style
def draw_strip(
    image_snr: Image, outlines: NDArray[np.bool_], labels: Sequence[str], *, top_snr: float, columns: int = 8
) -> Figure:
    """Draw stamps side by side, each with an outline and a label above it.

    Parameters
    ----------
    image_snr
        Shape (n, s, s), in units of the local noise.
    outlines
        Shape (n, s, s), True inside the outlines.
    """
    columns = max(columns, len(image_snr))
    side_in, head_in = WIDE_IN / columns, 0.25
    figure = Figure(figsize=(WIDE_IN, side_in + head_in), dpi=DPI)
    norm = AsinhNorm(2.0, LOW_SNR, top_snr)
    colours = colormaps[SKY_COLOURS].with_extremes(bad=NO_DATA)
    height = 0.96 * side_in / (side_in + head_in)
    for i, (image, outline, label) in enumerate(zip(image_snr, outlines, labels, strict=True)):
        axes = figure.add_axes((i / columns, 0, 0.96 / columns, height))
        axes.imshow(image, norm=norm, cmap=colours, origin="lower", aspect="auto", interpolation="nearest")
        axes.contour(outline.astype(np.float32), levels=[0.5], colors=OUTLINE, linewidths=1.0)
        axes.set_axis_off()
        axes.set_title(label, fontsize=8.5, weight="normal", pad=4)
    return figure


def _sky_norm(stretch: Stretch) -> FuncNorm:
    """Return a stretch as a scale of matplotlib, for values in mJy/beam."""
    low, high, soft = 1e3 * stretch.low, 1e3 * stretch.high, 1e3 * stretch.soft

    def rise(values: Any) -> Any:
        return np.arcsinh((np.asarray(values) - low) / soft)

    def fall(levels: Any) -> Any:
        return soft * np.sinh(np.asarray(levels)) + low

    return FuncNorm((rise, fall), low, high)


def _label_sky(axes: Any, wcs: Any) -> None:
    frame = f" ({wcs.wcs.radesys})" if wcs.wcs.radesys else ""
    for coordinate, kind, side in zip(axes.coords, wcs.wcs.ctype, "bl", strict=True):
        # A CTYPE begins with a name of up to four letters, filled up with dashes: RA---SIN.
        name = COORDINATES.get(kind[:4].rstrip("-"), kind)
        coordinate.set_axislabel(f"{name}{frame}", minpad=0.8)
        coordinate.set_ticks(number=5)
        coordinate.set_ticks_position(side)
        coordinate.set_ticklabel(size=8.5)


def _label_bar(bar: Colorbar, norm: Normalize, label: str) -> None:
    """Put round numbers on an asinh colour bar, far enough apart to be read."""
    low, high = float(norm.vmin or 0), float(norm.vmax or 0)
    steps = [m * 10.0**e for e in range(-9, 10) for m in (1, 2, 5)]
    ticks: list[float] = [0.0] if low < 0 < high else []
    for value in [*steps, *(-step for step in steps)]:
        apart = (abs(float(norm(value)) - float(norm(tick))) > 0.075 for tick in ticks)
        if low <= value <= high and all(apart):
            ticks.append(value)
    bar.set_ticks(sorted(ticks), labels=[f"{tick:g}" for tick in sorted(ticks)], minor=False)
    bar.ax.minorticks_off()
    bar.ax.tick_params(length=2.5, labelsize=8.5)
    bar.outline.set_linewidth(0.6)
    bar.set_label(label, fontsize=9, labelpad=3)


def _outline_classes(axes: Any, classes: NDArray[np.uint8]) -> None:
    handles = []
    for name, colour in CLASS_COLOURS.items():
        inside = classes == CLASS_NAMES.index(name)
        if inside.any():
            axes.contour(inside.astype(np.float32), levels=[0.5], colors=colour, linewidths=1.2)
            handles.append(Line2D([], [], color=colour, label=name))
    if handles:
        box = {"frameon": True, "framealpha": 0.9, "edgecolor": "none", "borderpad": 0.3, "fontsize": 8.5}
        axes.legend(handles=handles, loc="upper right", handlelength=1.2, **box)


def _frame(axes: Axes, view: View, window: Window, label: str) -> None:
    """Frame a window; the label is in its upper left corner, or below when the window is too small."""
    y0, x0 = (window.y0 - view.window.y0) / view.factor, (window.x0 - view.window.x0) / view.factor
    height, width = window.height / view.factor, window.width / view.factor
    # Whole numbers are the centres of pixels, so that a pixel begins half a pixel earlier.
    axes.add_patch(Rectangle((x0 - 0.5, y0 - 0.5), width, height, fill=False, edgecolor=MARK, linewidth=1.3))
    style = {"facecolor": "#000000b0", "edgecolor": "none", "pad": 2.0}
    y = y0 + height if window.width >= LABEL_SHARE * view.window.width else y0
    axes.text(x0, y, label, color=MARK, fontsize=8.5, weight="bold", va="top", ha="left", bbox=style)


def _draw_beam(axes: Axes, view: View, beam: Beam, pixel: Pixel) -> None:
    """Draw the beam in the lower left corner, magnified by one of `MAGNIFICATIONS` until it is visible."""
    step_x, step_y = pixel.dx_arcsec * view.factor, pixel.dy_arcsec * view.factor
    nx = view.image_jy_beam.shape[1]
    share = beam.major_arcsec / (nx * step_x)
    times = next((m for m in MAGNIFICATIONS if m * share >= BEAM_SHARE), MAGNIFICATIONS[-1])
    # A position angle runs from north (up) to east (left): counter-clockwise, like the angle of an Ellipse
    # whose height is the major axis.
    ellipse = Ellipse((0, 0), times * beam.minor_arcsec, times * beam.major_arcsec, angle=beam.pa_deg)
    half_x, half_y = times * beam.major_arcsec / step_x / 2, times * beam.major_arcsec / step_y / 2
    margin = 0.025 * nx
    centre = (margin + half_x, margin * step_x / step_y + half_y)
    place = Affine2D().scale(1 / step_x, 1 / step_y).translate(*centre)
    ellipse.set(transform=place + axes.transData, facecolor=BEAM_COLOUR, edgecolor=INK, linewidth=0.8)
    label = f'beam {beam.major_arcsec:.3g}" x {beam.minor_arcsec:.3g}"'
    label += f" (drawn {times} times as large)" if times > 1 else ""
    style = {"facecolor": "#000000b0", "edgecolor": "none", "pad": 2.5}
    axes.text(
        centre[0] + half_x + margin / 2,
        centre[1],
        label,
        color=BEAM_COLOUR,
        fontsize=8,
        va="center",
        bbox=style,
    )
    axes.add_patch(ellipse)


def _paint_classes(mask: NDArray[np.uint8]) -> NDArray[np.float64]:
    palette = [to_rgb("#12161c"), *(to_rgb(CLASS_COLOURS[name]) for name in CLASS_NAMES[1:])]
    return np.array(palette)[mask]


def _tile(rows: Sequence[Sequence[NDArray[Any]]], gap: int, columns: int) -> NDArray[np.float64]:
    """Lay RGB tiles out on white paper, ``gap`` pixels apart."""
    size = rows[0][0].shape[0]
    step = size + gap
    sheet = np.ones((len(rows) * step - gap, columns * step - gap, 3))
    for j, row in enumerate(rows):
        for i, tile in enumerate(row):
            # Reversed, because the sheet has row 0 at the top and images of the sky have it at the bottom.
            sheet[j * step : j * step + size, i * step : i * step + size] = tile[::-1]
    return sheet
