import pytest

from astro_dist.evaluate.masks import SETS, HeldOutMasks


@pytest.fixture
def masks(stage_run):
    return HeldOutMasks(stage_run)


def test_stamps_are_drawn_for_held_out_masks_before_held_out_skies(masks):
    held_out, train = set(masks.reader.select("test")), set(masks.reader.select("train"))
    choices = {name: [masks.choose(name, i) for i in range(masks.n)] for name in SETS}
    for name, chosen in choices.items():
        assert len({c.donor for c in chosen}) == masks.n
        assert {c.donor for c in chosen} <= (train if name == "train" else held_out)
        assert {c.background_donor for c in chosen} <= held_out
        assert {c.symmetry for c in chosen} == {0}
    assert [c.donor for c in choices["blind"]] == [c.donor for c in choices["own"]]


def test_blind_is_another_sky_and_own_is_not(masks):
    for i in range(masks.n):
        blind, own = masks.choose("blind", i), masks.choose("own", i)
        assert blind.background_donor != blind.donor
        assert own.background_donor == own.donor


def test_a_sky_is_of_a_like_beam_and_elsewhere_where_there_is_one(masks):
    columns, pool = masks.reader.columns, masks.pool
    donor = int(masks.held_out[0])
    near, wide, good = (int(i) for i in pool[pool != donor][:3])
    columns["ra_deg"][:] = 0.0
    columns["ra_deg"][[wide, good]] = 1.0
    columns["beam_major_arcsec"][wide] *= 2
    chosen = {masks._choose_sky("blind", i, donor) for i in range(20)}
    assert good in chosen
    assert not {near, wide, donor} & chosen


def test_no_more_images_than_either_side_has(masks, make_runner):
    assert masks.n == 4
    assert len(masks.reference) == len(masks.held_out) == len(masks.trained) == 4
