"""The map of RADiff, from its configuration at a small size: its law of brightness."""

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import kstest

from astro_dist.engine.config import load_yaml
from astro_dist.field.columns import read_columns_file
from astro_dist.radio.pipeline import RADIO
from tests.field.small_sky import assemble, make_run

CONFIG = Path(__file__).parents[2] / "configs" / "radiff" / "map.yaml"


def law(k):
    """Return the share of an exponential of mean 3, cut at 10, that lies below k."""
    return np.expm1(-np.asarray(k) / 3) / np.expm1(-10 / 3)


@pytest.mark.parametrize(("side", "objects"), [(800, 150), pytest.param(3000, 3000, marks=pytest.mark.soak)])
def test_the_map_of_radiff_follows_its_law(tmp_path, side, objects):
    config = RADIO.resolve(load_yaml(CONFIG)).assemble
    assert (config.shape, config.objects, config.max_overlap) == ((12000, 15000), 20000, 0)
    settings = config.model_dump(exclude_defaults=True) | {"shape": [side, side], "objects": objects}
    run = make_run(tmp_path / "run", **settings | {"reuse": objects})
    assemble(run)
    truth = read_columns_file(run.root / "field" / "truth.parquet")
    assert len(truth["k"]) == objects
    assert truth["k"].min() > 0
    assert truth["k"].max() <= 10
    assert kstest(truth["k"], law).pvalue > 0.01
