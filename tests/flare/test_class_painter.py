"""Pictures that are painted from their class alone: one network, no prompts, grey pictures or colour."""

import importlib.util
import json
import shutil
import signal

import numpy as np
import psutil
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file, save_file

from astro_dist.engine.errors import ConfigError
from astro_dist.engine.files import tree_digests
from astro_dist.engine.seeds import stream
from astro_dist.engine.work import for_stage
from astro_dist.flare import DiffusionModel
from astro_dist.flare.class_training import DiffusionObjective
from astro_dist.flare.painter_config import DiffusionConfig
from astro_dist.flare.painter_samples import PictureBatch
from astro_dist.flare.sample import note_unknown
from astro_dist.flare.sample_hands import find_class
from astro_dist.flare.synthesise import Easel
from astro_dist.flare.synthesise_config import SynthesiseConfig
from astro_dist.flare.synthesise_plan import plan
from astro_dist.flare.synthesise_stage import SYNTHESISE
from astro_dist.models.class_painter import (
    ClassBrush,
    build_class_painter,
    build_class_scheduler,
    load_class_painter,
)
from astro_dist.models.device import pin
from astro_dist.pictures.config import CLASSES
from astro_dist.pipelines import PROMPT_HELP
from astro_dist.store.reader import StoreReader
from tests.flare.painters import SIDE, TINY, TREE, execute
from tests.waiting import records_of, start, wait_until

LABELS = ["stars", "black holes"]
ASKED = {
    "pictures": {"planes": 1},
    "diffusion": {**TINY, "steps": 3},
    "synthesise": {"variants": {"how": "noise", "strengths": [0.5, 1.0]}},
}


@pytest.fixture(scope="module")
def painted(tmp_path_factory):
    """A run of grey pictures up to the synthetic ones; not to be changed."""
    root = tmp_path_factory.mktemp("classes") / "run"
    execute(root, **ASKED)
    return root


@pytest.fixture(scope="module")
def painter():
    pin(1)
    torch.manual_seed(3)
    return build_class_painter("tiny", LABELS, 3, SIDE).eval()


@torch.inference_mode()
def paint(painter, labels, numbers, guidance=1.0, **given):
    brush = ClassBrush(painter, build_class_scheduler(), "dpm++", 3, 0.0, guidance)
    return brush.paint(torch.tensor(labels), [stream(1, n) for n in numbers], **given).numpy()


def test_a_picture_follows_from_its_class_and_its_stream_alone(painter):
    both = paint(painter, [0, 1], [5, 5])
    assert np.isfinite(both).all()
    assert both.shape == (2, 3, SIDE, SIDE)
    assert np.abs(both[0] - both[1]).max() > 1e-3
    assert not np.array_equal(*paint(painter, [0, 0], [5, 6]))
    turned = paint(painter, [1, 0], [5, 5])
    assert np.array_equal(turned[::-1], both)


def test_guidance_moves_away_from_what_no_class_would_give(painter):
    """One step of a solver is linear in the prediction: guidance is a line through both pictures."""
    brush = [ClassBrush(painter, build_class_scheduler(), "dpm++", 1, 0.0, w) for w in (1.0, 1.0, 3.0)]
    labels = [0, painter.nothing, 0]
    with torch.inference_mode():
        told, bare, guided = (
            b.paint(torch.tensor([n]), [stream(1, 2)]) for b, n in zip(brush, labels, strict=True)
        )
    assert float((told - bare).abs().max()) > 1e-3
    torch.testing.assert_close(guided, bare + 3 * (told - bare), rtol=1e-3, atol=1e-4)


def test_the_loss_falls_and_a_lost_class_is_told_to_nobody():
    pin(1)
    torch.manual_seed(3)
    rng, count = np.random.default_rng(1), 8
    label_B = np.arange(count) % 2
    x_BPSS = np.broadcast_to((label_B - 0.5)[:, None, None, None], (count, 1, SIDE, SIDE)).astype(np.float32)
    batch = PictureBatch(
        x_BPSS.copy(),
        label_B,
        label_B,
        np.zeros((count, 2), np.int64),
        rng.standard_normal((count, SIDE**2), np.float32),
        np.tile(np.linspace(0.05, 0.95, count, dtype=np.float32)[:, None], 2),
        np.full((count, 2), 0.5, np.float32),
    )
    lost = DiffusionObjective(DiffusionConfig(lost=0.6), LABELS, 1, SIDE, "cpu")
    seen = []
    lost.network.register_forward_hook(lambda module, given, found: seen.append(given[2]))
    lost.loss(lost.network, batch, "cpu")
    assert seen[0].tolist() == [2] * count
    told = DiffusionObjective(DiffusionConfig(lost=0.4), LABELS, 1, SIDE, "cpu")
    optimiser = torch.optim.AdamW(told.network.parameters(), lr=2e-3)
    losses = []
    for _ in range(12):
        loss, _ = told.loss(told.network, batch, "cpu")
        losses.append(loss.item())
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    assert losses[-1] < 0.7 * losses[0]


