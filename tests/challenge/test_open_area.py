"""The segmentation baseline: trained on the open area alone, it labels the map."""

import numpy as np
import pytest
from astropy.io import fits

from astro_dist.challenge.names import OPEN
from astro_dist.challenge.score import Judge
from astro_dist.engine.errors import ConfigError
from astro_dist.radio import open_area
from astro_dist.radio.config import SegmenterConfig
from astro_dist.radio.open_area import Labeller, OpenWindows, label_map, train_on_open_area
from astro_dist.sky.classes import SourceClass
from tests.challenge import small
from tests.field import small_sky

QUICK = {"preset": "tiny", "steps": 30, "batch_size": 4, "lr": 1e-2, "threads": 1, "ema_decay": 0.8}


@pytest.fixture(scope="module")
def trained(folder, tmp_path_factory):
    """The folder of a training, and that of its weights; the hidden part is not given."""
    root = tmp_path_factory.mktemp("training")
    return root, train_on_open_area(folder / "public", root, SegmenterConfig(**QUICK))


def test_a_tiramisu_of_the_open_area_labels_the_hidden_part(folder, judge, trained, tmp_path, monkeypatch):
    mask = tmp_path / "mask.fits"
    Labeller(folder / "public", trained[1]).write(mask)
    found = judge.score(mask)["segmentation"]
    assert found["pixels"]["any_source"]["iou"] > 0.6
    assert found["objects"]["extended"]["pq"] > 0
    # A map is labelled in squares; where their seams lie changes next to nothing.
    monkeypatch.setattr(open_area, "CORE_PIX", 128)
    again = np.concatenate([*Labeller(folder / "public", trained[1]).rows()])
    assert np.count_nonzero(again != fits.getdata(mask)) < 1e-3 * again.size


def mostly_compact(make):
    """Return a maker of stamps, three of four of which have a compact source alone."""

    def make_some(index, beam, pixel):
        image, mask, instances = make(index, beam, pixel)
        if index % 4:
            image[30:, 30:] = 0
            for labels in (mask, instances):
                labels[mask == SourceClass.EXTENDED] = 0
        return image, mask, instances

    return make_some


@pytest.mark.soak
def test_compact_sources_are_labelled_better_than_by_any_threshold(tmp_path, monkeypatch):
    """The best that a threshold does which calls every bright pixel compact, chosen by the hidden mask."""
    monkeypatch.setattr(small_sky, "make_stamp", mostly_compact(small_sky.make_stamp))
    run = small.make_run(tmp_path / "run", shape=(400, 700), objects=300, reuse=12)
    public = small.package(run, tmp_path / "package", tile_pix=128, training_share=0.25) / "public"
    judge, path = Judge.open(public.parent), tmp_path / "mask.fits"
    snr, thresholds = fits.getdata(public / "map.fits") / fits.getdata(public / "rms.fits"), []
    for least in np.arange(2.5, 8, 0.5):
        fits.PrimaryHDU(np.where(snr > least, 2, 0).astype(np.uint8)).writeto(path, overwrite=True)
        thresholds.append(judge.score(path)["segmentation"]["pixels"])
    settings = {**QUICK, "steps": 300, "batch_size": 8, "lr": 5e-3, "ema_decay": 0.95, "mask_weight": 0.0}
    weights = train_on_open_area(public, tmp_path / "training", SegmenterConfig(**settings))
    Labeller(public, weights).write(tmp_path / "found.fits")
    found = judge.score(tmp_path / "found.fits")["segmentation"]
    for name in ("compact", "any_source"):
        assert found["pixels"][name]["iou"] > max(one[name]["iou"] for one in thresholds) + 0.02, name
    assert found["objects"]["compact"]["pq"] > 0.5


def test_a_second_call_trains_nothing(folder, trained, monkeypatch):
    monkeypatch.setattr(open_area, "do_cell", None)
    assert train_on_open_area(folder / "public", trained[0], SegmenterConfig(**QUICK)) == trained[1]


def test_the_windows_are_the_open_area(folder, judge):
    windows = OpenWindows(folder / "public")
    box = judge.about.areas.training
    assert box.height >= windows.attrs["size_pix"] == windows.read("image", [0]).shape[1]
    whole = fits.getdata(folder / "public/map.fits")[box.slices]
    for i in windows.select("train").tolist():
        assert np.array_equal(windows.read("image", [i])[0], whole[windows.windows[i].slices])
    assert (
        windows.read("mask", windows.select("train")).max()
        == judge.truth["class"][judge.truth["area"] == OPEN].max()
    )
    assert len(windows.select("validation")) == 0


def test_what_is_no_package_or_has_too_small_an_area_is_refused(folder, tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match=r"holds no challenge: there is no challenge\.json"):
        label_map(tmp_path / "map.fits", tmp_path / "mask.fits", "tiny", 1)
    monkeypatch.setattr(open_area, "CROP_PIX", 4096)
    with pytest.raises(ConfigError, match="fewer than a crop of 4096; package a larger training area"):
        OpenWindows(folder / "public")
    assert list(tmp_path.iterdir()) == []
