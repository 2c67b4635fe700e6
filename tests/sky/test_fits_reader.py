import warnings

import numpy as np
import pytest
from astropy.io import fits

from astro_dist.engine.errors import ConfigError, DataError, IntegrityError
from astro_dist.sky.fits_reader import explained, find_image, open_hdus, read_pixels, verify_checksum
from astro_dist.sky.windows import Window

IMAGE = np.arange(60, dtype=np.float32).reshape(5, 12)


def test_the_first_image_is_found_past_empty_units_and_tables(tmp_path):
    table = fits.BinTableHDU.from_columns([fits.Column("a", "J", array=np.arange(3))])
    path = tmp_path / "m.fits"
    hdus = [fits.PrimaryHDU(), table, fits.ImageHDU(IMAGE), fits.ImageHDU(-IMAGE)]
    fits.HDUList(hdus).writeto(path)
    header, layout = find_image(path)
    assert (layout.hdu, layout.axes, layout.compressed) == (2, (5, 12), False)
    assert header["XTENSION"] == "IMAGE"
    assert layout.extent.data_bytes == IMAGE.nbytes
    np.testing.assert_array_equal(read_pixels(path, layout, Window(1, 3, 2, 9)), IMAGE[1:3, 2:9])


def test_a_compressed_image_is_described_by_both_its_faces(tmp_path):
    path = tmp_path / "m.fits.fz"
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(IMAGE[None], quantize_level=0)]).writeto(path)
    header, layout = find_image(path)
    assert (layout.axes, layout.bitpix, layout.compressed) == ((1, 5, 12), -32, True)
    assert header["NAXIS1"] == 12
    with open_hdus(path, disable_image_compression=True) as hdus:
        assert layout.extent.data_bytes == hdus[1].size
    np.testing.assert_array_equal(read_pixels(path, layout, Window(0, 5, 3, 4)), IMAGE[:, 3:4])


def test_impossible_numbers_in_a_header_are_refused(tmp_path):
    path = tmp_path / "m.fits"
    fits.PrimaryHDU(IMAGE).writeto(path)
    content = path.read_bytes()
    for old, new in ((b"                  -32", b"                  -39"), (b"    5 ", b"   -5 ")):
        path.write_bytes(content.replace(old, new, 1))
        with pytest.raises(ConfigError):
            find_image(path)


def test_sums_are_checked_only_where_they_are_claimed(tmp_path):
    path = tmp_path / "m.fits"
    fits.PrimaryHDU(IMAGE).writeto(path)
    verify_checksum(path, find_image(path)[1])
    fits.PrimaryHDU(IMAGE).writeto(path, checksum=True, overwrite=True)
    layout = find_image(path)[1]
    verify_checksum(path, layout)
    with path.open("rb+") as handle:
        handle.seek(layout.extent.data_start + 7)
        handle.write(b"\x01")
    with pytest.raises(IntegrityError, match="DATASUM"):
        verify_checksum(path, layout)


def test_errors_leave_as_ours_in_one_line_and_warnings_stay_inside(tmp_path):
    with (
        pytest.raises(DataError, match=r"m: cannot be read as a radio map \(ValueError: a b\)"),
        explained(tmp_path / "m", DataError),
    ):
        raise ValueError("a\n  b")
    with pytest.raises(ConfigError, match="m: no beam"), explained(tmp_path / "m", DataError):
        raise ConfigError("no beam")
    with explained(tmp_path / "m", DataError):
        warnings.warn("strange header", UserWarning, stacklevel=1)


@pytest.mark.parametrize("content", [None, b"text", b""])
def test_what_is_no_fits_file_is_named_wherever_its_path_was_set(tmp_path, content):
    if content is not None:
        (tmp_path / "m.fits").write_bytes(content)
    with pytest.raises(ConfigError, match=r"no such file|not a FITS file") as caught:
        find_image(tmp_path / "m.fits")
    assert "maps.files" not in str(caught.value)
