"""Cutouts and stamps as samples for training elsewhere: tar files, and tables of parquet by split."""

import io
import json
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from astro_dist.engine.files import publish_bytes, publish_file
from astro_dist.engine.origins import terms_table
from astro_dist.exports.pieces import Piece, Pieces
from astro_dist.sky.tables import write_table_file

PER_FILE = 1000
UNSPLIT = "all"


def write_tars(folder: Path, pieces: Pieces, indices: Sequence[int]) -> None:
    """Write samples in tar files of 1,000: an ``.npy`` for each array and a ``.json`` with the rest.

    Members of one sample have one name and follow each other, as the library webdataset reads them.
    """
    for number, start in enumerate(range(0, len(indices), PER_FILE)):
        with (
            publish_file(folder / f"{pieces.what}-{number:06d}.tar") as hidden,
            tarfile.open(hidden, "w", format=tarfile.USTAR_FORMAT) as tar,
        ):
            for piece in pieces.read(indices[start : start + PER_FILE]):
                for suffix, data in _members(piece, pieces):
                    # A fixed time and owner: the same samples are the same bytes.
                    member = tarfile.TarInfo(f"{piece.name}.{suffix}")
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))


def _members(piece: Piece, pieces: Pieces) -> Iterator[tuple[str, bytes]]:
    for name, pixels in _arrays(piece).items():
        buffer = io.BytesIO()
        np.save(buffer, pixels, allow_pickle=False)
        yield f"{name}.npy", buffer.getvalue()
    yield "json", json.dumps(_facts(piece, pieces), sort_keys=True).encode()


def _arrays(piece: Piece) -> dict[str, Any]:
    return {"image": piece.image_jy_beam, "mask": piece.mask, "instances": piece.instances}


def _facts(piece: Piece, pieces: Pieces) -> dict[str, Any]:
    return {
        "index": piece.index,
        "split": split_of(piece, pieces),
        "rms_jy_beam": piece.rms_jy_beam,
        "background_jy_beam": piece.background_jy_beam,
        "beam_major_arcsec": piece.beam.major_arcsec,
        "beam_minor_arcsec": piece.beam.minor_arcsec,
        "beam_pa_deg": piece.beam.pa_deg,
        "pixel_arcsec": [piece.pixel.dy_arcsec, piece.pixel.dx_arcsec],
        "frequency_hz": piece.frequency_hz,
        "map": piece.about["name"] if piece.about is not None else None,
    }


def split_of(piece: Piece, pieces: Pieces) -> str:
    """Return the name of the split of a cutout, ``all`` for a stamp, which is in none."""
    if "split" not in pieces.reader.columns:
        return UNSPLIT
    return str(pieces.reader.attrs["splits"][int(pieces.reader.columns["split"][piece.index])])


def write_parquet(folder: Path, pieces: Pieces, indices: Sequence[int]) -> None:
    """Write samples as rows of ``data/SPLIT-NNNNN.parquet``, and a card with splits, units and terms.

    Hugging Face's `load_dataset` finds the splits of such a folder by the card. Images are lists of rows.
    """
    waiting: dict[str, list[dict[str, Any]]] = {}
    written: dict[str, int] = {}

    def flush(split: str) -> None:
        number = written.get(split, 0)
        rows = waiting.pop(split)
        write_table_file(folder / "data" / f"{split}-{number:05d}.parquet", _table(rows), compression="zstd")
        written[split] = number + 1

    for piece in pieces.read(indices):
        split = split_of(piece, pieces)
        row = _facts(piece, pieces) | _arrays(piece)
        waiting.setdefault(split, []).append(row)
        if len(waiting[split]) == PER_FILE:
            flush(split)
    for split in sorted(waiting):
        flush(split)
    write_card(folder, pieces, sorted(written))


def _table(rows: Sequence[dict[str, Any]]) -> pa.Table:
    columns: dict[str, Any] = {}
    for name, first in rows[0].items():
        values = [row[name] for row in rows]
        if isinstance(first, np.ndarray):
            kind = pa.list_(pa.list_(pa.from_numpy_dtype(first.dtype)))
            columns[name] = pa.array([value.tolist() for value in values], kind)
        else:
            columns[name] = pa.array(values, pa.float64() if name == "frequency_hz" else None)
    return pa.table(columns)


def write_card(folder: Path, pieces: Pieces, splits: Sequence[str] = ()) -> None:
    """Write ``README.md``: what the samples are, with the terms of their data; ``splits`` have tables."""
    publish_bytes(folder / "README.md", _card(pieces, splits).encode())


def _card(pieces: Pieces, splits: Sequence[str]) -> str:
    files = "".join(f"  - split: {name}\n    path: data/{name}-*.parquet\n" for name in splits)
    tables = f"configs:\n- config_name: default\n  data_files:\n{files}" if splits else ""
    terms = "\n".join(terms_table(pieces.origins))
    return f"""\
---
license: other
tags: [astro_dist, radio-astronomy]
{tables}---
# {pieces.what.capitalize()} of an astro_dist run

`image` is brightness in Jy/beam, NaN without data; `mask` the class of each pixel (0 background, 1 spurious,
2 compact, 3 extended); `instances` the number of its object. Rows count from the first of the FITS image. No
position on the sky is in two of train, validation and test.

{terms}
"""
