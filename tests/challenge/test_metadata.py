"""RO-Crate and Croissant as programs of their own read them, in an environment of their own."""

import json
import math
import os
import subprocess

import pyarrow.parquet as pq
import pytest

from tests.challenge import small

INSTALL = (
    "METADATA_PYTHON names no python with rocrate and mlcroissant: python3 -m venv V && "
    "V/bin/pip install rocrate 'mlcroissant[parquet]' && export METADATA_PYTHON=V/bin/python"
)
READ = """
import json, sys
import mlcroissant
from rocrate.rocrate import ROCrate
folder = sys.argv[1]
crate, data = ROCrate(folder), mlcroissant.Dataset(folder + "/croissant.json")
issues = data.metadata.ctx.issues
rows = [
    {name: value.decode() if isinstance(value, bytes) else value for name, value in row.items()}
    for row in data.records("truth")
]
print(json.dumps({
    "name": crate.name, "date": crate.root_dataset["datePublished"], "license": crate.license.id,
    "files": {one.id: int(one["contentSize"]) for one in crate.get_entities() if one.type == "File"},
    "parts": [one.id for one in crate.root_dataset["hasPart"]],
    "objects": [one.id for one in data.metadata.distribution],
    "issues": [*issues.errors, *issues.warnings], "rows": rows,
}, default=lambda number: number.item()))
"""


@pytest.mark.soak
def test_readers_of_their_own_find_every_file_and_every_open_row(run, tmp_path, monkeypatch):
    python = os.environ.get("METADATA_PYTHON")
    if python is None:
        pytest.skip(INSTALL)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1790000000")
    public = small.package(run, tmp_path / "package", tile_pix=128) / "public"
    done = subprocess.run([python, "-c", READ, public], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["issues"] == []
    assert (said["name"], said["date"], said["license"]) == ("small-challenge", "2026-09-21", "LICENSE.md")
    assert said["files"] == {name: (public / name).stat().st_size for name in said["files"]}
    assert set(said["parts"]) == {*said["files"], "viewer/"}
    assert set(said["objects"]) == {*said["files"]} - {"croissant.json"}
    truth = pq.read_table(public / "training/truth.parquet").to_pylist()
    assert len(said["rows"]) == len(truth) > 0
    for read, true in zip(said["rows"], truth, strict=True):
        for name, value in true.items():
            # A gap is NaN in the table, and nothing to a reader of Croissant.
            gap = isinstance(value, float) and math.isnan(value)
            assert read[f"truth/{name}"] == (None if gap else pytest.approx(value)), name
