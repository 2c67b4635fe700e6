"""One bit flipped in every kind of product, before and after it is published, and inside a shard."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from astro_dist import cli, pipelines
from astro_dist.engine.files import sha256_file
from astro_dist.engine.journal import read_journal
from astro_dist.engine.progress import Display
from astro_dist.engine.record import read_record, write_record
from astro_dist.runner import Runner
from tests.end_to_end.conftest import EVALUATED, run, shrunk, stable_digests

BEFORE = {
    ("simulate", "simulated-00.fits"): 1,
    ("simulate", "simulated-00.mask.fits"): 1,
    ("simulate", "simulated-00.instances.fits"): 1,
    ("annotate", "parts/mesh-0000.parquet"): 2,
    ("annotate", "parts/pixels-0000.parquet"): 1,
    ("cutouts", "image/c.0.0.0"): 1,
    ("cutouts", "valid/c.1.0.0"): 1,
    ("autoencoder", "diffusion_pytorch_model.safetensors"): 1,
    ("diffusion", "unet/diffusion_pytorch_model.safetensors"): 1,
    ("generate", "instances/c.0.0.0"): 1,
    ("generate", "objects/00000.parquet"): 1,
    ("assemble", "layout.parquet"): None,
    ("assemble", "shapes.npy"): None,
    ("assemble", "map.fits"): 1,
    ("assemble", "instances.fits"): 1,
    ("byol", "diffusion_pytorch_model.safetensors"): 1,
    ("segmenter", "diffusion_pytorch_model.safetensors"): 1,
    ("evaluate", "drawn/own-000000.npy"): None,
    ("evaluate", "judged/real.npz"): 2,
    ("evaluate", "metrics.json"): 1,
    ("report", "."): 1,
}
"""Stage and file, and how many tasks are done again; None for all from that round on."""


def flip(path, place=None):
    """Flip one bit of a file, in its middle unless another place is given."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2 if place is None else place] ^= 4
    path.write_bytes(data)


@pytest.fixture(scope="module")
def work(whole, tmp_path_factory):
    """A copy of it for tests that leave it as it was."""
    out = tmp_path_factory.mktemp("work") / "run"
    shutil.copytree(whole, out)
    return out


def started(root, stage):
    return [e["task"] for e in read_journal(root) if e["event"] == "start" and e["stage"] == stage]


@pytest.mark.parametrize(("stage", "file"), BEFORE, ids=lambda value: str(value).replace("/", "-"))
def test_before_the_publication_what_is_damaged_is_done_again(whole, work, stage, file, capsys):
    reopened = pipelines.reopen(work)
    flipped = []

    def seal(run, results):
        sealed = reopened_stage.seal(run, results)
        if not flipped:
            flipped.append(file)
            flip(run.output / file)
        return sealed

    reopened_stage = next(s for s in reopened.known if s.name == stage)
    stages = [replace(s, seal=seal) if s.name == stage else s for s in reopened.known]
    config = reopened.config.model_copy(
        update={"machine": reopened.config.machine.model_copy(update={"executor": "serial"})}
    )
    before = len(started(work, stage))
    Runner(work, config, stages, stage).execute(Display(live=False), [stage])
    events = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    (note,) = [event["text"] for event in events if event["event"] == "note"]
    assert "differ from what was written" in note
    assert flipped
    assert stable_digests(work) == stable_digests(whole)
    names = started(work, stage)[before:]
    again = BEFORE[stage, file]
    repeated = len(names) - len(set(names))
    assert f"{repeated} tasks run again" in note
    assert repeated == again if again is not None else repeated > 1
    if (stage, file) == ("assemble", "layout.parquet"):
        assert {name for name in names if names.count(name) > 1} == set(names)


@pytest.mark.parametrize("place", [80, -1])
def test_a_head_and_an_end_that_no_task_wrote_are_written_again(whole, work, place, capsys):
    """Between the sums in a header and the reading, as well as in the zeros that fill the last block."""
    reopened = pipelines.reopen(work)
    assemble = next(s for s in reopened.known if s.name == "assemble")
    flipped = []

    def seal(run, results):
        sealed = assemble.seal(run, results)
        if not flipped:
            flipped.append(place)
            flip(run.output / "mask.fits", place)
        return sealed

    stages = [replace(s, seal=seal) if s.name == "assemble" else s for s in reopened.known]
    config = reopened.config.model_copy(
        update={"machine": reopened.config.machine.model_copy(update={"executor": "serial"})}
    )
    before = len(started(work, "assemble"))
    Runner(work, config, stages, "assemble").execute(Display(live=False), ["assemble"])
    names = started(work, "assemble")[before:]
    assert len(names) == len(set(names))
    assert "of mask.fits differ from what was written" in capsys.readouterr().err
    assert stable_digests(work) == stable_digests(whole)


def test_after_the_publication_every_damage_is_found_and_mended_to_the_same_bytes(whole, tmp_path, capsys):
    out = tmp_path / "run"
    shutil.copytree(whole, out)
    before = stable_digests(out)
    products = json.loads((out / "manifest.json").read_text())["products"]
    damaged = set()
    for name, product in products.items():
        files = sorted(product["sha256"], key=lambda file, name=name: (out / name / file).stat().st_size)
        flip(out / name / files[-1])
        damaged.add(str(Path(name) / files[-1]))
    assert cli.main(["verify", str(out)]) == 3
    faults = capsys.readouterr().out.splitlines()
    assert {line.partition(": ")[0] for line in faults} == damaged
    assert len(damaged) == len(products) == 12 - 1
    assert cli.main(["repair", str(out)]) == 0
    done = run(out, "--on", "serial", extra=EVALUATED)
    assert done.returncode == 0, done.stderr
    assert stable_digests(out) == before
    assert cli.main(["verify", str(out)]) == 0


@pytest.mark.parametrize("product", ["cutouts.zarr", "stamps.zarr"])
def test_a_shard_that_was_published_damaged_is_found_and_mended(whole, tmp_path, product, capsys):
    """As version 0.1.0 could publish one: its record has the sha256 of the damaged bytes."""
    out = tmp_path / "run"
    shutil.copytree(whole, out)
    before = stable_digests(out)
    stage = json.loads((out / "manifest.json").read_text())["products"][product]["stage"]
    shard = out / product / "image" / "c.0.0.0"
    flip(shard, 100)
    path = out / "ledger" / f"{stage}.json"
    record = read_record(path)
    record["files"]["image/c.0.0.0"] = sha256_file(shard)
    write_record(path, record)
    assert cli.main(["verify", str(out / product)]) == cli.main(["verify", str(out)]) == 3
    assert capsys.readouterr().out.count("images are damaged") == 2
    assert cli.main(["repair", str(out)]) == 0
    assert f"{stage}: {product} is now {product}.damaged-1" in capsys.readouterr().out
    assert cli.main([stage, str(Path(out / "config.yaml")), "--out", str(out), "--on", "serial"]) == 0
    assert stable_digests(out)[product] == before[product]


def test_the_settings_of_the_evaluated_run_are_those_of_the_toy_run():
    assert len(shrunk(EVALUATED)) == 2 * len({**EVALUATED}) + len(shrunk())
