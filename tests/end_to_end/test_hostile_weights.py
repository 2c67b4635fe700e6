"""Hostile weights through the command line: exit code 2 and one line, and the published model stays."""

import random
import shutil
import time
from functools import partial

import pytest

from tests.end_to_end.conftest import ROOT, TRAIN_TINY, shrunk, stable_digests
from tests.train.fuzz_weights import handmade, make_folders, mutated

KINDS = ("autoencoder", "diffusion")


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A folder with a small sound model of each kind."""
    root = tmp_path_factory.mktemp("sound")
    make_folders(root)
    return root


def choose_cases(count, seed):
    """Some of the handmade cases, or with 0 all of them and as many mutated ones."""
    rng = random.Random(seed)
    cases = [case for case in handmade() if case[1] in KINDS]
    if count:
        return rng.sample(cases, count)
    more = ((f"mutated {n}", "autoencoder", partial(mutated, rng)) for n in range(len(cases)))
    return [*cases, *more]


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("count", [4, pytest.param(0, marks=pytest.mark.soak)], ids=["some", "all"])
def test_hostile_weights_are_refused_in_one_line(toy_run, sound, tmp_path, command, count):
    out, folder = tmp_path / "run", tmp_path / "case"
    shutil.copytree(toy_run[0], out)
    before = stable_digests(out)
    for name, kind, change in choose_cases(count, seed=3):
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(sound / kind, folder)
        change(folder)
        settings = {f"{kind}.start_from": str(folder), f"{kind}.steps": 0}
        words = [kind, TRAIN_TINY, "--out", out, "--on", "serial", "--redo", kind, *shrunk(settings)]
        started = time.process_time()
        done = command("train", *words, cwd=ROOT)
        lines = [line for line in done.stderr.splitlines() if not line.startswith("{")]
        if name.startswith("bad"):
            assert done.returncode == 2, (name, done.stderr)
        if done.returncode == 0:
            shutil.rmtree(out)
            shutil.copytree(toy_run[0], out)
            continue
        assert done.returncode == 2, (name, done.stderr)
        assert time.process_time() - started < 4, name
        assert len(lines) == 1, (name, lines)
        assert stable_digests(out) == before
