import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astro_dist.report import gather
from astro_dist.sky.windows import Window
from tests.report.small_run import PIXEL, add_field, make_run


@pytest.fixture(scope="module")
def field(tmp_path_factory):
    run = make_run(tmp_path_factory.mktemp("gather"))
    add_field(run)
    return gather.FieldFiles(run.product("field"))


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_blocks_are_the_maxima_whatever_the_band(field, data):
    y0, x0 = data.draw(st.integers(0, 200)), data.draw(st.integers(0, 200))
    window = Window(y0, data.draw(st.integers(y0 + 1, 300)), x0, data.draw(st.integers(x0 + 1, 375)))
    factor = data.draw(st.integers(1, 17))
    pixels = field.map.read(window)
    tall, wide = (-(-n // factor) * factor for n in window.shape)
    padded = np.full((tall, wide), -np.inf)
    padded[: window.height, : window.width] = np.where(np.isfinite(pixels), pixels, -np.inf)
    expected = padded.reshape(tall // factor, factor, wide // factor, factor).max(axis=(1, 3))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gather, "BAND_PIX", data.draw(st.integers(1, 50_000)))
        found = gather.reduce_blocks(field.map, window, factor)
    np.testing.assert_array_equal(np.isnan(found), np.isinf(expected))
    np.testing.assert_array_equal(found[~np.isnan(found)], expected[~np.isinf(expected)])


def test_a_view_fits_its_side_and_points_to_the_same_sky(field):
    view = field.view(Window(100, 300, 50, 350), 100, classes=True)
    assert view.factor == 3
    assert view.image_jy_beam.shape == view.classes.shape == (67, 100)
    assert set(np.unique(view.classes)) <= {0, 2, 3}
    block_centre = field.map.sky_of(100 + 3 * 20 + 1, 50 + 3 * 10 + 1)
    np.testing.assert_allclose(view.wcs.pixel_to_world_values(10, 20), block_centre, atol=1e-9)


@pytest.mark.parametrize("zoom", [2, 3, 5, 6])
def test_zooms_have_their_share_of_the_field_and_hold_one_place(field, zoom):
    window = field.zoom_windows((zoom,))[f"{zoom}x"]
    assert window.shape == (300 // zoom, 375 // zoom)
    assert window & field.whole == window
    smallest = field.zoom_windows((6,))["6x"]
    assert window & smallest == smallest


def test_views_of_a_few_pixels_are_left_out(field):
    assert list(field.zoom_windows((2, 6, 7, 40))) == ["2x", "6x"]


def test_the_area_is_that_of_all_pixels(field):
    expected_sq_deg = 300 * 375 * PIXEL.dy_arcsec * PIXEL.dx_arcsec / 3600**2
    assert field.area_sr * (180 / np.pi) ** 2 == pytest.approx(expected_sq_deg)


def test_a_field_without_mask_and_truth_still_has_views(tmp_path, field):
    (tmp_path / "map.fits").symlink_to(field.folder / "map.fits")
    bare = gather.FieldFiles(tmp_path)
    assert bare.truth is None
    assert bare.view(bare.whole, 50, classes=True).classes is None
    assert bare.zoom_windows((5,))["5x"].shape == (60, 75)


def test_a_curve_counts_each_step_once_and_skips_broken_lines(tmp_path):
    path = tmp_path / "curve.jsonl"
    lines = ['{"step": 2, "loss": 3.0}', '{"step": 1, "loss": 4, "lr": 0.1}', "", "[]", '{"loss": 1}']
    path.write_text("\n".join([*lines, '{"step": 2, "loss": 2.5, "note": "x"}', '{"step": 3, "lo']))
    assert gather.read_curve(path) == {"loss": [(1, 4.0), (2, 2.5)], "lr": [(1, 0.1)]}
    assert gather.read_curve(tmp_path / "none.jsonl") == {}


def test_classes_are_counted_by_name():
    truth = {"class": np.array([2, 2, 3], np.uint8)}
    assert gather.count_classes(truth) == {"compact": 2, "extended": 1}
