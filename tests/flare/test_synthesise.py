"""The trainings of the painter and the stage `synthesise`, over a run directory."""

import shutil

import numpy as np
import pytest
import torch

from astro_dist.engine.errors import ConfigError
from astro_dist.engine.files import tree_digests
from astro_dist.engine.pixels import to_network
from astro_dist.flare.painter_config import PromptsConfig, UnidiffuserConfig
from astro_dist.flare.synthesise import Easel
from astro_dist.flare.synthesise_config import SynthesiseConfig
from astro_dist.flare.synthesise_plan import plan
from astro_dist.flare.synthesise_stage import SYNTHESISE
from astro_dist.store.reader import StoreReader
from astro_dist.store.verify import verify_store
from tests.flare.painters import SIDE, TINY, config_of, execute


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")
def test_the_trained_painter_loads_in_plain_diffusers(done):
    from diffusers import UniDiffuserPipeline

    folder = done / "models" / "unidiffuser"
    pipe = UniDiffuserPipeline.from_pretrained(folder, local_files_only=True)
    pipe.set_progress_bar_config(disable=True)
    assert pipe(prompt="stars", num_inference_steps=1, guidance_scale=1.0).images[0].size == (SIDE, SIDE)
    # What was trained before is there byte for byte.
    parts = {"vae": "vae", "clip/text_encoder": "text_encoder", "captioner/text_decoder": "text_decoder"}
    for source, target in parts.items():
        theirs = tree_digests(done / "models" / source)
        assert (
            tree_digests(folder / target).items()
            >= {name: digest for name, digest in theirs.items() if not name.endswith(".md")}.items()
        )
    text = b"".join(path.read_bytes() for path in folder.rglob("*.json"))
    assert str(done).encode() not in text


def test_every_training_picture_has_its_synthetic_ones(done):
    store, real = StoreReader(done / "synthetic.zarr"), StoreReader(done / "pictures.zarr")
    train = real.select("train")
    assert len(store) == 3 * len(train)
    assert store.columns["parent"].tolist() == np.repeat(train, 3).tolist()
    assert store.columns["variant"].tolist() == [0, 1, 2] * len(train)
    for name in ("label", "group", "split"):
        assert np.array_equal(store.columns[name], real.columns[name][store.columns["parent"]])
    assert store.attrs["labels"] == real.attrs["labels"]
    pictures = store.read("picture", range(len(store)))
    # Enlarged by the upscaler of the run.
    assert (pictures.dtype, pictures.shape[1:]) == (np.uint8, (3, 2 * SIDE, 2 * SIDE))
    assert store.attrs["upscaled"] == 2
    assert len({picture.tobytes() for picture in pictures}) == len(pictures)
    assert verify_store(done / "synthetic.zarr") == []


def test_no_byte_depends_on_the_order_of_tasks(done):
    """Each worker has an easel of its own; here a new one paints the shards backwards."""
    run = run_of(execute(done))
    tasks = plan(run, {})
    assert len(tasks) > 2
    easel = Easel(run)
    for task in reversed(tasks):
        index = task.args["index"]
        pictures, _ = easel.make_shard(index)
        rows = range(index * 12, index * 12 + len(pictures))
        wanted = StoreReader(done / "synthetic.zarr").read("picture", rows)
        assert np.array_equal(wanted, easel.enlarger(pictures))


@pytest.mark.soak
@pytest.mark.parametrize(
    "machine", [{"executor": "processes", "workers": 3}, {"executor": "ray", "workers": 2}]
)
def test_no_byte_depends_on_workers(done, tmp_path, machine):
    root = shutil.copytree(done, tmp_path / "run")
    execute(root, redo=("synthesise",), machine=machine)
    assert tree_digests(root / "synthetic.zarr") == tree_digests(done / "synthetic.zarr")


@pytest.mark.parametrize("of", ["synthetic", "real"])
def test_variants_are_of_what_the_settings_say(done, of):
    """The vectors that the brush gets are those of the pictures that are varied."""
    run = run_of(execute(done)).having(
        SynthesiseConfig(
            k=2, steps=2, micro_batch=4, shard=4, precision="no", variants={"how": "noise", "of": of}
        )
    )
    easel, given = Easel(run), []
    paint = easel.artist.brush.paint

    def note(text, streams, vector=None, strength=1.0):
        given.append((vector, strength))
        return paint(text, streams, vector, strength)

    easel.artist.brush.paint = note
    pictures, counts = easel.make_shard(0)
    parents = easel.reader.read("picture", easel.rows[:4])
    varied = parents if of == "real" else pictures.reshape(4, 2, *parents.shape[1:])[:, 0]
    with torch.inference_mode():
        wanted = easel.artist.painter.encode_pictures(torch.from_numpy(to_network(varied)))
    assert [strength for _, strength in given] == [1.0, 0.25]
    assert torch.equal(given[1][0], wanted)
    assert (counts["painted"], counts["missing"]) == (8, 0)


def test_a_painter_is_taken_as_it_is_and_fine_tuned(done, tmp_path):
    folder = done / "models" / "unidiffuser"
    taken = execute(
        tmp_path / "taken", "unidiffuser", unidiffuser={**TINY, "folder": str(folder), "steps": 0}
    )
    assert not (taken.root / "models" / "vae").exists()
    ours = taken.root / "models" / "unidiffuser"
    weights = "unet/diffusion_pytorch_model.safetensors"
    assert tree_digests(ours)[weights] == tree_digests(folder)[weights]
    for tune in ("whole", "low_rank"):
        given = {**TINY, "folder": str(folder), "tune": tune, "rank": 2}
        tuned = execute(tmp_path / tune, "unidiffuser", unidiffuser=given).root / "models" / "unidiffuser"
        changed = {n for n, d in tree_digests(tuned).items() if tree_digests(folder).get(n) != d}
        assert changed == {weights, "README.md"}


