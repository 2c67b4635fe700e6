"""A real map as background: its sources replaced or kept, blank pixels left alone, its noise followed."""

import numpy as np
import pytest
from astropy.io import fits
from scipy.ndimage import gaussian_filter

from astro_dist.engine.config import fingerprint
from astro_dist.engine.errors import ConfigError
from astro_dist.engine.files import sha256_file
from astro_dist.engine.seeds import stream
from astro_dist.engine.work import for_stage
from astro_dist.field.assembly import Assembly
from astro_dist.field.background import (
    ISLANDS_FILE,
    MESH_FILE,
    MapBackground,
    NoiseBackground,
    analyse_map,
)
from astro_dist.field.catalogue import SourceCatalogue
from astro_dist.field.columns import read_columns_file
from astro_dist.field.config import AssembleConfig
from astro_dist.field.stage import ASSEMBLE
from astro_dist.sky.beams import Beam, Pixel
from astro_dist.sky.config import AnnotateConfig
from astro_dist.sky.finder import find_islands
from astro_dist.sky.fits_file import plane_wcs, radio_header
from astro_dist.sky.maps import MapsConfig, SkyMap
from astro_dist.sky.noise import beam_noise
from astro_dist.sky.windows import Window
from tests.field.small_sky import BEAM, PIXEL, RMS, assemble, digests, make_run
from tests.sky.repairs import bring_damaged
from tests.sky.small_maps import angles_on_sky, apart, open_map

SHAPE = (420, 384)
SOURCES = ((60, 70, 40.0), (210, 300, 200.0), (330, 120, 15.0))


