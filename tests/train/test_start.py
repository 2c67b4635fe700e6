import shutil
from types import SimpleNamespace
from unittest import mock

import pytest
import torch
from safetensors.torch import load_file, save_file

from astro_dist.engine.errors import ConfigError
from astro_dist.engine.ledger import Published
from astro_dist.engine.origins import Origin, as_facts, of_facts, read_origins
from astro_dist.models.autoencoder import load_autoencoder
from astro_dist.models.denoiser import build_denoiser, build_scheduler, save_denoiser
from astro_dist.models.presets import FACTS
from astro_dist.radio.builders import load_diffusion
from astro_dist.radio.pipeline import RADIO
from astro_dist.radio.trainings import RECIPES
from astro_dist.train.loop import train
from astro_dist.train.start import SHIPPED, find_start, start_files
from tests.settings import make_run

WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture
def autoencoder(toy_cell, tmp_path):
    cell = toy_cell(root=tmp_path / "first")
    train(cell)
    return cell.output


def test_no_steps_publish_the_given_weights(toy_cell, tmp_path, autoencoder):
    cell = toy_cell(root=tmp_path / "second", start_from=str(autoencoder), steps=0)
    facts = train(cell)
    assert facts["steps"] == 0
    assert (cell.output / WEIGHTS).read_bytes() == (autoencoder / WEIGHTS).read_bytes()
    scales = [load_autoencoder(folder).config.scaling_factor for folder in (cell.output, autoencoder)]
    assert scales[0] == scales[1] != 1.0
    assert "as they are" in (cell.output / "README.md").read_text()


def test_steps_go_on_from_the_given_weights(toy_cell, tmp_path, autoencoder):
    def distance(**settings):
        cell = toy_cell(root=tmp_path / str(len(settings)), steps=1, lr=1e-6, **settings)
        train(cell)
        ours, theirs = (load_file(folder / WEIGHTS) for folder in (cell.output, autoencoder))
        return max(float((ours[name] - theirs[name]).abs().max()) for name in ours)

    assert 0 < distance(start_from=str(autoencoder)) < 1e-4
    assert distance() > 1e-3


def test_a_diffusion_model_in_half_precision_is_taken_with_its_schedule(toy_cell, tmp_path, autoencoder):
    first = toy_cell("diffusion", root=tmp_path / "first")
    autoencoder.parent.mkdir(exist_ok=True)
    autoencoder.rename(first.run.product("models/autoencoder"))
    train(first)
    for path in first.output.rglob("*.safetensors"):
        save_file({name: value.half() for name, value in load_file(path).items()}, path)
    taken = first.output.with_name("taken")
    first.output.rename(taken)
    second = toy_cell("diffusion", root=tmp_path / "first", start_from=str(taken), steps=0)
    train(second)
    assert (second.output / "latents.json").read_text() == (taken / "latents.json").read_text()
    for part in ("unet", "conditioner"):
        ours, theirs = (load_file(folder / part / WEIGHTS) for folder in (second.output, taken))
        assert all(str(value.dtype) == "torch.float32" for value in ours.values())
        assert all(bool((ours[name] == theirs[name]).all()) for name in theirs)
    schedules = [
        (folder / "scheduler/scheduler_config.json").read_text() for folder in (second.output, taken)
    ]
    assert schedules[0] == schedules[1]


def test_a_model_of_masks_is_taken(toy_cell, tmp_path):
    first = toy_cell("masks", root=tmp_path / "first", steps=1)
    train(first)
    second = toy_cell("masks", root=tmp_path / "second", start_from=str(first.output), steps=0)
    train(second)
    assert (second.output / WEIGHTS).read_bytes() == (first.output / WEIGHTS).read_bytes()


def test_weights_that_do_not_fit_are_refused_by_name(toy_cell, tmp_path, autoencoder):
    cell = toy_cell(root=tmp_path / "other", start_from=str(autoencoder), steps=0, preset="small")
    with pytest.raises(ConfigError, match=r"autoencoder\.start_from: .*preset"):
        train(cell)
    with pytest.raises(ConfigError, match="neither a folder with a published diffusion"):
        find_start(RECIPES["diffusion"], "nothing")
    with pytest.raises(ConfigError, match="neither"):
        find_start(RECIPES["autoencoder"], str(tmp_path / "absent"))
    names = [path.name for path in start_files(RECIPES["autoencoder"], str(autoencoder))]
    assert names == ["README.md", "config.json", WEIGHTS, "origins.json"]


def test_origins_follow_the_weights_and_the_data(toy_cell, tmp_path, autoencoder):
    assert [origin.name for origin in read_origins(autoencoder)] == ["data of this run"]
    shutil.copy(SHIPPED / "small" / "origins.json", autoencoder)
    taken, adapted = (
        toy_cell(root=tmp_path / str(steps), steps=steps, start_from=str(autoencoder)) for steps in (0, 1)
    )
    facts = {"origins": as_facts([Origin("my survey")])}
    for cell in (taken, adapted):
        cell.run.ledger.publish("cutouts", Published("0" * 64, {}, "cutouts.zarr", {}, facts))
    # Without steps the maps at hand have no part in the weights.
    assert of_facts(train(taken)) == read_origins(taken.output) == read_origins(SHIPPED / "small" / "masks")
    assert of_facts(train(adapted)) == (*read_origins(taken.output), Origin("my survey"))
    card = (adapted.output / "README.md").read_text()
    assert "| my survey | not stated | - |" in card


