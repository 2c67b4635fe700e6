"""Drawn objects, fluxes, turns and places; refusals name a number that works."""

import re
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from astro_dist.engine.errors import ConfigError
from astro_dist.field.columns import read_columns_file
from astro_dist.field.library import Library
from astro_dist.field.patches import symmetry_of, turn_of
from astro_dist.field.rendering import step_matrix
from astro_dist.field.stage import ASSEMBLE
from astro_dist.sky.beams import Beam, Pixel
from astro_dist.sky.maps import MapsConfig, SkyMap
from astro_dist.sky.symmetries import apply_symmetry
from astro_dist.sky.windows import Window
from tests.field.small_sky import BEAM, PIXEL, RMS, again, assemble, make_run

SHAPE = [200, 240]
AREA = BEAM.area_pix(PIXEL)


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("placements"))


def lay_out(run):
    """Do the layout alone and return its table and library."""
    ASSEMBLE.prepare(run)
    state = ASSEMBLE.open(run)
    for task in ASSEMBLE.plan(run, {}):
        ASSEMBLE.run(state, task)
    return read_columns_file(run.output / "layout.parquet"), Library(run.output)


def measured(run):
    """Lay out a field, and measure every placement in one window; return layout and measures together."""
    table, library = lay_out(run)
    state = ASSEMBLE.open(run)
    brush = state.brush(Window.of_shape(state.field.shape))
    facts = [brush.draw(row)[1] for row in range(len(table["id"]))]
    return table | {name: np.array([fact[name] for fact in facts]) for name in facts[0]}, library


def test_radiff_peaks_are_k_times_the_rms(stores):
    table, library = measured(again(stores, shape=SHAPE, objects=20))
    assert table["sigma_jy_beam"] == pytest.approx(np.full(20, RMS))
    assert table["peak"] == pytest.approx(table["k"] * RMS, rel=1e-6)
    assert table["snr"] == pytest.approx(table["k"], rel=1e-6)
    assert (table["k"] <= 10).all()
    assert np.isnan(table["flux_given_jy"]).all()
    assert (np.diff(library.table["n_pix"][table["object"]]) <= 0).all()


def test_compact_sources_have_the_beams_flux_and_size(stores):
    table, _ = measured(again(stores, shape=SHAPE, objects=30))
    compact = table["class"] == 2
    beam = BEAM.covariance_pix(PIXEL)
    for name, at in (("yy", (0, 0)), ("xx", (1, 1))):
        assert np.median(table[name][compact]) == pytest.approx(beam[at], rel=1e-4)
        assert (table[name][compact] > 0.999 * beam[at]).all()
        assert (table[name][compact] < 1.2 * beam[at]).all()
    assert (table["sum"] / table["peak"] / AREA)[compact].min() > 0.97
    assert ((table["yy"] + table["xx"])[~compact] > 3 * beam[0, 0]).all()


def test_fewer_objects_than_promised_are_refused_with_the_number(stores):
    with pytest.raises(ConfigError, match=r"lower assemble\.objects to 48"):
        lay_out(again(stores, shape=SHAPE, objects=60))
    table, _ = lay_out(again(stores, shape=[400, 400], objects=60, reuse=2))
    assert np.bincount(table["object"]).max() == 2


def test_the_number_that_fits_does_fit(stores):
    with pytest.raises(ConfigError, match="do not fit") as caught:
        lay_out(again(stores, shape=[90, 90], objects=48))
    fit = int(re.search(r"lower assemble.objects to (\d+)", str(caught.value))[1])
    assert 8 < fit < 48
    table, _ = lay_out(again(stores, shape=[90, 90], objects=fit))
    assert len(table["id"]) == fit


def test_no_object_fits_a_tiny_field(stores):
    with pytest.raises(ConfigError, match="0 do"):
        lay_out(again(stores, shape=[13, 13], objects=1))