def write_map(path, mark=np.nan):
    """Write noise that is twice as high on the right, three sources and a border without data.

    ``mark`` is what the file holds in the border; the pixels that are returned have NaN there.
    """
    image = beam_noise(Window.of_shape(SHAPE), BEAM, PIXEL, 99, ("test",)) * np.float32(RMS)
    image[:, SHAPE[1] // 2 :] *= 2
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    for row, column, snr in SOURCES:
        image += (snr * RMS * BEAM.profile(y - row, x - column, PIXEL)).astype(np.float32)
    image[:25], image[:, -30:] = np.nan, np.nan
    header = radio_header(SHAPE, plane_wcs(SHAPE, PIXEL, 30.0, -45.0), BEAM, 1.4e9)
    fits.writeto(path, np.where(np.isnan(image), np.float32(mark), image), header, overwrite=True)
    return image


@pytest.fixture(scope="module", params=["replace", "keep"])
def made(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("real")
    # Regions of zeros and of a fill value are like NaN to everything that follows.
    image = write_map(folder / "real.fits", 0.0 if request.param == "keep" else -999.0)
    background = {"kind": "map", "path": str(folder / "real.fits"), "islands": request.param}
    run = make_run(folder / "run", objects=30, background=background, band_rows=100, shape=[7, 7])
    return request.param, image, run, assemble(run)


def read(run, name):
    return fits.getdata(run.root / "field" / name).astype("=f8" if name == "map.fits" else int)


def test_the_field_is_the_maps(made):
    _, image, run, _ = made
    with fits.open(run.root / "field" / "map.fits") as hdus:
        header, pixels = hdus[0].header, hdus[0].data
    assert pixels.shape == SHAPE
    assert (header["CRVAL1"], header["CRVAL2"]) == (30.0, -45.0)
    history = list(header["HISTORY"])
    place = history.index("assemble.background.path: real.fits")
    assert history[place + 1] == f"sha256 {sha256_file(run.root.parent / 'real.fits')}"
    assert np.array_equal(np.isnan(pixels), np.isnan(image))


FRAMES = {
    "galactic": ((0.0, 0.0), ("GLON-SIN", "GLAT-SIN"), {}),
    "negative and turned": ((-10.0, 70.0), ("RA---SIN", "DEC--SIN"), {"CROTA2": 50.0}),
}


@pytest.mark.parametrize("name", FRAMES)
def test_the_truth_on_any_map_is_on_the_sky_and_a_catalogue_for_the_next_field(tmp_path, name):
    centre, kind, cards = FRAMES[name]
    image = beam_noise(Window.of_shape(SHAPE), BEAM, PIXEL, 99, ("test",)) * RMS
    real = open_map(tmp_path / "real.fits", image, (2.0, 2.0), centre, kind, **cards)
    background = {"kind": "map", "path": str(tmp_path / "real.fits")}
    run = make_run(tmp_path / "run", objects=20, background=background, shape=[7, 7])
    assemble(run)
    truth = read_columns_file(run.root / "field" / "truth.parquet")
    placed = read_columns_file(run.root / "field" / "placements.parquet")
    rows = np.argsort(placed["id"])
    # Half axes in pixels of 2 arcsec; ellipses that are nearly round have no direction.
    major, minor = (placed[f"image_{size}_arcsec"][rows] / 4 for size in ("major", "minor"))
    pa = truth["image_pa_deg"]
    expected = angles_on_sky(real.wcs, truth["y_pix"], truth["x_pix"], major, minor, pa)
    assert 2 * expected[0] == pytest.approx(truth["major_arcsec"], rel=1e-3)
    assert 2 * expected[1] == pytest.approx(truth["minor_arcsec"], rel=1e-3)
    long = major > 1.3 * minor
    assert long.sum() > 3
    assert apart(truth["pa_deg"], expected[2])[long].max() < 0.1
    assert apart(truth["pa_deg"], pa)[long].max() > 30
    assert ((truth["ra_deg"] >= 0) & (truth["ra_deg"] < 360)).all()
    field = SkyMap.open(run.root / "field" / "map.fits", MapsConfig())
    for file in ("truth.fits", "truth.vot", "truth.parquet", "truth_sdc1.txt"):
        catalogue = SourceCatalogue.read(run.root / "field" / file)
        assert catalogue.flux_jy == pytest.approx(truth["flux_jy"], rel=1e-5)
        assert catalogue.rows_in(field.shape, field.pixel_of).tolist() == list(range(20))


def test_a_damaged_analysis_is_made_again_with_all_that_follows_from_it(made, tmp_path):
    how, _, first, _ = made
    background = first.section(AssembleConfig).background.model_dump()
    run = make_run(tmp_path, objects=30, background=background, band_rows=100, shape=[7, 7])
    assert background["islands"] == how

    def spoil(folder):
        content = bytearray((folder / MESH_FILE).read_bytes())
        content[-5] ^= 1
        (folder / MESH_FILE).write_bytes(content)

    def lose(folder):
        (folder / ISLANDS_FILE).unlink()

    published, done = bring_damaged(run, ASSEMBLE, spoil, lose)
    everything = ["background", "layout", *(f"band-{i}" for i in range(5))]
    assert done == 3 * everything
    assert published.files == digests(run) == digests(first)


def test_nothing_lies_on_blank_pixels(made):
    _, image, run, facts = made
    instances = read(run, "instances.fits")
    assert len(np.unique(instances)) == 31
    assert (instances[np.isnan(image)] == 0).all()
    truth = read_columns_file(run.root / "field" / "truth.parquet")
    for y, x, h, w in zip(*(truth[n] for n in ("y0", "x0", "height", "width")), strict=True):
        assert y >= 0
        assert x >= 0
        assert y + h <= SHAPE[0]
        assert x + w <= SHAPE[1]
    assert facts["map"]["n_blank"] == np.isnan(image).sum()


def test_rows_of_a_catalogue_on_blank_pixels_are_refused_by_number(tmp_path):
    write_map(tmp_path / "real.fits")
    y, x = np.array([100, 10, 200, 100, 300]), np.array([100, 100, 200, 370, 351])
    ra, dec = plane_wcs(SHAPE, PIXEL, 30.0, -45.0).wcs_pix2world(x, y, 0)
    rows = "\n".join(f"1e-3,{a:.9f},{b:.9f},1" for a, b in zip(ra, dec, strict=True))
    (tmp_path / "rows.csv").write_text("flux_jy,ra_deg,dec_deg,major_arcsec\n" + rows)
    flux = {"mode": "catalogue", "catalogue": str(tmp_path / "rows.csv")}
    background = {"kind": "map", "path": str(tmp_path / "real.fits")}
    run = make_run(tmp_path / "run", background=background, flux=flux, shape=[7, 7])
    with pytest.raises(
        ConfigError, match=r"rows\.csv: 3 of 5 sources reach onto blank pixels: row 2, 4, 5; leave"
    ):
        assemble(run)


def test_brightness_follows_the_local_noise(made):
    _, _, run, _ = made
    truth = read_columns_file(run.root / "field" / "truth.parquet")
    right = truth["x_peak_pix"] > SHAPE[1] * 0.75
    left = truth["x_peak_pix"] < SHAPE[1] * 0.25
    assert truth["sigma_jy_beam"][left] == pytest.approx(RMS, rel=0.25)
    assert truth["sigma_jy_beam"][right] == pytest.approx(2 * RMS, rel=0.25)
    assert truth["peak_jy_beam"] == pytest.approx(truth["k"] * truth["sigma_jy_beam"], rel=1e-5)


def test_real_sources_are_replaced_or_kept_and_listed(made):
    how, image, run, facts = made
    pixels, instances = read(run, "map.fits"), read(run, "instances.fits")
    existing = fits.getdata(run.root / "field" / "existing.fits", 1)
    assert facts["background"]["islands"] == len(existing) >= 3
    for row, column, snr in SOURCES:
        distance = np.hypot(existing["y"] - row, existing["x"] - column)
        assert distance.min() < 1
        around = (slice(row - 6, row + 7), slice(column - 6, column + 7))
        if how == "keep":
            # Nothing is placed on it; the wings of others end at 0.2 % of their peak where it begins.
            assert pixels[around] == pytest.approx(image[around], abs=0.05 * RMS)
            assert (instances[around] == 0).all()
        else:
            added = 12 * 2 * RMS
            assert np.nanmax(pixels[around]) < max(6 * 2 * RMS, 0.2 * snr * RMS) + added
    free = instances == 0
    untouched = np.isclose(pixels, image) | np.isnan(image)
    assert (how == "keep") or (~untouched[free]).sum() > 100


def test_what_is_left_after_replacement_looks_like_noise(tmp_path):
    image = write_map(tmp_path / "real.fits")
    background = {"kind": "map", "path": str(tmp_path / "real.fits")}
    run = make_run(tmp_path / "run", objects=1, background=background)
    assemble(run)
    sky_map = SkyMap.open(tmp_path / "real.fits", MapsConfig())
    real = MapBackground.load(sky_map, run.root / "field", keep=False, seed=3)
    whole = real.read(Window.of_shape(SHAPE))
    for row, column, _ in SOURCES:
        around = whole[row - 9 : row + 10, column - 9 : column + 10]
        rms = real.rms_at(np.array([row]), np.array([column]))[0]
        assert abs(around).max() < 5.5 * rms
    changed = (whole != image) & np.isfinite(image)
    assert 0.3 < whole[changed].std() / image[~changed & np.isfinite(image)].std() < 2
    window = Window(190, 260, 250, 384)
    assert np.array_equal(real.read(window), whole[window.slices], equal_nan=True)


def test_noise_has_its_rms_and_no_seams(tmp_path):
    noise = NoiseBackground(BEAM, PIXEL, 5, 3e-4)
    whole = noise.read(Window(0, 700, 0, 600))
    assert whole.std() == pytest.approx(3e-4, rel=0.05)
    assert np.array_equal(noise.read(Window(500, 530, 100, 600)), whole[500:530, 100:])
    assert gaussian_filter(whole, 4).std() > 0.2 * whole.std()


def test_an_all_blank_map_is_refused(tmp_path):
    header = radio_header((200, 200), plane_wcs((200, 200), PIXEL, 30.0, -45.0), BEAM, 1.4e9)
    fits.writeto(tmp_path / "blank.fits", np.full((200, 200), np.nan, np.float32), header)
    run = make_run(tmp_path, objects=3, background={"kind": "map", "path": str(tmp_path / "blank.fits")})
    with pytest.raises(ConfigError, match="too few usable pixels"):
        assemble(run)


def test_a_map_with_another_beam_is_refused(tmp_path):
    rng = stream(1, "other")
    header = radio_header((200, 200), plane_wcs((200, 200), PIXEL, 30.0, -45.0), BEAM, 1.4e9)
    header["BMAJ"], header["BMIN"] = 6 / 3600, 6 / 3600
    fits.writeto(tmp_path / "other.fits", rng.normal(size=(200, 200)).astype(np.float32), header)
    run = make_run(tmp_path, objects=3, background={"kind": "map", "path": str(tmp_path / "other.fits")})
    with pytest.raises(ConfigError, match=r"6 x 6 .* 8 x 8"):
        assemble(run)


@pytest.mark.parametrize(("kind", "name"), [("rms_files", "real.fits"), ("weight_files", "copy.fits")])
def test_the_noise_of_a_background_is_that_of_the_users_map(tmp_path, kind, name):
    """Pixel by pixel, in placements and where real sources go; of a map that is none of ``maps`` too."""
    write_map(tmp_path / "real.fits")
    (tmp_path / "copy.fits").write_bytes((tmp_path / "real.fits").read_bytes())
    rms = np.tile(RMS * np.linspace(1, 3, SHAPE[1], dtype=np.float32), (SHAPE[0], 1))
    rms[200:220] *= 10
    values = rms if kind == "rms_files" else (4 * RMS / rms) ** 2
    fits.writeto(tmp_path / "noise.fits", values, fits.getheader(tmp_path / "real.fits"))
    background = {"kind": "map", "path": str(tmp_path / name)}
    run = make_run(tmp_path / "run", objects=5, background=background, band_rows=210, shape=[7, 7])
    maps = MapsConfig(files=(f"{tmp_path}/real.fits",), **{kind: (f"{tmp_path}/noise.fits",)})
    run = for_stage(run.having(maps), ASSEMBLE, fingerprint(kind))
    assert ASSEMBLE.sources(run) == [tmp_path / name, tmp_path / "noise.fits"]
    assemble(run)
    state = Assembly(run)
    state.folder = run.root / "field"
    found, rows, columns = state.background(), np.array([5, 210, 210, 300]), np.array([7, 7, 300, 200])
    ratio = found.rms_at(rows, columns) / rms[rows, columns]
    assert ratio == pytest.approx(np.full(4, ratio[0]), rel=1e-6)
    # Of weights the size is measured: the map has 1 and 2 times RMS where they say 1 to 3.
    assert ratio[0] == pytest.approx(*((1.0, 1e-6) if kind == "rms_files" else (0.8, 0.15)))
    # The noise there is 25 times RMS, so that the source of 200 times RMS at (210, 300) is one of 8.
    real = fits.getdata(state.folder / ISLANDS_FILE)
    expected = 200 * RMS / (ratio[0] * rms[210, 300])
    assert real["snr"][np.abs(real["peak_y"] - 210) < 9] == pytest.approx(expected, rel=0.1)
    window = Window(200, 220, 290, 310)
    gone = found.distance_pix(window) == 0
    assert gone.sum() > 5
    assert np.abs(found.read(window)[gone]).max() < 4 * ratio[0] * rms[210, 300]


def test_where_a_source_goes_the_wide_emission_below_it_stays(tmp_path):
    n, cell, rms = 960, 80, 2e-5
    beam, pixel = Beam(8.0, 8.0), Pixel(2.0, 2.0)
    y, x = np.mgrid[:n, :n] - n / 2
    emission = 5 * np.exp(-4 * np.log(2) * (y**2 + x**2) / (3 * cell) ** 2)
    # Where the emission has 1.5 times the noise: it is no island there.
    source = 40 * beam.profile(y, x - 160, pixel)
    sky = beam_noise(Window.of_shape((n, n)), beam, pixel, 3, ("wide",)) + source
    sky_map = open_map(tmp_path / "map.fits", rms * (sky + emission), (2.0, 2.0), (40.0, -35.0))
    analyse_map(sky_map, tmp_path, AnnotateConfig())
    found = find_islands(sky_map, AnnotateConfig())
    background = MapBackground.load(sky_map, tmp_path, keep=False, seed=1)
    here = Window(n // 2 - 8, n // 2 + 8, n // 2 + 152, n // 2 + 168)
    np.testing.assert_array_equal(background.mesh.evaluate(here), found.mesh.evaluate(here))
    # 256 pixels, about 15 of noise that are independent.
    assert background.read(here).mean() == pytest.approx(1.46 * rms, abs=0.9 * rms)
