"""The bytes of a stamp: settings and machines that change them, and groupings that must not."""

import os
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astro_dist.engine.errors import ConfigError, IntegrityError
from astro_dist.engine.files import tree_digests
from astro_dist.engine.ledger import Published
from astro_dist.engine.work import Task, for_stage
from astro_dist.generate.stage import GENERATE
from astro_dist.generate.stamps import StampMaker
from astro_dist.models import device
from astro_dist.workers.attempts import Worker
from tests.generate import small_run
from tests.settings import claim

STAMPS = 12
NAMES = ("image_jy_beam", "mask", "instances")


@pytest.fixture(scope="module")
def maker(inputs):
    return StampMaker(for_stage(small_run.make_runner(inputs).run, GENERATE, "f" * 64))


@pytest.fixture(scope="module")
def alone(maker):
    """Every stamp drawn by itself, in a batch padded with itself."""
    return [maker.draw([i]) for i in range(STAMPS)]


def regroup(maker, alone, rng):
    """Deal all stamps in random order to batches of random size up to the fixed shape and compare."""
    order = [int(i) for i in rng.permutation(STAMPS)]
    while order:
        n = int(rng.integers(1, maker.settings.micro_batch + 1))
        group, order = order[:n], order[n:]
        drawn = maker.draw(group)
        for place, stamp in enumerate(group):
            for name in NAMES:
                assert getattr(drawn, name)[place].tobytes() == getattr(alone[stamp], name)[0].tobytes()


@given(seed=st.integers(0, 2**32))
@settings(max_examples=10)
def test_companions_and_padding_do_not_change_a_stamp(maker, alone, seed):
    regroup(maker, alone, np.random.default_rng(seed))


def test_a_sampler_that_draws_noise_draws_each_stamp_its_own(inputs):
    runner = small_run.make_runner(inputs, sampler="ddim", eta=1.0, guidance={"mask": 1.5})
    maker = StampMaker(for_stage(runner.run, GENERATE, "f" * 64))
    regroup(maker, [maker.draw([i]) for i in range(STAMPS)], np.random.default_rng(1))


@pytest.mark.soak
@pytest.mark.parametrize("precision", ["auto", "no"])
def test_a_hundred_regroupings(inputs, precision):
    runner = small_run.make_runner(inputs, precision=precision, micro_batch=5)
    maker = StampMaker(for_stage(runner.run, GENERATE, "f" * 64))
    alone = [maker.draw([i]) for i in range(STAMPS)]
    for seed in range(100):
        regroup(maker, alone, np.random.default_rng(seed))


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("micro_batch", 4, 3),
        ("threads", 1, 2),
        ("steps", 2, 3),
        ("sampler", "dpm", "heun"),
        ("per_shard", 6, 5),
    ],
)
def test_a_published_store_refuses_other_settings_and_names_both(store, name, old, new):
    with pytest.raises(ConfigError, match=rf"generate\.{name}: {old}.* -> {new}.*--redo generate"):
        small_run.execute(store, **{name: new})


@pytest.fixture(scope="module")
def store(inputs, tmp_path_factory):
    root = copy(inputs, tmp_path_factory.mktemp("store") / "run")
    small_run.execute(root)
    return root


def copy(inputs, root):
    root.mkdir()
    claim(root)
    for name in ("cutouts.zarr", "models"):
        os.symlink(inputs / name, root / name)
    return root


def begin(root, shards=1, **generate):
    """Draw some shards and stop there; return the run of the stage."""
    runner = small_run.make_runner(root, **generate)
    run = for_stage(runner.run, GENERATE, runner.states()[0].fingerprint)
    GENERATE.prepare(run)
    worker = Worker(GENERATE, run)
    for index in range(shards):
        worker.do(Task(f"shard-{index:05}", {"index": index}))
    return run


def test_a_half_made_store_never_mixes_two_sizes_of_batch(inputs, tmp_path):
    begun = begin(copy(inputs, tmp_path / "begun"))
    small_run.execute(begun.root, micro_batch=3)
    small_run.execute(copy(inputs, tmp_path / "clean"), micro_batch=3)
    assert not begun.output.exists()
    assert tree_digests(begun.root / "stamps.zarr") == tree_digests(tmp_path / "clean" / "stamps.zarr")


@pytest.mark.parametrize(
    ("owner", "attribute", "value", "named"),
    [
        (device, "_processor", lambda: "another CPU", "another CPU"),
        (device, "resolve_precision", lambda wish, where: "other", "precision: .* then, other now"),
        (np, "__version__", "1.0", "numpy: .* then, 1.0 now"),
    ],
)
def test_a_half_made_store_refuses_another_kind_of_machine(
    inputs, tmp_path, monkeypatch, owner, attribute, value, named
):
    root = copy(inputs, tmp_path / "run")
    begin(root)
    monkeypatch.setattr(owner, attribute, value)
    with pytest.raises(ConfigError, match=rf"bytes would mix \(.*{named}"):
        small_run.execute(root)


def test_weights_that_were_not_published_are_refused(inputs, tmp_path):
    root = tmp_path / "run"
    (root / "models").mkdir(parents=True)
    os.symlink(inputs / "cutouts.zarr", root / "cutouts.zarr")
    for name in ("autoencoder", "diffusion"):
        shutil.copytree(inputs / "models" / name, root / "models" / name)
    run = for_stage(small_run.make_runner(root).run, GENERATE, "f" * 64)
    for name in ("autoencoder", "diffusion"):
        files = tree_digests(root / "models" / name)
        run.ledger.publish(name, Published("f" * 64, {}, f"models/{name}", files, {}, True))
    GENERATE.open(run)
    weights = root / "models" / "diffusion" / "unet" / "diffusion_pytorch_model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(IntegrityError, match=r"models/diffusion is not what diffusion published.*repair"):
        GENERATE.open(run)


def test_a_shard_reports_every_micro_batch(maker):
    seen = []
    maker.make_shard(0, lambda done, total: seen.append((done, total)))
    count = -(-maker.settings.per_shard // maker.settings.micro_batch)
    assert seen == [(i + 1, count) for i in range(count)]


@pytest.mark.parametrize("part", ["read", "extract"])
def test_a_failure_in_the_second_thread_fails_the_task(maker, monkeypatch, part):
    def fail(*args):
        raise IntegrityError("a damaged cutout")

    monkeypatch.setattr(maker, part, fail)
    with pytest.raises(IntegrityError, match="a damaged cutout"):
        maker.make_shard(0)
