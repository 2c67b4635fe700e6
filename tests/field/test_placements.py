"""Drawn objects, fluxes, turns and places; refusals name a number that works."""

import re

import numpy as np
import pytest
from astropy.io import fits

from astro_dist.engine.errors import ConfigError
from astro_dist.field.library import Library
from astro_dist.field.stage import ASSEMBLE
from astro_dist.field.truth import read_columns_file
from astro_dist.sky.beams import Beam, Pixel
from astro_dist.sky.maps import MapsConfig, SkyMap
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
    return read_columns_file(run.output / "placements.parquet"), Library(run.output)


def test_radiff_peaks_are_k_times_the_rms(stores):
    table, _ = lay_out(again(stores, shape=SHAPE, objects=20))
    assert table["sigma_jy_beam"] == pytest.approx(np.full(20, RMS))
    assert table["peak_jy_beam"] == pytest.approx(table["k"] * RMS, rel=1e-6)
    assert table["snr"] == pytest.approx(table["k"], rel=1e-6)
    assert (table["k"] <= 10).all()
    assert (np.diff(table["n_pix"]) <= 0).all()


def test_compact_sources_have_the_beams_flux_and_size(stores):
    table, _ = lay_out(again(stores, shape=SHAPE, objects=30))
    compact = table["class"] == 2
    assert (table["flux_jy"] / table["peak_jy_beam"])[compact] == pytest.approx(1, rel=0.03)
    assert table["image_major_arcsec"][compact] == pytest.approx(8.0, rel=0.05)
    assert (table["image_intrinsic_major_arcsec"][compact] < 2.5).all()
    assert (table["image_major_arcsec"][~compact] > 12).all()


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
    table, library = lay_out(again(stores, shape=SHAPE, objects=20, flux={"mode": "radiff_stretched"}))
    plain, _ = lay_out(again(stores, shape=SHAPE, objects=20))
    assert np.array_equal(np.sort(table["k"]), np.sort(plain["k"]))
    for number in range(len(library)):
        shape = library.shape(number)
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
    table, _ = lay_out(again(stores, shape=[300, 300], objects=40, flux=settings))
    assert np.sort(table["flux_jy"]) == pytest.approx(flux, rel=1e-6)
    assert table["k"] == pytest.approx(table["snr"], rel=1e-6)
    with pytest.raises(ConfigError, match=r"lower assemble\.objects to 40"):
        lay_out(again(stores, shape=[300, 300], objects=41, flux=settings))


def test_catalogue_positions_are_met(stores, tmp_path):
    run = again(stores, shape=SHAPE, objects=4)
    ASSEMBLE.prepare(run)
    field = SkyMap.open(run.output / "map.fits", MapsConfig(), verify=False)
    y, x = np.array([40, 60, 150, 110, 500]), np.array([50, 180, 60, 200, 10])
    ra, dec = field.sky_of(y, x)
    path = tmp_path / "sources.csv"
    rows = [f"{1e-3 * (i + 1)},{ra[i]:.9f},{dec[i]:.9f}" for i in range(5)]
    path.write_text("flux_jy,ra_deg,dec_deg\n" + "\n".join(rows))
    settings = {"mode": "catalogue", "catalogue": str(path)}
    table, _ = lay_out(again(stores, shape=SHAPE, objects=4, flux=settings))
    order = np.argsort(table["flux_jy"])
    assert table["y_peak_pix"][order].tolist() == y[:4].tolist()
    assert table["x_peak_pix"][order].tolist() == x[:4].tolist()
    assert table["flux_jy"][order] == pytest.approx([1e-3, 2e-3, 3e-3, 4e-3], rel=1e-6)
    with pytest.raises(ConfigError, match="4 rows for this field"):
        lay_out(again(stores, shape=SHAPE, objects=5, flux=settings))
    path.write_text("flux_jy,ra_deg,dec_deg\n" + "\n".join([rows[0], rows[1], rows[0]]))
    with pytest.raises(ConfigError, match=r"the object of row [13] overlaps"):
        lay_out(again(stores, shape=SHAPE, objects=3, flux=settings))


def test_density_file_is_followed(stores, tmp_path):
    fits.writeto(tmp_path / "density.fits", np.array([[0.0, 1.0]], np.float32))
    table, _ = lay_out(again(stores, shape=SHAPE, objects=30, density=str(tmp_path / "density.fits")))
    assert (table["x_peak_pix"] >= 120).all()
    assert table["y_peak_pix"].min() < 70 < 130 < table["y_peak_pix"].max()
    (tmp_path / "text.fits").write_text("no image")
    with pytest.raises(ConfigError, match="cannot be read as a FITS image"):
        lay_out(again(stores, shape=SHAPE, objects=30, density=str(tmp_path / "text.fits")))


def test_only_turns_that_keep_the_beam_are_used(stores, tmp_path):
    table, _ = lay_out(again(stores, shape=SHAPE, objects=40))
    assert set(table["turn"]) == set(range(8))
    table, _ = lay_out(again(stores, shape=SHAPE, objects=40, turns=False))
    assert set(table["turn"]) == {0}
    slanted = make_run(tmp_path, beams=((Beam(12.0, 7.0, 30.0), Pixel(2.0, 2.0)),), shape=SHAPE, objects=40)
    table, _ = lay_out(slanted)
    assert set(table["turn"]) == {0, 2}
    compact = table["class"] == 2
    assert table["image_pa_deg"][compact] == pytest.approx(30, abs=4)
    assert table["image_major_arcsec"][compact] == pytest.approx(12, rel=0.05)


def test_turned_objects_turn_their_sizes_too(stores):
    table, library = lay_out(again(stores, shape=SHAPE, objects=40))
    for i in range(40):
        shape = library.shape(table["object"][i], table["turn"][i])
        assert shape.shape == (table["height"][i], table["width"][i])
        y, x = np.unravel_index(np.argmax(shape), shape.shape)
        assert (table["y0"][i] + y, table["x0"][i] + x) == (table["y_peak_pix"][i], table["x_peak_pix"][i])


def test_truth_positions_agree_with_the_wcs(stores):
    run = again(stores, shape=SHAPE, objects=20, ra_deg=10.0, dec_deg=-60.0)
    table, _ = lay_out(run)
    field = SkyMap.open(run.output / "map.fits", MapsConfig(), verify=False)
    y, x = field.pixel_of(table["ra_deg"], table["dec_deg"])
    assert y == pytest.approx(table["y_pix"], abs=1e-6)
    assert x == pytest.approx(table["x_pix"], abs=1e-6)
    assert abs(table["dec_deg"] + 60).max() < 0.1


def test_a_background_rms_may_be_given(stores):
    table, _ = lay_out(again(stores, shape=SHAPE, objects=5, background={"rms_jy_beam": 5e-3}))
    assert (table["sigma_jy_beam"] == 5e-3).all()


def test_assemble_refuses_before_anything_is_written(stores):
    run = again(stores, shape=SHAPE, objects=5, pixel_arcsec=3.0)
    with pytest.raises(ConfigError, match="differ by 10 %"):
        assemble(run)
    assert not run.output.exists()
