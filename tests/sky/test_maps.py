import gzip
import os
import pickle
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st

from astro_dist.engine.config import validate
from astro_dist.engine.errors import ConfigError, DataError, IntegrityError
from astro_dist.engine.ledger import Published
from astro_dist.sky.beams import Beam, Pixel
from astro_dist.sky.config import MapsConfig
from astro_dist.sky.files import map_sources
from astro_dist.sky.fits_file import (
    BandedImage,
    create_banded,
    plane_wcs,
    radio_header,
    seal_banded,
    write_rows,
)
from astro_dist.sky.maps import SkyMap, open_maps
from astro_dist.sky.windows import Window
from tests.settings import make_run

REAL = Path(__file__).parents[2].parent / "shared" / "data"
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason=f"the real maps are not in {REAL}")
SHAPE = (24, 17)
WHOLE = Window.of_shape(SHAPE)
CONFIG = MapsConfig()


def image_of(shape=SHAPE):
    image = np.random.default_rng(3).normal(0, 1e-3, shape).astype(np.float32)
    image[..., 0, :] = np.nan
    return image


def header_of(shape=SHAPE):
    wcs = plane_wcs(shape, Pixel(2.0, 1.5), 50.0, -30.0)
    return radio_header(shape, wcs, Beam(6, 5, 10), 1.4e9)


def write_map(path, data=None, *, drop=(), kind=fits.PrimaryHDU, **cards):
    data = image_of() if data is None else data
    header = header_of(data.shape[-2:])
    for key in drop:
        del header[key]
    header.update(cards)
    hdus = [kind(data, header)] if kind is fits.PrimaryHDU else [fits.PrimaryHDU(), kind(data, header)]
    fits.HDUList(hdus).writeto(path, output_verify="silentfix")
    return path


def expect(error, path, match, config=CONFIG):
    """Check that opening a file raises one line that begins with the file's name."""
    with pytest.raises(error, match=match) as caught:
        SkyMap.open(path, config)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_map_as_simulate_writes_it(tmp_path):
    path, image = tmp_path / "survey.fits", image_of()
    banded = BandedImage(header_of(), SHAPE, "f4")
    create_banded(path, banded)
    seal_banded(path, banded, {"a": write_rows(path, 0, image)})
    sky_map = SkyMap.open(path, CONFIG)
    assert (sky_map.name, sky_map.shape, sky_map.frequency_hz) == ("survey", SHAPE, 1.4e9)
    assert sky_map.beam.major_arcsec == pytest.approx(6)
    assert (sky_map.pixel.dy_arcsec, sky_map.pixel.dx_arcsec) == pytest.approx((2, 1.5))
    read = sky_map.read(WHOLE)
    assert read.dtype == np.dtype("=f4")
    assert read.flags.c_contiguous
    assert read.flags.writeable
    np.testing.assert_array_equal(read, image)


@given(st.integers(0, 23), st.integers(1, 24), st.integers(0, 16), st.integers(1, 17))
def test_a_window_is_the_same_piece_of_the_map_in_every_coding(codings, y0, height, x0, width):
    window = Window(y0, min(y0 + height, 24), x0, min(x0 + width, 17))
    for sky_map, whole in codings:
        np.testing.assert_array_equal(sky_map.read(window), whole[window.slices])


@pytest.fixture(scope="module")
def codings(tmp_path_factory):
    folder, image = tmp_path_factory.mktemp("codings"), image_of()
    counts = (np.nan_to_num(image, nan=-9.0) * 1e4).clip(-300, 300).astype(np.int16)
    scaled = {"BSCALE": 1e-4, "BZERO": 0.5, "BLANK": -300}
    write_map(folder / "plain.fits")
    write_map(folder / "double.fits", image.astype(np.float64))
    write_map(folder / "four.fits", image[None, None])
    write_map(folder / "extension.fits", kind=fits.ImageHDU)
    write_map(folder / "rice.fits.fz", kind=fits.CompImageHDU)
    for name, kind in (("counts.fits", fits.PrimaryHDU), ("counts.fits.fz", fits.CompImageHDU)):
        write_map(folder / name, counts, kind=kind)
        # These cards are added afterwards, because astropy drops them when it is given data with them.
        fits_cards = fits.open(folder / name, mode="update", disable_image_compression=True)
        fits_cards[-1].header.update(scaled)
        fits_cards.close()
    (folder / "packed.fits.gz").write_bytes(gzip.compress((folder / "plain.fits").read_bytes()))
    opened = [SkyMap.open(path, CONFIG) for path in sorted(folder.iterdir())]
    return [(sky_map, sky_map.read(WHOLE)) for sky_map in opened]


