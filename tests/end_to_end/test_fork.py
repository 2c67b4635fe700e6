"""A fork of a run: another field from the same drawings, and the first run stays as it is."""

import os
import subprocess
import sys

import numpy as np
import pytest

from astro_dist import pipelines
from astro_dist.challenge.packing import field_seed
from astro_dist.cli import main
from astro_dist.engine.files import tree_digests
from astro_dist.engine.ledger import Ledger
from astro_dist.field.columns import read_columns_file

DRAWN = ("cutouts.zarr", "stamps.zarr", "models/diffusion")


def fork(*words):
    return main(["fork", *map(str, words), "--quiet"])


def go_on(root):
    line = [sys.executable, "-m", "astro_dist", "run", root / "config.yaml", "--out", root, "--on", "serial"]
    done = subprocess.run([*map(str, line), "--to", "assemble"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return root / "field"


@pytest.fixture(scope="module")
def forks(toy_run, tmp_path_factory):
    """The field of the run, the same one by a fork, and one of another seed."""
    folder = tmp_path_factory.mktemp("forks")
    assert fork(toy_run[0], folder / "same", "--set", "assemble.band_rows=100") == 0
    assert fork(toy_run[0], folder / "other", "--set", "assemble.seed=2") == 0
    return [toy_run[0] / "field", go_on(folder / "same"), go_on(folder / "other")]


def test_a_field_of_another_seed_shares_the_drawings_and_nothing_else(forks):
    first, same, other = forks
    pixels = [(field / "map.fits").read_bytes()[-(1 << 20) :] for field in forks]
    assert pixels[0] == pixels[1] != pixels[2]
    truths = [read_columns_file(field / "truth.parquet") for field in forks]
    np.testing.assert_array_equal(truths[0]["ra_deg"], truths[1]["ra_deg"])
    assert not set(truths[0]["ra_deg"]) & set(truths[2]["ra_deg"])
    assert not set(truths[0]["flux_jy"]) & set(truths[2]["flux_jy"])
    assert set(truths[2]["object"]) & set(truths[0]["object"])
    assert pipelines.reopen(other.parent).run.seed == pipelines.reopen(first.parent).run.seed
    assert field_seed(pipelines.reopen(other.parent).run) == 2
    assert field_seed(pipelines.reopen(same.parent).run) == pipelines.reopen(first.parent).run.seed


def test_the_products_are_the_same_files_with_their_records(forks, toy_run):
    root, source = forks[2].parent, toy_run[0]
    for name in DRAWN:
        assert tree_digests(root / name) == tree_digests(source / name)
    largest = max(
        (p for p in (root / "stamps.zarr").rglob("*") if p.is_file()), key=lambda p: p.stat().st_size
    )
    assert os.path.samefile(largest, source / largest.relative_to(root))
    assert Ledger(root).published("generate") == Ledger(source).published("generate")
    assert main(["verify", str(root), "--quiet"]) == 0
    assert main(["verify", str(source), "--quiet"]) == 0


def test_settings_that_reach_back_leave_less_to_begin_with(toy_run, tmp_path, capsys):
    assert fork(toy_run[0], tmp_path / "steps", "--set", "generate.steps=3") == 0
    said = capsys.readouterr().out
    assert "has simulate, annotate, cutouts, autoencoder, diffusion of" in said
    assert "still to run: generate, assemble" in said
    assert not (tmp_path / "steps" / "stamps.zarr").exists()


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (("--set", "seed=99"), "holds no product with these settings"),
        (("--set", "assemble.sed=2"), "unknown key 'assemble.sed': did you mean 'seed'"),
        (("--set", "assemble.objects=400"), "raise generate.objects or assemble.reuse"),
        (("--set", "pipeline=flare"), "and so is its fork"),
    ],
)
def test_what_cannot_be_forked_leaves_nothing(toy_run, tmp_path, capsys, words, fault):
    assert fork(toy_run[0], tmp_path / "new", *words) == 2
    assert fault in capsys.readouterr().err
    assert os.listdir(tmp_path) == []


def test_the_run_directory_of_another_pipeline_is_refused(toy_run, capsys):
    for command in ("plan", "run"):
        before = (toy_run[0] / "config.yaml").read_bytes()
        assert main([command, "flare/quickstart", "--out", str(toy_run[0]), "--quiet"]) == 2
        assert "is the run directory of a run of the pipeline radio" in capsys.readouterr().err
        assert (toy_run[0] / "config.yaml").read_bytes() == before


def test_a_fork_takes_no_place_of_others(toy_run, tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    assert fork(toy_run[0], tmp_path / "mine") == 2
    assert "exists already" in capsys.readouterr().err
    assert fork(toy_run[0], toy_run[0] / "inside") == 2
    assert "no other run may lie in it" in capsys.readouterr().err
    assert fork(tmp_path / "mine", tmp_path / "new") == 2
    assert "not a run directory" in capsys.readouterr().err
