import json
import warnings

import numpy as np
import pytest
import xarray
import zarr

from astro_dist.engine.errors import IntegrityError
from astro_dist.engine.files import tree_digests
from astro_dist.store import schema
from astro_dist.store.reader import StoreReader
from astro_dist.store.schema import (
    COLUMNS,
    COORDINATES,
    STACKS,
    Flag,
    publish_store,
    read_attrs,
    read_columns,
)
from astro_dist.store.shards import write_shard
from astro_dist.store.verify import verify_store


def make_columns(kind, n):
    return {spec.name: np.arange(n).astype(spec.dtype) for spec in COLUMNS[kind]}


def make_attrs(n):
    maps = [{"name": f"m{i}", "pixel_arcsec": [2.0, 2.0]} for i in range(n)]
    return {"survey": "small", "stretch": "asinh", "maps": maps, "accept": {}}


def make_store(path, kind="cutouts", n=5, size=8, per_shard=2):
    for spec in STACKS[kind]:
        images = np.arange(n * size * size).reshape(n, size, size).astype(spec.dtype)
        for i in range(0, n, per_shard):
            write_shard(path, spec, i // per_shard, images[i : i + per_shard], per_shard)
    publish_store(path, kind, size, per_shard, make_columns(kind, n), make_attrs(n))
    return path


@pytest.mark.parametrize("kind", ["cutouts", "stamps"])
def test_xarray_opens_it_without_a_warning(tmp_path, kind):
    path = make_store(tmp_path / "a.zarr", kind)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        opened = xarray.open_zarr(path)
        assert opened.image.dims == ("cutout", "y", "x")
        assert opened.image.attrs["units"] == "Jy/beam"
        assert opened.attrs["kind"] == kind
        for spec in COLUMNS[kind]:
            assert opened[spec.name].dims == ("cutout",)
            np.testing.assert_array_equal(opened[spec.name], make_columns(kind, 5)[spec.name])
        assert float(opened.image.sum()) == sum(range(5 * 64))
        assert set(opened.image.coords) == set(opened.coords) == set(COORDINATES[kind].split())
        # A variable of such a name could not be reached as an attribute, like `opened.image`.
        assert not [name for name in opened.variables if hasattr(xarray.Dataset, name)]


def test_values_and_bits_have_names_as_in_cf(tmp_path):
    path = make_store(tmp_path / "a.zarr")
    with xarray.open_zarr(path) as opened:
        mask, split, flags = opened.mask.attrs, opened.split.attrs, opened.flags.attrs
    assert (mask["flag_values"], mask["flag_meanings"]) == (
        [0, 1, 2, 3],
        "background spurious compact extended",
    )
    assert (split["flag_values"], split["flag_meanings"]) == ([0, 1, 2, 3], "train validation test guard")
    assert (flags["flag_masks"], flags["flag_meanings"]) == (
        [1, 2, 4],
        "cuts_extended little_data cut_extended",
    )
    named = zip(flags["flag_masks"], flags["flag_meanings"].split(), strict=True)
    assert dict(named) == {int(flag): flag.name.lower() for flag in Flag}


def test_a_store_of_version_1_is_read_under_the_present_names(tmp_path):
    path = make_store(tmp_path / "a.zarr")
    make_old(path)
    assert (path / "map" / "c.0").exists()
    assert not (path / "source_map").exists()
    reader = StoreReader(path)
    assert reader.attrs["schema_version"] == 1
    assert reader.columns["source_map"].tolist() == [0, 1, 2, 3, 4]
    assert "map" not in reader.columns
    assert verify_store(path) == []
    (path / "map" / "c.0").unlink()
    with pytest.raises(IntegrityError, match="the column map is missing"):
        StoreReader(path)


def make_old(path):
    """Turn a store into what version 0.1.0 wrote: schema version 1, and the source map under another name."""
    about = json.loads((path / "zarr.json").read_text())
    about["attributes"]["schema_version"] = 1
    known = about["consolidated_metadata"]["metadata"]
    known["map"] = known.pop("source_map")
    (path / "source_map").rename(path / "map")
    for name, one in known.items():
        one["attributes"] = {
            key: one["attributes"][key] for key in ("long_name", "units") if key in one["attributes"]
        }
        (path / name / "zarr.json").write_text(json.dumps(one))
    (path / "zarr.json").write_text(json.dumps(about))


def test_fill_values_are_explicit_and_columns_have_one_chunk(tmp_path):
    group = zarr.open_group(make_store(tmp_path / "a.zarr"), mode="r")
    assert np.isnan(group["image"].fill_value)
    assert (group["mask"].fill_value, group["valid"].fill_value, group["source_map"].fill_value) == (
        0,
        False,
        -1,
    )
    assert all(group[spec.name].chunks == (5,) for spec in COLUMNS["cutouts"])
    assert not any(group[name].dtype.kind in "OUST" for name in group.array_keys())


def test_the_bytes_are_the_same_when_made_again_and_in_place(tmp_path):
    first, second = make_store(tmp_path / "a.zarr"), make_store(tmp_path / "b.zarr")
    digests = tree_digests(first)
    assert digests == tree_digests(second)
    make_store(first)
    assert digests == tree_digests(first)


def test_columns_equal_to_their_fill_are_written(tmp_path):
    path = tmp_path / "a.zarr"
    columns = {spec.name: np.full(3, spec.fill) for spec in COLUMNS["stamps"]}
    publish_store(path, "stamps", 8, 4, columns, make_attrs(1))
    assert all((path / name / "c.0").is_file() for name in columns)


def test_columns_must_be_the_known_ones_and_equally_long(tmp_path):
    columns = make_columns("stamps", 3)
    with pytest.raises(ValueError, match="stamps store"):
        publish_store(tmp_path, "stamps", 8, 4, {**columns, "colour": np.zeros(3)}, {})
    with pytest.raises(ValueError, match="stamps store"):
        publish_store(tmp_path, "stamps", 8, 4, {**columns, "donor": np.zeros(4)}, {})


def test_other_classes_or_versions_are_refused(tmp_path, monkeypatch):
    path = make_store(tmp_path / "a.zarr")
    monkeypatch.setattr(schema, "SCHEMA_VERSION", 99)
    for version in (0, True, [1], None, 99):
        attrs = {"kind": "cutouts", "schema_version": version}
        monkeypatch.setattr(schema, "_read_attributes", lambda _, attrs=attrs: attrs)
        with pytest.raises(IntegrityError, match=r"schema version 99 \(kind cutouts, version "):
            read_attrs(path)
    monkeypatch.undo()
    monkeypatch.setattr(schema, "CLASS_NAMES", ("background", "cloud"))
    with pytest.raises(IntegrityError, match="cloud"):
        read_attrs(path)


def test_what_is_no_store_is_named(tmp_path):
    with pytest.raises(IntegrityError, match="not a readable Zarr store"):
        read_attrs(tmp_path / "nothing")
    (tmp_path / "zarr.json").write_text("{")
    with pytest.raises(IntegrityError, match="not a readable Zarr store"):
        read_attrs(tmp_path)


def test_a_damaged_or_missing_column_is_named(tmp_path):
    path = make_store(tmp_path / "a.zarr")
    attrs = read_attrs(path)
    file = path / "rms_jy_beam" / "c.0"
    data = bytearray(file.read_bytes())
    data[3] ^= 4
    file.write_bytes(data)
    with pytest.raises(IntegrityError, match="rms_jy_beam is damaged"):
        read_columns(path, attrs)
    file.unlink()
    with pytest.raises(IntegrityError, match="rms_jy_beam is missing"):
        read_columns(path, attrs)
