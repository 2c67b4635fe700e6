import json
import zlib
from itertools import pairwise

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st

from astro_dist import __version__
from astro_dist.engine.errors import ConfigError, IntegrityError
from astro_dist.engine.outputs import Reading
from astro_dist.sky.beams import Beam, Pixel
from astro_dist.sky.coordinates import read_wcs, wcs_cards
from astro_dist.sky.fits_file import (
    BandedImage,
    create_banded,
    plane_wcs,
    radio_header,
    seal_banded,
    verify_fits,
    write_rows,
)
from astro_dist.sky.fits_tables import Column, write_table
from astro_dist.sky.map_image import celestial_cards

SHAPE = (40, 31)
BEAM, PIXEL = Beam(6, 4.5, 20), Pixel(1.5, 1.2)


def header_of(shape=SHAPE, **more):
    return radio_header(shape, plane_wcs(shape, PIXEL, 123.4, -30.5), BEAM, 1.4e9, **more)


def image_of(shape, dtype, seed=1):
    draws = np.random.default_rng(seed).normal(100, 40, shape)
    image = draws.clip(0, 250).astype(dtype)
    if image.dtype.kind == "f":
        image.flat[0] = np.nan
    return image


def banded(shape=SHAPE, dtype="f4", **more):
    return BandedImage(header_of(shape, **more), shape, dtype)


def write_banded(path, image, cuts=(), seal=True):
    create_banded(path, banded(image.shape, image.dtype))
    edges = sorted({0, len(image), *(c for c in cuts if c < len(image))})
    pairs = list(pairwise(edges))
    bands = {f"band-{i}": write_rows(path, a, image[a:b]) for i, (a, b) in reversed(list(enumerate(pairs)))}
    if seal:
        seal_banded(path, banded(image.shape, image.dtype), bands)
    return bands


def find_damage(path, bands):
    """Return the bands whose rows are not what was written, as the engine finds them."""
    return Reading(path.parent).find_damage({t: {"ranges": {path.name: band}} for t, band in bands.items()})


def read_verified(path):
    """Read with checksums verified: astropy warns when one is wrong, and warnings are errors."""
    with fits.open(path, checksum=True) as hdus:
        hdus.verify("exception")
        assert hdus[0].header["CHECKSUM"]
        return np.array(hdus[0].data), hdus[0].header


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.sampled_from(["u1", "i2", "i4", "i8", "f4", "f8"]),
    st.lists(st.integers(1, 39), max_size=4),
)
def test_any_split_into_bands_gives_the_same_verified_bytes(tmp_path_factory, ny, nx, dtype, cuts):
    folder = tmp_path_factory.mktemp("banded")
    image = image_of((ny, nx), dtype)
    write_banded(folder / "whole.fits", image)
    write_banded(folder / "cut.fits", image, cuts)
    data, header = read_verified(folder / "cut.fits")
    np.testing.assert_array_equal(data, image)
    assert header["NAXIS"] == 2
    assert (folder / "cut.fits").read_bytes() == (folder / "whole.fits").read_bytes()


def test_sealing_twice_changes_nothing_and_the_header_keeps_its_length(tmp_path):
    path = tmp_path / "map.fits"
    bands = write_banded(path, image_of(SHAPE, "f4"), (7, 20), seal=False)
    size = path.stat().st_size
    seal_banded(path, banded(), bands)
    first = path.read_bytes()
    seal_banded(path, banded(), bands)
    assert path.read_bytes() == first
    assert len(first) == size


def test_an_existing_file_is_kept_when_it_fits_and_made_anew_when_not(tmp_path):
    path, image = tmp_path / "map.fits", image_of(SHAPE, "f4")
    write_banded(path, image, (9,))
    before = path.read_bytes()
    create_banded(path, banded())
    assert path.read_bytes() == before
    create_banded(path, banded(object_name="other"))
    assert not fits.getdata(path).any()
    path.write_bytes(before[:-100])
    create_banded(path, banded())
    assert path.stat().st_size == len(before)


