import numpy as np
import pytest
from astropy.io import fits

from astro_dist.engine.config import validate
from astro_dist.engine.files import tree_digests
from astro_dist.engine.outputs import Reading
from astro_dist.sky import simulate
from astro_dist.sky.classes import SourceClass
from astro_dist.sky.fits_file import verify_fits
from astro_dist.sky.maps import MapsConfig, SkyMap
from astro_dist.sky.simulate import SimulateConfig, SimulatedMap
from astro_dist.sky.stages import SIMULATE
from astro_dist.sky.windows import Window, bands
from tests.settings import make_run

CONFIG = SimulateConfig(shape=(420, 512), maps=2)
SEED = 5


@pytest.fixture(scope="module")
def sky():
    return SimulatedMap.draw(CONFIG, SEED, 0)


@pytest.fixture(scope="module")
def whole(sky):
    return sky.draw_band(Window.of_shape(CONFIG.shape))


def simulate_into(folder, order=1):
    """Run the stage; return its folder and facts."""
    run = make_run(folder, SIMULATE, seed=SEED, simulate=CONFIG)
    SIMULATE.prepare(run)
    state = SIMULATE.open(run)
    tasks = SIMULATE.plan(run, {})
    results = {task.name: SIMULATE.run(state, task) for task in tasks[::order]}
    SIMULATE.seal(run, results)
    assert Reading(run.output).find_damage(results) == set()
    return run.output, SIMULATE.finish(run, results)


@pytest.fixture(scope="module")
def product(tmp_path_factory):
    return simulate_into(tmp_path_factory.mktemp("run"))


@pytest.mark.parametrize("height", [64, 150])
def test_pixels_do_not_depend_on_the_bands(sky, whole, height):
    parts = [sky.draw_band(window) for window in bands(CONFIG.shape, height)]
    for name in ("image", "mask", "instances"):
        joined = np.concatenate([getattr(part, name) for part in parts])
        assert np.array_equal(joined, getattr(whole, name))
    measured = {i: values for part in parts for i, values in part.measured.items()}
    assert measured == whole.measured


def test_products_do_not_depend_on_order_or_band_height(product, tmp_path, monkeypatch):
    monkeypatch.setattr(simulate, "BAND_ROWS", 97)
    again, _ = simulate_into(tmp_path, order=-1)
    assert tree_digests(again) == tree_digests(product[0])


def test_what_was_added_is_the_flux_of_the_truth(sky, product):
    folder, facts = product
    truth = fits.getdata(folder / "simulated-00.truth.fits")
    layers, _ = sky.draw_layers(Window.of_shape(CONFIG.shape))
    area = CONFIG.beam.area_pix(CONFIG.pixel)
    for kind in (SourceClass.COMPACT, SourceClass.EXTENDED):
        rows = truth[truth["class"] == kind]
        assert layers[kind].sum(dtype=np.float64) / area == pytest.approx(rows["flux_jy"].sum(), rel=1e-5)
    assert facts["maps"] == ["simulated-00.fits", "simulated-01.fits"]
    assert facts["sources"] > len(truth) > 100
    assert facts["extended"] > 5


def test_every_row_is_the_flux_and_peak_of_its_own_pixels(sky, product):
    truth = fits.getdata(product[0] / "simulated-00.truth.fits")
    area = CONFIG.beam.area_pix(CONFIG.pixel)
    whole = Window.of_shape(CONFIG.shape)
    for i, row in enumerate(truth):
        window, stamp = sky.draw_source(i)
        assert window & whole == window
        assert row["id"] == i + 1
        assert stamp.sum(dtype=np.float64) / area == pytest.approx(row["flux_jy"], rel=1e-5)
        assert stamp.max() == pytest.approx(row["peak_jy_beam"], rel=2e-3)
        rows = np.arange(window.y0, window.y1)
        assert stamp.sum(axis=1) @ rows / stamp.sum() == pytest.approx(row["y"], abs=0.1)


def test_the_mask_is_where_sources_are_bright(sky, whole):
    layers, _ = sky.draw_layers(Window.of_shape(CONFIG.shape))
    mask = whole[1]
    bright = {kind: layer > 3 * CONFIG.rms_jy_beam for kind, layer in layers.items()}
    extended, compact = bright[SourceClass.EXTENDED], bright[SourceClass.COMPACT]
    assert np.array_equal(mask == SourceClass.EXTENDED, extended)
    assert np.array_equal(mask == SourceClass.COMPACT, compact & ~extended)
    assert np.array_equal(mask == SourceClass.SPURIOUS, bright[SourceClass.SPURIOUS] & ~compact & ~extended)
    assert 0.002 < (mask >= SourceClass.COMPACT).mean() < 0.1


