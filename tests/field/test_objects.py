from collections import Counter

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from astro_dist.engine.config import validate
from astro_dist.engine.errors import ConfigError
from astro_dist.field.config import AcceptConfig
from astro_dist.field.objects import REASONS, extract_objects, footprint_weights, reach_pix
from astro_dist.sky.beams import Beam, Pixel
from astro_dist.sky.classes import SourceClass
from astro_dist.sky.windows import Window

PIXEL = Pixel(1.8, 1.8)
BEAM = Beam(7.2, 7.2)
RMS = 2e-4
CONFIG = AcceptConfig()
Y, X = np.mgrid[:96, :96].astype(float)


def point_source(snr, y=47.7, x=48.2, beam=BEAM, pixel=PIXEL):
    return (snr * beam.profile(Y - y, X - x, pixel)).astype(np.float32)


def mask_of(*images, source_class=SourceClass.COMPACT):
    instances = np.zeros(Y.shape, np.uint16)
    for number, image in enumerate(images, start=1):
        instances[image > 3] = number
    return (instances > 0).astype(np.uint8) * np.uint8(source_class), instances


def extract(snr, mask, instances, config=CONFIG, beam=BEAM, pixel=PIXEL):
    return extract_objects(snr * np.float32(RMS), mask, instances, RMS, beam, pixel, config, stamp=5)


@pytest.mark.parametrize("snr", [10.5, 20.0, 200.0])
@pytest.mark.parametrize(("beam", "pixel"), [(BEAM, PIXEL), (Beam(80, 45), Pixel(19.5, 11.0))])
def test_a_point_source_keeps_its_flux_and_is_as_wide_as_the_beam(snr, beam, pixel):
    image = point_source(snr, beam=beam, pixel=pixel)
    objects, rejected = extract(image, *mask_of(image), beam=beam, pixel=pixel)
    assert not rejected
    (found,) = objects
    assert found.shape.dtype == np.float32
    assert found.shape.max() == 1
    assert found.snr == pytest.approx(image.max(), rel=1e-5)
    assert found.snr * found.flux_over_peak == pytest.approx(image.sum(), rel=8e-3)
    assert found.flux_over_peak == pytest.approx(beam.area_pix(pixel) * snr / image.max(), rel=8e-3)
    assert (found.stamp, found.instance, found.source_class) == (5, 1, SourceClass.COMPACT)
    assert found.iou == 1


def test_the_box_says_where_the_shape_lies_and_its_rim_is_smooth():
    image = point_source(40.0)
    (found,), _ = extract(image, *mask_of(image))
    assert found.shape.shape == found.box.shape
    placed = np.zeros_like(image)
    placed[found.box.slices] = found.snr * found.shape
    kept = placed > 0
    assert np.abs(placed - image)[image > 3].max() < 1e-4
    assert np.abs(placed - image).max() < 1.0
    assert placed[kept].min() < 0.05


def test_noise_round_a_source_does_not_move_its_flux_on_average():
    rng = np.random.default_rng(3)
    image = point_source(30.0)
    mask, instances = mask_of(image)
    fluxes = []
    for _ in range(40):
        (found,), _ = extract(image + rng.standard_normal(image.shape).astype(np.float32), mask, instances)
        fluxes.append(found.snr * found.flux_over_peak)
    assert np.mean(fluxes) == pytest.approx(
        image.sum(), abs=3 * np.std(fluxes) / np.sqrt(40) + 0.01 * image.sum()
    )


def test_a_pedestal_is_taken_off():
    image = point_source(50.0)
    mask, instances = mask_of(image)
    (bare,), _ = extract(image, mask, instances)
    (lifted,), _ = extract(image + np.float32(2.0), mask, instances)
    assert lifted.flux_over_peak == pytest.approx(bare.flux_over_peak, rel=2e-3)


def refused(snr, mask, instances, config=CONFIG):
    objects, rejected = extract(snr, mask, instances, config)
    assert not objects
    assert set(rejected) <= set(REASONS)
    return rejected


def test_each_fault_has_its_reason():
    good = point_source(40.0)
    mask, instances = mask_of(good)
    empty = np.zeros_like(good)
    hole = good.copy()
    hole[48, 48] = np.nan
    corner = point_source(40.0, y=3.0)
    disc = (np.hypot(Y - 48, X - 48) < 14) * np.float32(1)
    wide = 200 * np.exp(-((Y - 48) ** 2 + (X - 48) ** 2) / 60).astype(np.float32)
    spike = 40 * (np.hypot(Y - 48, X - 48) < 1.2) * np.float32(1) + 4 * (mask > 0)
    assert refused(corner, *mask_of(corner)) == {"edge": 1}
    assert refused(hole, mask, instances) == {"not_finite": 1}
    assert refused(empty, mask, instances) == {"faint": 1}
    assert refused(point_source(9.0), mask, instances) == {"faint": 1}
    assert refused(point_source(40.0, x=54.0), mask, instances) == {"peak_outside": 1}
    assert refused(good, *mask_of(5 * disc)) == {"ignored_mask": 1}
    assert refused(wide, *mask_of(point_source(5.5))) == {"spill": 1}
    assert refused(spike.astype(np.float32), mask, instances) == {"narrower_than_beam": 1}


