from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from astro_dist.engine.errors import ConfigError
from astro_dist.engine.seeds import stream
from astro_dist.field.config import AcceptConfig
from astro_dist.generate.conditions import deal, find_donors
from astro_dist.sky.classes import SourceClass
from astro_dist.store.reader import StoreReader
from tests.generate import small_run

ACCEPT = AcceptConfig()
QUARTER = {"extended": 0.25, "compact": 0.75}


@pytest.fixture(scope="module")
def reader(inputs):
    return StoreReader(inputs / "cutouts.zarr")


def test_donors_are_cutouts_of_the_split_sorted_by_their_best_object(reader):
    donors = find_donors(reader, ACCEPT)
    assert set(donors.pools["extended"]) == {0, 6, 9}
    assert set(donors.pools["compact"]) == {1, 2, 4, 5, 8, 10}
    assert set(donors.backgrounds) == set(reader.select("train"))
    held_out = find_donors(reader, ACCEPT, ("validation", "test"))
    assert set(held_out.backgrounds) == {3, 7, 11}
    assert set(find_donors(reader, AcceptConfig(classes=("extended",))).pools) == {"extended"}
    assert donors.objects[:, 0].tolist().count(SourceClass.EXTENDED) == 3
    assert donors.objects[:, 2].min() >= ACCEPT.min_snr


def test_faint_sources_and_those_at_the_edge_make_no_donor(reader, tmp_path):
    with pytest.raises(ConfigError, match=r"none of the 9 cutouts.*10000 sigma"):
        find_donors(reader, AcceptConfig(min_snr=1e4))
    with pytest.raises(ConfigError, match="none of the"):
        find_donors(reader, AcceptConfig(grow_beams=8.0))
    small_run.add_cutouts(tmp_path, objects=False)
    with pytest.raises(ConfigError, match="give maps with more sources"):
        find_donors(StoreReader(tmp_path / "cutouts.zarr"), ACCEPT)


def test_choices_belong_to_their_stamp_and_keep_the_wanted_mixture(reader):
    donors, of_run = find_donors(reader, ACCEPT), partial(stream, 1)
    choices = [donors.choose(reader, QUARTER, of_run, i) for i in range(400)]
    assert choices[::-1] == [donors.choose(reader, QUARTER, of_run, i) for i in reversed(range(400))]
    assert sum(choice.donor in donors.pools["extended"] for choice in choices) == 100
    assert {choice.symmetry for choice in choices} == set(range(8))


def test_no_mask_comes_back_before_all_others_were_used(reader):
    donors, of_run = find_donors(reader, ACCEPT), partial(stream, 1)
    drawn = [donors.choose(reader, QUARTER, of_run, i).donor for i in range(32)]
    compact = [donor for donor in drawn if donor in donors.pools["compact"]]
    assert len(compact) == 24
    laps = [compact[start : start + 6] for start in range(0, 24, 6)]
    assert all(sorted(lap) == sorted(donors.pools["compact"]) for lap in laps)
    assert len({tuple(lap) for lap in laps}) > 1


def test_any_mixture_is_kept_to_within_one_stamp():
    pools = {name: np.arange(7) + 10 * i for i, name in enumerate(("extended", "compact", "spurious"))}
    weights = {"extended": 0.2, "compact": 1.0, "spurious": 0.8}
    drawn = np.array([deal(pools, weights, partial(stream, 1), i) for i in range(500)]) // 10
    for kind, share in enumerate((0.1, 0.5, 0.4)):
        counted = np.cumsum(drawn == kind)
        assert np.abs(counted - share * np.arange(1, 501)).max() < 2


def test_a_missing_kind_of_donor_is_made_up_for_by_the_other(reader):
    donors, of_run = find_donors(reader, ACCEPT), partial(stream, 1)
    for kind in donors.pools:
        alone = replace(donors, pools={**donors.pools, kind: donors.pools[kind][:0]})
        other = donors.pools["compact" if kind == "extended" else "extended"]
        assert {alone.choose(reader, QUARTER, of_run, i).donor for i in range(len(other))} == set(other)
