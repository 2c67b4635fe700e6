"""Run directories that version 0.1.0 (commit e9fb518) left behind: one finished, two half done.

``data/runs-0.1.0.tar.xz`` holds ``finished``, up to a trained segmenter; ``half``, the same stopped in the
middle of the training, with one checkpoint; ``begun``, with one task of two of `annotate` recorded in the old
form.
"""

import json
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

from astro_dist import pipelines
from astro_dist.engine.config import load_yaml
from astro_dist.engine.files import tree_digests
from astro_dist.engine.integrity import verify_run
from astro_dist.engine.journal import read_journal
from astro_dist.engine.progress import Display
from astro_dist.models.device import numerics
from astro_dist.radio.pipeline import RADIO
from astro_dist.runner import Runner
from astro_dist.sky.annotations import ISLANDS, read_parquet
from astro_dist.sky.tables import read_table_file
from astro_dist.store.reader import StoreReader
from tests.sky.small_maps import apart

ARCHIVE = Path(__file__).parent / "data" / "runs-0.1.0.tar.xz"


@pytest.fixture
def old(tmp_path):
    assert ARCHIVE.stat().st_size < 1e6
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path


def reopen(root, to):
    """The runner of an old run directory, for a stage and the stages it needs."""
    config = RADIO.resolve(load_yaml(root / "config.yaml"))
    return Runner(root, config, RADIO.choose(config, to))


def started(root):
    return [(e["stage"], e["task"]) for e in read_journal(root) if e["event"] == "start"]


def test_a_finished_run_is_done_and_sound(old):
    runner = pipelines.reopen(old / "finished")
    states = {state.stage.name: state.status for state in runner.states()}
    done = ("simulate", "annotate", "cutouts", "segmenter")
    assert {name: states[name] for name in done} == dict.fromkeys(done, "done")
    assert states["autoencoder"] == "todo"
    assert verify_run(old / "finished", {stage.name: stage.check for stage in runner.known}) == {}
    cutouts = StoreReader(old / "finished" / "cutouts.zarr")
    assert (cutouts.attrs["schema_version"], set(cutouts.columns["source_map"].tolist())) == (1, {0})
    before = tree_digests(old / "finished")
    reopen(old / "finished", "cutouts").execute(Display(live=False))
    after = tree_digests(old / "finished")
    assert {name: after[name] for name in before if name != "config.yaml"} == {
        name: digest for name, digest in before.items() if name != "config.yaml"
    }
    assert started(old / "finished") == []


def test_trackers_of_the_machine_become_those_of_the_trainings(old):
    path = old / "finished" / "config.yaml"
    assert "trackers: []" in path.read_text()
    path.write_text(path.read_text().replace("trackers: []", "trackers: [wandb]"))
    runner = pipelines.reopen(old / "finished")
    assert runner.config.diffusion.trackers == runner.config.segmenter.trackers == ("wandb",)
    assert "trackers" not in type(runner.config.machine).model_fields
    assert {s.status for s in runner.states() if s.stage.name == "segmenter"} == {"done"}


def test_a_training_goes_on_from_its_old_checkpoint_to_the_bytes_of_that_version(old):
    root, records = old / "half", json.loads((old / "finished" / "ledger" / "segmenter.json").read_text())
    (checkpoint,) = (root / "checkpoints").glob("segmenter-*/step-00000020")
    runner = reopen(root, "segmenter")
    state = runner.states()[-1]
    assert (state.status, state.fingerprint) == ("todo", records["fingerprint"])
    same_machine = runner.rounds(state).records
    then = json.loads((same_machine.folder / ".numerics.json").read_text())
    now = numerics(runner.rounds(state).run)
    if then != now:
        # Another kind of machine goes on too once the record of the old one is removed, with other last bits.
        (same_machine.folder / ".numerics.json").unlink()
    runner.execute(Display(live=False))
    assert started(root) == [("segmenter", "train")]
    curve = (root / "logs" / "segmenter.curve.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in curve] == [30, 40]
    assert not checkpoint.exists()
    published = runner.ledger.published("segmenter")
    assert published.files.keys() == records["files"].keys()
    if then == now:
        assert (published.files, published.facts) == (records["files"], records["facts"])
    else:
        assert published.facts["loss"] == pytest.approx(records["facts"]["loss"], rel=1e-2)


def test_a_stage_with_records_of_the_old_form_is_completed(old):
    root, records = old / "begun", json.loads((old / "finished" / "ledger" / "annotate.json").read_text())
    reopen(root, "annotate").execute(Display(live=False))
    runner = reopen(root, "annotate")
    assert [state.status for state in runner.states()] == ["done", "done"]
    published = runner.ledger.published("annotate")
    assert published.fingerprint == records["fingerprint"]
    # Widths and angles of the catalogue were in the image then and are on the sky now; all else is the same.
    changed = {name for name, digest in records["files"].items() if published.files[name] != digest}
    assert changed == {"islands.parquet", "measured.fits", "mesh.parquet", "pixels.parquet"}
    # Pages of parquet files have had no checksums then.
    for name in ("mesh.parquet", "pixels.parquet"):
        tables = [read_table_file(path / "annotations" / name) for path in (root, old / "finished")]
        assert tables[0].equals(tables[1])
    now, before = (read_parquet(path / "annotations" / ISLANDS) for path in (root, old / "finished"))
    same = before[0].keys() - {"major_arcsec", "minor_arcsec", "pa_deg"}
    assert now[0].keys() - before[0].keys() == {"image_pa_deg"}
    assert all(np.array_equal(now[0][name], before[0][name]) for name in same)
    assert now[1] == before[1]
    assert apart(now[0]["image_pa_deg"], before[0]["pa_deg"]).max() < 1e-6
    assert not list(root.rglob("*.part"))
    # A record without the digests of the task's files is ignored: the task was done again.
    assert started(root).count(("annotate", "mesh-0000")) == 1
    assert verify_run(root) == {}


def test_the_archive_is_of_the_version_it_says(old):
    manifest = json.loads((old / "finished" / "manifest.json").read_text())
    assert (manifest["astro_dist"], manifest["commit"][:7]) == ("0.1.0", "e9fb518")
    assert sys.version_info >= (3, 11)
