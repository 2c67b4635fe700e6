import numpy as np
from astropy.io import fits

from astro_dist.sky.fits_tables import Column, write_table

PLAIN = Column("", "meta.id", "a number")


def test_a_table_is_the_same_bytes_again_and_keeps_types_units_and_ucds(tmp_path):
    columns = {
        "id": np.arange(5, dtype=np.int32),
        "ra_deg": np.linspace(0, 1, 5),
        "peak_jy_beam": np.linspace(0, 1, 5, dtype=np.float32),
        "class": np.array(["compact", "extended"] * 2 + ["spurious"]),
        "stamp": np.array([0, 1, 2, 3, 65535], np.uint16),
        "blended": np.array([True, False] * 2 + [True]),
    }
    about = {name: Column("", "meta.id", "number of the source") for name in columns}
    about["ra_deg"] = Column(
        "deg", "pos.eq.ra;meta.main", "right ascension of the brightest pixel that there is"
    )
    about["peak_jy_beam"] = Column("Jy/beam", "phot.flux.density", "brightest pixel")
    for name in ("a.fits", "b.fits"):
        write_table(tmp_path / name, columns, about, name="TRUTH", cards={"SEED": 3}, history=["assemble"])
    assert (tmp_path / "a.fits").read_bytes() == (tmp_path / "b.fits").read_bytes()
    with fits.open(tmp_path / "a.fits", checksum=True) as hdus:
        hdus.verify("exception")
        table = hdus["TRUTH"]
        for key, values in columns.items():
            np.testing.assert_array_equal(table.data[key], values)
        assert table.columns["peak_jy_beam"].unit == "Jy/beam"
        assert table.columns["id"].unit is None
        assert table.header["TCOMM1"] == table.header.comments["TTYPE1"] == "number of the source"
        assert table.header["TCOMM2"] == about["ra_deg"].meaning
        assert table.header.comments["TTYPE2"] == "right ascension of the brightest pixel that..."
        assert (table.header["TUCD2"], table.header["SEED"]) == ("pos.eq.ra;meta.main", 3)
        assert all("2" not in hdu.header.comments["CHECKSUM"] for hdu in hdus)


def test_an_empty_table_can_be_written(tmp_path):
    columns = {"id": np.zeros(0, np.int32), "class": np.zeros(0, "U8")}
    write_table(tmp_path / "t.fits", columns, dict.fromkeys(columns, PLAIN), name="NONE")
    assert len(fits.getdata(tmp_path / "t.fits")) == 0


def test_text_that_is_not_ascii_is_escaped(tmp_path):
    write_table(tmp_path / "t.fits", {"map": np.array(["\xe9", "plain"])}, {"map": PLAIN}, name="NAMES")
    assert fits.getdata(tmp_path / "t.fits")["map"].tolist() == [r"\xe9", "plain"]
