"""Parquet pages and their checksums: every reader, every bit of a page, files without checksums."""

import errno
import random
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import astro_dist
from astro_dist.engine.errors import IntegrityError
from astro_dist.field.columns import read_columns_file, write_columns_file
from astro_dist.field.config import AssembleConfig
from astro_dist.field.library import build_library
from astro_dist.field.models import Drawing
from astro_dist.field.object_files import write_objects
from astro_dist.field.objects import SkyObject
from astro_dist.sky.annotations import PixelWriter, read_parquet, write_parquet
from astro_dist.sky.beams import Beam, Pixel
from astro_dist.sky.classes import SourceClass
from astro_dist.sky.tables import open_table, read_table_file, write_table_file
from astro_dist.sky.windows import Window

ROWS = 200
AS_DRAWN = AssembleConfig(flux={"mode": "radiff_stretched"})


def write_pixels(path):
    with PixelWriter(path) as writer:
        for number in range(3):
            places = np.arange(ROWS, dtype=np.int32)
            writer.write(number, places // 50, places % 50, places % 7)


def write_noise(path):
    rng = np.random.default_rng(1)
    write_parquet(path, {"a": rng.standard_normal(ROWS), "b": rng.integers(9, size=ROWS)}, {"about": 1})


def write_rows(path):
    write_columns_file(path, {"flux_jy": np.random.default_rng(2).random(ROWS)})


def write_shapes(path):
    rng = np.random.default_rng(3)
    box = Window(2, 14, 5, 17)
    shapes = rng.random((5, 12, 12), np.float32)
    kinds = [SourceClass.COMPACT, SourceClass.EXTENDED]
    beam, pixel = Beam(8.0, 8.0), Pixel(2.0, 2.0)
    facts = (9.0, 4.0, 0.8, beam, pixel)
    objects = [
        SkyObject(i, 1, kinds[i % 2], box, shape, *facts, Drawing(shape, shape, beam.covariance_pix(pixel)))
        for i, shape in enumerate(shapes)
    ]
    write_objects(path, objects)


WRITERS = {
    "annotations": (write_noise, read_parquet),
    "pixels": (
        write_pixels,
        lambda path: [read_table_file(path, ("map", "y", "x", "island"), i) for i in range(3)],
    ),
    "columns": (write_rows, read_columns_file),
    "objects": (write_shapes, lambda path: build_library(path.parent / "library", [path], AS_DRAWN)),
}


def page_bytes(path):
    """Places of the bytes of all pages, headers and the description at the end left out."""
    with pq.ParquetFile(path) as file:
        groups = [file.metadata.row_group(i) for i in range(file.num_row_groups)]
        columns = [group.column(i) for group in groups for i in range(group.num_columns)]
    starts = [c.dictionary_page_offset or c.data_page_offset for c in columns]
    return [(start, start + c.total_compressed_size) for start, c in zip(starts, columns, strict=True)]


@pytest.fixture(params=WRITERS)
def table(request, tmp_path):
    write, read = WRITERS[request.param]
    write(tmp_path / "table.parquet")
    return tmp_path / "table.parquet", read


def flip(path, place, bit=0):
    data = bytearray(path.read_bytes())
    data[place] ^= 1 << bit
    path.write_bytes(data)


def outcome(path, read):
    """What a reader returns, as text, or ``damage`` where its error names the file and the remedy."""
    try:
        return repr(read(path))
    except IntegrityError as error:
        return "damage" if str(path) in str(error) and "repair" in str(error) else str(error)


def try_bits(path, read, chance, count):
    """Flip bits of pages one at a time: each reading is an error or gives the right numbers."""
    sound, ranges = path.read_bytes(), page_bytes(path)
    expected = repr(read(path))
    for _ in range(count):
        first, end = chance.choice(ranges)
        flip(path, chance.randrange(first, end), chance.randrange(8))
        # Some bits of a page's header say nothing of its numbers.
        assert outcome(path, read) in (expected, "damage")
        path.write_bytes(sound)


def test_a_bit_of_a_page_is_an_error_that_names_the_file_and_never_a_wrong_number(table):
    try_bits(*table, random.Random(7), 30)


@pytest.mark.soak
def test_every_bit_of_the_pages(table):
    try_bits(*table, random.Random(8), 2_000)


def test_bits_of_the_numbers_are_all_noticed(table):
    """Checksums cover what follows the header of a page, which lies in its last bytes for certain."""
    path, read = table
    sound = path.read_bytes()
    for _, end in page_bytes(path):
        for bit in (0, 7):
            flip(path, end - 1, bit)
            with pytest.raises(IntegrityError, match=r"table\.parquet is damaged"):
                read(path)
            path.write_bytes(sound)


def test_a_file_that_is_cut_short_garbled_at_its_end_or_gone_is_an_error(table):
    path, read = table
    sound, chance, end = path.read_bytes(), random.Random(9), max(page_bytes(path))[1]
    for cut in (0, 4, len(sound) // 2, len(sound) - 1):
        path.write_bytes(sound[:cut])
        with pytest.raises(IntegrityError, match=r"table\.parquet is damaged"):
            read(path)
    # No checksum covers the description at the end; some of its bits change nothing that is read.
    found = []
    for _ in range(30):
        path.write_bytes(sound)
        flip(path, chance.randrange(end, len(sound)), chance.randrange(8))
        found.append(outcome(path, read))
    assert "damage" in found
    path.unlink()
    with pytest.raises(IntegrityError, match=r"table\.parquet is damaged or gone"):
        read(path)


def test_tables_of_version_0_1_0_have_no_checksums_and_are_read(tmp_path):
    path = tmp_path / "old.parquet"
    pq.write_table(pa.table({"a": [1, 2, 3]}), path, compression="zstd")
    assert read_table_file(path).to_pydict() == {"a": [1, 2, 3]}
    with open_table(path) as file:
        assert file.read().num_rows == 3


def test_lost_storage_is_not_called_damage(tmp_path, monkeypatch):
    def lose(*args, **options):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(pq, "ParquetFile", lose)
    with pytest.raises(OSError, match="Input/output"):
        read_table_file(tmp_path / "a.parquet")


def test_a_column_that_is_not_there_is_an_error(tmp_path):
    write_table_file(tmp_path / "a.parquet", pa.table({"a": [1]}))
    with pytest.raises(IntegrityError, match="it has no column b"):
        read_table_file(tmp_path / "a.parquet", ["b"])


def test_one_module_writes_parquet_and_reads_it():
    package = Path(astro_dist.__file__).parent
    calls = re.compile(r"ParquetFile|ParquetWriter|pyarrow\.parquet|\bpq\.")
    found = {p.relative_to(package).as_posix() for p in package.rglob("*.py") if calls.search(p.read_text())}
    assert found == {"sky/tables.py"}
