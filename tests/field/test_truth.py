"""The truth's files: all readers see the same numbers, sizes and angles mean what they say."""

import warnings

import numpy as np
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.io.votable import parse, validate
from hypothesis import given
from hypothesis import strategies as st

from astro_dist.engine.files import tree_digests
from astro_dist.field.truth import (
    COLUMNS,
    SDC1_COLUMNS,
    ellipses,
    moments_of,
    read_columns_file,
    select_truth,
    size_columns,
    turn_moments,
    write_truth,
)
from astro_dist.sky.beams import Beam, Pixel
from astro_dist.sky.symmetries import apply_symmetry

BEAM, PIXEL = Beam(9.0, 7.0, 20.0), Pixel(2.0, 1.5)


def make_placements(n=5):
    rng = np.random.default_rng(0)
    table = {name: rng.random(n).astype(np.float32) for name in COLUMNS if name != "class_name"}
    table |= {
        name: np.arange(n, dtype=np.int32) for name in ("object", "stamp", "instance", "y0", "x0", "n_pix")
    }
    table |= {"id": np.arange(1, n + 1, dtype=np.int32), "class": np.array([2, 3, 3, 2, 1], np.uint8)[:n]}
    table |= {"ra_deg": rng.random(n) * 360, "dec_deg": rng.random(n), "flux_jy": rng.random(n) + 1e-7}
    return table | {"turn": np.zeros(n, np.uint8), "level_jy_beam": np.zeros(n, np.float32)}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("truth")
    truth = select_truth(make_placements())
    write_truth(folder, truth, {"SEED": 3}, ["assemble: a line"])
    return folder, truth


@given(
    major=st.floats(5, 20),
    ratio=st.floats(0.4, 0.95),
    angle=st.floats(0, 179),
    dy=st.floats(1, 2),
    dx=st.floats(1, 2),
)
def test_a_gaussian_is_measured_as_what_it_is(major, ratio, angle, dy, dx):
    beam, pixel = (
        Beam(major, max(major * ratio, 4.5), angle) if major * ratio > 4.5 else Beam(6.0, 5.0, angle),
        Pixel(dy, dx),
    )
    y, x = np.mgrid[-40:41, -40:41]
    found = moments_of(beam.profile(y - 0.3, x + 0.2, pixel).astype(np.float32))
    assert (found["y"], found["x"]) == (pytest.approx(40.3, abs=0.01), pytest.approx(39.8, abs=0.01))
    assert found["sum"] == pytest.approx(beam.area_pix(pixel), rel=1e-3)
    moments = np.array([[[found["yy"], found["yx"]], [found["yx"], found["xx"]]]])
    width, height, turned = ellipses(moments, pixel)
    assert width[0] == pytest.approx(beam.major_arcsec, rel=0.01)
    assert height[0] == pytest.approx(beam.minor_arcsec, rel=0.01)
    if beam.minor_arcsec < 0.9 * beam.major_arcsec:
        assert abs((turned[0] - beam.pa_deg + 90) % 180 - 90) < 2


def test_intrinsic_sizes_have_the_beam_taken_out():
    source = Beam(12.0, 8.0, 70.0)
    sum_of_both = BEAM.covariance_pix(PIXEL) + source.covariance_pix(PIXEL)
    table = size_columns(np.stack([sum_of_both, BEAM.covariance_pix(PIXEL)]), BEAM, PIXEL)
    assert table["intrinsic_major_arcsec"] == pytest.approx([12.0, 0.0], abs=1e-3)
    assert table["intrinsic_minor_arcsec"] == pytest.approx([8.0, 0.0], abs=1e-3)
    assert table["intrinsic_pa_deg"][0] == pytest.approx(70.0, abs=0.01)
    assert table["major_arcsec"][1] == pytest.approx(9.0)
    assert table["pa_deg"][1] == pytest.approx(20.0, abs=0.01)