def test_grey_pictures_are_painted_without_the_library_of_prompts(painted, tmp_path, monkeypatch):
    for absent in ("vae", "clip", "captioner", "unidiffuser"):
        assert not (painted / "models" / absent).exists()
    store, real = StoreReader(painted / "synthetic.zarr"), StoreReader(painted / "pictures.zarr")
    assert store.columns["parent"].tolist() == np.repeat(real.select("train"), 3).tolist()
    pictures = store.read("picture", range(len(store)))
    # Enlarged by the upscaler of the run.
    assert (pictures.dtype, pictures.shape[1:]) == (np.uint8, (1, 2 * SIDE, 2 * SIDE))
    assert len({picture.tobytes() for picture in pictures}) == len(pictures)
    found = load_class_painter(painted / "models" / "diffusion")
    assert list(found.config.labels) == list(real.attrs["labels"])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, package=None: None)
    execute(tmp_path / "run", "diffusion", **{**ASKED, "diffusion": {**TINY, "steps": 1}})


def test_the_command_paints_a_class_by_its_name(painted, tmp_path, command):
    words = ("--model", painted, "--num-samples", 1, "--out")
    done = command(
        "flare", "sample", "--prompt", "A realistic image of Black-Holes in space", *words, tmp_path / "a"
    )
    assert done.returncode == 0, done.stderr
    with Image.open(done.stdout.strip()) as image:
        assert image.size == (SIDE, SIDE)
    for prompt, how in (("a dog", "none"), ("stars or black holes", "several")):
        done = command("flare", "sample", "--prompt", prompt, *words, tmp_path / "b")
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert f"names {how} of the painter's classes; name one of stars, black holes" in done.stderr
    absent = command("flare", "sample", "--prompt", "stars", "--model", "nowhere", "--out", tmp_path / "c")
    assert absent.returncode == 2
    assert absent.stderr.startswith("astro-dist: --model nowhere: there is no painter; give ")


def test_a_painter_of_classes_is_opened_by_its_folder(painted):
    model = DiffusionModel.from_pretrained(painted / "models" / "diffusion", steps=4, guidance=1)
    first, second = model.generate("stars", 2)
    assert (first.mode, first.size) == ("L", (SIDE, SIDE))
    assert first.tobytes() == model.generate("stars")[0].tobytes() != second.tobytes()
    given = np.full((40, 30, 3), 200, np.uint8)
    far, near = (np.abs(np.asarray(model.generate(given, strength=s)[0]) - 200.0).mean() for s in (1, 0.05))
    assert near < far
    with pytest.raises(ConfigError, match="writes no captions"):
        model.generate(given)


def test_the_longest_name_of_a_class_counts():
    labels = ["nebula", "planetary_nebula", "star"]
    assert find_class("A planetary nebula.", labels) == 1
    assert find_class("NEBULA", labels) == 0
    for text in ("stars", "a star in a nebula", ""):
        with pytest.raises(ConfigError, match="of the painter's classes"):
            find_class(text, labels)


def spoil_settings(folder):
    (folder / "config.json").write_text("{")


def drop_weights(folder):
    next(folder.glob("*.safetensors")).unlink()


def widen(folder):
    path = folder / "config.json"
    settings = json.loads(path.read_text())
    path.write_text(json.dumps({**settings, "labels": [*settings["labels"], "dust"]}))


def forget_a_tensor(folder):
    path = next(folder.glob("*.safetensors"))
    state = load_file(path)
    del state["drawer.conv_in.weight"]
    save_file(state, path, {"format": "pt"})


SPOILED = {
    spoil_settings: "cannot be loaded",
    drop_weights: "cannot be loaded",
    widen: "cannot be loaded",
    forget_a_tensor: "has no weights drawer.conv_in.weight",
}


@pytest.mark.parametrize("spoil", SPOILED)
def test_a_spoiled_painter_of_classes_is_one_line(painted, tmp_path, spoil):
    folder = tmp_path / "painter"
    shutil.copytree(painted / "models" / "diffusion", folder)
    spoil(folder)
    with pytest.raises(ConfigError, match=SPOILED[spoil]) as caught:
        DiffusionModel.from_pretrained(folder)
    assert "\n" not in str(caught.value)


