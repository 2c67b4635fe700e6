"""Ranks, strategies, and checkpoints passed between strategies, on two processes and toy networks."""

import itertools

import pytest

from astro_dist.engine.errors import ConfigError
from astro_dist.train import strategy
from astro_dist.train.extensions import own_folder
from tests.train import pair

SOAK = pytest.mark.soak
STRATEGIES = ("ddp", "zero1", "zero2", "zero3")


@pytest.fixture(scope="module")
def two_ranks():
    ranks = pair.Pair()
    yield ranks
    ranks.end()


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The figures of one rank with the same batch."""
    return pair.fit(tmp_path_factory.mktemp("alone"), validate=True, steps=40)


def furthest(first, second):
    assert len(first) == len(second) > 0
    return max(abs(a - b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("kind", STRATEGIES)
def test_all_strategies_have_the_losses_of_one_rank(two_ranks, alone, tmp_path, kind):
    """The training itself asserts that all ranks hold the same weights."""
    shared = two_ranks(pair.fit, str(tmp_path), validate=True, ranks=2, strategy=kind, steps=40)
    assert furthest(shared["losses"], alone["losses"]) <= 1e-5
    assert furthest(shared["validation"], alone["validation"]) <= 1e-5
    if kind != "ddp":
        built = sorted(
            path.name for path in own_folder().glob("*/*") if path.suffix == ".so" or path.stem == "lock"
        )
        assert built == ["deepspeed_shm_comm.so"]


@pytest.mark.parametrize(
    "settings",
    [
        {"strategy": "ddp", "accumulate": 2},
        {"strategy": "zero2", "accumulate": 2, "offload": "optimiser"},
        {"strategy": "zero3", "accumulate": 2, "offload": "all"},
        {"strategy": "ddp", "norm": True},
        {"strategy": "zero1", "clip_norm": 0.05},
        {"strategy": "zero2", "clip_norm": None, "schedule": "constant"},
    ],
    ids=lambda settings: "-".join(map(str, settings.values())),
)
def test_settings_mean_the_same_on_all_ranks(two_ranks, tmp_path, settings):
    layout = {"strategy", "accumulate", "offload"}
    one = pair.fit(tmp_path / "one", **{k: v for k, v in settings.items() if k not in layout})
    two = two_ranks(pair.fit, str(tmp_path / "two"), ranks=2, **settings)
    assert furthest(two["losses"], one["losses"]) <= 1e-5


@pytest.mark.parametrize(
    "kind",
    ["ddp", *(pytest.param(k, marks=() if k == "zero2" else pytest.mark.soak) for k in STRATEGIES[1:])],
)
def test_the_same_layout_resumes_to_the_same_bits(two_ranks, tmp_path, kind):
    layout = {"ranks": 2, "strategy": kind, "norm": kind == "ddp"}
    whole = two_ranks(pair.fit, str(tmp_path / "whole"), **layout)
    assert two_ranks(pair.fit, str(tmp_path / "broken"), until=7, **layout)["digest"] is None
    assert two_ranks(pair.fit, str(tmp_path / "broken"), **layout) == whole


def test_two_ranks_then_one_then_two(two_ranks, tmp_path, capsys):
    whole = two_ranks(pair.fit, str(tmp_path / "whole"), ranks=2, steps=40)
    two_ranks(pair.fit, str(tmp_path / "moved"), until=10, ranks=2, steps=40)
    pair.fit(tmp_path / "moved", until=20, steps=40)
    assert "goes on from step 10 with ranks: 2 -> 1;" in capsys.readouterr().err
    moved = two_ranks(pair.fit, str(tmp_path / "moved"), ranks=2, steps=40)
    assert furthest(moved["losses"], whole["losses"]) <= 1e-5


CHANGES = [("ddp", "zero2"), ("zero2", "ddp"), ("zero3", "zero1")]
OTHERS = [pair for pair in itertools.permutations(STRATEGIES, 2) if pair not in CHANGES]


@pytest.mark.parametrize(
    ("before", "after"), [*CHANGES, *(pytest.param(*pair, marks=SOAK) for pair in OTHERS)]
)
def test_a_training_goes_on_under_another_strategy(two_ranks, alone, tmp_path, before, after):
    """Losses check the weights and moments of the checkpoint, validation losses check the average."""
    common = {"ranks": 2, "steps": 40, "validate": True}
    two_ranks(pair.fit, str(tmp_path), until=10, strategy=before, **common)
    moved = two_ranks(pair.fit, str(tmp_path), strategy=after, **common)
    assert furthest(moved["losses"], alone["losses"]) <= 1e-5
    assert furthest(moved["validation"], alone["validation"]) <= 1e-5


def test_ranks_with_different_weights_are_found(two_ranks, tmp_path):
    with pytest.raises(AssertionError, match=r"IntegrityError.*hold different weights"):
        two_ranks(pair.drifting_fit, str(tmp_path))


@pytest.mark.parametrize("ranks", [1, 4])
def test_another_number_of_processes_is_refused(two_ranks, tmp_path, ranks):
    with pytest.raises(AssertionError, match=f"ConfigError.*{ranks} ranks under ddp, and 2 were started"):
        two_ranks(pair.fit, str(tmp_path), ranks=ranks)


def test_launchers_that_start_copies_are_refused(tmp_path, monkeypatch):
    """`accelerate launch` can leave variables for one process only, or for another strategy."""
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    config = pair.toy_cell(tmp_path, ranks=2).config
    with pytest.raises(ConfigError, match="ask for 2 ranks under ddp, and 1 were started"):
        strategy.make_accelerator(config, "cpu", "no")
    alone = pair.toy_cell(tmp_path).config
    with monkeypatch.context() as patch:
        patch.setattr(strategy, "_kind", lambda config, device: strategy.DistributedType.FSDP)
        with pytest.raises(ConfigError, match=r"Accelerate has 1 rank\(s\), no on cpu in place of"):
            strategy.make_accelerator(alone, "cpu", "no")
    assert strategy.make_accelerator(alone, "cpu", "no").mixed_precision == "no"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"ranks": 3}, "cannot be shared by 3 ranks"),
        ({"ranks": 2, "accumulate": 3}, "in 3 parts each"),
        ({"offload": "optimiser"}, "set strategy to zero1"),
        ({"offload": "all", "strategy": "zero2"}, "set strategy to zero3"),
    ],
)
def test_layouts_that_cannot_be_are_refused(tmp_path, settings, words):
    with pytest.raises(ValueError, match=words):
        pair.toy_cell(tmp_path, **settings)