def test_every_coding_gives_the_values_and_the_gaps(codings):
    image = image_of()
    by_name = {sky_map.path.name: whole for sky_map, whole in codings}
    assert len(by_name) == 8
    for name in ("plain.fits", "double.fits", "four.fits", "extension.fits", "packed.fits.gz"):
        np.testing.assert_array_equal(by_name[name], image)
    np.testing.assert_allclose(by_name["rice.fits.fz"], image, atol=1e-4)
    for name in ("counts.fits", "counts.fits.fz"):
        assert np.isnan(by_name[name][0]).all()
        np.testing.assert_allclose(by_name[name][1:], 0.5 + image[1:], atol=1.1e-4)


def test_only_the_rows_asked_for_are_read(tmp_path):
    shape = (2000, 15_000)
    create_banded(tmp_path / "big.fits", BandedImage(header_of(shape), shape, "f4"))
    sky_map = SkyMap.open(tmp_path / "big.fits", CONFIG, verify=False)
    tracemalloc.start()
    assert sky_map.read(Window(1000, 1064, 0, 15_000)).shape == (64, 15_000)
    assert tracemalloc.get_traced_memory()[1] < 2.2 * 64 * 15_000 * 4
    tracemalloc.stop()
    sky_map.path.unlink()


def test_the_config_takes_the_place_of_the_header(tmp_path):
    path = write_map(tmp_path / "m.fits", BUNIT="mJy/beam")
    np.testing.assert_allclose(SkyMap.open(path, CONFIG).read(WHOLE), image_of() * 1e-3, rtol=1e-6)
    expect(ConfigError, path, "maps.unit is K and its own unit .* is mJy/beam", MapsConfig(unit="K"))
    path = write_map(tmp_path / "none.fits", drop=("BUNIT",))
    config = MapsConfig(unit="uJy/beam", beam_major_arcsec=8, beam_pa_deg=5, frequency_hz=1e9)
    sky_map = SkyMap.open(path, config)
    assert (sky_map.to_jy_beam, sky_map.beam, sky_map.frequency_hz) == (1e-6, Beam(8, 8, 5), 1e9)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"unit": "furlong"}, "'furlong' is not known"),
        ({"beam_minor_arcsec": 4}, "beam_major_arcsec"),
        ({"beam_major_arcsec": 4, "beam_minor_arcsec": 5}, "impossible"),
        ({"beam_major_arcsec": -1}, "must be above 0"),
        ({"file": []}, "did you mean 'files'"),
    ],
)
def test_impossible_settings_are_refused(settings, match):
    with pytest.raises(ConfigError, match=match):
        validate(MapsConfig, settings)


def test_the_last_aips_beam_of_the_history_counts(tmp_path):
    path = write_map(tmp_path / "m.fits", drop=("BMAJ", "BMIN", "BPA"))
    expect(ConfigError, path, r"maps\.beam_major_arcsec")
    with fits.open(path, mode="update") as hdus:
        for beam in (
            "BMAJ=  9.0E-03 BMIN=  9.0E-03 BPA=   0.00",
            "BMAJ=  1.5E-03 BMIN=  1.25E-03 BPA= -12.50",
        ):
            hdus[0].header.add_history(f"AIPS   CLEAN {beam}")
    beam = SkyMap.open(path, CONFIG).beam
    assert (beam.major_arcsec, beam.minor_arcsec, beam.pa_deg) == pytest.approx((5.4, 4.5, -12.5))


