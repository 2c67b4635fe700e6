"""The training of super-resolution: samples, settings, initial weights, and a run to its end."""

import json
from typing import ClassVar

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from astro_dist.engine.errors import ConfigError, DataError
from astro_dist.engine.pixels import to_network
from astro_dist.enhance.filters import filter_bilateral
from astro_dist.enhance.pipeline import ENHANCE
from astro_dist.enhance.superres import _filter, _filter_numbers, _pairs
from astro_dist.enhance.superres_config import FilterConfig, SuperresConfig
from astro_dist.enhance.superres_samples import MapPairs, SuperSamples
from astro_dist.enhance.superres_stage import RECIPE
from astro_dist.models.super_levels import gammas
from astro_dist.models.super_presets import SCALE
from astro_dist.models.super_res import SuperRes
from astro_dist.pictures.decode import take_image
from astro_dist.pictures.degradations import halve
from astro_dist.sky.stretch import unstretch
from astro_dist.store.reader import StoreReader
from astro_dist.train.start import find_start
from tests.enhance import doubling
from tests.flare import upscaling

WEIGHTS = "diffusion_pytorch_model.safetensors"
SMALL = {"preset": "local", "width": 8, "crop_pix": 32, "batch_size": 2, "precision": "no"}
needs_data = pytest.mark.skipif(not upscaling.DATA.is_dir(), reason="the real pictures are not in ../shared")


@pytest.fixture(scope="module")
def pictures():
    rng = np.random.default_rng(1)
    smooth = rng.integers(0, 256, (6, 3, 12, 12)).repeat(4, 2).repeat(4, 3)
    return np.clip(smooth + rng.normal(0, 8, smooth.shape), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def reader(tmp_path_factory, pictures):
    path = tmp_path_factory.mktemp("doubled") / "pictures.zarr"
    upscaling.make_store(path, pictures, np.array([0, 0, 0, 0, 1, 2]))
    return StoreReader(path)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, pictures):
    """The folder of a network after two steps."""
    return doubling.train(tmp_path_factory.mktemp("trained"), pictures, [5], steps=2, **SMALL)


def samples(reader, **settings):
    config, key = SuperresConfig(crop_pix=16, batch_size=4, **settings), (1, "superres", "train")
    return SuperSamples(_pairs(reader, config, key[:2], "train"), config, key)


def test_a_sample_is_a_function_of_its_number(reader):
    data = samples(reader)
    whole, parts = data.batch(0, 6), [data.batch(0, 4), data.batch(4, 2)]
    for name in ("small_BPss", "large_BPSS", "noise_BPSS", "gamma_B"):
        joined = np.concatenate([getattr(part, name) for part in parts])
        np.testing.assert_array_equal(getattr(whole, name), joined)


def intervals(data, count):
    levels = np.concatenate([[1.0], gammas()])
    return np.searchsorted(-levels, -data.batch(0, count).gamma_B.astype(np.float64))


def test_levels_are_uniform_over_the_schedule_and_code_has_one_interval_a_batch(reader):
    found = intervals(samples(reader), 400)
    assert np.histogram(found, 4, (0, 2000))[0].min() > 70
    # 400 of 2,000 intervals: few are drawn twice.
    assert len(set(found.tolist())) > 320
    shared = intervals(samples(reader, preset="code"), 40).reshape(10, 4)
    assert (np.ptp(shared, 1) <= 1).all()
    assert len(np.unique(shared[:, 0])) > 5


@pytest.mark.parametrize("half", ["bicubic", "mean"])
def test_small_pictures_are_halves_and_targets_may_be_filtered(reader, half):
    plain, filtered = (samples(reader, half=half, filtered=f).batch(0, 4) for f in (False, True))
    np.testing.assert_array_equal(plain.small_BPss, filtered.small_BPss)
    assert filtered.large_BPSS.std((2, 3)).mean() < plain.large_BPSS.std((2, 3)).mean()
    if half == "mean":
        means = plain.large_BPSS.reshape(4, 3, 8, 2, 8, 2).mean((3, 5))
        assert np.abs(means - plain.small_BPss).max() <= 1 / 255 + 1e-6


def test_a_crop_is_filtered_as_its_picture_is(reader, pictures):
    numbers = _filter_numbers(FilterConfig())
    whole = _filter(*numbers, pictures[0])
    np.testing.assert_array_equal(
        _filter(*numbers, pictures[0][:, 8:40, 8:40])[:, 4:-4, 4:-4], whole[:, 12:36, 12:36]
    )
    flat = np.full((3, 8, 8), 0.5, np.float32)
    np.testing.assert_array_equal(filter_bilateral(flat, *numbers), flat)