def test_negative_pixels_count_for_the_flux_only():
    image = np.zeros((5, 5), np.float32)
    image[2, 1], image[2, 3], image[0, 0] = 1.0, 1.0, -0.5
    found = moments_of(image)
    assert (found["sum"], found["y"], found["x"], found["n_pix"]) == (1.5, 2.0, 2.0, 3)


def test_spurious_objects_are_left_out(written):
    _, truth = written
    assert truth["id"].tolist() == [1, 2, 3, 4]
    assert list(truth) == list(COLUMNS)
    assert truth["class_name"].tolist() == ["compact", "extended", "extended", "compact"]


def test_all_tables_agree(written):
    folder, truth = written
    parquet = read_columns_file(folder / "truth.parquet")
    with fits.open(folder / "truth.fits", checksum=True) as hdus:
        hdus.verify("exception")
        table, header = hdus["TRUTH"].data, hdus["TRUTH"].header
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        votable = parse(folder / "truth.vot", verify="exception").get_first_table()
    rows = votable.array
    for name, values in truth.items():
        assert np.array_equal(parquet[name], values)
        assert np.array_equal(table[name], values)
        assert np.array_equal(np.asarray(rows[name].data).astype(values.dtype), values)
        field = next(f for f in votable.fields if f.name == name)
        assert (field.ucd or "") == COLUMNS[name].ucd
        assert str(field.unit or "") == COLUMNS[name].unit.replace("Jy/beam", "Jy / beam")
    assert header["SEED"] == 3
    assert [header[f"TCOMM{i}"] for i in range(1, len(truth) + 1)] == [COLUMNS[n].meaning for n in truth]
    units = pq.read_schema(folder / "truth.parquet").field("flux_jy").metadata
    assert units[b"unit"] == b"Jy"


def test_regions_have_one_ellipse_per_source(written):
    folder, truth = written
    lines = (folder / "truth.reg").read_text().splitlines()
    assert lines[0].startswith("# Region file format: DS9")
    assert lines[2] == "icrs"
    assert len(lines) == 3 + len(truth["id"])
    assert lines[3].startswith(f"ellipse({truth['ra_deg'][0]:.7f},{truth['dec_deg'][0]:.7f},")
    assert lines[4].endswith("color=magenta text={2}")


def test_sdc1_rows_are_numbers_in_order(written):
    folder, truth = written
    rows = np.loadtxt(folder / "truth_sdc1.txt")
    assert rows.shape == (4, len(SDC1_COLUMNS)) == (4, 12)
    table = dict(zip(SDC1_COLUMNS, rows.T, strict=True))
    assert np.isfinite(rows).all()
    assert table["ra_cent"] == pytest.approx(truth["ra_deg"], abs=1e-7)
    assert table["flux"] == pytest.approx(truth["flux_jy"], rel=1e-6)
    assert ((table["core_frac"] >= 0) & (table["core_frac"] <= 1)).all()
    assert (table["size"] == 2).all()
    assert table["class"].tolist() == [2, 3, 3, 2]


def test_bytes_are_the_same_when_written_again(written, tmp_path):
    folder, truth = written
    write_truth(tmp_path, truth, {"SEED": 3}, ["assemble: a line"])
    assert tree_digests(tmp_path) == tree_digests(folder)


def test_the_votable_has_no_faults(written, capsys):
    assert validate(written[0] / "truth.vot", xmllint=False)


@pytest.mark.parametrize("turn", range(8))
def test_moments_turn_with_the_image(turn):
    image = np.random.default_rng(turn).random((5, 8), np.float32)

    def row(pixels):
        height, width = pixels.shape
        found = moments_of(pixels) | {"height": height, "width": width}
        return {name: np.array([value]) for name, value in found.items()}

    turned = turn_moments(row(image), np.array([turn]))
    expected = row(apply_symmetry(image, turn))
    assert {n: v[0] for n, v in turned.items()} == pytest.approx({n: v[0] for n, v in expected.items()})
