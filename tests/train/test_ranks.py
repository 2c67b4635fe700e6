import io
import json
import pickle
import sys
from types import SimpleNamespace

import pytest

from astro_dist import errors, work
from astro_dist.train import loop, ranks


def test_a_rank_leaves_its_error_in_a_file(tmp_path, monkeypatch):
    run = work.Run(tmp_path, SimpleNamespace(), stage="autoencoder")
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(pickle.dumps(run))))
    monkeypatch.setattr(ranks, "die_with_parent", lambda: None)
    assert ranks.main(tmp_path / "0.json") == 1
    outcome = json.loads((tmp_path / "0.json").read_text())
    assert outcome["error"] == "AttributeError"
    assert "autoencoder" in outcome["message"]


def test_two_ranks_share_a_batch(toy_run, tmp_path):
    """The sum over ranks is taken in another order, so the losses agree, not the bits."""
    alone = loop.train(toy_run(root=tmp_path / "one"))
    shared = ranks.train_on_ranks(toy_run(root=tmp_path / "two", ranks=2), 2)
    assert shared["loss"] == pytest.approx(alone["loss"], rel=1e-4)
    assert shared["files"].keys() == alone["files"].keys()


def test_errors_of_ours_keep_their_class(tmp_path):
    (tmp_path / "0.json").write_text(json.dumps({"error": "ConfigError", "message": "lower it"}))
    with pytest.raises(errors.ConfigError, match="lower it"):
        ranks._raise_first(tmp_path, [SimpleNamespace(returncode=1)])


def test_a_rank_that_died_without_a_word_is_named(tmp_path):
    with pytest.raises(RuntimeError, match=r"exit codes \[-9, 0\]"):
        ranks._raise_first(tmp_path, [SimpleNamespace(returncode=-9), SimpleNamespace(returncode=0)])
