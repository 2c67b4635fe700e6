"""The contents of the stores: arrays, columns and attributes, and writing their Zarr v3 metadata.

A store is a stack of N square images in sharded arrays (see `astro_dist.store.shards`), beside one
single-chunk column per fact. Tasks write shard files without any metadata; `publish_store` adds the
metadata and the columns when N is known. `publish_store` touches no shard and may be repeated.

Attributes of arrays follow the CF conventions, section 3.5 (flags) and chapter 5 (coordinates), so that
xarray shows the place of a cutout beside its pixels. Stores of schema version 1 differ in these attributes
and in the name of one column; they are read as well.
"""

import warnings
from collections.abc import Mapping
from dataclasses import replace
from enum import IntFlag
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.abc.buffer import Buffer
from zarr.codecs import Crc32cCodec, ZstdCodec
from zarr.storage import MemoryStore

from astro_dist.engine.errors import ConfigError, IntegrityError
from astro_dist.engine.files import publish_bytes
from astro_dist.engine.foreign import read_mapping
from astro_dist.sky.classes import CLASS_NAMES
from astro_dist.store.arrays import FURTHER, PICTURE_COLUMNS, ArraySpec, picture_spec
from astro_dist.store.config import COMMON
from astro_dist.store.opening import METADATA_BYTES, check_arrays, check_attrs, check_packed, show_lengths

SCHEMA_VERSION = 2
FORMER_NAMES = {1: {"source_map": "map"}, SCHEMA_VERSION: {}}
"""Columns by their present names whose name was another, for every schema version that is read."""
SPLIT_NAMES = ("train", "validation", "test", "guard")
ZSTD_LEVEL = 1


class Flag(IntFlag):
    """Reason why a cutout is left out of training."""

    CUTS_EXTENDED = 1
    """An extended source lies in the window only in part."""
    LITTLE_DATA = 2
    """Fewer valid pixels than ``min_valid_fraction``."""
    CUT_EXTENDED = 4
    """The map's edge or blanks cut an extended source of the window."""


NAN = float("nan")
IMAGE = ArraySpec("image", "<f4", "brightness; NaN where the map has no data", "Jy/beam", NAN)
MASK = ArraySpec("mask", "|u1", "class of the pixel, an index into the attribute classes", values=CLASS_NAMES)
INSTANCES = ArraySpec("instances", "<u2", "object of the pixel: 1..n in each image, 0 outside")
VALID = ArraySpec("valid", "|b1", "whether the map has data in the pixel", fill=False)
STACKS = {
    "cutouts": (IMAGE, MASK, INSTANCES, VALID),
    "stamps": (IMAGE, MASK, INSTANCES),
}

COORDINATES = {
    "cutouts": "ra_deg dec_deg source_map y0 x0",
    "stamps": "donor background_donor symmetry",
    "pictures": "group file",
}
"""Columns that say where the images of a store come from: in xarray coordinates and not variables."""