def test_stretched_shapes_follow_the_paper(stores):
    table, library = measured(again(stores, shape=SHAPE, objects=20, flux={"mode": "radiff_stretched"}))
    assert (table["drawn"] == 1).all()
    plain, _ = lay_out(again(stores, shape=SHAPE, objects=20))
    assert np.array_equal(np.sort(table["k"]), np.sort(plain["k"]))
    for number in range(len(library)):
        shape = library.pixels(number)
        inside = shape != 0
        # Every donor pixel is above 3 sigma and none reaches the grown footprint of the plain shape.
        assert np.tanh(6.3 / 13.5) <= shape[inside].min()
        assert shape.max() <= 1
    assert (table["snr"] <= table["k"]).all()
    assert (table["n_pix"] < 200).all()


def test_catalogue_fluxes_are_met(stores, tmp_path):
    path = tmp_path / "fluxes.csv"
    flux = np.geomspace(1e-4, 1e-1, 40)
    path.write_text("flux_jy\n" + "\n".join(f"{value:.9e}" for value in flux))
    settings = {"mode": "catalogue", "catalogue": str(path)}
    for compact in ("model", "drawn"):
        run = again(stores, shape=[300, 300], max_overlap=0, objects=40, flux=settings, compact=compact)
        table, _ = measured(run)
        assert np.sort(table["sum"] / AREA) == pytest.approx(flux, rel=1e-5)
        assert flux[table["catalogue_row"]] == pytest.approx(table["flux_given_jy"], rel=1e-8)
    with pytest.raises(ConfigError, match=r"lower assemble\.objects to 40"):
        lay_out(again(stores, shape=[300, 300], max_overlap=0, objects=41, flux=settings))


@pytest.fixture
def catalogue(stores, tmp_path):
    """Write a catalogue of positions between pixels; return its settings, y, x and rows."""
    run = again(stores, shape=SHAPE, objects=4)
    ASSEMBLE.prepare(run)
    field = SkyMap.open(run.output / "map.fits", MapsConfig(), verify=False)
    y, x = np.array([40.3, 60.5, 149.7, 110.25, 500]), np.array([50.1, 179.9, 60.5, 200.6, 10])
    ra, dec = field.sky_of(y, x)
    path = tmp_path / "sources.csv"
    rows = [f"{1e-3 * (i + 1)},{ra[i]:.9f},{dec[i]:.9f}" for i in range(5)]
    path.write_text("flux_jy,ra_deg,dec_deg\n" + "\n".join(rows))
    return {"mode": "catalogue", "catalogue": str(path)}, y, x, rows


@pytest.mark.parametrize("anchor", ["core", "centroid"])
def test_catalogue_positions_are_met(stores, catalogue, anchor):
    settings, y, x, rows = catalogue
    table, _ = measured(again(stores, shape=SHAPE, objects=4, flux=settings, anchor=anchor))
    order = np.argsort(table["sum"])
    assert table["sum"][order] / AREA == pytest.approx([1e-3, 2e-3, 3e-3, 4e-3], rel=1e-6)
    assert table["y_anchor_pix"][order] == pytest.approx(y[:4], abs=1e-6)
    assert table["x_anchor_pix"][order] == pytest.approx(x[:4], abs=1e-6)
    if anchor == "centroid":
        # 0.02 of a beam of four pixels is 0.08 of a pixel.
        assert table["y"][order] == pytest.approx(y[:4], abs=1e-3)
        assert table["x"][order] == pytest.approx(x[:4], abs=1e-3)
    else:
        assert (np.hypot(table["peak_y"][order] - y[:4], table["peak_x"][order] - x[:4]) < 0.75).all()
    with pytest.raises(ConfigError, match="4 rows for this field"):
        lay_out(again(stores, shape=SHAPE, objects=5, flux=settings))
    path = Path(settings["catalogue"])
    path.write_text("flux_jy,ra_deg,dec_deg\n" + "\n".join([rows[0], rows[1], rows[0]]))
    with pytest.raises(ConfigError, match=r"the object of row [13] overlaps"):
        lay_out(again(stores, shape=SHAPE, objects=3, flux=settings, max_overlap=0))
    # With free places, as by default, it may lie on another, or reach beyond the field.
    table, _ = lay_out(again(stores, shape=SHAPE, objects=3, flux=settings))
    assert np.array_equal(np.sort(table["catalogue_row"]), [0, 1, 2])


