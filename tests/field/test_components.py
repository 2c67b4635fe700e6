"""The components of the truth add up to their sources and lie where the pixels are, in every turn."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from astro_dist.field.columns import read_columns_file
from astro_dist.field.components import COMPONENT_COLUMNS
from astro_dist.field.objects import nearest_pieces
from tests.field import small_sky
from tests.field.direct import added_pixels
from tests.field.small_sky import BEAM, PIXEL, SIZE, assemble, make_run

SHAPE = (260, 280)


def parted(index, beam, pixel):
    """A stamp of `small_sky` whose extended source has two islands far apart, of unlike flux."""
    image, mask, instances = plain(index, beam, pixel)
    y, x = np.mgrid[:SIZE, :SIZE].astype(float)
    lobe = 30 * beam.profile(y - 15, x - 45, pixel)
    inside = lobe > 3
    mask[inside], instances[inside] = 3, 2
    return (image + small_sky.RMS * lobe).astype(np.float32), mask, instances


plain = small_sky.make_stamp


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(small_sky, "make_stamp", parted)
        run = make_run(tmp_path_factory.mktemp("parts"), shape=SHAPE, objects=30, n_stamps=18)
        facts = assemble(run)
    folder = run.root / "field"
    names = ("truth", "truth_components")
    return run, facts, *(read_columns_file(folder / f"{name}.parquet") for name in names)


def test_components_add_up_to_their_sources(made):
    _, facts, truth, parts = made
    assert facts["of_several_components"] == np.count_nonzero(truth["n_components"] > 1) >= 8
    assert np.array_equal(np.unique(parts["id"], return_counts=True)[1], truth["n_components"])
    assert np.array_equal(np.unique(parts["id"]), truth["id"])
    rows = np.searchsorted(truth["id"], parts["id"])
    assert np.array_equal(parts["n_components"], truth["n_components"][rows])
    flux = np.bincount(rows, parts["flux_jy"])
    assert flux == pytest.approx(truth["flux_jy"], rel=1e-6)
    assert np.bincount(rows, parts["flux_part"]) == pytest.approx(np.ones(len(flux)), rel=1e-6)
    # A component is added to all pixels that its points reach, whichever else reaches them.
    assert (parts["n_pix"] <= truth["n_pix"][rows]).all()
    peak = np.zeros(len(flux), np.float32)
    np.maximum.at(peak, rows, parts["peak_jy_beam"])
    # The wings of one component reach under the peak of another.
    assert peak == pytest.approx(truth["peak_jy_beam"], rel=1e-2)
    assert (peak <= truth["peak_jy_beam"] * (1 + 1e-6)).all()
    first = parts["component"] == 1
    most = np.zeros(len(flux))
    np.maximum.at(most, rows, parts["flux_jy"])
    assert np.array_equal(parts["flux_jy"][first], most)
    alone = truth["n_components"] == 1
    same = "x_pix", "y_pix", "ra_deg", "dec_deg", "flux_jy", "major_arcsec", "intrinsic_minor_arcsec"
    for name in (*same, "pa_deg", "image_pa_deg"):
        assert parts[name][first][alone] == pytest.approx(truth[name][alone], rel=1e-5)


def test_positions_are_those_of_the_pixels_in_every_turn(made):
    run, _, truth, parts = made
    assert len(np.unique(truth["turn_deg"][truth["n_components"] > 1])) > 3
    seen = 0
    placements = read_columns_file(run.root / "field" / "placements.parquet")
    for row, whole in added_pixels(run, placements, SHAPE, BEAM, PIXEL):
        if row["n_components"] == 1:
            continue
        for i in np.flatnonzero(parts["id"] == row["id"]):
            y, x = parts["y_peak_pix"][i], parts["x_peak_pix"][i]
            assert whole[y, x] == pytest.approx(parts["peak_jy_beam"][i], rel=1e-2)
            assert np.hypot(parts["y_pix"][i] - y, parts["x_pix"][i] - x) < 7
            seen += 1
    assert seen >= 16


def test_sizes_are_those_of_a_component_alone(made):
    """Lobes of one beam: the second component of each source is the beam, whatever the source as a whole."""
    _, _, truth, parts = made
    lobe = parts["component"] == 2
    whole = truth["major_arcsec"][np.searchsorted(truth["id"], parts["id"][lobe])]
    assert (whole > 1.5 * parts["major_arcsec"][lobe]).all()
    assert (parts["major_arcsec"][lobe] >= parts["minor_arcsec"][lobe]).all()
    assert parts["minor_arcsec"][lobe] == pytest.approx(np.full(lobe.sum(), BEAM.minor_arcsec), rel=0.3)
    assert ((parts["pa_deg"] >= 0) & (parts["pa_deg"] < 180)).all()


def test_the_instance_image_has_one_id_for_all_components(made):
    run, _, truth, parts = made
    instances = fits.getdata(run.root / "field" / "instances.fits")
    bright = parts["peak_jy_beam"] > 5 * small_sky.RMS
    y, x = parts["y_peak_pix"][bright], parts["x_peak_pix"][bright]
    # A source that was placed later may cover a pixel; none overlaps here.
    assert np.array_equal(instances[y, x], parts["id"][bright])
    assert (truth["n_components"][np.isin(truth["id"], parts["id"][bright])] > 1).any()


def test_tables_open_elsewhere_and_describe_their_columns(made):
    folder = made[0].root / "field"
    table = Table.read(folder / "truth_components.fits")
    assert table.colnames == list(COMPONENT_COLUMNS)
    assert str(table["flux_jy"].unit) == "Jy"
    parquet = read_columns_file(folder / "truth_components.parquet")
    assert all(np.array_equal(table[name], parquet[name]) for name in table.colnames)


def test_each_pixel_of_a_shape_belongs_to_the_nearest_piece_of_its_mask():
    inside = np.zeros((5, 11), bool)
    inside[2, 1:3], inside[1:4, 8:10] = True, True
    owner = nearest_pieces(inside)
    # The right piece begins in an earlier row, so it is the first; its side is larger but in the middle row.
    assert (owner == 2).sum(axis=1).tolist() == [5, 5, 6, 5, 5]
    assert (np.diff(owner.astype(int), axis=1) <= 0).all()
    assert nearest_pieces(inside & (np.arange(11) > 5)) is None


def test_beams_of_the_test_are_those_of_the_field():
    assert BEAM.fwhm_pix(PIXEL) == 4
