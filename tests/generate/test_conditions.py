from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from astro_dist.errors import ConfigError
from astro_dist.field.objects import AcceptConfig
from astro_dist.generate.conditions import Choice, find_donors, read_conditions, sky_of
from astro_dist.seeds import stream
from astro_dist.store.reader import StoreReader
from tests.generate import small_run

ACCEPT = AcceptConfig()


@pytest.fixture(scope="module")
def reader(inputs):
    return StoreReader(inputs / "cutouts.zarr")


def test_donors_are_cutouts_of_the_split_sorted_by_their_best_object(reader):
    donors = find_donors(reader, ACCEPT)
    assert set(donors.extended) == {0, 6, 9}
    assert set(donors.compact) == {1, 2, 4, 5, 8, 10}
    assert set(donors.backgrounds) == set(reader.select("train"))
    held_out = find_donors(reader, ACCEPT, ("validation", "test"))
    assert set(held_out.backgrounds) == {3, 7, 11}
    only_extended = find_donors(reader, AcceptConfig(classes=("extended",)))
    assert len(only_extended.compact) == 0


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
    choices = [donors.choose(reader, 0.25, of_run, i) for i in range(400)]
    assert choices[::-1] == [donors.choose(reader, 0.25, of_run, i) for i in reversed(range(400))]
    assert sum(choice.donor in donors.extended for choice in choices) == 100
    assert {choice.symmetry for choice in choices} == set(range(8))


def test_no_mask_comes_back_before_all_others_were_used(reader):
    donors, of_run = find_donors(reader, ACCEPT), partial(stream, 1)
    drawn = [donors.choose(reader, 0.25, of_run, i).donor for i in range(32)]
    compact = [donor for donor in drawn if donor in donors.compact]
    assert len(compact) == 24
    laps = [compact[start : start + 6] for start in range(0, 24, 6)]
    assert all(sorted(lap) == sorted(donors.compact) for lap in laps)
    assert len({tuple(lap) for lap in laps}) > 1


def test_a_missing_kind_of_donor_is_made_up_for_by_the_other(reader):
    donors, of_run = find_donors(reader, ACCEPT), partial(stream, 1)
    no_extended = replace(donors, extended=donors.extended[:0])
    assert {no_extended.choose(reader, 0.9, of_run, i).donor for i in range(6)} == set(donors.compact)
    no_compact = replace(donors, compact=donors.compact[:0])
    assert {no_compact.choose(reader, 0.1, of_run, i).donor for i in range(3)} == set(donors.extended)


def test_conditions_are_the_donors_turned_and_another_sky_without_its_objects(reader):
    plain, turned = Choice(0, 1, 0), Choice(0, 1, 5)
    conditions = read_conditions(reader, [plain, turned])
    mask = reader.read("mask", [0])[0]
    assert np.array_equal(conditions.mask_BSS[0], mask)
    assert np.array_equal(conditions.mask_BSS[1], np.rot90(mask)[:, ::-1])
    image = (reader.read("image", [0])[0] - reader.columns["background_jy_beam"][0]) / np.float32(
        small_run.RMS
    )
    brightest = image[reader.read("instances", [0])[0] == 1].max()
    assert conditions.peak_BSS[0].max() == pytest.approx(np.arcsinh(brightest / 2) / 2, rel=1e-4)
    assert conditions.peak_BSS[0][mask == 0].max() == 0
    usable = conditions.background_B2SS[0, 1] > 0
    sky_mask, sky = reader.read("mask", [1])[0], reader.read("image", [1])[0]
    assert np.array_equal(usable, (sky_mask == 0) & np.isfinite(sky))
    assert not conditions.background_B2SS[0, 0][~usable].any()
    assert np.isfinite(conditions.background_B2SS).all()
    assert sky_of(reader, 0) == (small_run.BEAM, small_run.PIXEL)
