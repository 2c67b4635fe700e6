"""Copies of maps packed with gzip are compared with their records before they are read."""

import bz2
import gzip
import lzma
import os

import pytest

from astro_dist.engine.errors import ConfigError
from astro_dist.engine.files import sha256_file
from astro_dist.sky import map_files
from astro_dist.sky.config import MapsConfig
from astro_dist.sky.files import find_maps
from astro_dist.sky.map_files import unpacked
from astro_dist.sky.maps import SkyMap

BYTES = bytes(range(256)) * 64


@pytest.fixture
def packed(tmp_path):
    path = tmp_path / "m.fits.gz"
    path.write_bytes(gzip.compress(BYTES))
    return path


def unpack_in_a_new_process(path):
    map_files._compared.clear()
    return unpacked(path, path.parent / "copies")


def record_of(copy):
    return copy.with_name(f"{copy.name}.sha256")


def flip(copy):
    times = copy.stat()
    copy.write_bytes(b"\xff" + BYTES[1:])
    os.utime(copy, ns=(times.st_atime_ns, times.st_mtime_ns))


@pytest.mark.parametrize(
    "damage",
    [
        flip,
        lambda copy: copy.write_bytes(BYTES[:100]),
        lambda copy: copy.write_bytes(b""),
        lambda copy: record_of(copy).unlink(),
        lambda copy: record_of(copy).write_bytes(b"\xff" * 1000),
        lambda copy: record_of(copy).write_text(f"{'0' * 64} {len(BYTES)}\n"),
    ],
)
def test_a_damaged_copy_is_unpacked_anew(packed, damage):
    copy = unpack_in_a_new_process(packed)
    assert copy.read_bytes() == BYTES
    record = record_of(copy).read_bytes()
    damage(copy)
    assert unpack_in_a_new_process(packed) == copy
    assert (copy.read_bytes(), record_of(copy).read_bytes()) == (BYTES, record)
    assert {path.name for path in copy.parent.iterdir()} == {copy.name, record_of(copy).name}


def test_a_process_compares_a_copy_once(packed, monkeypatch):
    copy = unpack_in_a_new_process(packed)
    made, compared = copy.stat().st_ino, []
    monkeypatch.setattr(map_files, "sha256_file", lambda path: compared.append(path) or sha256_file(path))
    unpack_in_a_new_process(packed)
    for _ in range(3):
        unpacked(packed, copy.parent)
    assert compared == [copy]
    assert copy.stat().st_ino == made
    # A later version is another file.
    flip(copy)
    assert unpacked(packed, copy.parent).read_bytes() == BYTES


@pytest.mark.parametrize("name", ["copy", "record"])
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink("elsewhere", path)])
def test_what_is_no_file_is_named_and_stays(packed, name, make):
    copy = unpack_in_a_new_process(packed)
    foreign = copy if name == "copy" else record_of(copy)
    foreign.unlink()
    make(foreign)
    with pytest.raises(ConfigError, match=f"{foreign.name} is no file of this run; move it away"):
        unpack_in_a_new_process(packed)
    assert os.path.lexists(foreign)


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.write_text("mine")])
def test_a_file_in_place_of_the_folder_is_named(packed, make):
    make(packed.parent / "copies")
    with pytest.raises(ConfigError, match="copies is no folder; move it away"):
        unpack_in_a_new_process(packed)


@pytest.mark.parametrize(
    ("content", "remedy"),
    [
        (bz2.compress(BYTES), "bunzip2"),
        (lzma.compress(BYTES), "unxz"),
        (b"PK\x03\x04" + BYTES, "unzip"),
        (b"\x1f\x9d\x90" + BYTES, "uncompress"),
        (b"\x89HDF\r\n\x1a\n" + BYTES, "convert it to FITS"),
        (None, "folder, not a file; write it as FITS, a CASA image by exportfits"),
    ],
)
def test_files_of_other_kinds_have_a_remedy(tmp_path, content, remedy):
    path = tmp_path / "m.fits"
    path.mkdir() if content is None else path.write_bytes(content)
    with pytest.raises(ConfigError, match=remedy):
        SkyMap.open(path, MapsConfig())


def test_a_map_and_a_link_to_it_are_one_file(tmp_path):
    (tmp_path / "m.fits").touch()
    (tmp_path / "latest.fits").symlink_to("m.fits")
    with pytest.raises(ConfigError, match=r"m\.fits and .*latest\.fits are one file.*name it once"):
        find_maps(MapsConfig(files=(f"{tmp_path}/*.fits",)))
    # Planes of one cube may belong to several surveys, through links.
    more = ({"files": [f"{tmp_path}/latest.fits"], "survey": "second", "plane": 1},)
    assert len(find_maps(MapsConfig(files=(f"{tmp_path}/m.fits",), more=more))) == 2
