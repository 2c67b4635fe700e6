"""Fields by counts and by catalogues: what was asked for is in the map, and what cannot be is refused."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest

from astro_dist.engine.errors import ConfigError
from astro_dist.field.choosing import Surroundings, bearable, choose_sources, object_sizes
from astro_dist.field.columns import read_columns_file
from astro_dist.field.config import AssembleConfig
from astro_dist.field.donors import MOST_RESIZED
from astro_dist.field.given import area_sr, by_catalogue, by_counts, read_catalogue
from astro_dist.field.library import Library
from astro_dist.field.population import solid_angle_sr
from astro_dist.field.stage import ASSEMBLE
from astro_dist.radio.pipeline import RADIO
from astro_dist.sky.config import MapsConfig
from astro_dist.sky.fits_file import plane_wcs
from astro_dist.sky.maps import SkyMap
from tests.field.small_sky import PIXEL, again, assemble, digests, make_run

SHAPE = [500, 600]
COUNTS = {"mode": "counts", "counts": {"limit_jy": 2e-4}, "bands_hz": [887.5e6, 3e9]}


def truth_of(run):
    return read_columns_file(run.root / "field" / "truth.parquet")


@pytest.fixture(scope="module")
def counted(tmp_path_factory):
    run = make_run(tmp_path_factory.mktemp("counts") / "run", shape=SHAPE, reuse=40, flux=COUNTS)
    assemble(run)
    return run


def sky(y, x):
    return plane_wcs(SHAPE, PIXEL, 180.0, -30.0).wcs_pix2world(x, y, 0)


def whole(truth):
    """Return the sources whose box lies in the field."""
    y, x = (truth[name] for name in ("y0", "x0"))
    return (y > 0) & (x > 0) & (y + truth["height"] < SHAPE[0]) & (x + truth["width"] < SHAPE[1])


def test_every_source_by_counts_has_its_flux_and_place_in_the_map(counted):
    truth = truth_of(counted)
    inside = whole(truth)
    assert inside.sum() > 10
    assert truth["flux_jy"][inside] == pytest.approx(truth["flux_given_jy"][inside], rel=1e-5)
    assert (truth["flux_given_jy"] >= 2e-4).all()
    assert (truth["catalogue_row"] == -1).all()
    assert np.std(truth["spectral_index"]) > 0.1
    # The fluxes of other bands follow from the one and the index, to what float32 of the index leaves.
    for name, ratio in (("flux_887_5mhz_jy", 887.5 / 1400), ("flux_3000mhz_jy", 3000 / 1400)):
        assert truth[name] == pytest.approx(truth["flux_jy"] * ratio ** truth["spectral_index"], rel=1e-6)
    # Any place of a pixel, and any part of the field.
    assert len(np.unique(np.round(truth["x_anchor_pix"] % 1, 3))) > 10


def test_objects_have_sizes_near_those_that_were_drawn(counted):
    truth, library = truth_of(counted), Library(counted.root / "field")
    stands = truth["object"] >= 0
    assert 0 < stands.sum() < len(stands)
    assert (np.abs(np.log(truth["size_factor"])) <= np.log(MOST_RESIZED) + 1e-9).all()
    sizes = object_sizes(library)[0][truth["object"][stands]] * truth["size_factor"][stands]
    inside = whole(truth)[stands]
    assert truth["intrinsic_major_arcsec"][stands][inside] == pytest.approx(sizes[inside], rel=0.02)
    assert (library.table["class"][truth["object"][stands]] == 3).all()
    assert (truth["class"][stands] == 3).all()


Y = np.array([60.3, 130.81, 250.5, 333.07, 410.25, 465.0])
X = np.array([70.7, 300.25, 120.5, 444.93, 222.4, 510.2])
ROWS = {
    "flux_jy": [0.05, 0.5, 0.02, 0.1, 0.3, 0.04],
    "major_arcsec": [0.0, 12.0, 6.0, 30.0, 24.0, 25.0],
    "minor_arcsec": [0.0, 5.0, 6.0, 0.0, 8.0, 20.0],
    "pa_deg": [0.0, 30.0, 0.0, 75.0, 140.0, 100.0],
    "class": [2, 2, 2, 3, 3, 2],
    "spectral_index": [-0.7, 0.0, -1.0, -0.7, -0.7, -0.7],
}


def write_rows(path, rows=ROWS, y=Y, x=X):
    ra, dec = sky(y, x)
    pa.csv.write_csv(pa.table({"ra_deg": ra, "dec_deg": dec} | rows), path)
    return {"mode": "catalogue", "catalogue": str(path)}


@pytest.fixture(scope="module")
def by_rows(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rows")
    flux = write_rows(folder / "rows.csv")
    run = make_run(folder / "run", shape=SHAPE, reuse=2, flux=flux, background={"rms_jy_beam": 1e-7})
    assemble(run)
    truth = truth_of(run)
    order = np.argsort(truth["catalogue_row"])
    return run, {name: values[order] for name, values in truth.items()}


def test_all_rows_of_a_catalogue_are_placed_where_they_are(by_rows):
    _, truth = by_rows
    assert truth["catalogue_row"].tolist() == [0, 1, 2, 3, 4, 5]
    # A hundredth of a beam is 0.04 pixels; the centroid is measured on the pixels of the map.
    assert truth["y_pix"] == pytest.approx(Y, abs=0.08)
    assert truth["x_pix"] == pytest.approx(X, abs=0.08)
    assert truth["flux_jy"] == pytest.approx(ROWS["flux_jy"], rel=1e-5)


def test_rows_have_their_size_and_angle(by_rows):
    _, truth = by_rows
    stands = truth["object"] >= 0
    assert stands.tolist() == [False, False, False, True, True, False]
    assert truth["intrinsic_major_arcsec"][1:] == pytest.approx(ROWS["major_arcsec"][1:], rel=0.03)
    gaussian = [1, 2, 5]
    assert truth["intrinsic_minor_arcsec"][gaussian] == pytest.approx([5, 6, 20], rel=0.03)
    long = [1, 3, 4, 5]
    off = (truth["intrinsic_pa_deg"][long] - np.array(ROWS["pa_deg"])[long] + 90) % 180 - 90
    assert np.abs(off).max() < 2
    assert truth["class"].tolist() == ROWS["class"]


def test_fluxes_are_scaled_to_the_frequency_of_the_field(tmp_path, by_rows):
    field = SkyMap.open(by_rows[0].root / "field" / "map.fits", MapsConfig(), verify=False)
    flux = write_rows(tmp_path / "rows.csv")
    for own, ratio in ((None, 1), (0.7e9, 2), (1.4e9, 1)):
        config = AssembleConfig(flux=flux | {"catalogue_hz": own})
        given = by_catalogue(field, read_catalogue(config), config, None)
        assert given.flux_jy == pytest.approx(ROWS["flux_jy"] * ratio ** np.array(ROWS["spectral_index"]))
    with pytest.raises(ConfigError, match=r"flux\.catalogue_hz are scaled to the frequency"):
        by_catalogue(replace(field, frequency_hz=None), read_catalogue(config), config, None)


def test_sizes_without_an_object_are_refused_by_row(by_rows, tmp_path):
    rows = ROWS | {"major_arcsec": [0.0, 12.0, 6.0, 300.0, 24.0, 5.0], "minor_arcsec": [0.0] * 6}
    run = again(by_rows[0], shape=SHAPE, reuse=2, flux=write_rows(tmp_path / "rows.csv", rows))
    field = SkyMap.open(by_rows[0].root / "field" / "map.fits", MapsConfig(), verify=False)
    library, config = Library(by_rows[0].root / "field"), run.section(AssembleConfig)
    with pytest.raises(
        ConfigError, match="row 4: 1 of 2 sources have no object, of 300 to 300 arcsec: 24 ext"
    ):
        choose_sources(field, library, config, lambda: Surroundings(1e-4, 1), run.stream)


def test_objects_are_no_brighter_than_their_models_bear_where_others_are_there(by_rows):
    field = SkyMap.open(by_rows[0].root / "field" / "map.fits", MapsConfig(), verify=False)
    library = Library(by_rows[0].root / "field")
    config = AssembleConfig(flux=COUNTS, reuse=99)
    chosen = choose_sources(field, library, config, lambda: Surroundings(1e-4, 1), by_rows[0].stream)
    stands = chosen.objects >= 0
    most = 1e-4 * bearable(library)
    flux, donor = chosen.flux_jy[stands], chosen.objects[stands]
    assert (flux <= most[donor])[flux <= np.nanmax(most) / 3].all()


def test_blank_parts_of_a_field_have_no_sources(by_rows):
    field = SkyMap.open(by_rows[0].root / "field" / "map.fits", MapsConfig(), verify=False)
    config = AssembleConfig(flux={"mode": "counts", "counts": {"limit_jy": 2e-5}})
    whole, half = (len(by_counts(field, share, config, by_rows[0].stream)) for share in (1, 0.5))
    assert abs(half - whole / 2) < 4 * np.sqrt(whole / 2)


def test_the_area_of_a_map_is_that_of_its_projection(by_rows):
    field = SkyMap.open(by_rows[0].root / "field" / "map.fits", MapsConfig(), verify=False)
    assert area_sr(field) == pytest.approx(solid_angle_sr(tuple(SHAPE), (2.0, 2.0)), rel=1e-6)


@pytest.mark.parametrize(
    ("text", "settings", "message"),
    [
        ("flux_jy\n-1\n", {}, "1 of 1 rows have a flux_jy that is no positive number: row 1"),
        ("flux_jy\nnan\n", {}, "every flux_jy must be a positive number"),
        ("flux_jy\ninf\n", {}, "row 1 [(]inf[)]"),
        ("flux_jy,class\n1,9\n", {}, "the class 9, which is neither compact nor extended"),
        ("flux_jy,ra_deg,dec_deg\n1,20,30\n", {}, "rows.csv: none of its 1 positions is in the field"),
        ("flux_jy,s\n1,2\n", {"columns": {"spectral_index": "s"}}, "set catalogue_hz"),
        ("flux_jy,class\n1,3\n", {}, "1 sources need 1 distinct objects .* generate.objects is not set"),
    ],
)
def test_catalogues_that_cannot_be_placed_are_refused_in_a_plan(by_rows, tmp_path, text, settings, message):
    path = tmp_path / "rows.csv"
    path.write_text(text)
    flux = {"mode": "catalogue", "catalogue": str(path)} | settings
    with pytest.raises((ConfigError, ValueError), match=message) as caught:
        ASSEMBLE.refuse(again(by_rows[0], shape=SHAPE, flux=flux))
    if isinstance(caught.value, ConfigError):
        assert "\n" not in str(caught.value)


def test_counts_need_a_limit_and_no_number():
    for tree, message in (
        ({"flux": {"mode": "counts"}}, "set counts.limit_jy"),
        ({"flux": COUNTS, "objects": 5}, "objects 5: in mode counts the number follows from"),
        ({"objects": None}, "mode radiff needs the number of sources"),
        ({"flux": {"bands_hz": [3e9]}}, "mode radiff have no spectral index; leave bands_hz out"),
        ({"flux": COUNTS | {"bands_hz": [3e9, 3e9]}}, "a frequency comes twice"),
    ):
        with pytest.raises(ConfigError, match=message):
            RADIO.resolve({"assemble": tree})


def test_the_objects_to_draw_follow_from_the_expected_number():
    tree = {"assemble": {"flux": COUNTS, "reuse": 10}}
    config = RADIO.resolve(tree)
    assert config.generate.objects > 50
    assert config.generate.accept.classes == ("extended",)
    assert config.generate.masks.compact == 0
    assert (config.assemble.objects, config.assemble.max_overlap) == (None, 1)
    # The resolved settings are those of the run directory, and resolve to themselves.
    assert RADIO.resolve(config.model_dump(mode="json")) == config
    fewer = RADIO.resolve({"assemble": tree["assemble"] | {"shape": [6000, 7500]}})
    assert fewer.generate.objects < config.generate.objects / 3
    with pytest.raises(ConfigError, match=r"generate\.objects is 3"):
        RADIO.resolve(tree | {"generate": {"objects": 3}})


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.soak)])
def test_a_field_by_counts_does_not_depend_on_bands_and_workers(counted, tmp_path, workers):
    run = make_run(tmp_path / "run", shape=SHAPE, reuse=40, flux=COUNTS, band_rows=77)
    assemble(run, workers=workers)
    names = ("map.fits", "mask.fits", "instances.fits", "truth.parquet")
    one, other = digests(counted), digests(run)
    assert [one[name] for name in names] == [other[name] for name in names]
