import dataclasses
from dataclasses import fields

import numpy as np
import pytest

from astro_dist.engine.errors import ConfigError
from astro_dist.models.planes import source_taper
from astro_dist.radio.config import DiffusionConfig
from astro_dist.radio.samples import TrainingData
from astro_dist.sky.stretch import stretch
from astro_dist.sky.symmetries import apply_symmetry
from tests.train.conftest import RMS

KEY = (5, "diffusion")


def make(reader, split="train", own_background=0.5, **settings):
    config = DiffusionConfig(crop_pix=32, **settings)
    return TrainingData(reader, config, KEY, 4, split, own_background)


def equal(a, b):
    names = [f.name for f in fields(a) if getattr(a, f.name) is not None]
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in names)


def part(batch, rows):
    given = {f.name: getattr(batch, f.name) for f in fields(batch)}
    return type(batch)(**{name: None if value is None else value[rows] for name, value in given.items()})


def test_a_sample_belongs_to_its_index(reader):
    data = make(reader)
    batch = data.batch(8, 6)
    assert equal(part(batch, slice(2, 5)), data.batch(10, 3))
    assert equal(make(reader).batch(8, 6), batch)
    assert not equal(data.batch(14, 6), batch)
    assert not np.array_equal(make(reader, "validation").batch(8, 6).noise_BChw, batch.noise_BChw)


def test_shapes_and_types(reader):
    batch = make(reader).batch(0, 3)
    assert batch.full_BSS.shape == batch.source_BSS.shape == batch.mask_BSS.shape == (3, 32, 32)
    assert batch.background_B2SS.shape == (3, 2, 32, 32)
    assert batch.noise_BChw.shape == (3, 4, 8, 8)
    assert batch.mask_BSS.dtype == np.uint8
    floats = [f.name for f in fields(batch) if f.name not in ("mask_BSS", "whole_BSS", "origin_B4")]
    assert all(getattr(batch, name).dtype == np.float32 for name in floats)
    assert all(np.isfinite(getattr(batch, name)).all() for name in floats)


def test_only_its_own_split_is_read(reader, monkeypatch):
    asked = set()
    read = reader.read
    monkeypatch.setattr(reader, "read", lambda name, indices: (asked.update(indices), read(name, indices))[1])
    make(reader).batch(0, 64)
    assert asked == set(range(10))


def test_biased_crops_show_an_object(reader):
    reader.columns["split"][::3] = 2
    batch = make(reader, source_bias=1.0).batch(0, 32)
    assert (batch.mask_BSS > 0).any((1, 2)).all()
    places = {tuple(np.argwhere(mask)[0]) for mask in batch.mask_BSS}
    assert len(places) > 20


def test_sample_is_a_turned_crop_of_a_cutout(reader):
    batch = make(reader, own_background=1.0).batch(0, 4)
    u = stretch(np.nan_to_num(reader.arrays["image"]), 0.0, reader.columns["rms_jy_beam"][0])
    turned = [apply_symmetry(cutout, k) for cutout in u for k in range(8)]
    windows = [np.lib.stride_tricks.sliding_window_view(t, (32, 32)) for t in turned]
    for sample in batch.full_BSS:
        corners = [np.isclose(w[..., 0, 0], sample[0, 0], atol=1e-6) for w in windows]
        found = [w[c] for w, c in zip(windows, corners, strict=True)]
        assert any(np.isclose(f, sample, atol=1e-6).all((-1, -2)).any() for f in found)


def test_conditions_of_a_sample_fit_together(reader):
    batch = make(reader, own_background=1.0).batch(0, 16)
    inside = batch.mask_BSS > 0
    assert (batch.peak_BSS[inside] > 0.8).all()
    assert (batch.peak_BSS[~inside] == 0).all()
    assert (batch.full_BSS[inside] <= batch.peak_BSS[inside]).all()
    sky, known = batch.background_B2SS[:, 0], batch.background_B2SS[:, 1] > 0
    assert not known[inside].any()
    assert (sky[known] == batch.full_BSS[known]).all()
    np.testing.assert_allclose(batch.source_BSS[inside], batch.full_BSS[inside], rtol=1e-6)