def test_a_diffusion_model_comes_with_its_autoencoder():
    with pytest.raises(ConfigError, match=r"autoencoder\.start_from"):
        RADIO.resolve({"diffusion": {"start_from": "small", "steps": 0}})
    with pytest.raises(ConfigError, match="publish noise"):
        RADIO.resolve({"autoencoder": {"steps": 0}})


def test_a_run_directory_will_do_and_only_its_model_is_read(tmp_path, autoencoder):
    run = tmp_path / "run"
    (run / "models").mkdir(parents=True)
    (run / "maps").mkdir()
    (run / "maps" / "config.json").write_text("{}")
    autoencoder.rename(run / "models" / "autoencoder")
    assert find_start(RECIPES["autoencoder"], str(run)) == run / "models" / "autoencoder"
    with pytest.raises(ConfigError, match="neither"):
        find_start(RECIPES["diffusion"], str(run))


@pytest.mark.parametrize(
    ("tree", "match"),
    [
        ({"byol": {"start_from": "small"}}, "only the autoencoder, the diffusion"),
        (
            {
                "autoencoder": {"start_from": "runs/a", "steps": 0},
                "diffusion": {"start_from": "small", "steps": 0},
            },
            "fits the latents of one autoencoder",
        ),
        (
            {"autoencoder": {"start_from": "small", "steps": 0}, "cutouts": {"stretch": "tanh"}},
            "stretched by asinh",
        ),
    ],
)
def test_weights_that_cannot_go_together_are_refused_before_anything_runs(tree, match):
    with pytest.raises(ConfigError, match=match):
        RADIO.resolve(tree)


def test_a_diffusion_model_of_another_autoencoder_is_refused(toy_cell, tmp_path, autoencoder):
    cell = toy_cell("diffusion", root=tmp_path / "first")
    autoencoder.parent.mkdir(exist_ok=True)
    autoencoder.rename(cell.run.product("models/autoencoder"))
    train(cell)
    other = toy_cell(root=tmp_path / "second", lr=1e-4)
    train(other)
    changed = toy_cell("diffusion", root=tmp_path / "second", steps=0, start_from=str(cell.output))
    other.output.rename(changed.run.product("models/autoencoder"))
    with pytest.raises(ConfigError, match=r"^diffusion\.start_from: .*the latents of another autoencoder"):
        train(changed)


def test_weights_that_are_not_told_the_sky_draw_the_same_in_a_network_that_is(tmp_path):
    torch.manual_seed(1)
    old = build_denoiser("small").eval()
    save_denoiser(old, build_scheduler("small"), tmp_path)
    new = build_denoiser("told")
    objective = SimpleNamespace(network=new, latents_of=None, alpha_bar_T=torch.zeros(1))
    with mock.patch("astro_dist.radio.builders.check_latents"):
        load_diffusion(objective, tmp_path)
    new.eval()
    noisy, step = torch.randn(2, 4, 16, 16), torch.tensor([5, 800])
    planes = torch.randint(0, 4, (2, 64, 64)), torch.rand(2, 64, 64), torch.rand(2, 2, 64, 64)
    with torch.no_grad():
        facts = new(noisy, step, *planes, facts_BF=torch.randn(2, FACTS)), new(noisy, step, *planes)
        assert all(torch.equal(drawn, old(noisy, step, *planes)) for drawn in facts)
    # Training may begin to use them.
    new(noisy, step, *planes, facts_BF=torch.randn(2, FACTS)).square().sum().backward()
    assert new.unet.class_embedding.linear_2.weight.grad.abs().max() > 0


def test_the_weights_of_the_package_may_begin_a_training_that_is_told_the_sky(tmp_path):
    shutil.copytree(SHIPPED / "small", tmp_path / "own" / "models")
    for weights in ("small", str(tmp_path / "own")):
        start = {"start_from": weights, "preset": "small", "steps": 0}
        tree = {"autoencoder": start, "diffusion": start | {"preset": "told", "steps": 5}}
        config = RADIO.resolve(tree)
        run = make_run(tmp_path / "run", None, **{n: getattr(config, n) for n in (*tree, "cutouts")})
        recipe = RECIPES["diffusion"]
        recipe.refuse(run, find_start(recipe, weights))


def test_weights_that_are_told_the_sky_do_not_fit_a_network_that_is_not(tmp_path):
    save_denoiser(build_denoiser("told"), build_scheduler("told"), tmp_path)
    objective = SimpleNamespace(network=build_denoiser("small"), latents_of=None)
    with (
        mock.patch("astro_dist.radio.builders.check_latents"),
        pytest.raises(ConfigError, match=r"class_embed_type is .*, that of the preset None"),
    ):
        load_diffusion(objective, tmp_path)
