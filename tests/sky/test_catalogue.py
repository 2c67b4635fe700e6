import math

import numpy as np
import pytest

from astro_dist.sky.beams import Beam, Pixel
from astro_dist.sky.catalogue import measure
from astro_dist.sky.classes import SourceClass
from astro_dist.sky.islands import find_pixels, join_islands
from astro_dist.sky.mesh import Mesh
from astro_dist.sky.windows import Window

SHAPE = (60, 70)
RMS, LEVEL = 2e-4, 1e-3
COMPACT, EXTENDED = SourceClass.COMPACT, SourceClass.EXTENDED


def measure_image(sky_map, image, *classes):
    mesh = Mesh(SHAPE, 60, np.full((1, 2), LEVEL, np.float32), np.full((1, 2), RMS, np.float32))
    islands = join_islands(find_pixels(image, mesh, Window.of_shape(SHAPE), 3.0), 5.0, 0)
    return measure(islands, np.array(classes, np.uint8), mesh, sky_map, 3.0)


def image_of(beam, pixel, *sources):
    y, x = np.indices(SHAPE)
    image = sum(snr * RMS * beam.profile(y - sy, x - sx, pixel) for sy, sx, snr in sources)
    return (image + LEVEL).astype(np.float32)


@pytest.mark.parametrize("snr", [10, 20, 500])
@pytest.mark.parametrize("pa_deg", [20, 90, 160])
def test_a_point_source_is_measured_as_the_beam(make_map, snr, pa_deg):
    beam, pixel = Beam(14.0, 9.0, pa_deg), Pixel(2.0, 1.5)
    image = image_of(beam, pixel, (30.3, 35.6, snr))
    sky_map = make_map(image, beam, pixel)
    row = {name: value[0] for name, value in measure_image(sky_map, image, COMPACT).items()}
    assert row["y"] == pytest.approx(30.3, abs=0.1)
    assert row["x"] == pytest.approx(35.6, abs=0.1)
    assert row["flux_jy"] == pytest.approx(snr * RMS, rel=0.03)
    assert row["major_arcsec"] == pytest.approx(14, rel=0.05)
    assert row["minor_arcsec"] == pytest.approx(9, rel=0.05)
    assert abs((row["pa_deg"] - pa_deg + 90) % 180 - 90) < 4
    assert (row["peak_y"], row["peak_x"]) == (30, 36)
    assert row["snr"] == pytest.approx(row["peak_jy_beam"] / RMS, rel=1e-5)
    assert row["background_jy_beam"] == pytest.approx(LEVEL)
    assert row["rms_jy_beam"] == pytest.approx(RMS)
    ra, dec = sky_map.sky_of(row["y"], row["x"])
    assert (row["ra_deg"], row["dec_deg"]) == (ra, dec)


def test_other_sources_are_summed_as_they_are(make_map):
    beam, pixel = Beam(8.0, 8.0), Pixel(2.0, 2.0)
    image = image_of(beam, pixel, (30, 35, 9))
    sky_map = make_map(image)
    flux = measure_image(sky_map, image, EXTENDED)["flux_jy"][0]
    above = (image - LEVEL)[image - LEVEL >= 3 * RMS]
    assert flux == pytest.approx(above.sum() / beam.area_pix(pixel), rel=1e-5)
    compact = measure_image(sky_map, image, COMPACT)
    assert flux / (1 - 3 / 9) == pytest.approx(compact["flux_jy"][0], rel=1e-4)


def test_boxes_hold_the_islands_and_numbers_count_from_one(make_map):
    image = image_of(Beam(8.0, 8.0), Pixel(2.0, 2.0), (10, 12, 30), (45, 50, 9))
    columns = measure_image(make_map(image), image, COMPACT, COMPACT)
    assert columns["island"].tolist() == [1, 2]
    for i, (y, x) in enumerate([(10, 12), (45, 50)]):
        box = Window(*(int(columns[name][i]) for name in ("y0", "y1", "x0", "x1")))
        inside = (image - LEVEL)[box.slices] >= 3 * RMS
        assert inside.sum() == columns["n_pix"][i]
        assert all(edge.any() for edge in (inside[0], inside[-1], inside[:, 0], inside[:, -1]))
        assert box.centre == (y, x)


def test_a_row_of_pixels_keeps_a_width(make_map):
    image = np.full(SHAPE, LEVEL, np.float32)
    image[20, 30:40] += 10 * RMS
    columns = measure_image(make_map(image), image, EXTENDED)
    assert columns["minor_arcsec"][0] == pytest.approx(2 * math.sqrt(8 * math.log(2) / 12), rel=1e-5)
    assert columns["pa_deg"][0] == pytest.approx(90)


def test_no_islands_give_empty_columns(make_map):
    image = np.full(SHAPE, LEVEL, np.float32)
    columns = measure_image(make_map(image), image)
    assert {len(values) for values in columns.values()} == {0}
