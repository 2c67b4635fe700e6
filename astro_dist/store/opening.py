"""What a store says of itself, checked when it is opened and before Zarr believes it.

Zarr and tensorstore take shapes and chunks from JSON as bounds of what they allocate. A damaged or lying
store ends here in an `IntegrityError` of one line, not later in whichever stage first uses the wrong number.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.errors import ConfigError, IntegrityError
from astro_dist.engine.foreign import read_mapping
from astro_dist.sky.config import PLANE_NAME
from astro_dist.sky.stretch import STRETCHES
from astro_dist.store.arrays import PICTURE_COLUMNS
from astro_dist.store.config import COMMON

METADATA_BYTES = 1 << 28
"""Most bytes of a store's metadata: a map takes about 1 kB."""
MOST_PIXELS, MOST_PER_SHARD, MOST_IMAGES = 4096, 1 << 20, 2**31 - 1
CODECS = {"sharding_indexed", "bytes", "zstd", "crc32c"}
SPARE_FILES = 1000
"""How many shard files may be missing beside nine of ten, for them to be counted and not disbelieved."""
NEEDED = {
    "cutouts": ("size_pix", "per_shard", "survey", "stretch", "maps"),
    # The sky of stamps is that of the cutouts, which is where it is looked up.
    "stamps": ("size_pix", "per_shard", "accept"),
    "pictures": ("size_pix", "per_shard", "planes", "dtype", "labels", "names", "further"),
}
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


def check_attrs(path: Path, attrs: Mapping[str, Any]) -> None:
    """Refuse attributes that are missing or impossible.

    Raises
    ------
    IntegrityError
        Naming the attribute.
    """
    checks: dict[str, Callable[[Any], bool]] = {
        "size_pix": lambda value: _is_count(value, MOST_PIXELS),
        "per_shard": lambda value: _is_count(value, MOST_PER_SHARD),
        "survey": lambda value: isinstance(value, str),
        "stretch": lambda value: isinstance(value, str) and value in STRETCHES,
        "maps": lambda value: isinstance(value, list) and all(map(_is_map, value)),
        "accept": lambda value: isinstance(value, dict),
        "files": lambda value: isinstance(value, dict),
        "planes": lambda value: _are_planes(value) if attrs["kind"] == "cutouts" else value in (1, 3),
        "dtype": lambda value: value in ("uint8", "float32"),
        "labels": lambda value: _are_names(value) and 0 < len(set(value)) == len(value),
        "names": _are_names,
        "further": lambda value: _are_names(value) and set(value) <= PICTURE_COLUMNS.keys(),
        "macro": lambda value: isinstance(value, dict) and all(map(_are_names, value.values())),
        "common_beam": lambda value: isinstance(value, dict) and _is_positive(value.get("minor_arcsec")),
    }
    for name, is_fine in checks.items():
        if name not in attrs:
            if name not in NEEDED[attrs["kind"]]:
                continue
            raise IntegrityError(f"{path}: the attribute {name} is missing; make the store again")
        if not is_fine(attrs[name]):
            raise IntegrityError(
                f"{path}: the attribute {name} is {str(attrs[name])[:60]!r}, which cannot be; make it again"
            )


def show_lengths(lengths: Mapping[str, int]) -> str:
    """Return lengths of arrays by name as text."""
    return ", ".join(f"{name} {length}" for name, length in lengths.items())


def check_arrays(path: Path, attrs: Mapping[str, Any], stacks: Sequence[Any], columns: Sequence[Any]) -> int:
    """Refuse a store whose arrays have other shapes, chunks, types or codecs than its attributes say.

    Returns
    -------
    int
        The number N of images.
    """
    size, per_shard = attrs["size_pix"], attrs["per_shard"]
    known = _known(path)
    lengths = {
        spec.name: _length(path, spec, _metadata(path, known, spec.name)) for spec in (*columns, *stacks)
    }
    n = next(iter(lengths.values()))
    if len(set(lengths.values())) != 1:
        raise IntegrityError(
            f"{path}: the arrays differ in length ({show_lengths(lengths)}); make the store again"
        )
    for spec in (*columns, *stacks):
        is_stack = spec in stacks
        shape = [n, *spec.shape(size)] if is_stack else [n]
        _check_array(path, spec, _metadata(path, known, spec.name), shape, per_shard if is_stack else n)
    for spec in stacks:
        # tensorstore reads this file, Zarr the consolidated copy.
        if known and _read(path / spec.name / "zarr.json") != known[spec.name]:
            raise IntegrityError(
                f"{path}: the metadata of {spec.name} contradict each other; make the store again"
            )
    _check_files(path, stacks, n, per_shard)
    return n


def check_packed(data: bytes, n_bytes: int) -> None:
    """Refuse a zstd frame that unpacks to another size than ``n_bytes``: the decoder allocates what it says.

    Raises
    ------
    ValueError
        With the reason.
    """
    if data[:4] != ZSTD_MAGIC or len(data) < 6:
        raise ValueError("no zstd frame")
    # RFC 8878, section 3.1.1.1.
    flags = data[4]
    single, size_code = flags >> 5 & 1, flags >> 6
    # After magic and flags: a window byte unless the frame is one segment, and a dictionary's number.
    at = 5 + (not single) + (0, 1, 2, 4)[flags & 3]
    width = (single, 2, 4, 8)[size_code]
    # A size of two bytes is stored less 256.
    said = int.from_bytes(data[at : at + width], "little") + (256 if width == 2 else 0)
    if not width or said != n_bytes:
        raise ValueError(f"its bytes unpack to {said}, not to {n_bytes}")


