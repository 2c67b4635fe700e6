"""Maps of the noise that users bring: found by their pixels, and used for the mesh."""

import gzip

import numpy as np
import pytest
from astropy.io import fits

from astro_dist.engine.config import validate
from astro_dist.engine.errors import ConfigError
from astro_dist.sky.annotate import Annotator
from astro_dist.sky.annotations import read_parquet
from astro_dist.sky.beams import Beam, Pixel
from astro_dist.sky.config import AnnotateConfig, MapsConfig
from astro_dist.sky.files import map_sources
from astro_dist.sky.fits_file import plane_wcs, radio_header
from astro_dist.sky.map_files import RECORD_BYTES
from astro_dist.sky.maps import open_maps
from astro_dist.sky.noise_maps import follow_weights, open_noise
from astro_dist.sky.stages import ANNOTATE
from astro_dist.sky.windows import Window
from tests.settings import make_run

SHAPE, CELL, BEAM = (128, 192), 64, Beam(6, 6)


def write(path, image, ra_deg=180.0, beam=BEAM, unit="Jy/beam"):
    header = radio_header(image.shape, plane_wcs(image.shape, Pixel(1.5, 1.5), ra_deg, -30.0), beam, 1.4e9)
    header["BUNIT"] = unit
    fits.writeto(path, image.astype(np.float32), header)
    return path


@pytest.fixture
def survey(tmp_path):
    """Write two maps, each with a map of its noise, and return a maker of runs."""
    rng = np.random.default_rng(2)
    given = np.full(SHAPE, 0.5)
    given[:, 64:128] = 0.25
    given[:64, 128:] = 0
    for name, ra_deg in (("a", 180.0), ("b", 181.0)):
        write(tmp_path / f"{name}.fits", rng.normal(0, 1e-4, SHAPE), ra_deg)
        # Named in another order than the maps: the pixels decide.
        scale = 1 if name == "a" else 3
        write(tmp_path / f"rms-{'ba'.index(name)}.fits", given * scale, ra_deg, None, "mJy/beam")

    def make(*names):
        maps = MapsConfig(files=(f"{tmp_path}/?.fits",), rms_files=[f"{tmp_path}/{name}" for name in names])
        cells = AnnotateConfig(mesh_least_pix=CELL, mesh_beams=1)
        return make_run(tmp_path / "run", ANNOTATE, maps=maps, annotate=cells)

    return make


def test_the_noise_of_the_user_is_that_of_the_mesh_where_it_is_known(survey, tmp_path):
    run = survey("rms-*.fits")
    assert [path.name for path in map_sources(run)] == ["a.fits", "b.fits", "rms-0.fits", "rms-1.fits"]
    maps = open_maps(run)
    assert [one.path.name for one in open_noise(run, maps)] == ["rms-1.fits", "rms-0.fits"]
    ANNOTATE.prepare(run)
    state = Annotator.open(run)
    (task,) = ANNOTATE.plan(run, {})
    ANNOTATE.run(state, task)
    table, _ = read_parquet(state.part(task.name))
    cells = table["rms"][table["map"] == 0].reshape(2, 3)
    np.testing.assert_allclose(cells[:, :2], [[5e-4, 2.5e-4]] * 2)
    # Zeros are no data: there the noise is measured.
    assert cells[0, 2] == pytest.approx(1e-4, rel=0.1)
    assert cells[1, 2] == pytest.approx(5e-4)


def test_noise_maps_without_a_map_and_maps_without_noise_are_named(survey, tmp_path):
    with pytest.raises(ConfigError, match=r"b\.fits: none of maps\.rms_files has its pixels"):
        ANNOTATE.refuse(survey("rms-1.fits"))
    write(tmp_path / "rms-2.fits", np.ones(SHAPE), 10.0)
    with pytest.raises(ConfigError, match=r"rms-2\.fits: its pixels are those of none of the maps of survey"):
        ANNOTATE.refuse(survey("rms-*.fits"))
    write(tmp_path / "rms-11.fits", np.ones(SHAPE))
    with pytest.raises(ConfigError, match=r"a\.fits: .*rms-1\.fits and .*rms-11\.fits are both"):
        ANNOTATE.refuse(survey("rms-0.fits", "rms-1.fits", "rms-11.fits"))
    with pytest.raises(ConfigError, match=r"maps\.rms_files: no file matches"):
        ANNOTATE.refuse(survey("noise.*"))