@pytest.mark.parametrize("when", ["before it is sealed", "after"])
def test_damaged_bands_are_named_for_their_tasks(tmp_path, when):
    path = tmp_path / "map.fits"
    bands = write_banded(path, image_of(SHAPE, "f4"), (10, 20, 30), seal=when == "after")
    assert find_damage(path, bands) == set()
    with path.open("rb+") as handle:
        for row in (12, 35):
            handle.seek(len(fits.getheader(path).tostring()) + row * SHAPE[1] * 4 + 5)
            handle.write(b"\x55")
    if when != "after":
        seal_banded(path, banded(), bands)
    assert find_damage(path, bands) == {"band-1", "band-3"}
    assert write_rows(path, 10, image_of(SHAPE, "f4")[10:20]) == bands["band-1"]
    assert find_damage(path, bands) == {"band-3"}
    write_rows(path, 30, image_of(SHAPE, "f4")[30:])
    assert find_damage(path, bands) == set()
    data, _ = read_verified(path)
    np.testing.assert_array_equal(data, image_of(SHAPE, "f4"))


def test_a_band_says_which_bytes_of_the_file_it_is(tmp_path):
    path = tmp_path / "map.fits"
    bands = write_banded(path, image_of(SHAPE, "f4"), (10, 20))
    content, start = path.read_bytes(), len(fits.getheader(path).tostring())
    for task, (y0, y1) in {"band-0": (0, 10), "band-1": (10, 20), "band-2": (20, 40)}.items():
        one, row = bands[task], SHAPE[1] * 4
        assert (one["offset"], one["bytes"]) == (start + y0 * row, (y1 - y0) * row)
        rows = content[one["offset"] : one["offset"] + one["bytes"]]
        assert rows == image_of(SHAPE, ">f4")[y0:y1].tobytes()
        assert one["crc32"] == zlib.crc32(rows)


def test_missing_or_doubled_rows_are_refused(tmp_path):
    path = tmp_path / "map.fits"
    bands = write_banded(path, image_of(SHAPE, "f4"), (10, 20), seal=False)
    before = path.read_bytes()
    with pytest.raises(IntegrityError, match="40 rows"):
        seal_banded(path, banded(), {"band-0": bands["band-0"], "band-2": bands["band-2"]})
    with pytest.raises(IntegrityError, match="40 rows"):
        seal_banded(path, banded(), {**bands, "again": bands["band-0"]})
    with pytest.raises(IntegrityError, match="40 rows"):
        seal_banded(path, banded(), {})
    assert path.read_bytes() == before


def test_damage_beside_the_rows_is_mended_by_sealing(tmp_path):
    path = tmp_path / "map.fits"
    bands = write_banded(path, image_of(SHAPE, "f4"), (10, 20))
    content = path.read_bytes()
    head = len(fits.getheader(path).tostring())
    for place in (100, head - 1, len(content) - 1):
        path.write_bytes(content[:place] + b"x" + content[place + 1 :])
        seal_banded(path, banded(), bands)
        assert path.read_bytes() == content


def test_the_rows_of_a_file_that_is_cut_short_or_gone_are_damaged(tmp_path):
    path = tmp_path / "map.fits"
    bands = write_banded(path, image_of(SHAPE, "f4"), (10, 20))
    content = path.read_bytes()
    # 2760 bytes of pixels are left: 22 rows.
    path.write_bytes(content[:-3000])
    assert find_damage(path, bands) == {"band-2"}
    path.unlink()
    assert find_damage(path, bands) == set(bands)
    for left in (content[:-3000], None):
        path.unlink(missing_ok=True)
        if left is not None:
            path.write_bytes(left)
        seal_banded(path, banded(), bands)
        assert path.stat().st_size == len(content)
        assert find_damage(path, bands) == set(bands)
        write_banded(path, image_of(SHAPE, "f4"), (10, 20), seal=False)
        assert path.read_bytes() == content


@pytest.mark.parametrize(("y0", "rows"), [(38, (3, 31)), (0, (3, 30))])
def test_rows_that_do_not_fit_are_a_fault(tmp_path, y0, rows):
    path = tmp_path / "map.fits"
    create_banded(path, banded())
    with pytest.raises(ValueError, match="do not fit"):
        write_rows(path, y0, np.zeros(rows, "f4"))
    with pytest.raises(ValueError, match="do not fit"):
        write_rows(path, 0, np.zeros((3, 31), "i4"))


