"""Tables and images that users hand over."""

import gzip
import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.table import Table

from astro_dist.engine.errors import ConfigError
from astro_dist.sky import user_files
from astro_dist.sky.user_files import read_columns, read_plane


def test_fits_columns_are_found_in_any_case(tmp_path):
    Table({"FLUX_JY": [1, 2], "Name": ["a", "b"]}).write(tmp_path / "t.fits")
    columns = read_columns(tmp_path / "t.fits", ("flux_jy",), ("ra_deg",))
    assert list(columns) == ["flux_jy"]
    assert columns["flux_jy"].tolist() == [1.0, 2.0]
    with pytest.raises(ConfigError, match="row 1 has 'a' in the column Name, which is no number"):
        read_columns(tmp_path / "t.fits", ("name",))


@pytest.mark.parametrize("zero", [0, 10])
def test_the_integer_that_stands_for_a_gap_is_no_number(tmp_path, zero):
    columns = [fits.Column("flux_jy", "J", null=999999, array=np.array([1, 999999, 3]))]
    table = fits.BinTableHDU.from_columns([*columns, fits.Column("n", "J", array=np.array([1, 999999, 3]))])
    table.writeto(tmp_path / "t.fits")
    with fits.open(tmp_path / "t.fits", mode="update") as hdus:
        hdus[1].header["TZERO1"] = zero
    found = read_columns(tmp_path / "t.fits", ("flux_jy", "n"))
    np.testing.assert_array_equal(found["flux_jy"], [1 + zero, np.nan, 3 + zero])
    assert found["n"][1] == 999999


@pytest.mark.parametrize("names", [{}, {"flux_jy": "flux_jy"}])
def test_spaces_after_the_commas_of_csv_belong_to_no_name(tmp_path, names):
    (tmp_path / "t.csv").write_text("ra_deg, dec_deg , flux_jy\n10, -20 , 0.5\n11, 20, 1.5\n")
    columns = read_columns(tmp_path / "t.csv", ("ra_deg", "dec_deg", "flux_jy"), names=names)
    values = {name: column.tolist() for name, column in columns.items()}
    assert values == {"ra_deg": [10, 11], "dec_deg": [-20, 20], "flux_jy": [0.5, 1.5]}


@pytest.mark.parametrize("name", ["t.fits", "t.parquet", "t.csv"])
def test_rubbish_is_refused_in_one_line(tmp_path, name):
    (tmp_path / name).write_bytes(b"\x00\xff" * 50)
    with pytest.raises(ConfigError) as caught:
        read_columns(tmp_path / name, ("flux_jy",))
    assert "\n" not in str(caught.value)


def test_planes_lose_degenerate_axes_only(tmp_path):
    fits.writeto(tmp_path / "a.fits", np.ones((1, 1, 3, 4), np.int16))
    assert read_plane(tmp_path / "a.fits").shape == (3, 4)
    fits.writeto(tmp_path / "b.fits", np.ones((1, 4), np.float32))
    assert read_plane(tmp_path / "b.fits").shape == (1, 4)
    fits.writeto(tmp_path / "c.fits", np.ones((2, 3, 4), np.float32))
    with pytest.raises(ConfigError, match="no image of two axes"):
        read_plane(tmp_path / "c.fits")
    with pytest.raises(ConfigError, match="there is no image"):
        read_plane(tmp_path / "d.fits")


def test_a_truncated_plane_is_refused_without_a_warning(tmp_path):
    fits.writeto(tmp_path / "a.fits", np.ones((300, 400), np.float32))
    (tmp_path / "a.fits").write_bytes((tmp_path / "a.fits").read_bytes()[:9000])
    with pytest.raises(ConfigError, match="cannot be read as a FITS image"):
        read_plane(tmp_path / "a.fits")


@pytest.mark.parametrize(("name", "unit"), [("flux_jy", "mJy"), ("ra_deg", "hourangle"), ("dec_deg", "rad")])
def test_a_unit_other_than_the_name_says_is_refused(tmp_path, name, unit):
    good = {"flux_jy": "Jy", "ra_deg": "deg", "dec_deg": "deg"}
    for units in (good, {**good, name: unit}):
        columns = [fits.Column(key, "D", unit=units[key], array=np.ones(2)) for key in units]
        fits.BinTableHDU.from_columns(columns).writeto(tmp_path / "t.fits", overwrite=True)
        if units is good:
            assert len(read_columns(tmp_path / "t.fits", tuple(units))) == 3
    with pytest.raises(ConfigError, match=f"column {name} has the unit {unit} instead of {good[name]}"):
        read_columns(tmp_path / "t.fits", tuple(good))