@pytest.mark.parametrize("value", [np.nan, 0.0, -1.0])
def test_a_map_of_the_noise_without_a_positive_pixel_is_refused(survey, tmp_path, value):
    ANNOTATE.refuse(survey("rms-*.fits"))
    (tmp_path / "rms-0.fits").unlink()
    write(tmp_path / "rms-0.fits", np.full(SHAPE, value), 181.0)
    with pytest.raises(ConfigError, match=r"rms-0\.fits: none of its pixels is positive"):
        ANNOTATE.refuse(survey("rms-*.fits"))


def test_noise_is_measured_by_default(survey):
    assert open_noise(survey(), open_maps(survey())) == [None, None]


CELLS = (4, 6)


def weigh(tmp_path, weights, unit="", **settings):
    """Return the rms of the cells of a map whose noise is 1e-4 / sqrt(weight) by its weights."""
    rng, weight = np.random.default_rng(8), np.kron(np.asarray(weights, float), np.ones((CELL, CELL)))
    noise = rng.normal(0, 1e-4, weight.shape) / np.sqrt(np.where(weight > 0, weight, 1))
    # A cell full of sources, whose noise cannot be measured.
    noise[:CELL, :CELL] += 1e-2 * rng.random((CELL, CELL))
    tmp_path.mkdir(exist_ok=True)
    write(tmp_path / "image.fits", noise)
    power = 2 * settings.get("weight_power", 0.5)
    write(tmp_path / "weights.fits", settings.pop("scale", 1.0) * weight ** (1 / power), beam=None, unit=unit)
    files = {"files": (f"{tmp_path}/image.fits",), "weight_files": (f"{tmp_path}/weights.fits",)}
    cells = AnnotateConfig(mesh_least_pix=CELL, mesh_beams=1, structure_sigma=0)
    run = make_run(tmp_path / "run", ANNOTATE, maps=MapsConfig(**files, **settings), annotate=cells)
    ANNOTATE.refuse(run)
    ANNOTATE.prepare(run)
    state = Annotator.open(run)
    (task,) = ANNOTATE.plan(run, {})
    ANNOTATE.run(state, task)
    table, _ = read_parquet(state.part(task.name))
    return table["rms"].reshape(CELLS), state.meshes(task.args["pieces"])[0].rms


@pytest.mark.parametrize(
    ("unit", "settings"),
    [
        ("", {}),
        ("Jy/beam", {"scale": 1e10}),
        ("counts", {"scale": 1e-27}),
        ("", {"scale": 9e17}),
        ("", {"weight_power": 1.0}),
    ],
)
def test_weights_give_the_shape_of_the_noise_and_the_map_its_size(tmp_path, unit, settings):
    weights = np.ones(CELLS)
    weights[:, 3:] = 0.25
    measured, rms = weigh(tmp_path / "w", weights, unit, **settings)
    assert measured[0, 0] > 1e-3
    expected = 1e-4 / np.sqrt(weights)
    assert np.abs(rms / expected - 1).max() < 0.03
    # Every cell of one weight has the same noise: that of the map and not its own.
    assert len(np.unique(rms[:, :2])) == 1


def test_weights_beyond_the_limit_have_words_of_their_own(tmp_path):
    with pytest.raises(ConfigError, match=r"holds weights beyond 1e18; divide all of maps\.weight_files"):
        weigh(tmp_path / "w", np.ones(CELLS), scale=1e19)


def test_cells_without_a_weight_are_measured(tmp_path):
    weights = np.ones(CELLS)
    weights[2:] = 0
    measured, rms = weigh(tmp_path / "w", weights)
    # The mesh is smoothed over three rows of cells, of which these have no weight.
    assert np.abs(rms[3] / np.median(measured[2:]) - 1).max() < 0.03
    assert np.unique(rms[0, :4]).size == 1 < np.unique(rms[3]).size
    np.testing.assert_array_equal(follow_weights(measured, np.full(CELLS, np.nan, "f4"), 0.5), measured)