def test_instances_are_the_brightest_source_of_each_pixel(sky, whole):
    level = np.full(CONFIG.shape, 1.5 * CONFIG.rms_jy_beam, np.float32)
    number = np.zeros(CONFIG.shape, np.int32)
    for i in range(len(sky.population)):
        window, stamp = sky.draw_source(i)
        brighter = stamp > level[window.slices]
        number[window.slices][brighter], level[window.slices][brighter] = i + 1, stamp[brighter]
    outshone = sky.draw_layers(Window.of_shape(CONFIG.shape))[0][SourceClass.SPURIOUS] > level
    assert outshone[number > 0].any()
    assert np.array_equal(whole.instances, np.where(outshone, 0, number))
    assert len(np.unique(whole.instances)) > 50


def test_settings_that_an_earlier_version_wrote_keep_its_files():
    written = CONFIG.model_dump(exclude={"instances"})
    old = validate(SimulateConfig, written)
    assert not old.instances
    assert old.marks().keys() == written.keys()
    assert validate(SimulateConfig, {"maps": 2}).instances
    assert SimulateConfig().marks()["instances"] is True
    assert SimulatedMap.draw(old, SEED, 0).draw_band(Window(0, 64, 0, 512)).instances is None


def test_noise_is_what_was_asked_for(whole):
    image, mask = whole[:2]
    assert image.dtype == np.float32
    empty = image[mask == SourceClass.BACKGROUND]
    clipped = empty[np.abs(empty - np.median(empty)) < 3 * CONFIG.rms_jy_beam]
    assert clipped.std() == pytest.approx(CONFIG.rms_jy_beam, rel=0.1)


def test_the_files_are_radio_maps_with_checksums(product, whole):
    folder, _ = product
    for path in sorted(folder.iterdir()):
        assert verify_fits(path) == ([], [])
        with fits.open(path) as hdus:
            hdus.verify("exception")
    sky_map = SkyMap.open(folder / "simulated-00.fits", MapsConfig())
    assert sky_map.beam.major_arcsec == pytest.approx(CONFIG.beam_major_arcsec)
    assert sky_map.frequency_hz == pytest.approx(1.4e9)
    assert np.array_equal(sky_map.read(Window(100, 200, 50, 300)), whole[0][100:200, 50:300])
    assert np.array_equal(fits.getdata(folder / "simulated-00.mask.fits"), whole.mask)
    assert np.array_equal(fits.getdata(folder / "simulated-00.instances.fits"), whole.instances)


def test_catalogue_positions_agree_with_the_map(product):
    folder, _ = product
    truth = fits.getdata(folder / "simulated-01.truth.fits")
    sky_map = SkyMap.open(folder / "simulated-01.fits", MapsConfig())
    ra, dec = sky_map.sky_of(truth["y"], truth["x"])
    assert np.allclose(ra, truth["ra_deg"], atol=1e-9)
    assert np.allclose(dec, truth["dec_deg"], atol=1e-9)
    assert not any(np.isnan(truth[name]).any() for name in ("flux_jy", "peak_jy_beam", "pa_deg", "x"))


def test_maps_of_one_run_differ(product):
    first, second = (fits.getdata(product[0] / f"simulated-{n:02d}.fits") for n in (0, 1))
    assert (
        abs(np.corrcoef(np.clip(first, -1e-4, 1e-4).ravel(), np.clip(second, -1e-4, 1e-4).ravel())[0, 1])
        < 0.1
    )


def test_artefacts_can_be_left_out():
    sky = SimulatedMap.draw(CONFIG.model_copy(update={"spurious": False}), SEED, 0)
    assert sky.artefacts == []
    layers, _ = sky.draw_layers(Window(0, 50, 0, 512))
    assert not layers[SourceClass.SPURIOUS].any()


def test_an_empty_sky_is_allowed(tmp_path):
    config = CONFIG.model_copy(update={"extended_per_1000_beams": 0.0, "flux_limit_jy": 2.6e-5, "maps": 1})
    sky = SimulatedMap.draw(config, SEED, 0)
    image, mask, instances, measured = sky.draw_band(Window(0, 64, 0, 512))
    assert measured == {}
    assert mask.max() == 0
    assert not instances.any()
    assert image.std() == pytest.approx(config.rms_jy_beam, rel=0.15)


def test_the_plan_announces_what_will_be_written(product, tmp_path):
    run = make_run(tmp_path, SIMULATE, seed=SEED, simulate=CONFIG)
    estimate = SIMULATE.estimate(run)
    written = sum(path.stat().st_size for path in product[0].iterdir())
    assert estimate.files == len(list(product[0].iterdir())) == 8
    assert estimate.bytes >= written
    assert estimate.tasks == 2