def test_a_folder_means_no_steps_unless_they_are_given():
    assert UnidiffuserConfig(folder="flare").steps == 0
    assert UnidiffuserConfig(folder="flare", steps=7).steps == 7
    assert UnidiffuserConfig().steps > 0


def test_prompts_name_the_class_in_words():
    assert PromptsConfig().fill("black_holes") == ["A realistic image of black holes in space"]


REFUSED = {
    "template": (["prompts.templates=[a picture]"], "does not name the class; write CLS"),
    "strength": (["synthesise.variants.strengths=[0.1]"], "strengths"),
    "strength above": (["synthesise.variants.strengths=[0.5,1.5]"], "strengths"),
    "judge": (["synthesise.accept={}"], "add a section judge"),
    "folder": (["unidiffuser.folder=./absent"], "is no folder with the parts"),
    "side": (["pictures.size_pix=20"], "is no multiple of 8"),
    "nothing": (["unidiffuser.steps=0"], "would publish noise"),
    "rank": (["unidiffuser.tune=low_rank"], "give its folder"),
    "shares": (["unidiffuser.clean_text=0.95"], "are more than all samples"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_painted_is_refused_before_any_work(command, tmp_path, case):
    changes, message = REFUSED[case]
    (tmp_path / "c.yaml").write_text("pipeline: flare\nsynthesise: {k: 2}\npictures: {size_pix: 32}\n")
    words = [word for change in changes for word in ("--set", change)]
    for verb in ("plan", "run"):
        shown = command(verb, "c.yaml", "--out", "run", *words, cwd=tmp_path)
        assert (shown.returncode, shown.stdout, shown.stderr.count("\n")) == (2, "", 1), shown.stderr
        assert message in shown.stderr
    assert not (tmp_path / "run").exists()


def test_a_folder_that_lacks_a_part_is_refused_before_any_work(command, done, tmp_path):
    folder = shutil.copytree(done / "models" / "unidiffuser", tmp_path / "p")
    shutil.rmtree(folder / "vae")
    (tmp_path / "c.yaml").write_text("pipeline: flare\nsynthesise: {k: 2}\npictures: {size_pix: 16}\n")
    shown = command("plan", "c.yaml", "--set", f"unidiffuser.folder={folder}", cwd=tmp_path)
    assert (shown.returncode, shown.stdout) == (2, "")
    assert "it lacks the part vae/" in shown.stderr


def test_prompts_that_would_be_cut_off_are_refused(done, tmp_path):
    root = shutil.copytree(done, tmp_path / "run")
    long = {"templates": ["CLS " + "word " * 30]}
    with pytest.raises(ConfigError, match=r"prompts\.templates: .* the text encoder takes 24"):
        execute(root, "clip", redo=("clip",), prompts=long, clip={"preset": "tiny"})


def test_what_is_not_accepted_is_painted_again_and_the_promise_is_not_broken_silently(done, tmp_path):
    facts = execute(done).facts("synthesise")
    assert (facts["missing"], facts["rejected"]) == (0, {})
    assert facts["painted"] == facts["pictures"] == 3 * facts["captions"] // 2
    root = shutil.copytree(done, tmp_path / "run")
    accept = {"recognised": True, "copies": False, "tries": 3}
    with pytest.raises(ConfigError, match=r"none of 3 was accepted \(of \d+ painted: \d+ unrecognised\)"):
        execute(root, redo=("synthesise",), synthesise={"accept": accept})


def test_the_sets_take_as_many_synthetic_pictures_as_are_painted():
    assert config_of().combine.k_synthetic == 3
    with pytest.raises(ConfigError, match=r"combine\.k_synthetic: 4 .* 3 are painted"):
        config_of(combine={"k_synthetic": 4})


def run_of(run):
    from astro_dist.engine.work import for_stage

    return for_stage(run, SYNTHESISE, "f" * 64)


def test_the_tool_paints_from_prompts_and_python_from_pictures(command, done, tmp_path):
    words = ("--prompt", "A realistic image of stars in space", "--seed", "3", "--model", done)
    for out, number in (("a", 2), ("b", 6)):
        shown = command("flare", "sample", *words, "--num-samples", number, "--out", tmp_path / out)
        assert shown.returncode == 0, shown.stderr
        assert len(shown.stdout.splitlines()) == number
    # A picture depends on the seed and its number alone.
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()
    again = command("flare", "sample", *words, "--out", tmp_path / "a")
    assert (again.returncode, again.stderr.count("\n")) == (2, 1)
    assert "is there already" in again.stderr
    cut = command("flare", "sample", "--prompt", "q" * 40, "--model", done, "--out", tmp_path / "c")
    assert (cut.returncode, cut.stderr.count("\n")) == (2, 1)
    none = command("flare", "sample", *words, "--num-samples", 0, "--out", tmp_path / "d")
    assert (none.returncode, none.stderr) == (2, "astro-dist: 0 pictures are asked for; ask for 1 or more\n")
    from astro_dist.flare import DiffusionModel

    model = DiffusionModel.from_pretrained(done / "models" / "unidiffuser", steps=2)
    given = np.zeros((40, 30, 3), np.uint8)
    assert [image.size for image in model.generate(given, 2)] == [(SIDE, SIDE)] * 2
    assert model.generate(given, 1, strength=0.5)[0].size == (SIDE, SIDE)
    with pytest.raises(ConfigError, match="strength 2"):
        model.generate(given, 1, strength=2)