@pytest.mark.parametrize("kind", ["rms", "weight"])
def test_pixels_are_compared_with_their_own_noise_where_it_changes_within_cells(tmp_path, kind):
    step = np.ones((256, 256))
    # A step and a strip, neither at the side of a cell.
    step[:, 100:] = 5
    step[20:30] = 8
    image = np.random.default_rng(4).normal(0, 1e-4, step.shape) * step
    image[30:33, 40:43] += 1e-2
    given = 1e-4 * step if kind == "rms" else step**-2.0
    given[200:, :50] = np.nan
    write(tmp_path / "image.fits", image)
    write(tmp_path / "noise.fits", given, beam=None, unit="Jy/beam" if kind == "rms" else "")
    files = {"files": (f"{tmp_path}/image.fits",), f"{kind}_files": (f"{tmp_path}/noise.fits",)}
    cells = AnnotateConfig(mesh_least_pix=CELL, mesh_beams=1)
    run = make_run(tmp_path / "run", ANNOTATE, maps=MapsConfig(**files), annotate=cells)
    ANNOTATE.prepare(run)
    state = Annotator.open(run)
    first = ANNOTATE.plan(run, {})
    results = {task.name: ANNOTATE.run(state, task) for task in first}
    mesh = state.meshes(first[0].args["pieces"])[0]
    background, rms = mesh.evaluate(Window.of_shape(step.shape))
    known = np.isfinite(given)
    ratio = rms / (1e-4 * step)
    # Weights have no size of their own: it is that of the measured noise.
    spread = 1e-6 if kind == "rms" else 0.3
    assert np.abs(ratio[known] - 1).max() < spread
    assert np.ptp(ratio[known]) < 1e-5
    assert np.abs(ratio[~known] - 1).max() < 0.5
    y, x = np.array([199, 30, 210, 3, 255]), np.array([10, 250, 20, 99, 255])
    np.testing.assert_array_equal(mesh.evaluate_at(y, x), [background[y, x], rms[y, x]])
    results |= {t.name: ANNOTATE.run(state, t) for t in ANNOTATE.plan(run, results) if t not in first}
    table, _ = read_parquet(state.part("pixels-0000"))
    source = (np.abs(table["y"] - 31) < 2) & (np.abs(table["x"] - 41) < 2)
    assert source.sum() == 9
    assert np.abs(table["snr"][~source]).max() < 5.5
    ANNOTATE.finish(run, results)
    sources, _ = read_parquet(run.output / "sources.parquet")
    np.testing.assert_array_equal(sources["rms_jy_beam"], rms[sources["peak_y"], sources["peak_x"]])


def test_noise_and_weights_of_one_survey_are_too_much():
    with pytest.raises(ConfigError, match="rms_files and weight_files both say"):
        validate(MapsConfig, {"files": "m.fits", "rms_files": "r.fits", "weight_files": "w.fits"})
    old = MapsConfig(files=("m.fits",)).marks()
    assert not {"weight_files", "weight_power"} & old.keys()


def test_maps_of_the_noise_that_the_pattern_of_the_maps_matches_are_no_maps(survey, tmp_path, monkeypatch):
    run = survey("rms-*.fits")
    config = run.section(MapsConfig)
    monkeypatch.chdir(tmp_path)
    everywhere = run.having(config.model_copy(update={"files": ("*.fits",)}))
    ANNOTATE.refuse(everywhere)
    assert [one.name for one in open_maps(everywhere)] == ["a", "b"]
    assert [path.name for path in map_sources(everywhere)] == ["a.fits", "b.fits", "rms-0.fits", "rms-1.fits"]
    nothing = run.having(config.model_copy(update={"files": ("rms-*.fits",)}))
    with pytest.raises(
        ConfigError, match=r"maps\.files: maps\.rms_files names rms-0\.fits and all others too"
    ):
        ANNOTATE.refuse(nothing)


def test_the_plan_counts_what_is_unpacked(survey, tmp_path):
    run = survey("rms-*.fits")
    before = ANNOTATE.estimate(run)
    size = (tmp_path / "a.fits").stat().st_size
    (tmp_path / "a.fits").write_bytes(gzip.compress((tmp_path / "a.fits").read_bytes()))
    after = ANNOTATE.estimate(run)
    # The copy and its record.
    assert after.files == before.files + 2
    assert size - 2880 < after.bytes - before.bytes <= size + RECORD_BYTES


@pytest.mark.parametrize("kind", ["planes", "HDUs"])
def test_noise_of_several_images_is_to_be_saved_alone(survey, tmp_path, kind):
    path = tmp_path / "rms-0.fits"
    with fits.open(path) as hdus:
        image, header = hdus[0].data.copy(), hdus[0].header.copy()
    if kind == "planes":
        fits.writeto(path, np.stack([image, image]), header, overwrite=True)
    else:
        parts = [fits.PrimaryHDU(), *(fits.ImageHDU(image, header) for _ in range(2))]
        fits.HDUList(parts).writeto(path, overwrite=True)
    with pytest.raises(
        ConfigError, match=r"rms-0\.fits: it holds several images; save the one of maps\.rms_f"
    ):
        ANNOTATE.refuse(survey("rms-*.fits"))