_BEAM = (
    ArraySpec("beam_major_arcsec", "<f4", "major axis of the beam (FWHM)", "arcsec", NAN),
    ArraySpec("beam_minor_arcsec", "<f4", "minor axis of the beam (FWHM)", "arcsec", NAN),
    ArraySpec("beam_pa_deg", "<f4", "position angle of the beam, north through east", "deg", NAN),
)
COLUMNS = {
    "cutouts": (
        ArraySpec("source_map", "<i4", "source map, an index into the attribute maps", fill=-1),
        ArraySpec("y0", "<i4", "first row of the window in the map", "pix", -1),
        ArraySpec("x0", "<i4", "first column of the window in the map", "pix", -1),
        ArraySpec("ra_deg", "<f8", "right ascension of the window's centre (ICRS)", "deg", NAN),
        ArraySpec("dec_deg", "<f8", "declination of the window's centre (ICRS)", "deg", NAN),
        ArraySpec("background_jy_beam", "<f4", "background at the window's centre", "Jy/beam", NAN),
        ArraySpec("rms_jy_beam", "<f4", "noise at the window's centre", "Jy/beam", NAN),
        *_BEAM,
        ArraySpec(
            "flags",
            "<u2",
            "bits of the attribute flags; 0 where the cutout is good",
            bits=tuple(flag.name.lower() for flag in Flag if flag.name),
        ),
        ArraySpec("split", "|u1", "index into the attribute splits", values=SPLIT_NAMES),
        ArraySpec("n_objects", "<i4", "compact and extended instances in the cutout"),
    ),
    "stamps": (
        ArraySpec("donor", "<i4", "cutout whose mask and instances the stamp was made for", fill=-1),
        ArraySpec("background_donor", "<i4", "cutout whose background the stamp was made for", fill=-1),
        ArraySpec("symmetry", "|u1", "turn and flip of the donor's mask, 0 to 7"),
        ArraySpec("rms_jy_beam", "<f4", "noise that the stamp's snr refers to", "Jy/beam", NAN),
        *_BEAM,
    ),
    "pictures": (
        ArraySpec("label", "<i4", "class of the picture, an index into the attribute labels", fill=-1),
        ArraySpec("split", "|u1", "index into the attribute splits", values=SPLIT_NAMES),
        ArraySpec("group", "<i4", "near-duplicates have one number, and one split", fill=-1),
        ArraySpec("file", "<i4", "name, an index into the attribute names; -1 for none", fill=-1),
    ),
}
SOURCES = "sources"
"""Attribute of a store of cutouts whose instances are sources; one of version 0.1.0 has islands."""
SOURCE_COLUMNS = (
    ArraySpec("n_joined", "<i4", "instances in the cutout that are sources of several islands"),
    ArraySpec("n_cut", "<i4", "compact and extended instances that the map's edge or blanks cut"),
)
CATALOGUE = "catalogue"
"""Attribute of a store of cutouts that are centred on the rows of a catalogue."""
ROW_COLUMNS = (
    ArraySpec(
        "row", "<i4", "row of the catalogue, from 0, that the cutout is centred on; -1 for none", fill=-1
    ),
)

PLANES, COMMON_BEAM = "planes", "common_beam"
"""Attributes of a store of cutouts with planes beside the image, and with all of these at one beam."""


def plane_units(attrs: Mapping[str, Any]) -> dict[str, str]:
    """Return the units of the planes that a store of cutouts has beside its image, by their names."""
    units = {one["name"]: one["unit"] for one in attrs.get(PLANES, ())}
    return ({COMMON: IMAGE.units} if COMMON_BEAM in attrs else {}) | units


def stacks_of(kind: str, attrs: Mapping[str, Any]) -> tuple[ArraySpec, ...]:
    """Return the arrays of images of a store with these attributes."""
    if kind == "pictures":
        return (picture_spec(attrs["planes"], attrs["dtype"]),)
    planes = []
    for name, unit in plane_units(attrs).items() if kind == "cutouts" else ():
        about = f"brightness of the plane {name} on the same pixels; NaN where it has no data"
        planes.append(ArraySpec(f"image_{name}", "<f4", about, unit, NAN))
        planes.append(
            ArraySpec(f"valid_{name}", "|b1", f"whether the plane {name} has data in the pixel", fill=False)
        )
    return (*STACKS[kind], *planes)


def columns_of(kind: str, attrs: Mapping[str, Any]) -> tuple[ArraySpec, ...]:
    """Return the columns of a store with these attributes."""
    if kind == "pictures":
        return (*COLUMNS[kind], *(PICTURE_COLUMNS[name] for name in attrs.get(FURTHER, ())))
    if kind != "cutouts":
        return COLUMNS[kind]
    further = ((SOURCES, SOURCE_COLUMNS), (CATALOGUE, ROW_COLUMNS))
    planes = tuple(
        ArraySpec(f"source_map_{one['name']}", "<i4", f"map of the plane {one['name']}, an index", fill=-1)
        for one in attrs.get(PLANES, ())
    )
    return (
        *COLUMNS[kind],
        *(spec for name, specs in further if attrs.get(name) for spec in specs),
        *planes,
    )


