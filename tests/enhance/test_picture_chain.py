"""The chain over pictures: all steps, what is published, and networks of either pipeline in the other."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import yaml
from PIL import Image

from astro_dist.cli import main
from astro_dist.engine.errors import ConfigError
from astro_dist.engine.ledger import Ledger
from astro_dist.enhance.colourise import to_grey, to_unit
from astro_dist.enhance.colours import Colouriser
from astro_dist.enhance.filters import filter_bilateral
from astro_dist.enhance.picture_chain import CUT, PAINTED
from astro_dist.enhance.picture_spread import sample_number
from astro_dist.enhance.pipeline import ENHANCE
from astro_dist.flare.enhance import SwinIR
from astro_dist.flare.pipeline import FLARE
from astro_dist.models.super_levels import Sampler
from astro_dist.models.super_res import SuperRes
from astro_dist.models.swinir import build_swinir
from astro_dist.pictures.degradations import halve
from astro_dist.pictures.toy import draw_toy
from astro_dist.store.reader import StoreReader
from tests.end_to_end.conftest import stable_digests

PICTURES = {"per_class": 4, "size_pix": 48, "classes": ["galaxies", "nebulae"], "shard": 8}
SMALL = {"steps": 2, "batch_size": 2, "crop_pix": 32}
CHAIN = {
    "pipeline": "enhance",
    "pictures": PICTURES,
    "colourise": {**SMALL, "gan": False},
    "superres": {**SMALL, "preset": "local", "width": 8},
    "cleaning": {"shard": 8},
    "enhance": {
        "chain": ["cleaning", "colourise", "superres", "bilateral"],
        "samples": 3,
        "keep_samples": 2,
        "calls": 2,
        "shard": 4,
    },
}


def run(folder, tree, *options, code=0):
    (folder / "c.yaml").write_text(yaml.safe_dump(tree))
    words = ["run", folder / "c.yaml", "--out", folder / "run", "--on", "serial", "-q", *options]
    assert main(list(map(str, words))) == code
    return folder / "run"


def read(path, rows=slice(None)):
    return StoreReader(path).read("picture", np.arange(8)[rows])


@pytest.fixture(scope="module")
def chained(tmp_path_factory):
    return run(tmp_path_factory.mktemp("chained"), CHAIN)


@pytest.fixture(scope="module")
def expected(chained, tmp_path_factory):
    """The run, where what the network expects is published."""
    folder = tmp_path_factory.mktemp("expected")
    shutil.copytree(chained, folder / "run")
    tree = {**CHAIN, "enhance": {**CHAIN["enhance"], "estimate": "expected"}}
    return run(folder, tree, "--redo", "enhance")


@pytest.mark.parametrize("estimate", ["mean", "expected"])
def test_every_picture_goes_through_all_steps(chained, expected, estimate):
    """As the parts do it by hand."""
    chained = {"mean": chained, "expected": expected}[estimate]
    product, row = chained / "enhanced", 3
    colours = Colouriser.from_pretrained(chained, "cpu")
    network = SuperRes.from_pretrained(chained, sampler=Sampler(calls=2))
    coloured = colours.apply(to_grey(to_unit(read(chained / "cleaned/pictures.zarr", [row])))[0])
    samples = [network.draw(coloured, 3 * row + k) for k in range(3)]
    firsts = [replace(network, sampler=Sampler(calls=1)).draw(coloured, 3 * row + k) for k in range(3)]
    parts = {"mean": samples, "expected": firsts}[estimate]
    wanted = [
        np.rint(255 * np.clip(filter_bilateral(image.astype(np.float32), 5, 0.05, 1.5), 0, 1))
        for image in (np.mean(parts, 0, np.float64), *samples[:2])
    ]
    found = [read(product / f"{name}.zarr", [row])[0] for name in ("pictures", "sample-00", "sample-01")]
    assert [one.shape for one in found] == [(3, 96, 96)] * 3
    assert np.abs(np.stack(found) - np.stack(wanted)).max() <= 1
    assert (found[1] != found[2]).any()
    assert main(["verify", str(chained), "-q"]) == 0


def test_uncertainty_holds_what_it_says_and_flags_say_what_was_painted_over(chained):
    product = chained / "enhanced"
    spread = read(product / "uncertainty.zarr")
    assert (spread.dtype, spread.shape) == (np.float32, (8, 3, 96, 96))
    assert (spread > 0).all()
    flags, masks = read(product / "flags.zarr")[:, 0], read(chained / "cleaned/masks.zarr")[:, 0]
    np.testing.assert_array_equal(flags & PAINTED > 0, (masks > 0).repeat(2, 1).repeat(2, 2))
    assert not (flags & ~np.uint8(PAINTED | CUT)).any()
    # The factor covers 68 % of the halved and doubled validation pictures from which it follows.
    factor = json.loads((product / "calibration.json").read_text())["calibration"]["factors"][0][0]
    store = StoreReader(chained / "pictures.zarr")
    network = SuperRes.from_pretrained(chained, sampler=Sampler(calls=2))
    inside = []
    for picture_row in store.select("validation"):
        picture = store.read("picture", [int(picture_row)])[0]
        small = to_unit(halve(picture, "bicubic"))
        samples = np.stack([network.draw(small, 3 * int(picture_row) + k) for k in range(3)])
        width = factor * np.hypot(samples.std(0, ddof=1), 1 / 255)
        inside.append(np.abs(samples.mean(0) - to_unit(picture)) <= width)
    assert np.mean(inside) == pytest.approx(0.68, abs=0.002)


def test_what_is_expected_has_the_samples_of_the_mean_and_an_uncertainty_of_its_own(chained, expected):
    same = [read(root / "enhanced" / "sample-00.zarr") for root in (chained, expected)]
    np.testing.assert_array_equal(*same)
    factors = [
        json.loads((root / "enhanced/calibration.json").read_text())["calibration"]["factors"][0][0]
        for root in (chained, expected)
    ]
    assert factors[0] != factors[1]
    pictures = [read(root / "enhanced" / "pictures.zarr") for root in (chained, expected)]
    assert (pictures[0] != pictures[1]).any()


def test_shards_change_no_picture_and_one_sample_has_no_spread(chained, tmp_path):
    import shutil

    shutil.copytree(chained, tmp_path / "run")
    other = {**CHAIN, "enhance": {**CHAIN["enhance"], "shard": 8}}
    again = run(tmp_path, other, "--redo", "enhance")
    for name in ("pictures", "uncertainty", "flags", "sample-01"):
        stores = (root / "enhanced" / f"{name}.zarr" for root in (chained, again))
        np.testing.assert_array_equal(*(read(store) for store in stores))
    single = {**CHAIN, "enhance": {"chain": ["superres"], "samples": 1, "calls": 1}}
    names = {path.name for path in (run(tmp_path, single, "--redo", "enhance") / "enhanced").iterdir()}
    assert names == {"pictures.zarr", "flags.zarr"}
    assert "enhanced" in stable_digests(again)


@pytest.fixture(scope="module")
def swinir(tmp_path_factory):
    """The folder of an upscaler of the pipeline flare."""
    folder = tmp_path_factory.mktemp("swinir")
    build_swinir("tiny", 2, 3).save_pretrained(folder, safe_serialization=True)
    return folder


def test_a_swinir_takes_the_place_of_superres(swinir, tmp_path):
    tree = {
        "pipeline": "enhance",
        "pictures": PICTURES,
        "superres": {"start_from": str(swinir), "steps": 0},
        "enhance": {"samples": 1},
    }
    root = run(tmp_path, tree)
    picture = read(root / "pictures.zarr", [2])[0].transpose(1, 2, 0)
    wanted = SwinIR.from_pretrained(swinir).enhance(picture).transpose(2, 0, 1)
    assert np.abs(wanted.astype(int) - read(root / "enhanced/pictures.zarr", [2])[0]).max() <= 1
    assert "train upscaler" in (root / "models/superres/README.md").read_text()


def test_a_superres_takes_the_place_of_the_upscaler(tmp_path):
    """That of the package, in the pipeline flare."""
    tree = {
        "pipeline": "flare",
        "pictures": PICTURES,
        "upscaler": {"start_from": "enhance", "steps": 0},
        "upscale": {"samples": 2, "calls": 3},
    }
    root = run(tmp_path, tree, "--to", "upscale")
    network = SuperRes.from_pretrained(root / "models/upscaler", sampler=Sampler(calls=3))
    picture = read(root / "pictures.zarr", [5])[0].transpose(1, 2, 0)
    wanted = network.enhance(picture, samples=2).transpose(2, 0, 1)
    assert np.abs(wanted.astype(int) - read(root / "upscaled.zarr", [5])[0]).max() <= 1


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"superres": {"steps": 5}}, "comes from train upscaler, .* set superres.steps to 0"),
        (
            {"superres": {"steps": 0}, "pictures": {**PICTURES, "planes": 1}},
            "has the planes 3, .* say 1",
        ),
        ({"superres": {"steps": 0}, "maps": {}}, "enlarges pictures, whose brightness is no flux"),
        (
            {"superres": {"steps": 0}, "enhance": {"samples": 4}},
            "SwinIR of .* makes one picture",
        ),
    ],
)
def test_an_upscaler_that_does_not_fit_is_refused(swinir, tmp_path, capsys, sections, said):
    tree = {"pipeline": "enhance", "pictures": PICTURES, **sections}
    tree["superres"] = {**sections["superres"], "start_from": str(swinir)}
    run(tmp_path, tree, code=2)
    import re

    line = capsys.readouterr().err.strip()
    assert re.search(said, line)
    assert "\n" not in line


def first_step(sections):
    """The settings that `with` leaves to the training, of a run of either pipeline."""
    config = (FLARE if "upscale" in sections else ENHANCE).resolve({"pictures": PICTURES, **sections})
    training = config.upscaler if "upscale" in sections else config.superres
    return training.start_from, training.steps


def test_a_setting_names_the_network_and_the_package_has_both():
    assert first_step({"upscale": {"with": "superres"}}) == ("enhance", 0)
    assert first_step({"upscale": {"with": "swinir"}}) == (None, 2000)
    assert first_step({"enhance": {"with": "superres"}}) == ("enhance", 0)
    assert first_step({"enhance": {"with": "superres"}, "maps": {}}) == ("radio", 0)
    assert first_step({"enhance": {"with": "swinir"}}) == ("flare", 0)
    assert first_step({"enhance": {"with": "swinir"}, "superres": {"start_from": "x"}}) == ("x", 0)
    assert first_step({"enhance": {"with": "superres"}, "superres": {"steps": 5}}) == (None, 5)
    config = ENHANCE.resolve({"enhance": {"with": "swinir"}})
    assert (config.enhance.chain, config.enhance.samples) == (("superres",), 1)
    # The file of a run, and its reader, have the key; a fingerprint follows from the training alone.
    assert ENHANCE.resolve(config.model_dump(mode="json")) == config
    assert config.model_dump(mode="json")["enhance"]["with"] == "swinir"
    assert not {"with", "with_"} & config.enhance.marks().keys()


@pytest.mark.parametrize("pipeline", ["flare", "enhance"])
@pytest.mark.parametrize("network", ["swinir", "superres"])
def test_both_pipelines_take_both_networks_by_name(tmp_path, pipeline, network):
    """With the weights of the package."""
    own = {"with": network, "calls": 2}
    if pipeline == "flare":
        tree = {"upscale": own | {"samples": 2}, "upscaler": {"start_from": "flare", "steps": 0}}
        if network == "superres":
            del tree["upscaler"]
        product, stage = "upscaled.zarr", "upscale"
    else:
        tree = {"enhance": own | ({"samples": 2} if network == "superres" else {})}
        product, stage = "enhanced/pictures.zarr", "enhance"
    root = run(tmp_path, {"pipeline": pipeline, "pictures": PICTURES, **tree}, "--to", stage)
    picture = read(root / "pictures.zarr", [2])[0].transpose(1, 2, 0)
    if network == "swinir":
        wanted = SwinIR.from_pretrained("flare").enhance(picture)
    elif pipeline == "flare":
        wanted = SuperRes.from_pretrained("enhance").enhance(picture, samples=2, steps=2)
    else:
        drawn = SuperRes.from_pretrained("enhance", sampler=Sampler(calls=2))
        small = to_unit(picture.transpose(2, 0, 1))
        mean = np.mean([drawn.draw(small, sample_number(2, k, 2)) for k in range(2)], 0)
        wanted = np.rint(255 * mean.clip(0, 1)).transpose(1, 2, 0)
    found = read(root / product, [2])[0].transpose(1, 2, 0)
    assert np.abs(wanted.astype(int) - found).max() <= 1


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"upscale": {"with": "superres"}, "upscaler": {"steps": 9}}, "set upscaler.steps to 0"),
        ({"upscale": {"with": "resnet"}}, "upscale.with: 'resnet' is none of its words"),
        ({"upscale": {"with_": "swinir"}}, "unknown key 'upscale.with_'"),
        ({"enhance": {"with": "swinir"}, "superres": {"steps": 9}}, "set superres.steps to 0"),
        ({"enhance": {"with": "swinir", "samples": 4}}, "enhance.samples: swinir makes one picture"),
        ({"enhance": {"with": "swinir"}, "maps": {}}, "enhance.with: swinir enlarges pictures, whose"),
        ({"enhance": {"with": "superres", "chain": ["bicubic"]}}, "add superres to enhance.chain"),
    ],
)
def test_settings_that_contradict_the_named_network_are_refused(sections, said):
    with pytest.raises(ConfigError, match=said):
        first_step(sections)


@pytest.mark.parametrize(
    ("pipeline", "sections", "said"),
    [
        ("flare", {"upscale": {"with": "swinir"}, "upscaler": {"start_from": "enhance"}}, "upscale.with"),
        ("enhance", {"enhance": {"with": "superres"}, "superres": {"start_from": "flare"}}, "enhance.with"),
    ],
)
def test_weights_of_another_network_than_the_named_one_are_refused(
    tmp_path, capsys, pipeline, sections, said
):
    training = "upscaler" if pipeline == "flare" else "superres"
    tree = {"pipeline": pipeline, "pictures": PICTURES, **sections}
    tree[training] = {**tree[training], "steps": 0}
    run(tmp_path, tree, code=2)
    line = capsys.readouterr().err
    assert f"{said}: it says" in line
    assert line.count("\n") == 1
    assert not (tmp_path / "run" / "models").exists()


def test_cleaning_comes_first():
    with pytest.raises(ConfigError, match=r"cleaning looks for objects .* put it first"):
        ENHANCE.resolve({"cleaning": {}, "superres": {}, "enhance": {"chain": ["superres", "cleaning"]}})


def test_what_could_not_be_read_is_neither_counted_nor_exported(tmp_path, capsys):
    """Notes say that no validation picture scales the uncertainty and that own colours are left out."""
    (tmp_path / "in").mkdir()
    for i in range(3):
        picture = Image.fromarray(draw_toy("galaxies", 1, i, 48).transpose(1, 2, 0))
        picture.save(tmp_path / "in" / f"{i}.png")
    (tmp_path / "in" / "text.png").write_text("no picture")
    fractions = {"validation_fraction": 0.0, "test_fraction": 0.0}
    tree = {
        "pipeline": "enhance",
        "pictures": {"path": str(tmp_path / "in"), "size_pix": 48, **fractions},
        "colourise": {**SMALL, "gan": False},
        "superres": {**SMALL, "preset": "local", "width": 8},
        "cleaning": {},
        "enhance": {"chain": ["cleaning", "colourise", "superres"], "samples": 2, "calls": 1},
    }
    done = run(tmp_path, tree, code=4)
    facts = Ledger(done).published("enhance").facts
    assert facts["pictures"] == 3
    assert [note.split(",")[0] for note in facts["notes"]] == [
        "pictures are coloured from their brightness alone: colours that they have are left out",
        "no picture is in the validation split",
    ]
    assert "of 3 pictures" in str(Ledger(done).published("cleaning").facts["notes"])
    capsys.readouterr()
    assert main(["export", str(done), "enhanced", "--png", "--out", str(tmp_path / "out")]) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["0.png", "1.png", "2.png"]
