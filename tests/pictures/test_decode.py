"""Picture files of every kind are read right, and what is none is named."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from astro_dist.engine.errors import DataError
from astro_dist.pictures.config import PicturesConfig
from astro_dist.pictures.decode import count_bits, read_image, read_picture, take_image

SIDE = 32
CONFIG = PicturesConfig(size_pix=SIDE)
GREY = PicturesConfig(size_pix=SIDE, planes=1)


def colours():
    """A picture whose corners differ: red grows to the right, green downwards."""
    ramp = np.linspace(0, 255, SIDE).astype(np.uint8)
    pixels = np.zeros((SIDE, SIDE, 3), np.uint8)
    pixels[..., 0], pixels[..., 1], pixels[..., 2] = ramp, ramp[:, None], 40
    return pixels


def read(path, config=CONFIG):
    return read_picture(path, path.name, config)


def saved(tmp_path, image, name="a.png", **options):
    image.save(tmp_path / name, **options)
    return tmp_path / name


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "a.ppm", "a.webp"])
def test_pixels_come_back(tmp_path, name):
    options = {"lossless": True} if name == "a.webp" else {}
    path = saved(tmp_path, Image.fromarray(colours()), name, **options)
    np.testing.assert_array_equal(read(path), colours().transpose(2, 0, 1))


def test_sixteen_bits_keep_their_range(tmp_path):
    values = np.linspace(0, 65535, SIDE * SIDE).reshape(SIDE, SIDE).astype(np.uint16)
    for name in ("a.png", "a.tif"):
        found = read(saved(tmp_path, Image.fromarray(values), name), GREY)
        np.testing.assert_array_equal(found[0], np.rint(values / 257).astype(np.uint8))
    dark = read(saved(tmp_path, Image.fromarray(np.full((SIDE, SIDE), 257 * 3, np.uint16))), GREY)
    assert (dark == 3).all()


def test_floats_from_0_to_1_are_read_and_others_refused(tmp_path):
    half = np.full((SIDE, SIDE), 0.5, np.float32)
    assert (read(saved(tmp_path, Image.fromarray(half), "a.tif"), GREY) == 128).all()
    with pytest.raises(DataError, match=r"b.tif: numbers of no known range \(mode F\)"):
        read(saved(tmp_path, Image.fromarray(7 * half), "b.tif"))


def test_floating_stores_keep_all_bits_of_grey_pictures(tmp_path):
    deep = PicturesConfig(size_pix=SIDE, planes=1, dtype="float32")
    values = np.linspace(0, 65535, SIDE * SIDE).reshape(SIDE, SIDE).round().astype(np.uint16)
    for name in ("a.png", "a.tif"):
        found = read(saved(tmp_path, Image.fromarray(values), name), deep)
        assert found.dtype == np.float32
        assert np.abs((found[0] + 1) / 2 - values / 65535).max() < 1e-6
    unit = (values / 65535).astype(np.float32)
    found = read(saved(tmp_path, Image.fromarray(unit), "b.tif"), deep)
    assert np.abs((found[0] + 1) / 2 - unit).max() < 1e-6
    # Three equal planes where colours are asked for, and pictures of 8 bits beside them.
    colour = PicturesConfig(size_pix=SIDE, dtype="float32")
    assert read(saved(tmp_path, Image.fromarray(values)), colour).shape == (3, SIDE, SIDE)
    eight = read(saved(tmp_path, Image.fromarray(colours())), colour)
    assert np.abs((eight + 1) / 2 - colours().transpose(2, 0, 1) / 255).max() < 1e-6


def test_floating_stores_keep_all_bits_of_coloured_pictures(tmp_path):
    cv2 = pytest.importorskip("cv2")
    deep = PicturesConfig(size_pix=SIDE, dtype="float32")
    values = np.random.default_rng(1).integers(0, 65536, (SIDE, SIDE, 4)).astype(np.uint16)
    truth = np.moveaxis(values / 65535, 2, 0)
    kinds = [("a.png", []), *(("a.tif", [cv2.IMWRITE_TIFF_COMPRESSION, kind]) for kind in (1, 5, 8))]
    for name, options in kinds:
        assert cv2.imwrite(str(tmp_path / name), values[..., 2::-1], options)
        assert np.abs((read(tmp_path / name, deep) + 1) / 2 - truth[:3]).max() < 1e-6
        # Alpha lies over black.
        assert cv2.imwrite(str(tmp_path / name), values[..., [2, 1, 0, 3]], options)
        assert np.abs((read(tmp_path / name, deep) + 1) / 2 - truth[:3] * truth[3]).max() < 1e-6
    grey = read(tmp_path / "a.png", PicturesConfig(size_pix=SIDE, planes=1, dtype="float32"))
    wanted = np.tensordot([0.299, 0.587, 0.114], truth[:3] * truth[3], 1)
    assert np.abs((grey[0] + 1) / 2 - wanted).max() < 1e-6
    assert read(tmp_path / "a.png").dtype == np.uint8
    assert (count_bits(tmp_path / "a.png"), count_bits(saved(tmp_path, Image.fromarray(colours())))) == (
        16,
        8,
    )


def test_colours_of_sixteen_bits_that_would_be_cut_are_refused(tmp_path):
    path = tmp_path / "a.ppm"
    path.write_bytes(b"P6 32 32 65535\n" + bytes(6 * SIDE * SIDE))
    with pytest.raises(DataError, match=r"a.ppm: colours of 16 bits .* or set pictures.dtype to uint8"):
        read(path, PicturesConfig(size_pix=SIDE, dtype="float32"))
    assert read(path).dtype == np.uint8
    planes = np.arange(3 * SIDE * SIDE, dtype="<u2")
    path = tmp_path / "apart.tif"
    path.write_bytes(apart_tiff(planes))
    with pytest.raises(DataError, match=r"apart.tif: a TIFF of 16 bits with its colours one after the other"):
        read(path)


def apart_tiff(planes):
    """Return a TIFF of 16 bits whose three planes lie one after the other, without compression."""
    size, rows = planes.nbytes // 3, [(256, SIDE), (257, SIDE), (259, 1), (262, 2), (277, 3), (284, 2)]
    lists = {258: [16] * 3, 273: [8 + i * size for i in range(3)], 279: [size] * 3}
    after, further, entries = 8 + planes.nbytes, b"", {}
    for tag, value in rows:
        entries[tag] = struct.pack("<HHII", tag, 4, 1, value)
    for tag, values in lists.items():
        entries[tag] = struct.pack("<HHII", tag, 4, 3, after + len(further))
        further += struct.pack("<3I", *values)
    head = struct.pack("<2sHI", b"II", 42, after + len(further))
    table = struct.pack("<H", len(entries)) + b"".join(entries[tag] for tag in sorted(entries)) + bytes(4)
    return head + planes.tobytes() + further + table


def test_a_turn_of_a_picture_of_sixteen_bits_is_done(tmp_path):
    values = np.linspace(0, 65535, SIDE * SIDE).reshape(SIDE, SIDE).astype(np.uint16)
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = read(saved(tmp_path, Image.fromarray(values), exif=exif), GREY)
    np.testing.assert_array_equal(turned[0], np.rint(np.rot90(values, -1) / 257).astype(np.uint8))


def test_print_colours_palettes_and_alpha_are_read_as_they_look(tmp_path):
    image = Image.fromarray(colours())
    printed = read(saved(tmp_path, image.convert("CMYK"), "a.jpg", quality=100, subsampling=0))
    assert np.abs(printed.astype(int) - colours().transpose(2, 0, 1)).mean() < 4
    palette = read(saved(tmp_path, image.quantize(256), "a.gif"))
    assert np.abs(palette.astype(int) - colours().transpose(2, 0, 1)).mean() < 10
    half = Image.fromarray(np.dstack([colours(), np.full((SIDE, SIDE), 51, np.uint8)]))
    np.testing.assert_allclose(read(saved(tmp_path, half)), colours().transpose(2, 0, 1) * 0.2, atol=1)
    assert read(saved(tmp_path, Image.new("1", (SIDE, SIDE), 1)), GREY).min() == 255


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "F"])
def test_an_image_in_memory_is_taken_as_its_file_is_read(tmp_path, mode):
    ramp = np.linspace(0, 1, SIDE * SIDE, dtype=np.float32).reshape(SIDE, SIDE)
    deep = {"I;16": np.rint(65535 * ramp).astype(np.uint16), "F": ramp}
    image = Image.fromarray(deep[mode]) if mode in deep else Image.fromarray(colours()).convert(mode)
    if mode == "RGBA":
        image.putalpha(51)
    taken, found = take_image(image), read_image(saved(tmp_path, image, "a.tif"), "a.tif")
    assert image.mode == mode
    assert taken.mode == found.mode
    np.testing.assert_array_equal(np.asarray(taken), np.asarray(found))


def test_images_in_memory_of_no_known_range_are_refused():
    for values in (np.full((4, 4), 7, np.int32), np.full((4, 4), 7, np.float32)):
        with pytest.raises(DataError, match=r"the picture: numbers of no known range \(mode [IF]\)"):
            take_image(Image.fromarray(values))


def test_a_turn_in_exif_is_done(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = read(saved(tmp_path, Image.fromarray(colours()), "a.png", exif=exif))
    np.testing.assert_array_equal(turned, np.rot90(colours(), -1).transpose(2, 0, 1))


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_pictures_of_sixteen_bits_are_turned_and_their_clear_value_is_black(tmp_path, name):
    values = np.linspace(0, 65535, SIDE * SIDE).reshape(SIDE, SIDE).astype(np.uint16)
    exif = Image.Exif()
    exif[0x0112] = 8
    found = read(saved(tmp_path, Image.fromarray(values), name, exif=exif), GREY)
    np.testing.assert_array_equal(found[0], np.rot90(np.rint(values / 257).astype(np.uint8)))
    clear = saved(tmp_path, Image.fromarray(values), transparency=65535)
    assert read(clear, GREY)[0, -1, -1] == 0


@pytest.mark.parametrize("mode", ["LA", "PA", "RGBA", "L", "RGB", "P"])
def test_every_way_to_say_what_is_clear_lies_on_black(tmp_path, mode):
    pixels = colours()
    pixels[:4] = 255
    image = Image.fromarray(np.dstack([pixels, np.full((SIDE, SIDE), 255, np.uint8)]))
    if mode in ("LA", "PA", "RGBA"):
        image.putalpha(
            Image.fromarray(np.where(np.arange(SIDE)[:, None] < 4, 0, 255).repeat(SIDE, 1).astype(np.uint8))
        )
        path = saved(tmp_path, image.convert(mode), "a.tif" if mode == "PA" else "a.png")
    else:
        image = image.convert("RGB").convert(mode)
        clear = image.getpixel((0, 0))
        path = saved(tmp_path, image, "a.png", transparency=clear)
    found = read(path)
    assert found[:, :4].max() == 0
    assert found[:, 5:].max() > 200


@pytest.mark.parametrize(("fit", "mean"), [("crop", 255), ("pad", 127.5), ("stretch", 127.5)])
def test_a_picture_is_made_square(tmp_path, fit, mean):
    wide = np.zeros((SIDE, 2 * SIDE), np.uint8)
    wide[:, SIDE // 2 : 3 * SIDE // 2] = 255
    if fit == "pad":
        wide[:] = 255
    found = read(saved(tmp_path, Image.fromarray(wide)), PicturesConfig(size_pix=SIDE, planes=1, fit=fit))
    assert found.shape == (1, SIDE, SIDE)
    assert abs(found.mean() - mean) < 3


def png(width, height, data=b""):
    """The bytes of a PNG whose header says any size."""

    def part(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + part(b"IHDR", header) + part(b"IDAT", zlib.compress(data)) + part(b"IEND", b"")
    )


BAD = {
    "text.jpg": (b"not a picture", "no picture in a format"),
    "empty.png": (b"", "no picture in a format"),
    "page.png": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no picture in a format"),
    "wide.png": (png(20_000, 10), "20000 x 10 pixels; scale it down, or raise pictures.largest_pix"),
    "bomb.png": (png(60_000, 60_000), "pixels"),
    "cut.png": (png(64, 64, b"\0" * 300), "a damaged picture"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_picture_is_named_in_one_line(tmp_path, name):
    data, message = BAD[name]
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match=message) as caught:
        read(tmp_path / name)
    assert str(caught.value).startswith(f"{name}: ")
    assert "\n" not in str(caught.value)


def test_a_jpeg_cut_in_the_middle_is_damaged(tmp_path):
    path = saved(tmp_path, Image.fromarray(colours()), "a.jpg")
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DataError, match="a damaged picture"):
        read(path)
