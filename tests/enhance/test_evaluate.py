"""The figures of a chain beside its baselines, the probe of what a network adds, and their page."""

import json

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from astro_dist.cli import main
from astro_dist.engine.seeds import stream
from astro_dist.enhance.baselines import ColourTable, LinearDoubling
from astro_dist.enhance.figures_table import sum_up
from astro_dist.enhance.pipeline import ENHANCE
from astro_dist.enhance.probe import Probe, judge
from astro_dist.enhance.projection import enlarge_bicubic, halve_mean, repeat_twice
from astro_dist.metrics.colours import colour_distances
from astro_dist.metrics.peaks import count_lost, find_peaks
from astro_dist.metrics.similarity import octave_powers
from astro_dist.store.reader import StoreReader

CONFIG = """
pipeline: enhance
pictures: {per_class: 3, classes: [galaxies, nebulae], size_pix: 32, shard: 8}
colourise: {steps: 2, crop_pix: 32, gan: false}
superres: {preset: local, width: 8, steps: 2, crop_pix: 32}
cleaning: {templates: {kinds: [dots], radii_pix: [2]}}
enhance: {chain: [cleaning, colourise, superres, bilateral], samples: 2, calls: 2}
evaluate: {probed: 2, learnt: 4, resamples: 20}
"""


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A run whose chain has all steps, to its page."""
    folder = tmp_path_factory.mktemp("measured")
    (folder / "all.yaml").write_text(CONFIG)
    assert main(["run", str(folder / "all.yaml"), "--out", str(folder / "run"), "--on", "serial", "-q"]) == 0
    return folder / "run"


def test_a_figure_that_some_images_lack_is_that_of_the_others():
    chain = [{"flux": 0.1, "rms": 1.0}, {"flux": None, "rms": 2.0}, {"flux": 0.3, "rms": 1.0}]
    images = [{"chain": one, "bicubic": {"flux": 0.4, "rms": 3.0}} for one in (*chain, *chain[::-1])]
    for order in (images, images[1:] + images[:1]):
        found = sum_up(order, ["bicubic"], lambda: np.random.default_rng(1), 20)["gains"]["bicubic"]
        assert (found["flux"]["n"], found["rms"]["n"]) == (4, 6)
        assert found["flux"]["value"] == pytest.approx(-0.2)


def test_every_step_and_every_baseline_is_measured(measured):
    found = json.loads((measured / "evaluation" / "metrics.json").read_text())
    steps = [f"after {name}" for name in ("cleaning", "colourise", "superres", "bilateral")]
    baselines = ["bicubic", "table", "linear"]
    assert set(found["figures"]) == {*baselines, "true colours", "filtered", *steps, "one sample", "chain"}
    assert set(found["gains"]) == set(baselines)
    chain, last = found["figures"]["chain"], found["figures"]["after bilateral"]
    assert chain["psnr"] == last["psnr"]
    assert found["images"] == chain["psnr"]["n"] == 2
    for figure in (chain["ssim"], chain["ssim_filtered"], found["gains"]["linear"]["psnr"]):
        assert figure["low"] <= figure["value"] <= figure["high"]
    assert found["figures"]["filtered"]["ssim_filtered"]["value"] == 1
    assert set(found["probe"]["kinds"]) == {"held out", "noise", "truth"}


def test_a_figure_is_that_of_the_pictures_of_the_store(measured):
    found = json.loads((measured / "evaluation" / "metrics.json").read_text())
    reader = StoreReader(measured / "pictures.zarr")
    true = reader.read("picture", reader.select("test")) / 255.0
    with np.load(measured / "evaluation" / "panels" / "images-00000.npz") as panels:
        made = panels["bilateral"].astype(np.float64)
        assert np.abs(panels["original"] - true).max() < 1e-3
    psnr = -10 * np.log10(((np.clip(made, 0, 1) - true) ** 2).mean((1, 2, 3)))
    assert found["figures"]["chain"]["psnr"]["value"] == pytest.approx(psnr.mean(), abs=0.05)
    colour = colour_distances(np.clip(made, 0, 1), true).mean()
    assert found["figures"]["chain"]["colour"]["value"] == pytest.approx(colour, abs=0.2)


def test_the_page_shows_figures_with_their_baselines(measured):
    page = (measured / "report.html").read_text()
    for text in (
        "bicubic",
        "after colourise",
        "true colours",
        "Gaussian window of 11 x 11",
        "0.857",
        "Copies",
    ):
        assert text in page
    assert page.count("data:image/webp") == 2


def test_pictures_of_the_chain_are_cleaned_coloured_doubled_and_smoothed(measured):
    given, made = (
        StoreReader(measured / "pictures.zarr"),
        StoreReader(measured / "enhanced" / "pictures.zarr"),
    )
    assert made.attrs["enhanced"] == ["cleaning", "colourise", "superres", "bilateral"]
    assert (made.attrs["size_pix"], made.attrs["planes"], len(made)) == (64, 3, len(given))
    assert (made.columns["split"] == given.columns["split"]).all()


def test_sixteen_bits_go_through_the_chain(command, tmp_path):
    rng = np.random.default_rng(1)
    for i, name in enumerate("aaaabbbb"):
        (tmp_path / "in" / name).mkdir(parents=True, exist_ok=True)
        values = rng.integers(0, 65536, (16, 16)).astype(np.uint16)
        Image.fromarray(values).save(tmp_path / "in" / name / f"{i}.{'png' if i % 2 else 'tif'}")
    sections = f"pictures: {{path: {tmp_path / 'in'}, size_pix: 16, planes: 1, dtype: float32}}"
    (tmp_path / "deep.yaml").write_text(f"pipeline: enhance\n{sections}\nenhance: {{chain: [bicubic]}}\n")
    done = command(
        "run", tmp_path / "deep.yaml", "--to", "enhance", "--out", tmp_path / "run", "--on", "serial"
    )
    assert done.returncode == 0, done.stderr
    reader = StoreReader(tmp_path / "run" / "pictures.zarr")
    made = StoreReader(tmp_path / "run" / "enhanced" / "pictures.zarr").read("picture", range(8))
    for row, file in enumerate(reader.attrs["names"]):
        unit = np.asarray(Image.open(tmp_path / "in" / file), np.float64)[None] / 65535
        wanted = np.clip(enlarge_bicubic(unit), 0, 1)
        assert np.abs((made[row] + 1) / 2 - wanted).max() < 1e-6


def test_baselines_reach_what_they_can():
    rng = np.random.default_rng(1)
    grey = gaussian_filter(rng.random((64, 64)), 2)
    grey = (grey - grey.min()) / np.ptp(grey)
    # Colours that follow from the brightness, without changing it.
    shift = np.stack([0.1 * np.sin(3 * grey), np.zeros_like(grey), np.zeros_like(grey)])
    shift[1] = -0.299 * shift[0] / 0.587
    coloured = np.clip(grey + shift, 0, 1)
    assert np.abs(ColourTable.fit([coloured]).colour(grey) - coloured).mean() < 0.005
    weights = rng.normal(0, 0.1, (5, 5))
    small = rng.random((1, 40, 40))
    # What is a linear map of the neighbourhood is found.
    wide = np.pad(small[0], 2, mode="edge")
    seen = np.lib.stride_tricks.sliding_window_view(wide, (5, 5))
    large = repeat_twice(np.einsum("yxij,ij->yx", seen, weights))[None]
    assert np.abs(LinearDoubling.fit([(small, large)]).double(small) - large).max() < 1e-3


def test_lost_peaks_and_missing_octaves_are_seen():
    rng = np.random.default_rng(2)
    image = rng.normal(0, 0.001, (96, 96))
    places = [(20, 30), (50, 60), (70, 20)]
    for y, x in places:
        image[y, x] += 1
    star = gaussian_filter(image, 1)
    peaks = find_peaks(star)
    assert sorted(map(tuple, peaks)) == places
    fainter = star.copy()
    fainter[:40] *= 0.3
    assert count_lost(peaks, star, star) == 0
    assert count_lost(peaks, star, fainter) == 1
    noise = rng.normal(0, 1, (96, 96))
    powers = octave_powers(gaussian_filter(noise, 2)) / octave_powers(noise)
    assert powers[0] > 0.2 > 0.05 > powers[2]


@pytest.mark.parametrize("kind", ["copies", "prior", "noise"])
def test_the_probe_tells_copies_what_is_learnt_and_noise_apart(kind):
    learnt = [gaussian_filter(stream(1, "t", i).normal(0, 1, (1, 64, 64)), (0, 0.5, 0.5)) for i in range(20)]
    true = [gaussian_filter(stream(1, "h", i).normal(0, 1, (1, 64, 64)), (0, 0.5, 0.5)) for i in range(6)]
    held = [halve_mean(one) for one in true]

    def draw(image, sample):
        if kind == "copies":
            return learnt[sample // 1000]
        rng = stream(1, "learnt", sample // 1000) if kind == "prior" else stream(1, "noise", sample)
        return repeat_twice(image) + gaussian_filter(rng.normal(0, 1, (1, 64, 64)), (0, 0.5, 0.5))

    found, panels = Probe(draw, halve_mean).examine({"held out": held, "noise": held}, true, learnt)
    assert judge(found["kinds"]["held out"]) == kind
    assert panels["noise_added_0"].shape == (6, 64, 64)


def test_blank_images_have_no_patches_to_compare():
    blank = [np.zeros((1, 64, 64))] * 2
    probe = Probe(lambda image, _: repeat_twice(image), halve_mean)
    found, _ = probe.examine({"held out": [halve_mean(one) for one in blank]}, blank, blank)
    one = found["kinds"]["held out"]
    assert (one["patches"], one["distance_ratio"]) == (0, None)
    assert np.isnan(one["near"]["value"])


def test_maps_without_a_network_are_not_measured():
    for tree in (
        {"maps": {}, "superres": {}, "enhance": {"chain": ["bicubic"]}},
        {"enhance": {"files": ["a"]}},
    ):
        config = ENHANCE.resolve({**tree, "evaluate": {}})
        assert "evaluate" not in [stage.name for stage in ENHANCE.choose(config)]
    config = ENHANCE.resolve({"maps": {}, "superres": {}, "enhance": {}, "evaluate": {}})
    assert [stage.name for stage in ENHANCE.choose(config)][-2:] == ["evaluate", "report"]


def test_what_evaluate_cannot_do_is_refused(command, tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("pipeline: enhance\nevaluate: {}\n")
    done = command("plan", path)
    assert (done.returncode, "add `enhance: {}`" in done.stderr) == (2, True)
    path.write_text("pipeline: enhance\nenhance: {}\nevaluate: {others: [no.png]}\n")
    done = command("run", path, "--out", tmp_path / "run")
    assert (done.returncode, "there is no file" in done.stderr) == (2, True)


MAPS = """
pipeline: enhance
simulate: {shape: [256, 256]}
maps: {}
cutouts: {size_pix: 32, mode: tiles, empty_fraction: 0.5, shard: 64}
superres: {width: 8, steps: 2, crop_pix: 32}
enhance: {samples: 2, most_samples: 2, calls: 2, unlike: flag}
evaluate: {most: 6, probed: 2, learnt: 4, resamples: 20}
"""


def test_maps_are_measured_on_held_out_cutouts(command, tmp_path):
    (tmp_path / "maps.yaml").write_text(MAPS)
    done = command("run", tmp_path / "maps.yaml", "--out", tmp_path / "run", "--on", "serial")
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "run" / "evaluation" / "metrics.json").read_text())
    figures = found["figures"]
    for row in ("projected", "linear", "one sample", "chain"):
        assert figures[row]["means"]["value"] < 1e-6
    assert figures["nearest"]["rms"]["value"] > figures["projected"]["rms"]["value"]
    assert figures["chain"]["invented"]["value"] == 0
    assert 0 < figures["chain"]["within_0.68"]["value"] < figures["chain"]["within_0.95"]["value"] <= 1
    page = (tmp_path / "run" / "report.html").read_text()
    assert "Every step" in page
    assert "The doubled maps" in page


def test_one_picture_is_refused_before_the_work(tmp_path, capsys):
    """None of it can be held out."""
    picture = np.random.default_rng(1).integers(0, 256, (32, 32, 3), np.uint8)
    Image.fromarray(picture).save(tmp_path / "one.png")
    config = tmp_path / "one.yaml"
    config.write_text(
        f"pipeline: enhance\npictures: {{path: {tmp_path / 'one.png'}, size_pix: 32}}\n"
        "enhance: {chain: [bicubic]}\nevaluate: {}\n"
    )
    assert main(["run", str(config), "--out", str(tmp_path / "run"), "--on", "serial", "-q"]) == 2
    assert "of one picture none can be held out" in capsys.readouterr().err
    assert not (tmp_path / "run" / "enhanced").exists()