@pytest.mark.parametrize(
    ("name", "value"), [("ra_deg", -181), ("ra_deg", 361), ("dec_deg", 91), ("dec_deg", -91)]
)
def test_positions_off_the_sphere_are_refused(tmp_path, name, value):
    (tmp_path / "t.csv").write_text(f"{name}\n0\n{value}\n")
    with pytest.raises(ConfigError, match=f"{name} is {value} in a row"):
        read_columns(tmp_path / "t.csv", (name,))


def refused(path, match):
    """Check that a table is refused in one line that names the file."""
    with pytest.raises(ConfigError, match=match) as caught:
        read_columns(path, ("flux_jy",))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_only_the_columns_that_are_wanted_are_read(tmp_path):
    pq.write_table(pa.table({"name": ["a"], "flux_jy": [2]}), tmp_path / "t.parquet")
    (tmp_path / "t.csv").write_text("name,flux_jy\na,2\n")
    for name in ("t.parquet", "t.csv"):
        assert read_columns(tmp_path / name, ("flux_jy",))["flux_jy"].tolist() == [2.0]
        with pytest.raises(ConfigError, match="no column ra_deg; it has flux_jy, name"):
            read_columns(tmp_path / name, ("ra_deg",))


@pytest.mark.parametrize("name", ["t.fits", "t.parquet", "t.csv"])
def test_tables_of_too_many_rows_or_columns_are_refused(tmp_path, monkeypatch, name):
    table = Table({"flux_jy": np.ones(20), "other": np.ones(20)})
    if name.endswith("parquet"):
        pq.write_table(pa.table({key: np.asarray(table[key]) for key in table.colnames}), tmp_path / name)
    else:
        table.write(tmp_path / name)
    assert len(read_columns(tmp_path / name, ("flux_jy",))["flux_jy"]) == 20
    monkeypatch.setattr(user_files, "MOST_ROWS", 19)
    refused(tmp_path / name, "2[01] rows and 2 columns, at most 19")
    monkeypatch.setattr(user_files, "MOST_ROWS", 100)
    monkeypatch.setattr(user_files, "MOST_COLUMNS", 1)
    refused(tmp_path / name, "at most 100 and 1")


def test_tables_that_lie_about_their_size_or_have_none_are_refused(tmp_path):
    (tmp_path / "t.parquet").write_bytes(b"PAR1" + bytes(100) + (1 << 30).to_bytes(4, "little") + b"PAR1")
    refused(tmp_path / "t.parquet", "no parquet file")
    pq.write_table(pa.table({"flux_jy": [[1.0]]}), tmp_path / "t.parquet")
    refused(tmp_path / "t.parquet", "not of numbers but list")
    (tmp_path / "t.csv").write_bytes(b"a" * (2 << 20))
    refused(tmp_path / "t.csv", "first lines are too long")
    os.mkfifo(tmp_path / "p.csv")
    refused(tmp_path / "p.csv", "no table")
    (tmp_path / "self.csv").symlink_to("/proc/self/status")
    refused(tmp_path / "self.csv", "one of /proc")
    (tmp_path / "t.fits").write_bytes(b"BZh9" + bytes(3000))
    refused(tmp_path / "t.fits", "unpack it .bunzip2")
    Table({"flux_jy": [1.0]}).write(tmp_path / "u.fits")
    (tmp_path / "t.fits").write_bytes(gzip.compress((tmp_path / "u.fits").read_bytes()))
    assert read_columns(tmp_path / "t.fits", ("flux_jy",))["flux_jy"].tolist() == [1.0]


def test_a_unit_is_compared_without_working_it_out(tmp_path):
    column = fits.Column("flux_jy", "D", unit="10**(99999999) Jy", array=np.ones(2))
    fits.BinTableHDU.from_columns([column]).writeto(tmp_path / "t.fits")
    refused(tmp_path / "t.fits", "instead of Jy")