def test_another_background_is_not_the_crops_own(reader):
    batch = make(reader, own_background=0.0).batch(0, 8)
    known = batch.background_B2SS[:, 1] > 0
    same = (batch.background_B2SS[:, 0] == batch.full_BSS) & known
    assert (same.sum((1, 2)) < 10).sum() >= 6


def test_times_are_spread_over_any_run_of_samples(reader):
    times = np.sort(make(reader).batch(100, 32).time_B)
    assert times.min() >= 0
    assert times.max() < 1
    assert np.diff(times).max() < 0.1


def test_taper_is_one_inside_and_zero_one_beam_away():
    mask = np.zeros((41, 41), np.uint8)
    mask[20, 20] = 2
    taper = source_taper(mask, 4.0)
    y, x = np.mgrid[:41, :41]
    distance = np.hypot(y - 20, x - 20)
    assert (taper[distance <= 1] == 1).all()
    assert taper[20, 22] > 0.5
    assert (taper[distance >= 5] < 1e-6).all()
    assert (np.diff(taper[20, 20:]) <= 0).all()
    assert source_taper(np.zeros((4, 4), np.uint8), 4.0).max() == 0


def test_a_split_without_cutouts_is_refused(reader):
    with pytest.raises(ConfigError, match="no usable cutout is in the test split"):
        make(reader, "test")


def test_crops_larger_than_the_cutouts_are_refused(reader):
    with pytest.raises(ConfigError, match="crop_pix 64 is larger than the cutouts of 48 pixels"):
        TrainingData(reader, DiffusionConfig(crop_pix=64), KEY, 4)


def test_a_background_is_of_the_same_survey(reader):
    reader.columns["source_map"] = np.arange(reader.count, dtype=np.int32) % 2
    reader.attrs["maps"] = [{"pixel_arcsec": [2.0, 2.0], "survey": name} for name in "AB"]
    # Surveys have different levels, so that the level of a background shows its survey.
    reader.arrays["image"] += 1000 * RMS * reader.columns["source_map"][:, None, None]
    batch = make(reader, own_background=0.0, source_bias=0.0).batch(0, 24)
    levels = [np.median(image) > 3 for image in batch.full_BSS]
    skies = [np.median(sky[sky != 0]) > 3 for sky in batch.background_B2SS[:, 0]]
    assert levels == skies
    assert len(set(levels)) == 2


def test_a_resumed_training_sees_the_same_samples_whatever_was_kept(reader):
    """Batches in the middle of an epoch, from a new reader and from a reader that keeps one cutout."""
    whole, resumed, forgetful = make(reader), make(reader), make(reader)
    forgetful.room = 1
    for first in range(0, 12, 4):
        forgetful.batch(first, 4)
        whole.batch(first, 4)
        assert len(forgetful.kept) <= 1
    expected = whole.batch(12, 4)
    for data in (resumed, forgetful):
        batch = data.batch(12, 4)
        for field in dataclasses.fields(batch):
            assert np.array_equal(getattr(batch, field.name), getattr(expected, field.name))
    assert 1 < len(whole.kept) <= reader.count


@pytest.mark.parametrize("target", ["source", "stamp"])
def test_crops_for_cached_latents_lie_in_their_turned_cutout(reader, target):
    batch = make(reader, cache_latents=True, target=target).batch(0, 40)
    crops = batch.source_BSS if target == "source" else batch.full_BSS
    for whole, crop, (_, _, y, x) in zip(batch.whole_BSS, crops, batch.origin_B4, strict=True):
        assert np.array_equal(whole[4 * y : 4 * y + 32, 4 * x : 4 * x + 32], crop)
    assert len(np.unique(batch.origin_B4[:, 1])) > 1
    assert make(reader).batch(0, 2).whole_BSS is None