def test_drawings_lie_on_whole_pixels_nearest_to_their_place(stores, catalogue):
    settings, y, x, _ = catalogue
    run = again(stores, shape=SHAPE, objects=4, flux=settings, compact="drawn", anchor="core")
    table, _ = measured(run)
    drawn = table["drawn"] == 1
    assert drawn.any()
    order = np.argsort(table["flux_given_jy"])
    nearest = np.floor(np.stack([y, x], axis=1)[:4] + 0.5)
    at = np.stack([table["peak_y"], table["peak_x"]], axis=1)
    assert np.array_equal(at[order][drawn[order]], nearest[drawn[order]])


def test_density_file_is_followed(stores, tmp_path):
    fits.writeto(tmp_path / "density.fits", np.array([[0.0, 1.0]], np.float32))
    table, _ = lay_out(again(stores, shape=SHAPE, objects=30, density=str(tmp_path / "density.fits")))
    # The brightest point follows the density; the centroid of a double lies up to eight pixels from it.
    assert (table["x_anchor_pix"] >= 110).all()
    assert table["y_anchor_pix"].min() < 70 < 130 < table["y_anchor_pix"].max()
    (tmp_path / "text.fits").write_text("no image")
    with pytest.raises(ConfigError, match="cannot be read as a FITS image"):
        lay_out(again(stores, shape=SHAPE, objects=30, density=str(tmp_path / "text.fits")))


def test_models_turn_by_any_angle_and_drawings_as_the_beam_allows(stores, tmp_path):
    table, _ = lay_out(again(stores, shape=SHAPE, objects=40))
    assert len(np.unique(table["turn_deg"])) == 40
    assert set(table["flip"]) == {0, 1}
    assert set(turns_of(lay_out(again(stores, shape=SHAPE, objects=40, flux=STRETCHED))[0])) == set(range(8))
    for settings in ({}, {"flux": STRETCHED}):
        table, _ = lay_out(again(stores, shape=SHAPE, objects=40, turns=False, **settings))
        assert set(table["turn_deg"]) == set(table["flip"]) == {0}
    slanted = {"beams": ((Beam(12.0, 7.0, 30.0), Pixel(2.0, 2.0)),), "shape": SHAPE, "objects": 40}
    table, _ = lay_out(make_run(tmp_path / "drawn", flux=STRETCHED, **slanted))
    assert set(turns_of(table)) == {0, 2}
    # A model turns, the beam that it is seen through does not.
    table, _ = measured(make_run(tmp_path / "models", **slanted))
    compact = table["class"] == 2
    expected = Beam(12.0, 7.0, 30.0).covariance_pix(PIXEL)
    assert np.median(table["yy"][compact]) == pytest.approx(expected[0, 0], rel=1e-3)
    assert np.median(table["yx"][compact]) == pytest.approx(expected[0, 1], rel=1e-3)


STRETCHED = {"mode": "radiff_stretched"}


def turns_of(table):
    rows = zip(table["turn_deg"], table["flip"], strict=True)
    return [symmetry_of(turn, bool(flip)) for turn, flip in rows]


@pytest.mark.parametrize("symmetry", range(8))
def test_a_drawing_and_a_model_turn_alike(symmetry):
    """The quarter turns of a grid of points, as steps and as pixels."""
    turn, flip = turn_of(np.array([symmetry]))
    assert symmetry_of(turn[0], bool(flip[0])) == symmetry
    image = np.zeros((5, 5), np.float32)
    image[1, 3], image[4, 2] = 1, 2
    step = step_matrix(PIXEL, PIXEL, turn[0], flipped=bool(flip[0]))
    turned = apply_symmetry(image, symmetry)
    for y, x in ((1, 3), (4, 2)):
        v, u = np.rint(step @ [y - 2, x - 2]).astype(int) + 2
        assert turned[v, u] == image[y, x]