def publish_store(
    path: Path, kind: str, size_pix: int, per_shard: int, columns: Mapping[str, Any], attrs: Mapping[str, Any]
) -> None:
    """Write columns, attributes and consolidated metadata round the shards of a store.

    Parameters
    ----------
    path
        Folder of the store; may already hold shards, and metadata of an earlier call.
    kind
        ``cutouts``, ``stamps`` or ``pictures``, which decides on the arrays and columns.
    size_pix, per_shard
        Side of an image, and how many of them a shard file holds.
    columns
        ``{name: values}`` of shape (N,) for exactly the columns of `columns_of`.
    attrs
        JSON-able attributes; ``schema_version``, ``kind``, ``size_pix`` and ``per_shard`` are added, and
        to stores of the sky ``classes`` and ``units``.

    Raises
    ------
    ValueError
        Columns are missing, unknown or of different lengths.
    """
    specs = columns_of(kind, attrs)
    lengths = {name: len(values) for name, values in columns.items()}
    if set(lengths) != {spec.name for spec in specs} or len(set(lengths.values())) != 1:
        raise ValueError(f"{path}: columns of a {kind} store expected, found {show_lengths(lengths)}")
    n = lengths[specs[0].name]
    own = {
        "schema_version": SCHEMA_VERSION,
        "kind": kind,
        "size_pix": size_pix,
        "per_shard": per_shard,
        **({} if kind == "pictures" else {"classes": list(CLASS_NAMES), "units": IMAGE.units}),
    }
    # Zarr writes to memory first: each file then appears on the disk whole, by one rename.
    files: dict[str, Buffer] = {}
    memory = MemoryStore(files)
    # `own` comes last, so that no attribute of a caller takes its place.
    zarr.create_group(memory, attributes={**attrs, **own})
    further = (spec.name for spec in specs if spec.name == "row" or spec.name.startswith("source_map_"))
    coordinates = " ".join([COORDINATES[kind], *further])
    for spec in stacks_of(kind, attrs):
        _create_stack(memory, spec, n, size_pix, per_shard, coordinates)
    for spec in specs:
        axis = "row" if kind == "pictures" else "cutout"
        _create_column(memory, spec, np.asarray(columns[spec.name]).astype(spec.dtype), axis)
    # zarr-python warns that consolidated metadata are no part of the Zarr v3 specification yet.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Consolidated metadata")
        zarr.consolidate_metadata(memory)
    # The root metadata come last, so that a store that can be opened is whole.
    for key in sorted(files, key=lambda key: (key == "zarr.json", key)):
        publish_bytes(path / key, files[key].to_bytes())


def read_attrs(path: Path) -> dict[str, Any]:
    """Return the attributes of a store, checked against the schema of its version.

    Raises
    ------
    IntegrityError
        The path is no store of this package, one of an unknown schema version or with other classes, or its
        attributes and the shapes of its arrays are impossible or contradict each other.
    """
    attrs = _read_attributes(path)
    version = attrs.get("schema_version")
    # `type` first, since JSON may hold a list there, which is no key of a mapping, or `true`, which equals 1.
    if str(attrs.get("kind")) not in COLUMNS or type(version) is not int or version not in FORMER_NAMES:
        raise IntegrityError(
            f"{path} is not a store of schema version {SCHEMA_VERSION} (kind {str(attrs.get('kind'))[:20]}, "
            f"version {str(version)[:20]}); make it again with this version of astro_dist"
        )
    if attrs["kind"] != "pictures" and attrs.get("classes") != list(CLASS_NAMES):
        raise IntegrityError(
            f"{path} has other classes than this version ({', '.join(CLASS_NAMES)}); make it again"
        )
    check_attrs(path, attrs)
    check_arrays(path, attrs, stacks_of(attrs["kind"], attrs), list(stored_columns(attrs).values()))
    return attrs