def test_the_header_says_what_the_map_is(monkeypatch):
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    header = header_of(object_name="field", cards={"SEED": (7, "of the run")}, history=["simulate", "x" * 90])
    assert [header[k] for k in ("BUNIT", "OBJECT", "RADESYS", "SPECSYS", "SYNTH", "SEED")] == [
        *("Jy/beam", "field", "ICRS", "TOPOCENT", True, 7)
    ]
    assert (header["BMAJ"] * 3600, header["BPA"], header["RESTFRQ"]) == pytest.approx((6, 20, 1.4e9))
    assert header["ORIGIN"] == f"astro_dist {__version__}"
    assert header["HISTORY"][0] == "simulate"
    assert "DATE" not in header
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    assert header_of()["DATE"] == "1970-01-02T00:00:00"
    plain = radio_header(SHAPE, plane_wcs(SHAPE, PIXEL, 0, 0), unit="")
    assert not {"BUNIT", "BMAJ", "RESTFRQ"} & set(plain)


def test_the_wcs_survives_its_cards():
    wcs = plane_wcs(SHAPE, PIXEL, 123.4, -30.5)
    again = WCS(fits.Header(wcs_cards(wcs)))
    for point in ((0, 0), (15, 19.5), (30, 3)):
        found, expected = again.pixel_to_world_values(*point), wcs.pixel_to_world_values(*point)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(wcs.pixel_to_world_values(15, 19.5), (123.4, -30.5))


def test_a_turned_wcs_in_an_older_frame_keeps_both():
    wcs = plane_wcs(SHAPE, PIXEL, 10, 20)
    wcs.wcs.pc = [[1, 0.02], [-0.02, 1]]
    wcs.wcs.radesys, wcs.wcs.equinox = "FK5", 2000.0
    cards = wcs_cards(wcs)
    assert (cards["RADESYS"], cards["EQUINOX"]) == ("FK5", 2000.0)
    assert WCS(fits.Header(cards)).pixel_scale_matrix == pytest.approx(wcs.pixel_scale_matrix)


def cards_keep_the_sky(header):
    wcs = read_wcs(celestial_cards(header))
    cards = json.loads(json.dumps(wcs_cards(wcs)))
    x, y = np.mgrid[0:100:5j, 0:100:5j]
    found = read_wcs(celestial_cards(fits.Header(cards))).pixel_to_world_values(x, y)
    np.testing.assert_allclose(found, wcs.pixel_to_world_values(x, y), rtol=0, atol=1e-10)
    return cards


POLES = [
    *(("CAR", 0, None, -90), ("CAR", -30, None, -30), ("CAR", -30, 180, -60), ("CAR", 30, 0, -60)),
    *(("SFL", -30, 180, -30), ("AIT", 0, 180, 0), ("CAR", -30, None, None), ("SIN", -30, 150, 12)),
]


@pytest.mark.parametrize(("projection", "dec", "lonpole", "latpole"), POLES)
def test_the_native_pole_survives_the_cards(projection, dec, lonpole, latpole):
    header = plane_wcs((128, 128), Pixel(36, 36), 180, 0).to_header()
    header.update({"CTYPE1": f"RA---{projection}", "CTYPE2": f"DEC--{projection}", "CRVAL2": float(dec)})
    for key, value in (("LONPOLE", lonpole), ("LATPOLE", latpole)):
        header.remove(key, ignore_missing=True)
        if value is not None:
            header[key] = float(value)
    cards = cards_keep_the_sky(header)
    # Where another choice of LATPOLE changes nothing, it is not written.
    assert ("LATPOLE" in cards) == (latpole is not None and latpole < 0)