def test_the_frequency_is_that_of_the_axis_or_of_a_card(tmp_path):
    axis = {"CTYPE3": "FREQ", "CRVAL3": 843.0, "CUNIT3": "MHz", "CRPIX3": 1.0, "CDELT3": 1.0}
    path = write_map(tmp_path / "axis.fits", image_of()[None], **axis)
    assert SkyMap.open(path, CONFIG).frequency_hz == pytest.approx(843e6)
    assert (
        SkyMap.open(write_map(tmp_path / "none.fits", drop=("RESTFRQ", "RESTFREQ")), CONFIG).frequency_hz
        is None
    )


def test_cubes_and_strange_skies_are_refused(tmp_path):
    freq = {"CTYPE3": "FREQ", "CRVAL3": 1.4e9, "CDELT3": 1e6, "CRPIX3": 1.0}
    cube = write_map(tmp_path / "cube.fits", np.zeros((3, *SHAPE), "f4"), **freq)
    expect(ConfigError, cube, r"cube .* FREQ \(3, 1\.4e\+09 to 1\.402e\+09\).* maps\.plane")
    bare = write_map(tmp_path / "bare.fits", drop=("CTYPE1", "CTYPE2"))
    expect(ConfigError, bare, "no celestial WCS")
    earth = write_map(tmp_path / "earth.fits", CTYPE1="TLON-SIN", CTYPE2="TLAT-SIN")
    expect(ConfigError, earth, "frame TLON-SIN.*reproject")
    swapped = {"CTYPE1": "DEC--SIN", "CTYPE2": "RA---SIN"}
    expect(ConfigError, write_map(tmp_path / "swapped.fits", **swapped), "longitude")


@pytest.mark.parametrize(
    ("card", "value"), [("CRPIX1", 1e300), ("CRPIX2", -1e12), ("CRVAL1", 1e300), ("LONPOLE", 1e99)]
)
def test_an_impossible_place_on_the_sky_is_refused_by_its_card(tmp_path, card, value):
    write_map(tmp_path / "m.fits", **{card: value})
    expect(ConfigError, tmp_path / "m.fits", f"its {card} is .*mend the card")


def test_a_map_of_the_whole_sky_and_a_piece_far_from_its_reference_are_read(tmp_path):
    write_map(
        tmp_path / "all.fits",
        image_of((180, 360)),
        CTYPE1="RA---AIT",
        CTYPE2="DEC--AIT",
        **{"CRVAL1": 180.0, "CRVAL2": 0.0, "CRPIX1": 180.5, "CRPIX2": 90.5, "CDELT1": -1.0, "CDELT2": 1.0},
        **{"BMAJ": 3.0, "BMIN": 3.0},
    )
    assert np.isnan(SkyMap.open(tmp_path / "all.fits", CONFIG).sky_of(0, 0)).all()
    write_map(tmp_path / "far.fits", CRPIX1=-20_000.0, CRVAL1=50.0 - 360.0)
    assert np.isfinite(SkyMap.open(tmp_path / "far.fits", CONFIG).sky_of(5, 5)).all()


def test_a_map_without_a_pixel_on_the_sky_is_refused(tmp_path):
    write_map(tmp_path / "m.fits", CRPIX1=1e8)
    expect(ConfigError, tmp_path / "m.fits", "none of its pixels on the sky")


def test_units_and_beams_that_say_nothing_are_refused(tmp_path):
    expect(ConfigError, write_map(tmp_path / "none.fits", drop=("BUNIT",)), r"no unit .* maps\.unit")
    expect(ConfigError, write_map(tmp_path / "counts.fits", BUNIT="counts"), "'counts' is not known")
    expect(
        ConfigError, write_map(tmp_path / "zero.fits", BMAJ=0.0), r"BMAJ is 0\.0.* maps\.beam_major_arcsec"
    )
    expect(ConfigError, write_map(tmp_path / "text.fits", BMAJ="wide"), r"BMAJ is wide.* maps\.beam")


