"""A package that is not installed is named in one line, wherever it is wanted."""

import pickle
import sys

import pytest

from astro_dist.engine.errors import ConfigError, explain_missing
from astro_dist.engine.later import Later


def test_a_missing_package_is_named_and_a_missing_module_of_ours_is_a_fault(tmp_path, monkeypatch):
    (tmp_path / "wants_it.py").write_text("import no_such_package.part\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match="this needs no_such_package, which is not installed"):
        Later("wants_it:run").load()
    sys.modules.pop("wants_it", None)
    with pytest.raises(ModuleNotFoundError):
        Later("astro_dist.no_such_module:run").load()


def test_what_a_worker_lacks_is_told_through_a_pipe():
    error = pickle.loads(pickle.dumps(ModuleNotFoundError("No module", name="no_such_package")))
    assert "no_such_package" in str(explain_missing(error))
    assert explain_missing(ValueError("else")) is None
    assert explain_missing(ModuleNotFoundError("No module", name="numpy.gone")) is None
