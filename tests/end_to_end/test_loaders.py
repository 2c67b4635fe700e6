"""Hugging Face's `datasets` and webdataset read what is exported, in an environment of their own."""

import hashlib
import json
import os
import subprocess

import numpy as np
import pytest

import astro_dist
from tests.flare.test_export import make_run

INSTALL = (
    "LOADERS_PYTHON names no python with datasets and webdataset: python3 -m venv V && "
    "V/bin/pip install datasets webdataset pillow && export LOADERS_PYTHON=V/bin/python"
)
READ = """
import hashlib, json, sys
import numpy as np
import datasets, webdataset
datasets.disable_progress_bars()
folder, digest = sys.argv[1], lambda array: hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
tables = datasets.load_dataset(folder + "/hf").with_format("numpy")
parts = [row for split in sorted(tables) for row in tables[split]]
tars = list(webdataset.WebDataset(folder + "/tars/stamps-000000.tar", shardshuffle=False).decode())
pictures = datasets.load_dataset("imagefolder", data_dir=folder + "/pictures/pictures/learn")
print(json.dumps({
    "splits": {split: len(table) for split, table in tables.items()},
    "cutouts": {int(row["index"]): digest(row["image"].astype("f4")) for row in parts},
    "rms": {int(row["index"]): float(row["rms_jy_beam"]) for row in parts},
    "stamps": {one["json"]["index"]: digest(one["image.npy"].astype("f4")) for one in tars},
    "pictures": {split: table["label"] for split, table in pictures.items()},
    "columns": sorted(pictures["train"].features),
}, default=list))
"""


@pytest.mark.soak
def test_the_libraries_read_every_sample(toy_run, tmp_path, command):
    python = os.environ.get("LOADERS_PYTHON")
    if python is None:
        pytest.skip(INSTALL)
    make_run(tmp_path / "flare")
    for words in (
        ("export", toy_run[0], "cutouts", "--hf", "--out", tmp_path / "hf"),
        ("export", toy_run[0], "stamps", "--webdataset", "--out", tmp_path / "tars"),
        ("flare", "export", tmp_path / "flare", tmp_path / "pictures"),
    ):
        assert command(*words).returncode == 0
    environment = os.environ | {"HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"}
    line = [python, "-c", READ, tmp_path]
    done = subprocess.run(line, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    said = json.loads(done.stdout.splitlines()[-1])
    run = astro_dist.open_run(toy_run[0])
    for name, images in (("cutouts", run.cutouts["image"]), ("stamps", run.stamps["image"])):
        pixels = images.values.astype(np.float32)
        wanted = {
            str(i): hashlib.sha256(np.ascontiguousarray(one)).hexdigest() for i, one in enumerate(pixels)
        }
        assert said[name] == wanted
    assert said["rms"] == {str(i): float(rms) for i, rms in enumerate(run.cutouts["rms_jy_beam"].values)}
    assert sum(said["splits"].values()) == len(said["cutouts"])
    # Two pictures of each class learn, and no split is inferred from a name.
    assert list(said["pictures"]) == ["train"]
    assert sorted(said["pictures"]["train"]) == ["a/b"] * 2 + ["test stars"] * 2
    assert {"image", "label"} <= set(said["columns"])