def test_variants_keep_the_picture_as_far_as_the_strength_says(painted):
    run = for_stage(execute(painted, **ASKED), SYNTHESISE, "f" * 64)
    whole = {"k": 2, "steps": 4, "shard": 4, "precision": "no", "guidance": 1.0}
    moved = []
    for strength in (0.25, 1.0):
        variants = {"how": "noise", "of": "real", "strengths": [strength]}
        easel = Easel(run.having(SynthesiseConfig(**whole, variants=variants)))
        pictures = easel.make_shard(0)[0].reshape(4, 2, 1, SIDE, SIDE).astype(float)
        parents = easel.reader.read("picture", easel.rows[:4])
        moved.append(np.abs(pictures[:, 1] - parents).mean())
    assert moved[0] < moved[1] / 2


def test_no_byte_depends_on_the_order_of_tasks(painted):
    run = for_stage(execute(painted, **ASKED), SYNTHESISE, "f" * 64)
    easel = Easel(run)
    for task in reversed(plan(run, {})):
        index = task.args["index"]
        pictures, _ = easel.make_shard(index)
        wanted = StoreReader(painted / "synthetic.zarr").read(
            "picture", range(index * 12, index * 12 + len(pictures))
        )
        assert np.array_equal(wanted, easel.enlarger(pictures))


def disturb(painted, tmp_path, *words, kills=1):
    """Paint again in processes of which some are killed after a further shard; return how many were hit."""
    root = shutil.copytree(painted, tmp_path / "run")
    shutil.rmtree(root / "synthetic.zarr")
    shutil.rmtree(root / "ledger" / "synthesise")
    (root / "ledger" / "synthesise.json").unlink()
    tree = {name: {**TREE.get(name, {}), **ASKED.get(name, {})} for name in TREE if name != "seed"}
    tree |= {"pipeline": "flare", "seed": TREE["seed"], "diffusion": ASKED["diffusion"]}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(tree))
    line = ("astro-dist", "run", tmp_path / "c.yaml", "--out", root, "--to", "synthesise", *words)
    hits = 0
    while True:
        driver, done = start(line), len(records_of(root, "synthesise"))

        def further(driver=driver, done=done):
            return driver.poll() is not None or len(records_of(root, "synthesise")) > done

        if hits < kills:
            wait_until(further)
            if driver.poll() is None:
                victims = [psutil.Process(driver.pid), *psutil.Process(driver.pid).children(recursive=True)]
                for victim in victims:
                    victim.send_signal(signal.SIGKILL)
                hits += 1
        if (code := driver.wait()) == 0:
            return hits, root
        assert code == -signal.SIGKILL


def test_a_killed_run_makes_the_same_bytes(painted, tmp_path):
    hits, root = disturb(painted, tmp_path, "--on", "serial")
    assert hits == 1
    assert tree_digests(root / "synthetic.zarr") == tree_digests(painted / "synthetic.zarr")


@pytest.mark.soak
@pytest.mark.parametrize("executor", ["serial", "processes", "ray"])
def test_no_byte_depends_on_executors(painted, tmp_path, executor):
    _, root = disturb(painted, tmp_path, "--on", executor, "--workers", "2", kills=2)
    assert tree_digests(root / "synthetic.zarr") == tree_digests(painted / "synthetic.zarr")


REFUSED = {
    "captions": (["synthesise.variants.how=caption"], "writes no captions"),
    "two painters": (["unidiffuser.folder=flare"], "two painters"),
    "side": (["pictures.size_pix=20"], "is no multiple of 8"),
    "start": (["diffusion.start_from=small"], "diffusion.start_from"),
    "preset": (["diffusion.preset=paper"], "diffusion.preset"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_painted_is_refused_before_any_work(command, tmp_path, case):
    changes, message = REFUSED[case]
    (tmp_path / "c.yaml").write_text("pipeline: flare\nsynthesise: {}\ndiffusion: {}\n")
    words = [word for change in changes for word in ("--set", change)]
    shown = command("plan", "c.yaml", *words, cwd=tmp_path)
    assert (shown.returncode, shown.stdout, shown.stderr.count("\n")) == (2, "", 1), shown.stderr
    assert message in shown.stderr


def test_a_painter_of_other_classes_is_refused(painted, tmp_path):
    from astro_dist.flare.class_artist import ClassArtist

    with pytest.raises(ConfigError, match="paints"):
        ClassArtist(painted / "models" / "diffusion", SynthesiseConfig(), ["stars", "planets"], "cpu")


def test_a_prompt_outside_of_the_classes_of_the_package_is_noted():
    note = note_unknown("A realistic image of zebras in space", "flare")
    assert note is not None
    assert all(name in note and name in PROMPT_HELP for name in CLASSES)
    assert note_unknown("A realistic image of Black Holes in space", "flare") is None
    assert note_unknown("zebras", "runs/mine") is None
