"""Artefacts of bright sources: what they add, where the mask shows them, and which sources have one."""

import shutil

import numpy as np
import pytest
from astropy.io import fits
from scipy.ndimage import label

from astro_dist.engine.errors import IntegrityError
from astro_dist.engine.seeds import stream
from astro_dist.field.artefacts import ARTEFACT_TYPES, join_artefacts
from astro_dist.field.columns import read_columns_file
from astro_dist.field.measures import write_rows
from astro_dist.sky.artefacts import draw_artefact
from astro_dist.sky.maps import MapsConfig, SkyMap
from astro_dist.sky.noise import beam_noise
from astro_dist.sky.windows import Window
from tests.field.direct import added_pixels
from tests.field.small_sky import BEAM, PIXEL, RMS, again, assemble, digests, make_run
from tests.field.test_placements import measured

SHAPE = (200, 150)
# Up to 1,000 sigma, half of the sources below the limit.
BRIGHT = {"mode": "radiff", "scale": 300, "cap": 1000}
SETTINGS = {"shape": SHAPE, "objects": 12, "flux": BRIGHT, "artefacts_snr": 200, "artefacts_level": 0.02}


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("stores"), n_stamps=12)


def beside(stores, root, **settings):
    """The run with these settings of `assemble` and the same stores in another folder."""
    shutil.copytree(stores.root, root, dirs_exist_ok=True)
    return make_run(root, **SETTINGS, **settings)


@pytest.fixture(scope="module")
def made(stores, tmp_path_factory):
    run = beside(stores, tmp_path_factory.mktemp("bright"), band_rows=150)
    return run, assemble(run)


@pytest.fixture(scope="module")
def plain(stores, tmp_path_factory):
    run = beside(stores, tmp_path_factory.mktemp("plain"), artefacts=False)
    return run, assemble(run)


def read(run, name):
    with fits.open(run.root / "field" / name) as hdus:
        return hdus[0].data.astype(hdus[0].data.dtype.newbyteorder("="))


def table_of(run, name="artefacts"):
    return read_columns_file(run.root / "field" / f"{name}.parquet")


def patterns(run):
    """Each artefact drawn from the published table and the seed, and its pixels in the whole field."""
    first = stream(run.seed, "assemble", "artefacts").uniform(0, np.pi)
    columns = ("id", "y_pix", "x_pix", "snr", "size_beams", "sigma_jy_beam")
    for number, *facts in zip(*(table_of(run)[name].tolist() for name in columns), strict=True):
        rng, layer = stream(run.seed, "assemble", "artefact", number), np.zeros(SHAPE, np.float32)
        artefact = draw_artefact(rng, *facts, 4.0, first, 0.02, 0.5)
        artefact.add_to(layer, Window.of_shape(SHAPE))
        yield artefact, layer


def test_the_map_is_background_objects_and_listed_artefacts(made, plain):
    run, facts = made
    assert 3 <= facts["artefacts"] == len(table_of(run)["id"]) <= 9
    background = beam_noise(Window.of_shape(SHAPE), BEAM, PIXEL, run.seed, ("assemble", "noise"))
    background *= np.float32(RMS)
    left = read(run, "map.fits").astype(np.float64) - background
    drawn = list(patterns(run))
    objects = left - sum(layer for _, layer in drawn)
    for _, whole in added_pixels(run, table_of(run, "placements"), SHAPE, BEAM, PIXEL):
        objects -= whole
    assert abs(objects).max() < 1e-3 * RMS
    # Artefacts change no row of the truth; the fluxes of both tables add up to that of the map.
    assert digests(run)["truth.parquet"] == digests(plain[0])["truth.parquet"]
    added = table_of(run)["flux_jy"]
    flux = table_of(run, "truth")["flux_jy"].sum() + added.sum()
    assert left.sum() / BEAM.area_pix(PIXEL) == pytest.approx(flux, rel=1e-5)
    assert added == pytest.approx([p.sum(dtype=float) / BEAM.area_pix(PIXEL) for _, p in drawn], rel=1e-6)
    assert np.array_equal(table_of(run)["peak_jy_beam"], [p.max() for _, p in drawn])
    assert np.array_equal(table_of(run)["lowest_jy_beam"], [p.min() for _, p in drawn])


