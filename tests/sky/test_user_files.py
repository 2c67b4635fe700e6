"""Tables and images that users hand over."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from astro_dist.engine.errors import ConfigError
from astro_dist.sky.user_files import read_columns, read_plane


def test_fits_columns_are_found_in_any_case(tmp_path):
    Table({"FLUX_JY": [1, 2], "Name": ["a", "b"]}).write(tmp_path / "t.fits")
    columns = read_columns(tmp_path / "t.fits", ("flux_jy",), ("ra_deg",))
    assert list(columns) == ["flux_jy"]
    assert columns["flux_jy"].tolist() == [1.0, 2.0]
    with pytest.raises(ConfigError, match="cannot be read as a table of numbers"):
        read_columns(tmp_path / "t.fits", ("name",))


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
    ("name", "value"), [("ra_deg", -1), ("ra_deg", 361), ("dec_deg", 91), ("dec_deg", -91)]
)
def test_positions_off_the_sphere_are_refused(tmp_path, name, value):
    (tmp_path / "t.csv").write_text(f"{name}\n0\n{value}\n")
    with pytest.raises(ConfigError, match=f"{name} is {value} in a row"):
        read_columns(tmp_path / "t.csv", (name,))
