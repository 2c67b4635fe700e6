"""The writer of shard files: Zarr's ``sharding_indexed`` with one image per inner chunk.

An image becomes little-endian bytes -> zstd -> crc32c. The index of (offset, length) pairs follows the images
and has a crc32c of its own. Every image is written, also one that is all fill value, so that an empty entry
can only be the padding of the last shard. One shard file has one writer, and its bytes depend on nothing but
the images. ``zarr-python`` needs five times the CPU time for the same.
"""

import math
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
from numcodecs import zstd
from numpy.typing import NDArray

from astro_dist.engine.errors import IntegrityError
from astro_dist.engine.files import publish_bytes
from astro_dist.store.arrays import ArraySpec
from astro_dist.store.opening import check_packed
from astro_dist.store.schema import ZSTD_LEVEL

CRC_BYTES = 4
# Two unsigned numbers of 64 bits.
ENTRY_BYTES = 16
# Offset and length of an absent chunk in the index, by the specification of the codec.
EMPTY = 2**64 - 1


def shard_path(store: Path, spec: ArraySpec, shard: int) -> Path:
    """Return the file of one shard of one array; its name has a number for every axis."""
    return store / spec.name / ".".join(["c", str(shard), *"0" * len(spec.shape(0))])


def count_shards(n: int, per_shard: int) -> int:
    """Return how many shards hold ``n`` images."""
    return -(-n // per_shard)


def write_shard(
    store: Path, spec: ArraySpec, shard: int, images: NDArray[Any], per_shard: int, threads: int = 1
) -> str:
    """Publish one shard file whole and return its sha256.

    Parameters
    ----------
    store
        Folder of the store.
    spec
        Which array; ``images`` has its dtype.
    shard
        Number of the shard: it holds the images from ``shard * per_shard`` on.
    images
        Shape (n, s, s), or (n, planes, s, s), with n <= ``per_shard``; fewer only in the last shard.
    per_shard
        Images in a full shard.
    threads
        Threads that compress. Their number never changes a byte.
    """
    if images.dtype != np.dtype(spec.dtype):
        raise ValueError(f"{spec.name} holds {np.dtype(spec.dtype)}, not {images.dtype}")
    return publish_bytes(shard_path(store, spec, shard), encode_shard(images, per_shard, threads))


def encode_shard(images: NDArray[Any], per_shard: int, threads: int = 1) -> bytes:
    """Return the bytes of a shard that holds ``images``, which are n <= ``per_shard``."""
    if not 1 <= len(images) <= per_shard:
        raise ValueError(f"a shard of up to {per_shard} images cannot hold {len(images)}")
    images = np.ascontiguousarray(images, dtype=images.dtype.newbyteorder("<"))
    index = np.full((per_shard, 2), EMPTY, dtype="<u8")
    parts: list[bytes] = []
    offset = 0
    for i, body in enumerate(_compressed(images, threads)):
        parts += (body, _crc(body))
        # The length of a chunk counts its own crc32c.
        index[i] = offset, len(body) + CRC_BYTES
        offset += len(body) + CRC_BYTES
    entries = index.tobytes()
    return b"".join((*parts, entries, _crc(entries)))


def decode_index(data: bytes, per_shard: int) -> NDArray[np.uint64]:
    """Return the (per_shard, 2) offsets and lengths of a shard; `EMPTY` marks padding.

    Raises
    ------
    IntegrityError
        The index is cut off, fails its checksum, or points outside the shard.
    """
    end = len(data) - CRC_BYTES
    start = end - per_shard * ENTRY_BYTES
    if start < 0 or _crc(data[start:end]) != data[end:]:
        raise IntegrityError("the index of the shard is damaged")
    index = np.frombuffer(data, dtype="<u8", count=2 * per_shard, offset=start).reshape(per_shard, 2)
    # Padding has no place in the file, so that its entries are not checked.
    filled = index[index[:, 0] != EMPTY]
    # Each number first: the sum of two may wrap round 64 bits.
    if np.any(filled > start) or np.any(filled.sum(axis=1) > start):
        raise IntegrityError("the index of the shard points outside of it")
    return index


def decode_image(data: bytes, offset: int, length: int, spec: ArraySpec, size_pix: int) -> NDArray[Any]:
    """Return one image (s, s), or (planes, s, s), of a shard.

    Raises
    ------
    IntegrityError
        The bytes fail their checksum or do not hold an image of that size.
    """
    # The checksum comes before the decoder, which gets no damaged bytes.
    end = offset + length - CRC_BYTES
    body = data[offset:end]
    if _crc(body) != data[end : end + CRC_BYTES]:
        raise IntegrityError("an image fails its checksum")
    try:
        shape = spec.shape(size_pix)
        check_packed(body[:32], math.prod(shape) * np.dtype(spec.dtype).itemsize)
        return np.frombuffer(zstd.decompress(body), dtype=spec.dtype).reshape(shape)
    except (RuntimeError, ValueError) as error:
        raise IntegrityError(f"an image cannot be decoded ({error})") from None


def _compressed(images: NDArray[Any], threads: int) -> Iterator[bytes]:
    def compress(image: NDArray[Any]) -> bytes:
        body: bytes = zstd.compress(image.view(np.uint8), ZSTD_LEVEL)
        return body

    if threads == 1:
        yield from map(compress, images)
        return
    # `map` keeps the order of the images; zstd runs without Python's lock.
    with ThreadPoolExecutor(threads) as pool:
        yield from pool.map(compress, images)


def _crc(data: bytes) -> bytes:
    return struct.pack("<I", google_crc32c.value(data))