def test_classes_that_are_not_wanted_are_passed_over():
    image = point_source(40.0)
    mask, instances = mask_of(image, source_class=SourceClass.SPURIOUS)
    assert extract(image, mask, instances) == ([], Counter())
    spurious_too = AcceptConfig(classes=("compact", "spurious"))
    (found,), _ = extract(image, mask, instances, spurious_too)
    assert found.source_class == SourceClass.SPURIOUS


def test_neighbours_do_not_take_each_others_light():
    left, right = point_source(60.0, x=41.0), point_source(20.0, x=52.0)
    mask, instances = mask_of(left, right)
    objects, rejected = extract(left + right, mask, instances)
    assert not rejected
    for found, alone in zip(objects, (left, right), strict=True):
        assert found.snr * found.flux_over_peak == pytest.approx(alone.sum(), rel=0.05)
        others = (instances > 0) & (instances != found.instance)
        assert not found.shape[others[found.box.slices]].any()


@settings(max_examples=25, deadline=None)
@example([(20, 20), (20, 21), (20, 22)])
@given(st.lists(st.tuples(st.integers(20, 75), st.integers(20, 75)), min_size=1, max_size=4, unique=True))
def test_what_instances_get_never_adds_up_to_more_than_the_whole(places):
    instances = np.zeros(Y.shape, np.uint16)
    for number, (y, x) in enumerate(places, start=1):
        instances[y - 1 : y + 2, x - 1 : x + 2] = number
    present = np.unique(instances[instances > 0])
    weights = {int(n): footprint_weights(instances, int(n), (0.25, 0.25), CONFIG) for n in present}
    total = sum(weights.values())
    assert total.max() <= 1 + 1e-6
    assert all((weights[n][instances == n] == 1).all() for n in weights)
    margin = reach_pix(BEAM, PIXEL, CONFIG)
    for n, weight in weights.items():
        rows, columns = np.nonzero(instances == n)
        box = Window(rows.min(), rows.max() + 1, columns.min(), columns.max() + 1).grown(max(margin))
        outside = np.ones_like(weight)
        outside[max(box.y0, 0) : box.y1, max(box.x0, 0) : box.x1] = 0
        assert not (weight * outside).any()


def test_objects_come_in_the_order_of_their_instances_and_alike_each_time():
    image = point_source(30.0, x=30.0) + point_source(50.0, x=66.0)
    mask, instances = mask_of(point_source(30.0, x=30.0), point_source(50.0, x=66.0))
    first, _ = extract(image, mask, instances)
    again, _ = extract(image, mask, instances)
    assert [found.instance for found in first] == [1, 2]
    assert [a.shape.tobytes() for a in first] == [b.shape.tobytes() for b in again]


@pytest.mark.parametrize(
    ("tree", "word"),
    [
        ({"classes": ["galaxy"]}, "compact, extended"),
        ({"classes": []}, "compact, extended"),
        ({"min_snr": 2.0}, "threshold_snr"),
        ({"taper_beams": 0.0}, "taper_beams"),
    ],
)
def test_senseless_settings_are_refused(tree, word):
    with pytest.raises(ConfigError, match=word):
        validate(AcceptConfig, tree)


def lobes(snr=(40.0, 25.0), missing=None):
    """Two lobes far apart, their mask, and one instance for both; ``missing`` is not drawn."""
    parts = [point_source(peak, y=47.0, x=x) for peak, x in zip(snr, (30.0, 66.0), strict=True)]
    mask, instances = mask_of(sum(parts), source_class=SourceClass.EXTENDED)
    drawn = sum(part for i, part in enumerate(parts) if i != missing)
    return drawn, mask, instances


def test_the_islands_of_a_source_are_one_object_with_the_flux_of_all():
    drawn, mask, instances = lobes()
    (found,), rejected = extract(drawn, mask, instances)
    assert not rejected
    assert found.box.width > 36
    assert found.snr == pytest.approx(drawn.max(), rel=1e-5)
    assert found.snr * found.flux_over_peak == pytest.approx(drawn.sum(), rel=8e-3)
    middle = found.shape[:, 48 - found.box.x0]
    assert not middle.any()


@pytest.mark.parametrize("snr", [(40.0, 25.0), (400.0, 11.0)])
def test_an_object_without_one_of_its_islands_ignored_its_mask(snr):
    """Also where the missing island is a small part of the mask."""
    drawn, mask, instances = lobes(snr, missing=1)
    found, rejected = extract(drawn, mask, instances)
    assert found == []
    assert rejected == Counter(ignored_mask=1)
