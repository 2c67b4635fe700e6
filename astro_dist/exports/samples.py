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
from astro_dist.exports.target import Target
from astro_dist.sky.tables import write_table_file

PER_FILE = 1000


def write_tars(target: Target, pieces: Pieces, indices: Sequence[int]) -> None:
    """Write samples in tar files of 1,000: an ``.npy`` for each array and a ``.json`` with the rest.

    Members of one sample have one name and follow each other, as the library webdataset reads them.
    """
    for number, some in enumerate(batched(indices)):
        path = target.folder / f"{pieces.what}-{number:06d}.tar"
        if target.skips([path], len(some)):
            continue
        with publish_file(path) as hidden, tarfile.open(hidden, "w", format=tarfile.USTAR_FORMAT) as tar:
            for piece in target.watch(pieces.read(some)):
                for suffix, data in _members(piece, pieces):
                    # A fixed time and owner: the same samples are the same bytes.
                    member = tarfile.TarInfo(f"{piece.name}.{suffix}")
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))


def batched(indices: Sequence[int], size: int = PER_FILE) -> Iterator[Sequence[int]]:
    """Yield indices in portions of one file each."""
    yield from (indices[start : start + size] for start in range(0, len(indices), size))


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
        "split": pieces.split(piece.index),
        "rms_jy_beam": piece.rms_jy_beam,
        "background_jy_beam": piece.background_jy_beam,
        "beam_major_arcsec": piece.beam.major_arcsec,
        "beam_minor_arcsec": piece.beam.minor_arcsec,
        "beam_pa_deg": piece.beam.pa_deg,
        "pixel_arcsec": [piece.pixel.dy_arcsec, piece.pixel.dx_arcsec],
        "frequency_hz": piece.frequency_hz,
        "map": piece.about["name"] if piece.about is not None else None,
    }


def write_parquet(target: Target, pieces: Pieces, indices: Sequence[int]) -> None:
    """Write samples as rows of ``data/SPLIT-NNNNN.parquet``, and a card with splits, units and terms.

    Hugging Face's `load_dataset` finds the splits of such a folder by the card. Images are lists of rows.
    """
    splits: dict[str, list[int]] = {}
    for index in indices:
        splits.setdefault(pieces.split(index), []).append(index)
    for split, members in sorted(splits.items()):
        for number, some in enumerate(batched(members)):
            path = target.folder / "data" / f"{split}-{number:05d}.parquet"
            if not target.skips([path], len(some)):
                rows = [_facts(one, pieces) | _arrays(one) for one in target.watch(pieces.read(some))]
                write_table_file(path, _table(rows), compression="zstd")
    write_card(target.folder, pieces, sorted(splits))


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
