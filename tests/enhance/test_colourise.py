"""Colour for grey pictures: brightness that stays, both players in one loop, and what is refused."""

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from astro_dist.engine.errors import ConfigError, DataError, StoppedError
from astro_dist.engine.work import Run, for_stage
from astro_dist.enhance.chroma import strengthen
from astro_dist.enhance.colourise import ColourData, ColourObjective, groups, to_grey, to_unit
from astro_dist.enhance.colourise_config import ColouriseConfig
from astro_dist.enhance.colourise_stage import RECIPE
from astro_dist.enhance.colours import Colouriser
from astro_dist.enhance.pipeline import ENHANCE
from astro_dist.metrics.colours import block_chroma
from astro_dist.models.colouriser import ColourUNet, PatchGan, find_grey, keep_grey
from astro_dist.models.device import pin
from astro_dist.pictures.toy import draw_toy
from astro_dist.store.reader import StoreReader
from astro_dist.train import loop
from astro_dist.train.checkpoint import checkpoint_folder
from astro_dist.train.recipe import Cell
from astro_dist.train.stage import do_cell
from tests.flare.upscaling import make_store

WEIGHTS = "diffusion_pytorch_model.safetensors"
SPLIT = np.array([0] * 8 + [1, 1, 2, 2])


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    pin(1)


def toys(side=32):
    return np.stack([draw_toy(name, 1, i, side) for i in range(6) for name in ("galaxies", "nebulae")])


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("toys") / "pictures.zarr"
    make_store(path, toys(), SPLIT)
    return path


@pytest.fixture
def cell(store, tmp_path):
    def make(name="one", **settings):
        common = {"steps": 20, "batch_size": 4, "crop_pix": 32, "precision": "no", "checkpoint_every_s": 1e-3}
        config = ENHANCE.resolve({"pictures": {"size_pix": 32}, "colourise": {**common, **settings}})
        (tmp_path / name).mkdir(exist_ok=True)
        if not (tmp_path / name / "pictures.zarr").exists():
            (tmp_path / name / "pictures.zarr").symlink_to(store)
        run = for_stage(Run.of(tmp_path / name, config), ENHANCE.stage("colourise"), "f" * 16)
        run.output.mkdir(parents=True, exist_ok=True)
        return Cell(RECIPE, run, config.colourise, key=("colourise",))

    return make


def wild(width=4, depth=3):
    """A generator whose last layer is not zero, so that it makes strong colours."""
    torch.manual_seed(1)
    network = ColourUNet(width, depth)
    torch.nn.init.normal_(network.last.weight, std=2.0)
    return network.eval()


def test_brightness_stays_and_colours_keep_their_direction():
    rng = torch.Generator().manual_seed(1)
    grey = torch.rand(4, 1, 16, 16, generator=rng)
    grey[0, 0, 0, :2] = torch.tensor([0.0, 1.0])
    wanted = grey + torch.randn(4, 3, 16, 16, generator=rng)
    made = keep_grey(wanted, grey)
    assert (find_grey(made) - grey).abs().max() < 1e-6
    assert 0 <= made.min() <= made.max() <= 1
    first, second = wanted - find_grey(wanted), made - grey
    cosine = (first * second).sum(1) / (first.norm(dim=1) * second.norm(dim=1)).clamp(min=1e-9)
    # Black and white have no colour.
    assert cosine[second.norm(dim=1) > 1e-3].min() > 0.999
    assert made[0, :, 0, :2].tolist() == [[0.0, 1.0]] * 3


def test_a_training_begins_with_the_grey_picture():
    grey = torch.rand(2, 1, 16, 16)
    assert (ColourUNet(4, 2)(grey) - grey).abs().max() < 1e-6


def test_tiles_with_a_halo_equal_the_whole():
    """Of sides that are no multiple of the pooling's cells; the published network is a link of a chain."""
    link = Colouriser(wild())
    whole = np.random.default_rng(1).random((1, 150, 139), np.float32)
    made, reach = link.apply(whole), link.reach_pix
    assert made.shape == (3, 150, 139)
    top, left = 55, 61
    part = link.apply(whole[:, top - reach :, left - reach :], origin_yx=(top - reach, left - reach))
    np.testing.assert_allclose(part[:, reach:, reach:], made[:, top:, left:], atol=1e-5)


