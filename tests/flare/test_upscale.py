"""The stage `upscale`: the same bytes whoever does it, and Table 1 with what its words mean."""

import json
import random
import shutil
import signal
import sys

import numpy as np
import psutil
import pytest
import yaml

from astro_dist.cli import main
from astro_dist.engine.errors import ConfigError
from astro_dist.engine.files import tree_digests
from astro_dist.engine.journal import read_journal
from astro_dist.flare.pipeline import FLARE
from astro_dist.flare.upscale import restore
from astro_dist.metrics.similarity import ms_ssim, psnr
from astro_dist.models.enlargers import SwinEnlarger
from astro_dist.models.swinir import build_swinir, load_swinir
from astro_dist.pictures.images import BICUBIC, LANCZOS, resize
from astro_dist.store.reader import StoreReader
from tests.waiting import records_of, start, wait_until

SETTINGS = {
    "pipeline": "flare",
    "name": "toy",
    "pictures": {"per_class": 4, "size_pix": 32},
    "upscaler": {"steps": 6, "crop_pix": 32, "batch_size": 2, "precision": "no"},
    "upscale": {"shard": 3, "micro_batch": 2},
}
CONFIG = "toy.yaml"


def line(folder, out, *words):
    call = [sys.executable, "-P", "-m", "astro_dist", "run", folder / CONFIG, "--out", out, "--to", "upscale"]
    return [*call, *words]