def check_maps(path: Path, attrs: Mapping[str, Any], columns: Mapping[str, NDArray[Any]]) -> None:
    """Refuse a store of cutouts that names a map which its attributes do not have."""
    # A negative number would silently count from the end of the list; a cutout may have no map of a plane.
    lists = [("source_map", attrs.get("maps", []), 0)]
    planes = attrs.get("planes", ()) if attrs["kind"] == "cutouts" else ()
    lists += [(f"source_map_{one['name']}", one["maps"], -1) for one in planes]
    for name, maps, least in lists:
        if name in columns and len(columns[name]):
            low, high = int(columns[name].min()), int(columns[name].max())
            if low < least or high >= len(maps):
                raise IntegrityError(
                    f"{path}: it has {len(maps)} maps and cutouts of maps {low} to {high}; make it again"
                )


def _is_count(value: Any, most: int) -> bool:
    # Not `isinstance`, for which JSON's `true` is a number.
    return type(value) is int and 1 <= value <= most


def _is_map(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    pixel, frequency = value.get("pixel_arcsec"), value.get("frequency_hz")
    is_pixel = isinstance(pixel, list) and len(pixel) == 2 and all(map(_is_positive, pixel))
    return is_pixel and (frequency is None or _is_positive(frequency))


def check_labels(path: Path, attrs: Mapping[str, Any], columns: Mapping[str, NDArray[Any]]) -> None:
    """Refuse a store of pictures with a class, or the name of a file, that its attributes do not have."""
    if attrs["kind"] != "pictures":
        return
    for column, attribute, least in (("label", "labels", 0), ("file", "names", -1)):
        values, known = columns[column], len(attrs[attribute])
        if len(values) and (values.min() < least or values.max() >= known):
            raise IntegrityError(f"{path}: it has {known} {attribute} and others in a picture; make it again")


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _are_planes(values: Any) -> bool:
    if not isinstance(values, list):
        return False
    # Their names become those of folders.
    names = [one.get("name") for one in values if isinstance(one, dict)]
    if not all(isinstance(name, str) and PLANE_NAME.fullmatch(name) for name in names):
        return False
    fine = all(isinstance(one.get("unit"), str) and _has_maps(one) for one in values if isinstance(one, dict))
    return fine and len({COMMON, *names}) == len(values) + 1


def _has_maps(plane: Mapping[str, Any]) -> bool:
    return isinstance(plane.get("maps"), list) and all(map(_is_map, plane["maps"]))


def _is_positive(value: Any) -> bool:
    return type(value) in (int, float) and 0 < value < math.inf


def _read(path: Path) -> dict[str, Any]:
    try:
        return read_mapping(path, METADATA_BYTES)
    except ConfigError as error:
        raise IntegrityError(f"{path}: {error}") from None


def _known(path: Path) -> dict[str, Any]:
    """Return the consolidated metadata by array, empty where there are none."""
    whole = _read(path / "zarr.json").get("consolidated_metadata") or {}
    known = whole.get("metadata") if isinstance(whole, dict) else None
    return known if isinstance(known, dict) else {}


def _metadata(path: Path, known: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = known.get(name) if known else _read(path / name / "zarr.json")
    if not isinstance(found, dict) or found.get("node_type") != "array":
        raise IntegrityError(f"{path}: the array {name} is missing from its metadata; make the store again")
    return found


def _length(path: Path, spec: Any, metadata: Mapping[str, Any]) -> int:
    shape = metadata.get("shape")
    if (
        not isinstance(shape, list)
        or not shape
        or type(shape[0]) is not int
        or not 0 <= shape[0] <= MOST_IMAGES
    ):
        raise IntegrityError(f"{path}: the shape of {spec.name} is impossible; make the store again")
    return int(shape[0])


def _check_array(
    path: Path, spec: Any, metadata: Mapping[str, Any], shape: list[int], per_chunk: int
) -> None:
    chunk, inner = [per_chunk, *shape[1:]], [1, *shape[1:]]
    try:
        found_chunk = metadata["chunk_grid"]["configuration"]["chunk_shape"]
        codecs, names = metadata["codecs"], {codec["name"] for codec in metadata["codecs"]}
        found_inner = inner
        if len(shape) > 1:
            # The first codec of a stack is the sharding one, which holds the codecs of single images.
            found_inner = codecs[0]["configuration"]["chunk_shape"]
            names |= {codec["name"] for codec in codecs[0]["configuration"]["codecs"]}
    except (KeyError, TypeError, IndexError):
        raise IntegrityError(
            f"{path}: the metadata of {spec.name} are not whole; make the store again"
        ) from None
    if not names <= CODECS:
        strange = ", ".join(sorted(map(str, names - CODECS)))[:60]
        raise IntegrityError(
            f"{path}: {spec.name} is packed with {strange}, no codec of a store; make it again"
        )
    found = metadata["shape"], found_chunk, found_inner, metadata.get("data_type")
    if found != (shape, chunk, inner, np.dtype(spec.dtype).name):
        raise IntegrityError(
            f"{path}: the shape, chunks or type of {spec.name} are other than the store's attributes say; "
            "make the store again"
        )


def _check_files(path: Path, stacks: Sequence[Any], n: int, per_shard: int) -> None:
    # `missing_shards` lists every absent shard by name: a lying count would fill the memory with names.
    shards = -(-n // per_shard)
    for spec in stacks:
        folder = path / spec.name
        present = sum(1 for file in folder.iterdir() if file.name.startswith("c.")) if folder.is_dir() else 0
        if shards > SPARE_FILES + 10 * present:
            raise IntegrityError(
                f"{path}: {shards} shards of {spec.name} are said, {present} are there; make it again"
            )