def test_one_backward_pass_gives_each_player_the_gradients_of_its_own(store):
    torch.manual_seed(1)
    config = ColouriseConfig(crop_pix=32)
    objective = ColourObjective(config, (0.3, 0.2, 0.05))
    batch = ColourData(StoreReader(store), config, (1, "colourise"), "train").batch(0, 4)
    torch.nn.init.normal_(objective.network.generator.last.weight, std=0.1)
    objective.loss(objective.network, batch, "cpu")[0].backward()
    together = [p.grad.clone() for p in objective.network.parameters()]
    grey, rgb = torch.from_numpy(batch.grey_B1HW), torch.from_numpy(batch.rgb_B3HW)
    objective.network.zero_grad()
    generator, judge = objective.network.generator, objective.network.discriminator
    made = generator(grey)
    softplus = torch.nn.functional.softplus
    (100 * (made - rgb).abs().mean() + softplus(-judge(grey, made)).mean()).backward()
    apart = [p.grad.clone() for p in generator.parameters()]
    objective.network.zero_grad()
    false = softplus(judge(grey, made.detach())).mean()
    ((softplus(-judge(grey, rgb)).mean() + false) / 2).backward()
    apart += [p.grad for p in judge.parameters()]
    for own, other in zip(together, apart, strict=True):
        torch.testing.assert_close(own, other, rtol=1e-5, atol=1e-7)
    assert max(float(grad.abs().max()) for grad in together[-4:]) > 0


def test_the_discriminator_sees_colours_of_a_hundredth():
    """Without units of the pictures it stays at ln 2, as those of galaxies differ from grey by 0.008."""
    torch.manual_seed(1)
    rng = torch.Generator().manual_seed(1)
    grey = torch.rand(8, 1, 32, 32, generator=rng)
    rgb = (grey + torch.tensor([0.006, 0.0, -0.012])[:, None, None]).clamp(0, 1)
    losses, softplus = {}, torch.nn.functional.softplus
    for name, units in (("scaled", (0.5, 0.29, 0.006)), ("plain", (0.0, 1.0, 1.0))):
        torch.manual_seed(1)
        judge = PatchGan(8, 2, units)
        adam = torch.optim.AdamW(judge.parameters(), lr=4e-4, betas=(0.5, 0.999))
        for _ in range(20):
            real, false = judge(grey, rgb), judge(grey, grey.expand(-1, 3, -1, -1))
            loss = (softplus(-real).mean() + softplus(false).mean()) / 2
            adam.zero_grad()
            loss.backward()
            adam.step()
        losses[name] = float(loss.detach())
    assert losses["scaled"] < 0.6 < 0.65 < losses["plain"]


def test_a_sample_is_a_function_of_its_number(store):
    data = ColourData(StoreReader(store), ColouriseConfig(crop_pix=16), (1, "colourise"), "train")
    whole, part = data.batch(0, 6), data.batch(4, 2)
    np.testing.assert_array_equal(whole.rgb_B3HW[4:], part.rgb_B3HW)
    np.testing.assert_allclose(whole.grey_B1HW, to_grey(whole.rgb_B3HW))
    assert whole.rgb_B3HW.shape == (6, 3, 16, 16)


def test_each_player_has_betas_and_a_rate_of_its_own(cell):
    settings = {"betas": [0.3, 0.9], "lr": 1e-3, "discriminator_lr": 5e-4}
    made = cell(**settings)
    torch.manual_seed(1)
    training = loop.Training(made, *RECIPE.build(made, "cpu"))
    assert [group["betas"] for group in training.optimiser.param_groups] == [(0.3, 0.9)] * 2
    training.fit()
    rates = [group["lr"] for group in training.optimiser.param_groups]
    assert rates[1] == pytest.approx(rates[0] / 2)


def test_players_in_turn_move_alternately(cell):
    made = cell(players="in_turn")
    torch.manual_seed(1)
    objective, data, held_out = RECIPE.build(made, "cpu")
    assert [group["turn"] for group in groups(objective.network, made.config)] == [(1, 2), (0, 2)]
    training = loop.Training(made, objective, data, held_out)
    moved = []
    for step in range(4):
        before = {name: p.detach().clone() for name, p in objective.network.named_parameters()}
        training._step(step, [data.batch(4 * step, 4)])
        now = objective.network.named_parameters()
        moved.append({name.partition(".")[0] for name, p in now if not torch.equal(before[name], p)})
    assert moved == [{"discriminator"}, {"generator"}] * 2