def test_other_pixels_and_another_beam_keep_sizes_on_the_sky(stores):
    """Beam times 1.5 and pixel times 1.3: intrinsic moments on the sky stay as they are."""
    plain, _ = measured(again(stores, shape=SHAPE, objects=30, turns=False))
    settings = {"beam_major_arcsec": 12.0, "pixel_arcsec": 2.6, "turns": False}
    other, _ = measured(again(stores, shape=[300, 300], objects=30, **settings))
    sizes = {}
    for table, beam, pixel in ((plain, BEAM, PIXEL), (other, Beam(12.0, 12.0), Pixel(2.6, 2.6))):
        rows = np.argsort(table["object"])
        within = np.stack([table[name][rows] for name in ("yy", "yx", "xx")], axis=1)
        without = within - np.array(beam.moments_pix(pixel))
        for number, moments in zip(table["object"][rows].tolist(), without, strict=True):
            sizes.setdefault(number, []).append(moments * pixel.dy_arcsec**2)
    pairs = np.array([pair for pair in sizes.values() if len(pair) == 2])
    assert len(pairs) == 30
    assert pairs[:, 0] == pytest.approx(pairs[:, 1], abs=0.01)


def test_the_edge_of_the_field_cuts_a_source_and_its_flux(stores, tmp_path):
    run = again(stores, shape=SHAPE, objects=1)
    ASSEMBLE.prepare(run)
    field = SkyMap.open(run.output / "map.fits", MapsConfig(), verify=False)
    ra, dec = field.sky_of(np.array([0.0]), np.array([100.0]))
    path = tmp_path / "edge.csv"
    path.write_text(f"flux_jy,ra_deg,dec_deg\n1e-3,{ra[0]:.9f},{dec[0]:.9f}\n")
    flux = {"mode": "catalogue", "catalogue": str(path)}
    with pytest.raises(ConfigError, match="row 1 overlaps one placed before it, or reaches beyond the field"):
        lay_out(again(stores, shape=SHAPE, objects=1, flux=flux, max_overlap=0))
    run = again(stores, shape=SHAPE, objects=1, flux=flux, max_overlap=1)
    facts = assemble(run)
    truth = read_columns_file(run.root / "field" / "truth.parquet")
    assert (truth["y0"], truth["flux_given_jy"]) == (0, 1e-3)
    assert 0.3e-3 < truth["flux_jy"][0] < 0.75e-3
    assert facts["flux_jy"] == truth["flux_jy"][0]


def test_truth_positions_agree_with_the_wcs(tmp_path):
    run = make_run(tmp_path, shape=SHAPE, objects=20, ra_deg=10.0, dec_deg=-60.0)
    assemble(run)
    table = read_columns_file(run.root / "field" / "truth.parquet")
    field = SkyMap.open(run.root / "field" / "map.fits", MapsConfig(), verify=False)
    y, x = field.pixel_of(table["ra_deg"], table["dec_deg"])
    assert y == pytest.approx(table["y_pix"], abs=1e-6)
    assert x == pytest.approx(table["x_pix"], abs=1e-6)
    assert y == pytest.approx(table["y_anchor_pix"], abs=1e-4)
    assert abs(table["dec_deg"] + 60).max() < 0.1


def test_a_background_rms_may_be_given(stores):
    table, _ = lay_out(again(stores, shape=SHAPE, objects=5, background={"rms_jy_beam": 5e-3}))
    assert (table["sigma_jy_beam"] == 5e-3).all()


def test_assemble_refuses_before_anything_is_written(stores):
    for settings, message in (
        ({"pixel_arcsec": 3.3}, "does not sample a beam of 8 x 8 arcsec: 2.42 pixels per full width"),
        ({"pixel_arcsec": 3.0, "spurious": True}, "assemble.spurious: .* differ by 10 %"),
        ({"pixel_arcsec": 3.0, "compact": "drawn"}, "assemble.compact drawn: .* differ by 10 %"),
        ({"pixel_arcsec": 1.0, "beam_major_arcsec": 6.3}, "0.8 times as wide at least, .* and is 0.79"),
    ):
        run = again(stores, shape=SHAPE, objects=5, **settings)
        with pytest.raises(ConfigError, match=message):
            assemble(run)
        assert not run.output.exists()
