"""The field beside the survey that its network learnt from, or took its masks from, at the same stretch."""

from collections.abc import Mapping

import numpy as np

from astro_dist.engine.errors import ConfigError, IntegrityError
from astro_dist.engine.work import Run
from astro_dist.field.panels import FLOOR_SNR, Stretch, noise_stretch
from astro_dist.field.zooms import TITLES
from astro_dist.report import images
from astro_dist.report.gather import FieldFiles, reduce_blocks
from astro_dist.report.images import View
from astro_dist.report.page import Block, Picture
from astro_dist.report.style import data_uri, to_webp
from astro_dist.sky.config import MapsConfig
from astro_dist.sky.files import find_maps
from astro_dist.sky.maps import SkyMap
from astro_dist.sky.windows import Window

WIDTH_IN, SIDE_PIX, LEAST_SIDE_PIX = 6.3, 760, 600


def build_blocks(run: Run, field: FieldFiles, windows: Mapping[str, Window]) -> list[Block]:
    """Return a wide view of the field and of the survey, and the close views that `assemble` made."""
    return _wide_blocks(run, field, windows) + _close_blocks(run, field)


def open_survey(run: Run) -> SkyMap | None:
    """Return a map of the survey, the first of the user's or the first simulated one; None without any.

    The maps of a run may have been moved away since its cutouts were made.
    """
    config = run.section(MapsConfig)
    try:
        if config.files:
            path, survey = next(iter(find_maps(config)))
            return SkyMap.open(path, survey, verify=False)
        names = run.facts("simulate").get("maps", [])
        return SkyMap.open(run.product("maps") / names[0], MapsConfig(), verify=False) if names else None
    except (ConfigError, IntegrityError, OSError):
        return None


def _wide_blocks(run: Run, field: FieldFiles, windows: Mapping[str, Window]) -> list[Block]:
    survey = open_survey(run)
    large = [window for window in windows.values() if min(window.shape) >= LEAST_SIDE_PIX]
    if survey is None or not large:
        return []
    ours = field.view(_middle_of(large[-1], survey.shape), SIDE_PIX)
    height, width = ours.window.shape
    there = _middle_of(Window.of_shape(survey.shape), (height, width))
    theirs = View(
        there,
        ours.factor,
        reduce_blocks(survey, there, ours.factor),
        survey.wcs[there.y0 : there.y1 : ours.factor, there.x0 : there.x1 : ours.factor],
    )
    first = noise_stretch(ours.image_jy_beam)
    blocks: list[Block] = []
    for name, view, shown in (
        ("this field", ours, field.map),
        (f"the survey, {survey.name}", theirs, survey),
    ):
        stretch = first if view is ours else _same(first, ours, view)
        figure = images.draw_view(view, shown.beam, shown.pixel, width_in=WIDTH_IN, stretch=stretch)
        caption = f"{height:,} x {width:,} pixels of {name}; one stretch for both, in units of their noise."
        blocks.append(Picture(to_webp(figure), caption, f"Map of {name}"))
    return blocks


def _middle_of(window: Window, shape: tuple[int, int]) -> Window:
    """Return the middle of a window, no larger than a shape."""
    height, width = min(window.height, shape[0]), min(window.width, shape[1])
    y0, x0 = window.y0 + (window.height - height) // 2, window.x0 + (window.width - width) // 2
    return Window(y0, y0 + height, x0, x0 + width)


def _same(stretch: Stretch, ours: View, theirs: View) -> Stretch:
    """Return the stretch of a view whose white is as many sigma above its median as in another one."""
    middle = float(np.nanmedian(ours.image_jy_beam))
    top = FLOOR_SNR * (stretch.high - middle) / (middle - stretch.low)
    return noise_stretch(theirs.image_jy_beam, least=top, most=top)


def _close_blocks(run: Run, field: FieldFiles) -> list[Block]:
    blocks: list[Block] = []
    for name in run.facts("assemble").get("zooms", []):
        # Fields of earlier versions have close views of other names and contents.
        title, path = TITLES.get(name.removeprefix("zoom-").removesuffix(".png")), field.folder / name
        if title and path.exists():
            caption = f"{title}, beside the cutout of the survey that is most like it."
            uri = data_uri(path.read_bytes(), "image/png")
            blocks.append(Picture(uri, caption, f"{title} of the field, and one of the survey", wide=True))
    return blocks
