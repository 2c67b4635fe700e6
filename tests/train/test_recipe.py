"""Two players in one recipe: one module, one loss, one backward pass, groups of their own."""

import pytest
import torch
from safetensors.torch import load_file
from torch.nn.functional import softplus

from astro_dist.engine.errors import StoppedError
from astro_dist.train import loop
from astro_dist.train.checkpoint import checkpoint_folder
from astro_dist.train.stage import do_cell
from tests.train.game import RECIPE, Game, GameObjective, GameSamples, make_cell


def test_one_backward_pass_gives_each_player_the_gradients_of_its_own(tmp_path):
    torch.manual_seed(1)
    objective, batch = GameObjective(), GameSamples(make_cell(tmp_path).run).batch(0, 16)
    objective.loss(objective.network, batch, "cpu")[0].backward()
    real, noise = map(torch.from_numpy, batch)
    apart = Game()
    apart.load_state_dict(objective.network.state_dict())
    softplus(-apart.judge(apart.generator(noise))).mean().backward()
    generator = [p.grad.clone() for p in apart.generator.parameters()]
    apart.zero_grad()
    made = apart.generator(noise).detach()
    (softplus(-apart.judge(real)).mean() + softplus(apart.judge(made)).mean()).backward()
    judge = [p.grad for p in apart.judge.parameters()]
    together = [p.grad for p in objective.network.parameters()]
    assert len(together) == 8
    for own, other in zip(together, [*generator, *judge], strict=True):
        assert torch.equal(own, other)
        assert own.abs().max() > 0


def training(cell):
    torch.manual_seed(1)
    return loop.Training(cell, *RECIPE.build(cell, "cpu"))


def test_groups_have_their_own_betas_and_rates(tmp_path):
    made = training(make_cell(tmp_path, steps=3, judge_rate=0.0))
    before = [p.detach().clone() for p in made.objective.network.parameters()]
    assert [group["betas"] for group in made.optimiser.param_groups] == [(0.0, 0.99)] * 2
    made.fit()
    moved = [not torch.equal(a, b) for a, b in zip(before, made.objective.network.parameters(), strict=True)]
    assert moved == [True] * 4 + [False] * 4
    rates = [group["lr"] for group in made.optimiser.param_groups]
    assert rates[0] > 0 == rates[1]


def test_the_generator_alone_is_averaged_and_published(tmp_path):
    cell = make_cell(tmp_path)
    result = do_cell(cell)
    assert set(result["sha256"]) == {"generator.safetensors"}
    state = load_file(checkpoint_folder(cell) / "step-00000020" / "state.safetensors")
    averages = {name.partition("/")[2] for name in state if name.startswith("average/")}
    assert averages == {f"generator.{i}.{kind}" for i in (0, 2) for kind in ("weight", "bias")}
    assert {name for name in state if name.startswith("weight/judge")}


def test_a_stopped_game_ends_in_the_same_bits(tmp_path, monkeypatch):
    whole = do_cell(make_cell(tmp_path / "whole"))
    asked = iter([None, StoppedError("now")])

    def stop():
        if (error := next(asked, None)) is not None:
            raise error

    cell = make_cell(tmp_path / "parts")
    with monkeypatch.context() as patch:
        patch.setattr(loop, "check_stop", stop)
        with pytest.raises(StoppedError):
            do_cell(cell)
    kept = sorted(path.name for path in checkpoint_folder(cell).iterdir())
    assert kept == ["step-00000010", "step-00000020"]
    assert do_cell(cell)["sha256"] == whole["sha256"]


def test_two_ranks_play_the_same_game(tmp_path):
    one, two = (do_cell(make_cell(tmp_path / str(n), ranks=n)) for n in (1, 2))
    assert abs(one["loss"] - two["loss"]) < 1e-5