SIP = {"A_ORDER": 2, "B_ORDER": 2, "A_2_0": 1e-4, "B_0_2": -1e-4}
DISTORTED = {
    "SIP": {"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", **SIP},
    "SIP without suffix": {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", **SIP},
    "TPV": {
        **{"CTYPE1": "RA---TPV", "CTYPE2": "DEC--TPV", "CDELT1": 1.0, "CDELT2": 1.0},
        **{"PC1_1": -0.01, "PC1_2": 0.001, "PC2_1": 0.001, "PC2_2": 0.01},
        **{"PV1_1": 1.0, "PV1_4": 0.02, "PV2_1": 1.0, "PV2_4": -0.01},
    },
}


@pytest.mark.parametrize("kind", DISTORTED)
def test_a_distortion_survives_the_cards(kind):
    header = plane_wcs((128, 128), Pixel(36, 36), 180, -30).to_header()
    header.update(DISTORTED[kind])
    assert cards_keep_the_sky(header).keys() >= DISTORTED[kind].keys()


@pytest.mark.parametrize("turn_deg", [0.01, 35, 90, 144, 180, 271])
@pytest.mark.parametrize("pixel", [(-1.5, 1.5), (1.5, 1.5), (-1.5, 2.0), (1.2, 1.5)])
def test_the_cards_of_a_turned_map_state_the_size_of_its_pixels(pixel, turn_deg):
    wcs = plane_wcs(SHAPE, PIXEL, 123.4, -30.5)
    wcs.wcs.cdelt = np.array(pixel) / 3600
    cos, sin, ratio = np.cos(np.radians(turn_deg)), np.sin(np.radians(turn_deg)), pixel[1] / pixel[0]
    wcs.wcs.pc = [[cos, -sin * ratio], [sin / ratio, cos]]
    cards = wcs_cards(wcs)
    steps = np.array([cards["CDELT1"], cards["CDELT2"]]) * 3600
    np.testing.assert_allclose(np.abs(steps), np.abs(pixel), rtol=1e-12)
    again = WCS(fits.Header(cards))
    for point in ((0, 0), (15, 19.5), (30, 3)):
        found, expected = again.pixel_to_world_values(*point), wcs.pixel_to_world_values(*point)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("signs", [(-1, 1), (1, 1), (-1, -1), (1, -1)])
def test_the_cards_of_a_map_that_is_not_turned_have_no_matrix(signs):
    wcs = plane_wcs(SHAPE, PIXEL, 123.4, -30.5)
    wcs.wcs.cdelt = np.array(signs) * (1.2 / 3600, 1.5 / 3600)
    cards = wcs_cards(wcs)
    assert (cards["CDELT1"], cards["CDELT2"]) == tuple(wcs.wcs.cdelt)
    assert not [key for key in cards if key.startswith("PC")]
    # The rounding of a CD matrix does not change the steps.
    wcs.wcs.pc = [[1, 1e-15], [0, 1]]
    assert wcs_cards(wcs) == cards | {"PC1_2": 1e-15}


@pytest.mark.filterwarnings("ignore")
def test_spectral_cube_and_radio_beam_read_the_beam_and_the_unit(tmp_path):
    import radio_beam
    import spectral_cube

    path, image = tmp_path / "map.fits", image_of(SHAPE, "f4")
    write_banded(path, image)
    with fits.open(path) as hdus:
        beam = radio_beam.Beam.from_fits_header(hdus[0].header)
        projection = spectral_cube.lower_dimensional_structures.Projection.from_hdu(hdus[0])
        for found in (beam, projection.beam):
            assert found.major.to_value("arcsec") == pytest.approx(6)
            assert found.minor.to_value("arcsec") == pytest.approx(4.5)
            assert found.pa.to_value("deg") == pytest.approx(20)
        assert projection.unit == "Jy/beam"
        np.testing.assert_array_equal(projection.value, image)


def test_verify_names_the_part_that_is_wrong(tmp_path):
    path = tmp_path / "t.fits"
    write_table(path, {"id": np.arange(3000)}, {"id": Column("", "meta.id", "a number")}, name="IDS")
    assert verify_fits(path) == ([], [])
    content = bytearray(path.read_bytes())
    content[9000] ^= 1
    path.write_bytes(content)
    assert verify_fits(path) == ([f"{path}: HDU 1 does not hold what its DATASUM says"], [])
    path.write_bytes(content[:9000])
    assert "HDU 1 is cut short" in verify_fits(path)[0][0]
    fits.writeto(tmp_path / "plain.fits", np.zeros((3, 3)))
    with pytest.raises(ConfigError, match="it has no CHECKSUM and no DATASUM, so that its bytes cannot be"):
        verify_fits(tmp_path / "plain.fits")
    mixed = tmp_path / "mixed.fits"
    image = fits.ImageHDU(np.zeros((3, 3)))
    image.add_checksum()
    fits.HDUList([fits.PrimaryHDU(), image]).writeto(mixed)
    assert verify_fits(mixed) == (
        [],
        [f"{mixed}: HDU 0 has no CHECKSUM, so that its bytes cannot be checked"],
    )
    path.write_bytes(b"SIMPLE  = nonsense")
    with pytest.raises(IntegrityError, match="has no END"):
        verify_fits(path)