@pytest.mark.parametrize("players", ["together", "in_turn"])
def test_a_stopped_training_ends_in_the_same_bits(cell, monkeypatch, players):
    whole = do_cell(cell("whole", players=players))
    assert set(whole["sha256"]) == {"README.md", "config.json", WEIGHTS, "origins.json"}
    asked = iter([StoppedError("now")])

    def stop():
        if (error := next(asked, None)) is not None:
            raise error

    parts = cell("parts", players=players)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "check_stop", stop)
        with pytest.raises(StoppedError):
            do_cell(parts)
    state = load_file(checkpoint_folder(parts) / "step-00000010" / "state.safetensors")
    averages = {name.split("/")[1].partition(".")[0] for name in state if name.startswith("average/")}
    assert averages == {"generator"}
    assert do_cell(parts)["sha256"] == whole["sha256"]


@pytest.mark.parametrize("layout", [{"accumulate": 2}, pytest.param({"ranks": 2}, marks=pytest.mark.soak)])
def test_ranks_and_parts_play_the_same_game(cell, layout):
    one, other = do_cell(cell("one", steps=10)), do_cell(cell("other", steps=10, **layout))
    assert other["loss"] == pytest.approx(one["loss"], rel=1e-5)
    assert other["judged"] == pytest.approx(one["judged"], rel=1e-5)


def test_without_a_discriminator_the_error_falls(cell):
    made = cell(gan=False, loss="l2", steps=30, weight=1000.0)
    result = do_cell(made)
    data = RECIPE.build(made, "cpu")[1].batch(0, 32)
    grey = 1000 * float(((data.rgb_B3HW - data.grey_B1HW) ** 2).mean())
    assert result["loss"] < 0.8 * grey
    assert "judged" not in result


def test_the_published_network_colours_pictures_of_a_user(cell, tmp_path):
    folder = tmp_path / "network"
    wild(16, 3).save_pretrained(folder, safe_serialization=True)
    link = Colouriser.from_pretrained(folder, "cpu")
    assert (link.scale, link.planes_in, link.planes_out, link.calls) == (1, 1, 3, 1)
    grey = to_grey(to_unit(toys()[:1]))[0, 0]
    unit = link.enhance(grey)
    assert unit.dtype == np.float32
    assert np.abs(unit @ np.array([0.299, 0.587, 0.114]) - grey).max() < 1e-5
    pixels = np.rint(255 * grey).astype(np.uint8)
    made = link.enhance(Image.fromarray(pixels))
    assert (made.mode, made.size) == ("RGB", (32, 32))
    # Rounding to whole numbers moves the brightness by half a number at most.
    assert np.abs(np.asarray(made) @ np.array([0.299, 0.587, 0.114]) - pixels).max() < 0.51
    np.testing.assert_array_equal(link.enhance(np.repeat(pixels[..., None], 3, -1)), np.asarray(made))
    # All kinds of arrays and images in their range, and planes where they were.
    for kind, white in (("u2", 65535), ("f2", 1), ("f8", 1)):
        other = link.enhance((pixels / 255 * white).astype(kind))
        assert other.dtype == kind
        assert np.abs(other / white * 255 - np.asarray(made)).max() < 1
    for deep in (257 * pixels.astype(np.uint16), pixels.astype(np.float32) / 255):
        np.testing.assert_array_equal(np.asarray(link.enhance(Image.fromarray(deep))), np.asarray(made))
    np.testing.assert_array_equal(link.enhance(pixels[None]), np.asarray(made).transpose(2, 0, 1))
    for wrong, said in (
        (Image.fromarray(toys()[0].transpose(1, 2, 0)), "grey one"),
        (toys()[0].transpose(1, 2, 0), "grey one"),
        (np.zeros((0, 3)), r"shape \(0, 3\) is no picture"),
        (pixels.astype(int), "type int64 is no picture"),
        (255 * grey, "is no picture; give float from 0 to 1"),
        (np.where(grey < 2, np.nan, grey), "NaN or infinite"),
    ):
        with pytest.raises(DataError, match=said):
            link.enhance(wrong)
    with pytest.raises(DataError, match="coloured already"):
        link.apply(np.zeros((3, 8, 8), np.float32))
    # Published weights are begun with, of their own preset only.
    start = {"start_from": str(folder), "steps": 0}
    begun = cell("begun", **start)
    do_cell(begun)
    assert torch.equal(
        load_file(begun.output / WEIGHTS)["last.weight"], load_file(folder / WEIGHTS)["last.weight"]
    )
    with pytest.raises(ConfigError, match=r"set colourise\.preset to theirs"):
        do_cell(cell("other", preset="small", **start))


