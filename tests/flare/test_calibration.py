"""Intervals of pairs of full networks whose training sets are of one distribution."""

import pytest

from astro_dist.flare.grid_scores import read_grid
from astro_dist.metrics.gains import gain
from tests.flare.grids import facts, run_grid, write_config
from tests.metrics.arms import is_calibrated

PAIRS, SEEDS = 20, 2


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_intervals_of_twenty_pairs_of_full_networks_are_reported(tmp_path):
    """Both sets of a pair are halves of the same real pictures, by chance: the true gain is 0."""
    sets = {f"D{i}": {"k": 1, "fraction": 0.5, "draw": i} for i in range(2 * PAIRS)}
    own = {"seeds": SEEDS, "steps": 60, "levels": ["fine"], "keep": "predictions"}
    config = write_config(tmp_path / "c.yaml", sets, **own)
    run_grid(config, tmp_path / "run", "--set", "pictures.per_class=24", "--workers", "2")
    grid = read_grid(tmp_path / "run" / "classifiers", list(facts(tmp_path / "run")["cells"]))
    one = grid["tiny", "fine", "test"]
    found = [
        gain(*(one.score(f"D{i}", "accuracy") for i in (2 * k, 2 * k + 1)), one.group) for k in range(PAIRS)
    ]
    held = sum(g.low <= 0 <= g.high for g in found)
    means = [100 * g.mean for g in found]
    print(f"{held} of {PAIRS} intervals hold 0; gains from {min(means):.1f} to {max(means):.1f} points")
    assert max(means) > min(means)
    assert is_calibrated(held, PAIRS)
