import numpy as np
import pytest
from matplotlib.patches import Ellipse, Rectangle

from astro_dist.engine.seeds import stream
from astro_dist.report import images
from astro_dist.report.style import to_webp
from astro_dist.sky.beams import Beam, Pixel
from astro_dist.sky.fits_file import plane_wcs
from astro_dist.sky.windows import Window

SHAPE = (60, 80)
PIXEL = Pixel(2.0, 1.0)
BEAM = Beam(12.0, 6.0, 30.0)


def a_view(image=None, classes=None):
    noise = stream(1, "view").standard_normal(SHAPE).astype(np.float32)
    image = noise if image is None else image
    return images.View(Window(0, 60, 0, 80), 1, 1e-3 * image, plane_wcs(SHAPE, PIXEL, 10.0, -30.0), classes)


@pytest.mark.parametrize("image", [np.full(SHAPE, np.nan, np.float32), np.zeros(SHAPE, np.float32)])
def test_a_view_without_contrast_is_still_drawn(image):
    assert to_webp(images.draw_view(a_view(image), BEAM, PIXEL, width_in=5)).startswith("data:image/webp")


def test_the_colour_bar_is_in_mjy_beam_and_the_axes_are_on_the_sky():
    figure = images.draw_view(a_view(), BEAM, PIXEL, width_in=5)
    sky, bar = figure.axes
    assert bar.get_ylabel() == "mJy/beam"
    assert [c.get_axislabel() for c in sky.coords] == ["Right ascension (ICRS)", "Declination (ICRS)"]
    low, high = sky.images[0].norm.vmin, sky.images[0].norm.vmax
    assert (low, high) == pytest.approx((-3, 12), rel=0.1)
    ticks = bar.get_yticks()
    assert len(ticks) >= 4
    assert low <= min(ticks) < max(ticks) <= high


def test_coordinates_are_named_after_the_maps_own_frame():
    view = a_view()
    view.wcs.wcs.ctype, view.wcs.wcs.radesys = ["GLON-CAR", "GLAT-CAR"], ""
    sky = images.draw_view(view, BEAM, PIXEL, width_in=5).axes[0]
    assert [c.get_axislabel() for c in sky.coords] == ["Galactic longitude", "Galactic latitude"]


def test_the_beam_is_drawn_in_its_shape_and_angle():
    figure = images.draw_view(a_view(), BEAM, PIXEL, width_in=5)
    sky = figure.axes[0]
    ellipse = next(p for p in sky.patches if isinstance(p, Ellipse))
    text = next(t.get_text() for t in sky.texts if "beam" in t.get_text())
    assert text == 'beam 12" x 6"'
    shape = ellipse.get_path().transformed(ellipse.get_transform())
    outline = sky.transData.inverted().transform(shape.to_polygons()[0])
    x, y = (outline - (outline.max(axis=0) + outline.min(axis=0)) / 2).T
    along = (x * PIXEL.dx_arcsec, y * PIXEL.dy_arcsec)
    distance = np.hypot(*along)
    far = int(np.argmax(distance))
    assert 2 * distance.max() == pytest.approx(12, rel=0.02)
    angle = np.degrees(np.arctan2(-along[0][far], along[1][far])) % 180
    assert angle == pytest.approx(30, abs=3)


def test_a_small_beam_is_magnified_and_the_label_says_so():
    figure = images.draw_view(a_view(), Beam(0.2, 0.2), PIXEL, width_in=5)
    assert any("drawn 10 times as large" in t.get_text() for t in figure.axes[0].texts)


def test_frames_lie_where_their_windows_are():
    view = a_view()
    figure = images.draw_view(view, BEAM, PIXEL, width_in=5, boxes={"2x": Window(10, 40, 20, 60)})
    frame = next(p for p in figure.axes[0].patches if type(p) is Rectangle)
    assert (frame.get_x(), frame.get_y(), frame.get_width(), frame.get_height()) == (19.5, 9.5, 40, 30)


def test_the_truth_names_the_classes_it_outlines():
    classes = np.zeros(SHAPE, np.uint8)
    classes[10:20, 10:20], classes[30:40, 30:40] = 2, 3
    figure = images.draw_view(a_view(classes=classes), BEAM, PIXEL, width_in=5, truth=True)
    assert [t.get_text() for t in figure.axes[0].get_legend().get_texts()] == ["compact", "extended"]


def test_a_grid_holds_every_row_and_paints_the_classes():
    masks = np.zeros((2, 16, 16), np.uint8)
    masks[0, 8:, :], masks[1, :, 8:] = 2, 3
    snr = 10.0 * masks
    figure = images.draw_grid(masks, {"real": snr, "generated": snr}, top_snr=20, columns=2)
    assert [t.get_text() for t in figure.axes[0].texts] == ["mask", "real", "generated"]
    sheet = figure.axes[0].images[0].get_array()
    assert sheet.shape == (3 * 18 - 2, 2 * 18 - 2, 3)
    blue, dark = sheet[2, 2], sheet[14, 2]
    assert blue[2] > blue[0]
    assert dark.max() < 0.2


def test_a_strip_has_a_labelled_stamp_per_refusal():
    image = stream(3, "strip").standard_normal((3, 16, 16)).astype(np.float32)
    outline = np.zeros((3, 16, 16), bool)
    outline[:, 4:8, 4:8] = True
    figure = images.draw_strip(image, outline, ["edge", "faint", "spill"], top_snr=30)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["edge", "faint", "spill"]
