"""Parquet files: the one place that writes them, and the one that reads them.

Every page is written with a checksum, which is compared as the page is read: a flipped bit of a page is an
error and never a wrong number. Files of version 0.1.0 have no such checksums and are read as they are. The
description at the end of a file has none either; only the sha256 of the whole file covers it.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from astro_dist.engine.errors import IntegrityError
from astro_dist.engine.files import LOST_STORAGE, publish_file

DAMAGE = (pa.ArrowException, OSError, ValueError, LookupError, TypeError, OverflowError, MemoryError)


def open_writer(path: Path, schema: pa.Schema, **options: Any) -> pq.ParquetWriter:
    """Return a writer of row groups into a new file, which a ``with`` statement closes."""
    return pq.ParquetWriter(path, schema, write_page_checksum=True, **options)


def open_table(path: Path) -> pq.ParquetFile:
    """Return a parquet file whose pages are compared with their checksums, which a ``with`` statement closes.

    For files of users too: errors are those of pyarrow.
    """
    return pq.ParquetFile(path, page_checksum_verification=True)


def write_table_file(path: Path, table: pa.Table, **options: Any) -> None:
    """Publish a table as one parquet file; ``options`` are those of pyarrow's writer."""
    with publish_file(path) as hidden, open_writer(hidden, table.schema, **options) as writer:
        writer.write_table(table)


def read_table_file(path: Path, columns: Sequence[str] | None = None, group: int | None = None) -> pa.Table:
    """Return columns of a table of ours, by default all; of one row group where ``group`` is given.

    Raises
    ------
    IntegrityError
        The file is gone or damaged; the message names it.
    """
    wanted = None if columns is None else list(columns)
    with explain_damage(path), open_table(path) as file:
        if missing := set(wanted or ()) - set(file.schema_arrow.names):
            raise ValueError(f"it has no column {min(missing)}")
        whole = file.metadata if group is None else file.metadata.row_group(group)
        table = file.read(wanted) if group is None else file.read_row_group(group, wanted)
        # The header of a page has no checksum: one flipped bit of it ends a column early, without an error.
        if any(len(column) != whole.num_rows for column in table.columns):
            raise ValueError(f"a column ends before row {whole.num_rows}")
        return table


@contextmanager
def explain_damage(path: Path) -> Iterator[None]:
    """Turn exceptions of pyarrow, and of Python on what a damaged file holds, into an `IntegrityError`."""
    try:
        yield
    except DAMAGE as error:
        # Lost storage is no damage: the same command goes on when it is back.
        if isinstance(error, OSError) and error.errno in LOST_STORAGE:
            raise
        reason = " ".join(str(error).split())[:200]
        raise IntegrityError(
            f"the table {path} is damaged or gone ({reason}); put it back, or `astro-dist repair` its run "
            "directory and run the same command again"
        ) from None
