"""The field beside its survey: windows of one size, one stretch, and nothing where there is no survey."""

import numpy as np
import pytest
from astropy.io import fits

from astro_dist.engine.seeds import stream
from astro_dist.field.panels import Sheet, noise_stretch
from astro_dist.report import beside
from astro_dist.report.gather import FieldFiles
from astro_dist.sky.fits_file import plane_wcs, radio_header
from tests.report.small_run import BEAM, PIXEL, RMS, add_field, make_run, publish

SHAPE = (640, 700)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    run = make_run(tmp_path_factory.mktemp("beside"))
    add_field(run, shape=(1300, 1300), n=20)
    (run.root / "maps").mkdir()
    image = 2 * RMS * stream(1, "survey").standard_normal(SHAPE, dtype=np.float32)
    header = radio_header(SHAPE, plane_wcs(SHAPE, PIXEL, 20.0, 10.0), BEAM, 1.4e9)
    fits.writeto(run.root / "maps" / "sky.fits", image, header)
    publish(run, "simulate", "maps", {"maps": ["sky.fits"]})
    return run


def test_both_views_have_the_same_size(run):
    field = FieldFiles(run.product("field"))
    blocks = beside.build_blocks(run, field, field.zoom_windows((2, 5)))
    assert [block.alt for block in blocks] == ["Map of this field", "Map of the survey, sky"]
    # The window of the field is 650 pixels high, the survey 640.
    assert all(block.caption.startswith("640 x 650 pixels of") for block in blocks)
    assert all(block.uri.startswith("data:image/webp") for block in blocks)


def test_white_is_as_many_sigma_above_the_median_in_both(run):
    field = FieldFiles(run.product("field"))
    survey = beside.open_survey(run)
    ours, theirs = field.view(field.whole, 2000), field.view(field.whole, 2000)
    theirs = beside.View(theirs.window, 1, survey.read(field.whole & field.whole.of_shape(SHAPE)), theirs.wcs)
    first = noise_stretch(ours.image_jy_beam)
    second = beside._same(first, ours, theirs)
    middles = [float(np.nanmedian(view.image_jy_beam)) for view in (ours, theirs)]
    tops = [(s.high - m) / (m - s.low) for s, m in zip((first, second), middles, strict=True)]
    assert tops[0] == pytest.approx(tops[1])
    assert middles[1] - second.low == pytest.approx(6 * RMS, rel=0.02)


def test_a_survey_that_is_gone_is_left_out(tmp_path):
    run = make_run(tmp_path)
    add_field(run)
    field = FieldFiles(run.product("field"))
    assert beside.open_survey(run) is None
    publish(run, "simulate", "maps", {"maps": ["gone.fits"]})
    assert beside.open_survey(run) is None
    assert beside.build_blocks(run, field, field.zoom_windows((2,))) == []


def test_close_views_are_those_that_assemble_published(tmp_path):
    run = make_run(tmp_path)
    add_field(run)
    Sheet(8, 8).publish(run.root / "field" / "zoom-blend.png", "a blend")
    publish(run, "assemble", "field", {"zooms": ["zoom-blend.png", "zoom-double.png", "zoom-1-3x.png"]})
    (block,) = beside.build_blocks(run, FieldFiles(run.product("field")), {})
    assert block.caption.startswith("A blend of several sources")
    assert block.uri.startswith("data:image/png;base64,")
