"""Which painted pictures are kept."""

import shutil

import numpy as np
import pytest
import torch

from astro_dist.engine.pixels import to_network
from astro_dist.engine.work import for_stage
from astro_dist.flare.jury import COPY, UNRECOGNISED, Jury
from astro_dist.flare.synthesise_config import SampleAcceptConfig
from astro_dist.flare.synthesise_stage import SYNTHESISE
from astro_dist.models.classifier_files import save_classifier
from astro_dist.models.classifiers import build_classifier
from astro_dist.runner import Runner
from astro_dist.store.reader import StoreReader
from tests.flare.painters import SIDE, config_of


@pytest.fixture(scope="module")
def run(done, tmp_path_factory):
    """The pictures of `done` with an untrained judge, which counts the classes the other way round."""
    root = tmp_path_factory.mktemp("judged")
    shutil.copytree(done / "pictures.zarr", root / "pictures.zarr")
    torch.manual_seed(3)
    network = build_classifier("tiny", 2, SIDE)
    save_classifier(
        network, root / "models" / "judge", {"classes": ["black holes", "stars"], "level": "fine"}
    )
    return for_stage(Runner(root, config_of(), [SYNTHESISE]).run, SYNTHESISE, "f" * 64)


def jury_of(run, **accept):
    return Jury(run, SampleAcceptConfig(**accept), StoreReader(run.product("pictures.zarr")), "cpu")


def test_training_pictures_are_copies_and_held_out_ones_are_not(run):
    reader, jury = StoreReader(run.product("pictures.zarr")), jury_of(run, recognised=False)
    train, held = (reader.read("picture", reader.select(part)) for part in ("train", "validation"))
    labels = reader.columns["label"]
    assert set(jury(train, labels[reader.select("train")])) == {COPY}
    # All but 1 % of them, and here the quantile lies between the nearest and the next.
    assert jury(held, labels[reader.select("validation")]).count(COPY) <= 1
    rng = np.random.default_rng(1)
    noise = rng.integers(0, 256, train.shape, dtype=np.uint8)
    assert set(jury(noise, labels[reader.select("train")])) == {""}


def test_a_picture_of_another_class_than_the_judge_sees_is_dropped(run):
    reader, jury = StoreReader(run.product("pictures.zarr")), jury_of(run, copies=False)
    pictures, labels = reader.read("picture", range(len(reader))), reader.columns["label"]
    with torch.inference_mode():
        seen = jury.judge(torch.from_numpy(to_network(pictures))).argmax(1).numpy()
    # The judge's class 0 is the store's class 1.
    wanted = np.where(1 - seen == labels, "", UNRECOGNISED)
    assert jury(pictures, labels) == wanted.tolist()
    assert jury_of(run, copies=False, recognised=False)(pictures, labels) == [""] * len(pictures)


def test_what_is_said_of_a_picture_does_not_depend_on_the_others(run):
    reader, jury = StoreReader(run.product("pictures.zarr")), jury_of(run)
    pictures = reader.read("picture", range(6)) // 2
    labels = reader.columns["label"][:6]
    assert [jury(pictures[i : i + 1], labels[i : i + 1])[0] for i in range(6)] == jury(pictures, labels)