def test_beams_that_do_not_fit_the_pixels_or_the_map_are_refused(tmp_path):
    path = write_map(tmp_path / "m.fits")
    config = MapsConfig(beam_major_arcsec=0.1)
    expect(ConfigError, path, r"0\.1 arcsec is narrower than a pixel of 1\.5 arcsec", config)
    path = write_map(tmp_path / "arcsec.fits", BMAJ=6.0, BMIN=5.0)
    expect(ConfigError, path, r"2\.16e\+04 arcsec is wider .* 25\.5 arcsec; BMAJ .* in degrees")


def test_what_is_no_fits_image_is_refused(tmp_path):
    expect(ConfigError, tmp_path / "absent.fits", "no such file")
    expect(ConfigError, tmp_path, "it is a folder")
    for name, content in (
        ("empty", b""),
        ("text", b"hello"),
        ("card", b"SIMPLE  = T"),
        ("zip", b"\x1f\x8bxx"),
    ):
        (tmp_path / name).write_bytes(content)
        expect(ConfigError, tmp_path / name, "not a FITS file|has no END|gzip header")
    fits.HDUList([fits.PrimaryHDU()]).writeto(tmp_path / "hollow.fits")
    expect(ConfigError, tmp_path / "hollow.fits", "no image")


@pytest.mark.parametrize("kind", [fits.PrimaryHDU, fits.CompImageHDU])
@pytest.mark.parametrize("part", [0.95, 0.5, 0.05, 0.02])
def test_a_file_cut_short_is_refused_before_it_is_read(tmp_path, kind, part):
    path = write_map(tmp_path / "m.fits", image_of((200, 200)), kind=kind)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * part)])
    expect(ConfigError, path, "cut short|cannot be read|no image")


def test_a_file_cut_short_later_is_bad_data(tmp_path):
    path = write_map(tmp_path / "m.fits", image_of((200, 200)))
    sky_map = SkyMap.open(path, CONFIG)
    os.truncate(path, 80_000)
    with pytest.raises(DataError, match="before row 160"):
        sky_map.read(Window(150, 160, 0, 200))