def shown(root):
    """The figures of the stage."""
    return json.loads((root / "ledger" / "upscale.json").read_text())["facts"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a configuration and the run directory that one process made of it."""
    folder = tmp_path_factory.mktemp("upscale")
    (folder / CONFIG).write_text(yaml.safe_dump(SETTINGS))
    assert main(list(map(str, line(folder, folder / "run", "--on", "serial")[4:]))) == 0
    return folder


@pytest.fixture
def stores(folder):
    return [StoreReader(folder / "run" / f"{name}.zarr") for name in ("pictures", "upscaled")]


def test_every_picture_is_there_enlarged_in_the_same_order(stores):
    before, after = stores
    assert (len(after), after.attrs["size_pix"], after.attrs["upscaled"]) == (32, 64, 2)
    assert after.columns.keys() == before.columns.keys()
    for name, column in before.columns.items():
        np.testing.assert_array_equal(after.columns[name], column)
    assert after.attrs["labels"] == before.attrs["labels"]
    small, large = (reader.read("picture", np.arange(32)) for reader in stores)
    assert (large.shape, large.dtype) == ((32, 3, 64, 64), np.uint8)
    for one, other in zip(small, large, strict=True):
        assert psnr(one, resize(other, 32), 255) > 25


def test_a_picture_does_not_depend_on_its_companions(folder, stores):
    enlarger = SwinEnlarger(load_swinir(folder / "run" / "models" / "upscaler"), 4)
    rng, pictures = np.random.default_rng(1), stores[0].read("picture", np.arange(9))
    alone = np.concatenate([enlarger(picture[None]) for picture in pictures])
    for _ in range(3):
        order = rng.permutation(9)[: rng.integers(1, 10)]
        np.testing.assert_array_equal(enlarger(pictures[order]), alone[order])


def test_the_tables_say_what_they_measure(folder, stores):
    facts, labels = shown(folder / "run"), stores[0].attrs["labels"]
    assert (facts["pictures"], facts["scales"]) == (32, 2)
    assert set(facts["likeness"]) == {*labels, "all"}
    pairs = zip(*(reader.read("picture", np.arange(32)) for reader in stores), strict=True)
    likeness = [(psnr(a, resize(b, 32), 255), ms_ssim(a, resize(b, 32), 255)) for a, b in pairs]
    found = facts["likeness"]["all"]["upscaled"]
    assert (found["psnr"], found["ms_ssim"]) == pytest.approx(np.mean(likeness, 0), abs=1e-4)
    held_out = stores[0].read("picture", stores[0].select("test"))
    assert facts["reference"]["all"]["pictures"] == len(held_out)
    small = [resize(picture, 16) for picture in held_out]
    for name, kernel in (("bicubic", BICUBIC), ("lanczos", LANCZOS)):
        figures = [psnr(a, resize(b, 32, kernel), 255) for a, b in zip(held_out, small, strict=True)]
        assert facts["reference"]["all"][name]["psnr"] == pytest.approx(np.mean(figures), abs=1e-4)


@pytest.fixture
def untrained():
    """Bicubic enlargement of grey pictures, as a network."""
    return SwinEnlarger(build_swinir("tiny", 2, 1).eval(), 2)


def test_an_untrained_upscaler_is_bicubic_in_the_table(untrained):
    pictures = np.random.default_rng(1).integers(0, 256, (3, 1, 32, 32)).astype(np.uint8)
    small = np.stack([resize(picture, 16) for picture in pictures])
    upscaler, bicubic, lanczos = np.array(restore(untrained, pictures, small)).mean(0)
    assert upscaler == pytest.approx(bicubic, abs=0.02)
    assert lanczos[0] != bicubic[0]


def test_float_pictures_stay_float(untrained):
    floats = np.linspace(-1, 1, 2 * 20 * 20, dtype=np.float32).reshape(2, 1, 20, 20)
    large = untrained(floats)
    assert (large.dtype, large.shape) == (np.float32, (2, 1, 40, 40))
    np.testing.assert_allclose(large[0], resize(floats[0], 40).clip(-1, 1), atol=1e-6)
    figures = restore(untrained, floats, np.stack([resize(picture, 10) for picture in floats]))
    assert all(0 < similar <= 1 for row in figures for _, similar in row)


def test_pictures_too_small_for_a_window_have_no_similarity(untrained):
    pictures = np.zeros((1, 1, 10, 10), np.uint8)
    assert restore(untrained, pictures, pictures[..., :5, :5]) == [[[100.0, None]] * 3]


def undone(folder, out):
    """Copy the run as it was before the stage."""
    shutil.copytree(folder / "run", out)
    shutil.rmtree(out / "upscaled.zarr")
    shutil.rmtree(out / "ledger" / "upscale")
    shutil.rmtree(out / "logs")
    (out / "ledger" / "upscale.json").unlink()
    return out


def count(root):
    """Number of tasks of the stage that are done."""
    return len(records_of(root, "upscale"))


def processes_of(root, driver):
    """The driver and the processes that have begun tasks of the stage, as far as they still run."""
    pids = {event["pid"] for event in read_journal(root) if event["event"] == "open"} | {driver.pid}
    return [psutil.Process(pid) for pid in sorted(pids) if psutil.pid_exists(pid)]


def disturb(folder, out, words, kills, choose):
    """Do the stage while processes of it are killed; return how many kills hit."""
    root, hits = undone(folder, out), 0
    while True:
        driver = start(line(folder, root, *words))
        while hits < kills:
            done = count(root)
            wait_until(lambda done=done, driver=driver: driver.poll() is not None or count(root) > done)
            if driver.poll() is not None:
                break
            victim = choose(processes_of(root, driver))
            victim.send_signal(signal.SIGKILL)
            hits += 1
        if (code := driver.wait()) == 0:
            return hits
        assert code in (-signal.SIGKILL, 1, 75), code


def same_bytes(folder, root):
    stores = (tree_digests(place / "upscaled.zarr") for place in (folder / "run", root))
    same = len({tuple(sorted(digests.items())) for digests in stores}) == 1
    return same and shown(root) == shown(folder / "run")


def test_two_workers_of_which_one_is_killed_make_the_same_bytes(folder, tmp_path):
    words = ("--on", "processes", "--workers", "2")

    def worker(processes):
        return max(processes, key=lambda process: process.create_time())

    assert disturb(folder, tmp_path / "run", words, 1, worker) == 1
    assert same_bytes(folder, tmp_path / "run")


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("workers", [1, 2, 4])
@pytest.mark.parametrize("executor", ["serial", "processes", "ray"])
def test_ten_kills_of_any_executor(folder, tmp_path, executor, workers):
    hits, chance, runs = 0, random.Random(workers), 0
    words = ("--on", executor, "--workers", str(workers))
    while hits < 10:
        runs += 1
        root = tmp_path / f"run{runs}"
        hits += disturb(folder, root, words, min(3, 10 - hits), chance.choice)
        assert same_bytes(folder, root)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (["upscaler.crop_pix=48", "upscaler.scale=4"], ("crop_pix 48", "multiple of 32")),
        (["upscaler.crop_pix=64"], ("upscaler.crop_pix", "64", "pictures.size_pix")),
        (["upscaler.scale=3"], ("upscaler.scale",)),
        (["upscaler.start_from=nowhere"], ("upscaler.start_from", "nowhere")),
        (["upscaler.preset=huge"], ("upscaler.preset",)),
        (["upscale.tile_pix=4"], ("upscale.tile_pix",)),
        (["augment.kinds=[spin]"], ("augment.kinds",)),
        (["augment.kinds=[]"], ("augment.kinds",)),
    ],
)
def test_wrong_settings_are_one_line(folder, command, changes, words):
    sets = [part for change in changes for part in ("--set", change)]
    done = command("plan", folder / CONFIG, *sets)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert all(word in done.stderr for word in words), done.stderr


LACKS = "diffusion_pytorch_model.safetensors"


@pytest.mark.parametrize(
    ("changes", "lost", "words"),
    [
        (["upscaler.scale=4"], None, ("has the scale 2", "upscaler.scale")),
        (["upscaler.preset=light"], None, ("has the width 32", "upscaler.preset")),
        (["pictures.planes=1"], None, ("has the planes 3", "pictures.planes")),
        ([], "config.json", ("upscaler.start_from",)),
        ([], LACKS, ("upscaler.start_from", "no such file")),
    ],
)
def test_weights_that_do_not_fit_are_refused_first(folder, tmp_path, command, changes, lost, words):
    weights = tmp_path / "weights"
    shutil.copytree(folder / "run" / "models" / "upscaler", weights)
    if lost:
        (weights / lost).unlink()
    changes = [f"upscaler.start_from={weights}", "upscaler.steps=0", *changes]
    sets = [part for change in changes for part in ("--set", change)]
    done = command("run", folder / CONFIG, "--out", tmp_path / "run", *sets)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert all(word in done.stderr for word in words), done.stderr
    assert not (tmp_path / "run" / "pictures.zarr").exists()


def test_without_its_section_nothing_is_enlarged(folder, command):
    tree = {name: value for name, value in SETTINGS.items() if name not in ("upscaler", "upscale")}
    config = FLARE.resolve(tree)
    assert not {"upscaler", "upscale"} & {stage.name for stage in FLARE.choose(config)}
    with pytest.raises(ConfigError, match="only with a section upscaler"):
        FLARE.choose(config, to="upscale")
    (folder / "plain.yaml").write_text(yaml.safe_dump(tree))
    # Asked for, it is there with its defaults.
    words = ("--out", folder / "asked", "--set", "upscaler.steps=0")
    done = command("train", "upscaler", folder / "plain.yaml", *words)
    assert (done.returncode, "no steps and no start_from" in done.stderr) == (2, True)


def test_crops_are_as_large_as_the_pictures_allow():
    sizes = {32: 32, 48: 48, 64: 64, 256: 64}
    for size_pix, crop_pix in sizes.items():
        config = FLARE.resolve({"pictures": {"size_pix": size_pix}, "upscaler": {}})
        assert config.upscaler.crop_pix == crop_pix
    config = FLARE.resolve({"pictures": {"size_pix": 48}, "upscaler": {"scale": 4}})
    assert config.upscaler.crop_pix == 32