def stored_columns(attrs: Mapping[str, Any]) -> dict[str, ArraySpec]:
    """Return the columns of a store by their present names, as its schema version has them on the disk."""
    former = FORMER_NAMES[attrs["schema_version"]]
    specs = columns_of(attrs["kind"], attrs)
    return {spec.name: replace(spec, name=former.get(spec.name, spec.name)) for spec in specs}


def _read_attributes(path: Path) -> dict[str, Any]:
    try:
        about = read_mapping(path / "zarr.json", METADATA_BYTES)
        attrs = about.get("attributes", {})
        if about.get("node_type") != "group" or about.get("zarr_format") != 3 or not isinstance(attrs, dict):
            raise ConfigError("no group of Zarr version 3")
    except ConfigError as error:
        raise IntegrityError(f"{path} is not a readable Zarr store ({error})") from None
    return attrs


def read_columns(path: Path, attrs: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """Return ``{name: values of shape (N,)}`` of all columns of a store with these attributes, as now named.

    Raises
    ------
    IntegrityError
        A column is absent, damaged, or differs in length from the others.
    """
    try:
        group = zarr.open_group(path, mode="r")
    except Exception as error:
        # Zarr raises whatever its parts raise on metadata that they do not expect.
        reason = " ".join(str(error).split())[:200]
        raise IntegrityError(f"{path} is not a readable Zarr store ({reason})") from None
    columns = {}
    for name, spec in stored_columns(attrs).items():
        file = path / spec.name / "c.0"
        # Zarr would read a missing file as fill value, without an error.
        if not file.is_file():
            raise IntegrityError(f"{path}: the column {spec.name} is missing; make the store again")
        try:
            column: Any = group[spec.name]
            with file.open("rb") as handle:
                # The header of a zstd frame has 18 bytes at most, magic included.
                check_packed(handle.read(32), column.nbytes)
            columns[name] = np.asarray(column[:])
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            raise IntegrityError(
                f"{path}: the column {spec.name} is damaged ({reason}); make the store again"
            ) from None
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) != 1:
        raise IntegrityError(
            f"{path}: the columns differ in length ({show_lengths(lengths)}); make the store again"
        )
    return columns


def _create_stack(
    store: MemoryStore, spec: ArraySpec, n: int, size_pix: int, per_shard: int, coordinates: str
) -> None:
    shape = spec.shape(size_pix)
    zarr.create_array(
        store,
        name=spec.name,
        shape=(n, *shape),
        dtype=np.dtype(spec.dtype),
        # Random batches read single images; tasks write whole shards.
        chunks=(1, *shape),
        shards=(per_shard, *shape),
        # The sharding codec sums its index alone: without crc32c here flipped bits become brightness.
        compressors=[ZstdCodec(level=ZSTD_LEVEL), Crc32cCodec()],
        fill_value=spec.fill,
        # One folder an array: with Zarr's default slash each shard would lie in folders of its own.
        chunk_key_encoding={"name": "default", "separator": "."},
        # Of another name than the array `picture`, which xarray would take for the axis itself.
        dimension_names=("row", "plane", "y", "x") if spec.planes else ("cutout", "y", "x"),
        attributes=spec.attributes | {"coordinates": coordinates},
    )


def _create_column(store: MemoryStore, spec: ArraySpec, values: NDArray[Any], axis: str) -> None:
    column = zarr.create_array(
        store,
        name=spec.name,
        shape=values.shape,
        dtype=values.dtype,
        # A column is always read whole.
        chunks=values.shape,
        compressors=[ZstdCodec(level=ZSTD_LEVEL), Crc32cCodec()],
        fill_value=spec.fill,
        chunk_key_encoding={"name": "default", "separator": "."},
        dimension_names=(axis,),
        attributes=spec.attributes,
        # A column that is all fill value gets its file too: `read_columns` takes a missing file for damage.
        config={"write_empty_chunks": True},
    )
    column[:] = values