class Cutouts:
    """A store of two cutouts with an object and a blank pixel."""

    attrs: ClassVar = {"size_pix": 32, "stretch": "asinh", "kind": "cutouts"}
    columns: ClassVar = {"background_jy_beam": np.array([0.1, 0.1]), "rms_jy_beam": np.array([0.01, 0.02])}

    def __init__(self):
        self.image = np.random.default_rng(1).normal(0.1, 0.02, (2, 32, 32)).astype(np.float32)
        self.image[0, 5, 5], self.mask = np.nan, np.zeros((2, 32, 32), np.uint8)
        self.mask[:, 30, 2] = 1

    def __len__(self):
        return 2

    def select(self, split):
        return np.arange(2 if split == "train" else 0)

    def read(self, name, rows):
        return getattr(self, name)[rows]


def test_pairs_of_maps_are_means_of_brightness_and_show_objects():
    reader = Cutouts()
    pairs = MapPairs(reader, SuperresConfig(crop_pix=16, source_bias=1.0), (1, "s"), "train").batch(0, 30)
    large, small = (unstretch(part, 0, 1) for part in (pairs.large_BPSS, pairs.small_BPss))
    np.testing.assert_allclose(large.reshape(30, 1, 8, 2, 8, 2).mean((3, 5)), small, atol=1e-4)
    assert np.isfinite(large).all()
    snr = (reader.image[:, 30, 2] - 0.1) / reader.columns["rms_jy_beam"]
    shown = np.abs(large.reshape(30, -1, 1) - snr).min(1)
    assert (shown.min(1) < 1e-3).all()
    with pytest.raises(ConfigError, match="no usable cutout is in the validation split of 2"):
        MapPairs(reader, SuperresConfig(), (1, "s"), "validation")


@pytest.mark.parametrize(
    ("tree", "said"),
    [
        (
            {"maps": {}, "superres": {"preset": "tiny"}},
            "superres.preset: tiny sees a whole tile .* set it to local",
        ),
        ({"maps": {}, "superres": {"filtered": True}}, "superres.filtered: maps are not filtered"),
        ({"superres": {"crop_pix": 128}}, "crops of 128 pixels do not fit into pictures of 64"),
        ({"superres": {"crop_pix": 16, "preset": "sr3"}}, "no multiple|superres"),
        ({"superres": {"preset": "sr4"}}, "superres.preset"),
    ],
)
def test_settings_that_contradict_each_other(tree, said):
    if "sr3" in str(tree):
        assert ENHANCE.resolve(tree).superres.lr == 1e-4
        return
    with pytest.raises(ConfigError, match=said):
        ENHANCE.resolve(tree)


def test_defaults_follow_from_the_images():
    maps = ENHANCE.resolve({"maps": {}, "superres": {}}).superres
    assert (maps.preset, maps.half) == ("local", "mean")
    pictures = ENHANCE.resolve({"pictures": {"size_pix": 40}, "superres": {}}).superres
    assert (pictures.preset, pictures.half, pictures.crop_pix) == ("tiny", "bicubic", 32)


def test_what_is_published_says_what_it_is_for(trained):
    facts = json.loads((trained / "config.json").read_text())
    wanted = {"half": "bicubic", "stretch": None, "unit": "", "planes": 3, "scale": 2, "reach_pix": 9}
    assert {name: facts[name] for name in wanted} == wanted
    assert "doubling pictures" in (trained / "README.md").read_text()


def test_a_training_begins_with_a_published_folder(trained, pictures, tmp_path):
    """Without steps the weights are published as they are, and nothing says from which folder."""
    again = doubling.train(tmp_path, pictures, [5], steps=0, start_from=str(trained), **SMALL)
    first, second = load_file(trained / WEIGHTS), load_file(again / WEIGHTS)
    assert all(torch.equal(first[name], second[name]) for name in first | second)
    assert (again / "config.json").read_bytes() == (trained / "config.json").read_bytes()
    with pytest.raises(
        ConfigError, match=r"superres.start_from: .* preset local \(width 8\), the settings say local \(16\)"
    ):
        doubling.train(tmp_path, pictures, [5], steps=0, start_from=str(trained), **SMALL | {"width": 16})


def test_images_of_many_kinds_are_doubled(trained, pictures):
    model, picture = SuperRes.from_pretrained(trained), pictures[0].transpose(1, 2, 0)
    large = model.enhance(picture, steps=2)
    assert (large.shape, large.dtype) == ((96, 96, 3), np.uint8)
    planes = model.enhance(pictures[0].astype(np.float32) / 255, steps=2)
    assert planes.dtype == np.float32
    assert np.abs(planes * 255 - large.transpose(2, 0, 1)).max() <= 0.51
    np.testing.assert_array_equal(large, model.enhance(picture, steps=2))
    assert (model.enhance(picture, steps=2, seed=2) != large).any()
    mean = model.enhance(planes[:, ::2, ::2], steps=2, samples=2)
    drawn = [
        SuperRes(model.network, model.sampler.__class__(calls=2)).draw(planes[:, ::2, ::2], k) for k in (0, 1)
    ]
    np.testing.assert_allclose(mean, np.clip(np.mean(drawn, 0), 0, 1), atol=1e-6)
    for wrong, said in (
        (picture[..., 0], "a network of 3 planes"),
        (np.zeros(5), r"shape \(5,\) is no picture"),
    ):
        with pytest.raises(DataError, match=said):
            model.enhance(wrong)