def test_a_broken_gzip_is_bad_data(tmp_path):
    packed = gzip.compress(write_map(tmp_path / "n.fits", image_of((200, 200))).read_bytes())
    path = tmp_path / "m.fits.gz"
    path.write_bytes(packed)
    sky_map = SkyMap.open(path, CONFIG)
    path.write_bytes(packed[: len(packed) // 2])
    with pytest.raises(DataError, match="before row 200"):
        sky_map.read(Window(190, 200, 0, 200))


@pytest.mark.parametrize("cut", [20, 4])
def test_a_gzip_without_its_end_is_wrong_input(tmp_path, cut):
    packed = gzip.compress(write_map(tmp_path / "n.fits", image_of((200, 200))).read_bytes())
    path = tmp_path / "m.fits.gz"
    path.write_bytes(packed[:-cut])
    sky_map = SkyMap.open(path, CONFIG, unpacked_in=tmp_path / "unpacked")
    with pytest.raises(ConfigError, match="packed bytes break off"):
        sky_map.read(Window(0, 10, 0, 200))
    assert not list((tmp_path / "unpacked").glob("m*"))


def test_damaged_compressed_pixels_are_bad_data(tmp_path):
    path = write_map(tmp_path / "m.fits.fz", image_of((300, 300)), kind=fits.CompImageHDU)
    sky_map = SkyMap.open(path, CONFIG)
    content = bytearray(path.read_bytes())
    content[-len(content) // 2 :] = bytes(len(content) // 2 + 1)
    path.write_bytes(content)
    with pytest.raises(DataError, match="cannot be read"):
        sky_map.read(Window.of_shape((300, 300)))


@pytest.mark.parametrize("kind", [fits.PrimaryHDU, fits.CompImageHDU])
def test_a_wrong_checksum_is_refused(tmp_path, kind):
    path = write_map(tmp_path / "m.fits", image_of((100, 100)), kind=kind)
    with fits.open(path, mode="update", disable_image_compression=True) as hdus:
        hdus[-1].add_checksum()
    SkyMap.open(path, CONFIG)
    content = bytearray(path.read_bytes())
    start = content.rindex(b"END     ") // 2880 * 2880 + 2880
    content[start + 50] ^= 4
    path.write_bytes(content)
    expect(IntegrityError, path, "DATASUM")
    assert SkyMap.open(path, CONFIG, verify=False).shape == (100, 100)


def test_an_edited_header_is_told_from_damaged_data(tmp_path):
    path = write_map(tmp_path / "m.fits")
    with fits.open(path, mode="update") as hdus:
        hdus[0].add_checksum()
    path.write_bytes(path.read_bytes().replace(b"synthetic", b"authentic"))
    expect(IntegrityError, path, "CHECKSUM .* edited")


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_garbled_header_gives_a_map_or_one_clear_error(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("garbled") / "m.fits"
    content = bytearray(write_map(path).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, 2879))] = data.draw(st.sampled_from(b" =/'0919.-EXTNA\x00\xff"))
    path.write_bytes(content)
    try:
        SkyMap.open(path, CONFIG)
    except (ConfigError, IntegrityError) as error:
        line = str(error)
    else:
        return
    assert line.startswith(f"{path}: ")
    assert "\n" not in line


def test_a_map_travels_between_processes_and_knows_the_same_sky(tmp_path):
    sky_map = SkyMap.open(write_map(tmp_path / "m.fits"), CONFIG)
    y, x = np.mgrid[0:24:5, 0:17:4]
    before = sky_map.sky_of(y, x)
    again = pickle.loads(pickle.dumps(sky_map))
    assert again == sky_map
    np.testing.assert_array_equal(again.sky_of(y, x), before)
    np.testing.assert_array_equal(again.read(WHOLE), sky_map.read(WHOLE))
    np.testing.assert_allclose(sky_map.pixel_of(*before), (y, x), atol=1e-6)
    assert sky_map.sky_of(11.5, 8)[1] == pytest.approx(-30)


def test_positions_are_icrs_whatever_the_frame_of_the_map(tmp_path):
    path = write_map(tmp_path / "m.fits", CTYPE1="GLON-SIN", CTYPE2="GLAT-SIN", CRVAL1=0.0, CRVAL2=0.0)
    sky_map = SkyMap.open(path, CONFIG)
    ra, dec = sky_map.sky_of(11.5, 8.0)
    assert (ra, dec) == pytest.approx((266.405, -28.936), abs=1e-3)
    assert sky_map.pixel_of(ra, dec) == pytest.approx((11.5, 8.0), abs=1e-6)


def test_a_read_outside_the_map_is_a_fault(tmp_path):
    sky_map = SkyMap.open(write_map(tmp_path / "m.fits"), CONFIG)
    with pytest.raises(ValueError, match="not inside"):
        sky_map.read(Window(0, 25, 0, 17))


def run_of(root, *files, facts=None):
    run = make_run(root, maps=MapsConfig(files=files))
    if facts:
        run.ledger.publish("simulate", Published("f" * 64, {}, "maps", {}, facts))
    return run


def test_patterns_are_expanded_sorted_and_each_file_taken_once(tmp_path):
    for name in ("b.fits", "a.FITS", "c.fits.fz"):
        write_map(tmp_path / name, kind=fits.CompImageHDU if name.endswith("fz") else fits.PrimaryHDU)
    run = run_of(tmp_path, f"{tmp_path}/*.fits*", f"{tmp_path}/b.fits", f"{tmp_path}/a.FITS")
    assert [path.name for path in map_sources(run)] == ["a.FITS", "b.fits", "c.fits.fz"]
    assert [sky_map.name for sky_map in open_maps(run)] == ["a", "b", "c"]
    with pytest.raises(ConfigError, match="no file matches"):
        map_sources(run_of(tmp_path, f"{tmp_path}/*.img"))
    with pytest.raises(ConfigError, match="no such file"):
        open_maps(run_of(tmp_path, f"{tmp_path}/absent.fits"))


def test_several_surveys_keep_their_own_settings(tmp_path):
    first = write_map(tmp_path / "first.fits", drop=("BMAJ", "BMIN", "BPA"))
    other = write_map(tmp_path / "other.fits")
    one = {"survey": "A", "files": (str(first),), "beam_major_arcsec": 7.0, "frequency_hz": 1e9}
    config = MapsConfig(**one, more=({"survey": "B", "files": (str(other),)},))
    run = make_run(tmp_path, maps=config)
    a, b = open_maps(run)
    assert (a.survey, a.beam.major_arcsec, a.frequency_hz) == ("A", 7.0, 1e9)
    assert b.survey == "B"
    assert b.beam == SkyMap.open(other, MapsConfig()).beam
    assert config.name == "A and B"
    assert map_sources(run) == [first, other]


@pytest.mark.parametrize(
    ("more", "match"),
    [
        ({"survey": "B"}, "each of several surveys needs files"),
        ({"survey": "A", "files": ("b.fits",)}, "two surveys have one name"),
    ],
)
def test_surveys_that_cannot_be_told_apart_are_refused(more, match):
    with pytest.raises(ValueError, match=match):
        MapsConfig(survey="A", files=("a.fits",), more=(more,))


def test_a_file_of_two_surveys_is_refused(tmp_path):
    path = write_map(tmp_path / "m.fits")
    config = MapsConfig(survey="A", files=(str(path),), more=({"survey": "B", "files": (str(path),)},))
    with pytest.raises(ConfigError, match="belongs to A and to B; name it once"):
        map_sources(make_run(tmp_path, maps=config))


def test_two_maps_of_one_name_in_one_folder_are_refused_naming_both(tmp_path):
    first, second = write_map(tmp_path / "m.FITS"), write_map(tmp_path / "m.fits")
    with pytest.raises(ConfigError, match=f"'m': {first} and {second}"):
        open_maps(run_of(tmp_path, str(first), str(second)))


def test_without_files_the_simulated_maps_are_opened(tmp_path):
    (tmp_path / "maps").mkdir()
    write_map(tmp_path / "maps" / "survey.fits")
    write_map(tmp_path / "maps" / "survey.mask.fits")
    run = run_of(tmp_path, facts={"maps": ["survey.fits"]})
    assert [sky_map.name for sky_map in open_maps(run)] == ["survey"]
    assert map_sources(run) == []


@needs_real
def test_the_ten_sumss_maps():
    maps = open_maps(run_of(REAL, str(REAL / "sumss" / "*.fz")))
    assert len(maps) == 10
    for sky_map in maps:
        assert sky_map.name == sky_map.path.name.removesuffix(".FITS.fz")
        assert sky_map.pixel.dy_arcsec > 1.5 * sky_map.pixel.dx_arcsec
        assert 69 < sky_map.beam.major_arcsec < 86
        image = sky_map.read(Window.of_shape(sky_map.shape))
        assert np.isnan(image).mean() < 0.01
        assert 1e-3 < 1.4826 * np.nanmedian(np.abs(image - np.nanmedian(image))) < 3e-3
    window = Window(100, 228, 500, 628)
    np.testing.assert_array_equal(maps[-1].read(window), image[window.slices])


@needs_real
def test_first_cutouts_need_a_beam_and_scorpio_fields_bring_theirs():
    cutout = min((REAL / "first").glob("*.fz"))
    expect(ConfigError, cutout, r"maps\.beam_major_arcsec")
    sky_map = SkyMap.open(cutout, MapsConfig(beam_major_arcsec=5.4))
    assert (sky_map.shape, sky_map.beam.minor_arcsec) == ((300, 300), 5.4)
    assert isinstance(sky_map.wcs, WCS)
    assert sky_map.sky_of(149.5, 149.5)[0] == pytest.approx(10.4509, abs=1e-4)
    for path in sorted((REAL / "scorpio").glob("*.fits")):
        field = SkyMap.open(path, CONFIG)
        assert field.beam.major_arcsec == pytest.approx(6.5)
        assert field.frequency_hz == pytest.approx(1.447e9, rel=1e-3)
        assert np.isfinite(field.read(Window(0, 64, 0, 1000))).all()