@pytest.mark.parametrize(
    ("sections", "text"),
    [
        ({"colourise": {"strategy": "zero1"}}, "zero1 splits weights that the other player's loss reads"),
        (
            {"colourise": {"steps": 0, "start_from": "here", "chroma": 0.8}},
            "steps 0 takes weights as they are, and chroma changes them",
        ),
        ({"colourise": {"players": "in_turn", "gan": False}}, "in_turn needs a discriminator"),
        ({"pictures": {"planes": 1}, "colourise": {}}, "a coloured picture has three; set it to 3"),
        ({"maps": {}, "colourise": {}}, "survey maps have no colours"),
        ({"pictures": {"size_pix": 32}, "colourise": {"crop_pix": 64}}, "crops of 64 pixels do not fit"),
    ],
)
def test_settings_that_cannot_work_are_refused(sections, text):
    with pytest.raises(ConfigError, match=text):
        ENHANCE.resolve(sections)


def test_colours_get_the_wanted_share_of_the_true_chroma(cell):
    """One factor on the last layer, on the crops that it was chosen on; beyond what fits it stops."""
    plain, strong = cell("plain", gan=False, steps=20), cell("strong", gan=False, steps=20, chroma=0.9)
    do_cell(plain)
    result = do_cell(strong)
    assert result["chroma"] == pytest.approx(0.9, abs=0.01)
    weights, stronger = (load_file(one.output / WEIGHTS) for one in (plain, strong))
    factor = result["chroma_factor"]
    assert factor > 1.2
    for name, value in weights.items():
        expected = value * factor if name.startswith("last.") else value
        torch.testing.assert_close(stronger[name], expected, rtol=1e-6, atol=0)
    data = RECIPE.build(strong, "cpu")[1]
    crops = [data.batch(n, 8) for n in range(0, 256, 8)]
    true = np.concatenate([one.rgb_B3HW for one in crops])
    made = np.concatenate(
        [Colouriser.from_pretrained(strong.output, "cpu").apply(grey)[None] for grey in to_grey(true)]
    )
    assert block_chroma(made).sum() / block_chroma(true).sum() == pytest.approx(result["chroma"], abs=2e-3)
    assert f"colours times {factor:g}" in (strong.output / "README.md").read_text()


def test_gradients_have_a_limit_without_a_discriminator():
    """Without one a batch of strong colours may throw the network to where colours do not fit, for good."""
    assert ColouriseConfig(gan=False).clip_norm == 1
    assert ColouriseConfig(gan=False, clip_norm=None).clip_norm is None
    assert ColouriseConfig().clip_norm is None


def test_a_factor_on_colours_has_bounds():
    """A network nearly without colours says what it reached; grey crops and broken weights are refused."""
    true = to_unit(toys()[:4])
    grey = to_grey(true)
    small = wild(16, 3)
    with torch.no_grad():
        small.last.weight *= 1e-5
        small.last.bias.zero_()
    assert strengthen(small, grey, true, 0.8)["chroma_factor"] == 16
    strong = wild()
    with torch.no_grad():
        strong.last.weight *= 0.1
        strong.last.bias *= 0.1
    found = strengthen(strong, grey, true, 0.3)
    assert found["chroma"] == pytest.approx(0.3, abs=0.01)
    assert found["chroma_factor"] < 1
    with pytest.raises(ConfigError, match="times the true chroma, so that its training went astray"):
        strengthen(wild(), grey, true, 0.3)
    with pytest.raises(ConfigError, match="the training crops are grey"):
        strengthen(wild(), grey, np.repeat(grey, 3, 1), 0.8)
    with torch.no_grad():
        small.last.bias[0] = np.nan
    with pytest.raises(ConfigError, match="no numbers"):
        strengthen(small, grey, true, 0.8)