def test_images_are_enlarged_in_their_range(trained, pictures):
    model, picture = SuperRes.from_pretrained(trained), pictures[0].transpose(1, 2, 0)
    wanted = model.enhance(picture, steps=1)
    for kind, white in (("u2", 65535), ("f2", 1), ("f8", 1)):
        large = model.enhance((picture / 255 * white).astype(kind), steps=1)
        assert large.dtype == kind
        assert np.abs(large / white * 255 - wanted).max() < 1
    np.testing.assert_array_equal(model.enhance(torch.from_numpy(picture), steps=1), wanted)
    for mode in ("1", "L", "LA", "P", "RGBA", "CMYK"):
        image = Image.fromarray(picture).convert(mode)
        as_file = np.asarray(take_image(image).convert("RGB"))
        np.testing.assert_array_equal(model.enhance(image, steps=1), model.enhance(as_file, steps=1))
    for wrong, said in (
        (picture.astype(int), "type int64"),
        (picture.astype(float), "float from 0 to 1"),
        (np.full((8, 8, 3), np.nan), "NaN"),
        (picture[None], r"shape \(1, 48, 48, 3\)"),
    ):
        with pytest.raises(DataError, match=said):
            model.enhance(wrong, steps=1)


def test_maps_may_be_of_any_brightness_and_are_finite():
    model = SuperRes.from_pretrained("radio")
    stretched = np.linspace(-3, 7, 400, dtype=np.float32).reshape(20, 20)
    assert model.enhance(stretched, steps=1).max() > 2
    stretched[3, 3] = np.nan
    with pytest.raises(DataError, match="NaN or infinite"):
        model.enhance(stretched, steps=1)


@pytest.mark.parametrize(
    "options",
    [
        {"samples": 0},
        {"samples": -1},
        {"samples": 1.5},
        {"steps": 0},
        {"steps": -1},
        {"solver": "x"},
        {"start": "x"},
    ],
)
def test_options_that_cannot_work_are_refused(trained, options):
    (name, value), *_ = options.items()
    with pytest.raises(ConfigError, match=rf"^{name} is {value!r}; give "):
        SuperRes.from_pretrained(trained).enhance(np.zeros((8, 8, 3)), **options)


def test_a_run_of_maps_ends_and_is_sound(command, tmp_path):
    """From a simulated sky to a network of one plane."""
    config = tmp_path / "maps.yaml"
    config.write_text(
        "pipeline: enhance\nmaps: {}\nsimulate: {shape: [256, 256]}\ncutouts: {size_pix: 32}\n"
        "superres: {steps: 2, batch_size: 2, width: 8, crop_pix: 16}\n"
    )
    run = tmp_path / "run"
    assert "superres" in command("plan", config, "--out", run).stdout
    done = command("run", config, "--out", run, "--on", "serial")
    assert done.returncode == 0, done.stderr
    facts = json.loads((run / "models/superres/config.json").read_text())
    assert (facts["stretch"], facts["unit"], facts["half"], facts["planes"]) == (
        "asinh",
        "Jy/beam",
        "mean",
        1,
    )
    assert 0 < facts["beam_pix"][0] <= facts["beam_pix"][1]
    assert command("verify", run).returncode == 0
    assert command("status", run).stdout.startswith("complete: every stage is done")


@needs_data
def test_the_weights_of_the_package_gain_on_pictures_they_never_saw():
    """The mean of eight samples of the middles of five pictures that were held out."""
    pictures = doubling.held_middles(64, 8)
    figures = doubling.measure(SuperRes.from_pretrained(find_start(RECIPE, "enhance")), pictures, 8)
    assert len(pictures) == 5
    gain = figures["mean"] - figures["bicubic"]
    assert (gain > 0).all()
    assert gain.mean() > 0.5


def test_halves_of_means_are_means():
    picture = np.arange(16, dtype=np.float32).reshape(1, 4, 4)
    np.testing.assert_array_equal(halve(picture, "mean"), [[[2.5, 4.5], [10.5, 12.5]]])
    assert halve(picture.astype(np.uint8), "bicubic").shape == (1, 4 // SCALE, 2)
    assert to_network(halve(picture, "mean")).dtype == np.float32
