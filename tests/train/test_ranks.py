import contextlib
import io
import json
import os
import pickle
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import psutil
import pytest

from astro_dist.engine import errors
from astro_dist.engine.stopping import END_AT, STOP_AT
from astro_dist.radio.trainings import RECIPES
from astro_dist.train import loop, ranks
from astro_dist.train.recipe import Cell
from astro_dist.train.stage import do_cell
from astro_dist.workers.allocation import Allocation
from astro_dist.workers.processes import ALL_GPUS
from astro_dist.workers.scratch import CACHES, caches_in_scratch
from tests.settings import make_run
from tests.train import game
from tests.train.conftest import make_cell


def test_a_rank_leaves_its_error_in_a_file(tmp_path, monkeypatch):
    cell = Cell(RECIPES["autoencoder"], make_run(tmp_path), config=None)
    message = pickle.dumps(cell)
    pipe = io.BytesIO(len(message).to_bytes(8, "big") + message)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=pipe))
    monkeypatch.setattr(ranks, "die_with_parent", lambda: None)
    monkeypatch.setattr(ranks, "_end_with_pipe", lambda: None)
    monkeypatch.setenv("RANK", "0")
    assert ranks.main(tmp_path) == 1
    outcome = json.loads((tmp_path / "0.json").read_text())
    assert outcome["error"] == "AttributeError"
    assert "threads" in outcome["message"]


def test_two_ranks_share_a_batch(toy_cell, tmp_path, above):
    """Sums over ranks are taken in another order: the losses agree, the bits do not."""
    alone = loop.train(toy_cell(root=tmp_path / "one"))
    shared = ranks.train_on_ranks(toy_cell(root=tmp_path / "two", ranks=2))
    assert shared["loss"] == pytest.approx(alone["loss"], rel=1e-4)
    assert shared["sha256"].keys() == alone["sha256"].keys()


def test_ranks_whose_time_is_up_raise_time_up_and_not_stopped(toy_cell, monkeypatch):
    monkeypatch.setenv(STOP_AT, str(time.time() - 1))
    monkeypatch.setenv(END_AT, str(time.time() + 600))
    with pytest.raises(errors.TimeUpError):
        ranks.train_on_ranks(toy_cell(ranks=2, steps=500))


def test_errors_of_ours_keep_their_class(tmp_path):
    (tmp_path / "0.json").write_text(json.dumps({"error": "ConfigError", "message": "lower it"}))
    with pytest.raises(errors.ConfigError, match="lower it"):
        ranks._raise_first(tmp_path, 1, [SimpleNamespace(returncode=1)])


def test_exit_codes_of_ranks_without_an_outcome_are_named(tmp_path):
    with pytest.raises(RuntimeError, match=r"ranks ended \(rank 0 by signal 9\)"):
        ranks._raise_first(tmp_path, 2, [SimpleNamespace(returncode=-9), SimpleNamespace(returncode=0)])


def test_ranks_that_the_nodes_cannot_share_are_refused(toy_cell, tmp_path, monkeypatch):
    allocation = Allocation(("n1", "n2"), 0)
    monkeypatch.setattr(ranks, "find_allocation", lambda: allocation)
    with pytest.raises(errors.ConfigError, match="3 ranks cannot be spread evenly over the 2 nodes"):
        ranks.train_on_ranks(toy_cell(root=tmp_path, ranks=3, batch_size=6))


@pytest.mark.parametrize(("here", "order"), [(0, [0, 1, 2, 3]), (1, [2, 3, 0, 1])])
def test_the_first_rank_is_on_the_node_of_the_parent(monkeypatch, here, order):
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv(ranks.FIRST_TASK, str(here * 2))
    for name in ("RANK", "LOCAL_RANK", "GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
        monkeypatch.setenv(name, "x")
    for task, rank in enumerate(order):
        monkeypatch.setenv("SLURM_PROCID", str(task))
        monkeypatch.setenv("SLURM_LOCALID", str(task % 2))
        ranks._join_nodes()
        assert (os.environ["RANK"], os.environ["LOCAL_RANK"]) == (str(rank), str(task % 2))


def test_ranks_of_a_pinned_worker_see_all_gpus(monkeypatch, tmp_path):
    environments = []
    monkeypatch.setattr(ranks, "_launch", lambda call, environment, *rest: environments.append(environment))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5")
    monkeypatch.setenv(ALL_GPUS, "5,7")
    cell = make_cell("autoencoder", tmp_path, threads=1, ranks=2)
    for rank in range(2):
        ranks._start(cell, rank, 2, 1, tmp_path)
    seen = [(e["LOCAL_RANK"], e["CUDA_VISIBLE_DEVICES"]) for e in environments]
    assert seen == [("0", "5,7"), ("1", "5,7")]


def listening(pids):
    """The addresses that processes listen on."""
    found = set()
    for pid in pids:
        with contextlib.suppress(psutil.Error):
            rows = psutil.Process(pid).net_connections("inet")
            found |= {row.laddr.ip for row in rows if row.status == psutil.CONN_LISTEN}
    return found


def test_ranks_on_one_machine_listen_on_loopback_only(tmp_path):
    cell = game.make_cell(tmp_path, ranks=2, steps=80, checkpoint_every_s=3600)
    own, seen = psutil.Process(), set()
    with ThreadPoolExecutor(1) as aside:
        training = aside.submit(do_cell, cell)
        while not training.done():
            children = own.children(recursive=True)
            seen |= listening([child.pid for child in children if "python" in child.name()])
            time.sleep(0.02)
        assert training.result()["steps"] == 80
    assert seen == {"127.0.0.1"}


def test_files_of_a_training_follow_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        cell = game.make_cell(tmp_path, steps=3)
        do_cell(cell)
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in cell.output.rglob("*")} == {0o640}


def test_torch_makes_its_cache_where_it_is_told_to(tmp_path, monkeypatch):
    """torch makes the folder when its compiler is imported, whether or not anything is compiled."""
    from torch._inductor.runtime.cache_dir_utils import cache_dir

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.delenv(CACHES[0], raising=False)
    with caches_in_scratch():
        assert cache_dir().startswith(f"{tmp_path}/.astro_dist-caches-")
    assert list(tmp_path.iterdir()) == []
