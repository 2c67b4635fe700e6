import pickle

import pytest

from astro_dist.engine import errors
from astro_dist.workers import attempts

KINDS = [
    kind
    for module in (errors, attempts)
    for kind in vars(module).values()
    if isinstance(kind, type) and issubclass(kind, Exception) and kind.__module__ == module.__name__
]


@pytest.mark.parametrize("kind", KINDS)
def test_errors_survive_pickling(kind):
    error = kind("one line")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert str(again) == str(error) == "one line"
    assert vars(again) == vars(error)


def test_exit_codes():
    codes = {kind.__name__: kind.exit_code for kind in KINDS if hasattr(kind, "exit_code")}
    assert codes == {
        "AstroDistError": 1,
        "ConfigError": 2,
        "DataError": 2,
        "IntegrityError": 3,
        "QuarantinedError": 4,
        "StageError": 1,
        "StartError": 1,
        "StoppedError": 75,
        "TimeUpError": 75,
    }
