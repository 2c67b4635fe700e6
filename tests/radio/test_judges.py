import numpy as np
import pytest
import torch

from astro_dist.engine.errors import StoppedError
from astro_dist.models.encoder import load_encoder
from astro_dist.models.norms import settle_norms
from astro_dist.models.segmenter import load_segmenter
from astro_dist.radio.config import ByolConfig, SegmenterConfig
from astro_dist.radio.judges import LabelledData, SegmenterObjective, ViewData
from astro_dist.radio.trainings import BYOL, SEGMENTER
from astro_dist.train import loop


@pytest.fixture
def views(reader):
    return ViewData(reader, ByolConfig(crop_pix=32), (1, "byol"))


@pytest.fixture
def labelled(reader):
    return LabelledData(reader, SegmenterConfig(crop_pix=32), (1, "segmenter"))


def test_a_sample_belongs_to_its_index(views, labelled):
    for data, names in ((views, ("first_BSS", "second_BSS")), (labelled, ("u_BSS", "mask_BSS"))):
        whole, tail = data.batch(0, 4), data.batch(2, 2)
        for name in names:
            assert np.array_equal(getattr(whole, name)[2:], getattr(tail, name))
            assert getattr(whole, name).shape == (4, 32, 32)
            assert np.isfinite(getattr(whole, name)).all()


def test_views_of_a_crop_differ_but_show_the_same_objects(views):
    batch = views.batch(0, 32)
    assert not np.array_equal(batch.first_BSS, batch.second_BSS)
    first, second = (v.reshape(32, -1).max(1) for v in (batch.first_BSS, batch.second_BSS))
    assert np.corrcoef(first, second)[0, 1] > 0.8


def test_without_augmentation_only_the_turn_is_left(reader):
    config = ByolConfig(crop_pix=48, shift_pix=0, brightness_dex=0, noise_snr=0)
    batch = ViewData(reader, config, (1, "byol")).batch(0, 6)
    for a, b in zip(batch.first_BSS, batch.second_BSS, strict=True):
        np.testing.assert_allclose(np.sort(a, axis=None), np.sort(b, axis=None))


def test_labels_lie_on_their_objects(labelled):
    batch = labelled.batch(0, 16)
    assert set(np.unique(batch.mask_BSS)) == {0, 2}
    assert batch.u_BSS[batch.mask_BSS > 0].mean() > 0.8 > 0.2 > batch.u_BSS[batch.mask_BSS == 0].mean()


def test_object_pixels_weigh_more(labelled):
    batch = labelled.batch(0, 4)

    def flat(u):
        return torch.zeros(4, 4, 32, 32)

    losses = [
        float(SegmenterObjective(SegmenterConfig(preset="tiny", mask_weight=w)).loss(flat, batch, "cpu")[0])
        for w in (0.0, 3.0)
    ]
    share = float((batch.mask_BSS > 0).mean())
    assert losses == pytest.approx([np.log(4), np.log(4) * (1 + 3 * share)], rel=1e-5)


def test_norms_take_the_statistics_of_the_given_batches():
    network = torch.nn.Sequential(torch.nn.BatchNorm2d(1), torch.nn.Dropout(0.5))
    rng = np.random.default_rng(1)
    batches = [rng.normal(3, 2, (4, 1, 8, 8)).astype(np.float32) for _ in range(3)]
    settle_norms(network, batches, "cpu")
    assert float(network[0].running_mean) == pytest.approx(np.mean(batches), rel=1e-5)
    assert float(network[0].running_var) == pytest.approx(np.mean([b.var(ddof=1) for b in batches]), rel=1e-4)
    assert network[0].momentum == 0.1
    assert not network[1].training


@pytest.mark.parametrize(
    ("stage", "load"), [("byol", load_encoder), ("segmenter", load_segmenter)], ids=["byol", "segmenter"]
)
def test_a_judge_is_trained_and_loads(toy_cell, stage, load):
    cell = toy_cell(stage, preset="tiny")
    result = loop.train(cell)
    network = load(cell.output)
    answer = network(torch.zeros(1, 1, 48, 48))
    assert torch.isfinite(answer).all()
    assert not network.training
    assert {"loss", "validation_loss", "steps"} <= set(result)
    assert "preset tiny, 6 steps of 4 crops" in (cell.output / "README.md").read_text()


@pytest.mark.parametrize("stage", ["byol", "segmenter"])
def test_a_resumed_training_ends_in_the_same_bits(toy_cell, tmp_path, monkeypatch, stage):
    """The target, the norms and the state of the dropout are in the checkpoint."""
    monkeypatch.setattr(loop, "LOG_EVERY", 2)
    settings = {"preset": "tiny", "checkpoint_every_s": 1e-6}
    whole, broken = (toy_cell(stage, root=tmp_path / name, **settings) for name in ("a", "b"))
    expected = loop.train(whole)
    with monkeypatch.context() as patch:
        stops = iter([None, StoppedError("stopped")])
        patch.setattr(loop, "_stop_asked", lambda: next(stops))
        with pytest.raises(StoppedError):
            loop.train(broken)
    assert loop.train(broken) == expected


def test_byol_features_differ_between_images(toy_cell):
    assert loop.train(toy_cell("byol", preset="tiny"))["feature_std"] > 0


def test_neither_is_an_input_of_the_other():
    assert BYOL.inputs == SEGMENTER.inputs == ("cutouts",)