def test_sources_above_the_limit_have_one(made):
    run, _ = made
    truth, table = table_of(run, "truth"), table_of(run)
    bright = truth["id"][truth["k"] > 200]
    assert 0 < len(bright) < len(truth["id"])
    # At 0.02 of the peak none is below the noise.
    assert np.array_equal(np.sort(table["id"]), bright)
    rows = table["id"] - 1
    assert table["snr"] == pytest.approx(truth["k"][rows], rel=1e-6)
    near = np.hypot(*(table[f"{c}_pix"] - truth[f"{c}_peak_pix"][rows] for c in "yx"))
    assert near.max() < 3
    sizes = table["size_beams"]
    assert sizes[truth["class"][rows] == 2].max(initial=0) < 0.4
    assert sizes[truth["class"][rows] == 3].min() > 0.8


def test_the_mask_shows_artefacts_where_no_source_is(made, plain):
    mask, without = read(made[0], "mask.fits"), read(plain[0], "mask.fits")
    assert np.array_equal(mask[without > 0], without[without > 0])
    assert np.array_equal(read(made[0], "instances.fits"), read(plain[0], "instances.fits"))
    expected = np.zeros(SHAPE, bool)
    for artefact, _ in patterns(made[0]):
        whole = artefact.draw() / RMS
        pieces, _ = label(whole > 3, np.ones((3, 3)))
        kept = np.isin(pieces, np.unique(pieces[whole > 5])) & (whole > 3)
        part = artefact.window & Window.of_shape(SHAPE)
        expected[part.slices] |= kept[part.within(artefact.window)]
    assert np.count_nonzero(expected & (without == 0)) > 50
    assert np.array_equal(mask == 1, expected & (without == 0))


@pytest.mark.parametrize(
    ("band_rows", "workers"),
    [
        (41, 0),
        *(pytest.param(n, w, marks=pytest.mark.soak) for n, w in ((1, 0), (64, 2), (77, 4), (512, 0))),
    ],
)
def test_bytes_do_not_depend_on_bands_or_workers(stores, made, tmp_path, band_rows, workers):
    other = beside(stores, tmp_path, band_rows=band_rows)
    assemble(other, workers)
    assert digests(other) == digests(made[0])


def test_without_them_no_pixel_lies_below_the_sky(made, plain):
    assert plain[1]["artefacts"] == 0
    background = beam_noise(Window.of_shape(SHAPE), BEAM, PIXEL, 3, ("assemble", "noise")) * np.float32(RMS)
    assert (read(plain[0], "map.fits") - background).min() > -1e-3 * RMS
    deepest = (read(made[0], "map.fits") - background).min() / RMS
    assert -0.1 * 1000 < deepest < -0.003 * 1000


def test_a_peak_is_that_of_the_source_at_a_given_flux(stores):
    """Of points, Gaussians and objects of the library: what a band measures, but for the pixel's place."""
    counts = {"mode": "counts", "counts": {"limit_jy": 2e-3, "object_beams": 1.0}}
    run = again(stores, shape=(900, 900), flux=counts, reuse=50)
    table, _ = measured(run)
    found = read_columns_file(run.output / "layout_artefacts.parquet")
    order = np.argsort(table["id"])
    rows = order[found["id"] - 1]
    assert 5 < len(rows) < len(order)
    assert {-1} < set(np.minimum(table["object"][rows], 0))
    assert (found["snr"] > 30).all()
    # Half a pixel off in both directions a beam of four pixels has fallen to 0.917.
    ratio = found["snr"] / table["snr"][rows]
    assert (ratio >= 1 - 1e-6).all()
    assert ratio.max() < 1 / 0.915
    # Those left out are too faint, or their pattern is weaker than the noise.
    assert not (table["snr"][np.setdiff1d(order, rows)] > 1000).any()


def test_an_artefact_that_was_measured_twice_is_refused(made, tmp_path):
    field = SkyMap.open(made[0].root / "field" / "map.fits", MapsConfig(), verify=False)
    row = dict.fromkeys(ARTEFACT_TYPES, 0)
    write_rows(tmp_path / "a.parquet", [row, row], ARTEFACT_TYPES)
    with pytest.raises(IntegrityError, match="make the field again"):
        join_artefacts([tmp_path / "a.parquet"], table_of(made[0]), field)
