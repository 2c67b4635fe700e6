import math

import numpy as np
import pytest
from scipy import stats

from astro_dist.metrics.gains import (
    Exchange,
    contrast,
    correct_family,
    exchange_rate,
    find_copies,
    gain,
    holm,
)
from tests.metrics import heads
from tests.metrics.arms import (
    RANGE,
    World,
    as_is,
    count_held,
    is_calibrated,
    simulate,
    unpaired,
    without_groups,
)

LAYER = heads.draw_layer(np.random.default_rng(3), 200)


def share_held(pairs, change=as_is):
    held, n = count_held(pairs, change)
    return held / n


@pytest.mark.parametrize("world", [World(), World(seeds=2), World(seeds=2, seed=0.4)], ids=str)
def test_intervals_of_simulated_pairs_hold_the_truth(world):
    pairs = list(simulate(world, 400))
    assert RANGE[0] <= share_held(pairs) <= RANGE[1]


def test_the_check_fails_without_groups_and_without_pairs():
    pairs = list(simulate(World(), 400))
    assert share_held(pairs, without_groups) < RANGE[0]
    assert share_held(pairs, unpaired) > RANGE[1]


def test_intervals_of_linear_heads_hold_the_truth_and_the_check_can_fail():
    rng = np.random.default_rng(0)
    pairs = [heads.draw_pair(rng) for _ in range(200)]
    assert RANGE[0] <= share_held(pairs) <= RANGE[1]
    assert share_held(pairs, without_groups) < RANGE[0]
    assert share_held(pairs, unpaired) > RANGE[1]


@pytest.mark.soak
@pytest.mark.parametrize("continuous", [True, False])
@pytest.mark.parametrize("groups", [20, 60, 200])
@pytest.mark.parametrize("seed", [0.0, 0.05, 0.1, 0.2, 0.4, 0.8, 3.0])
@pytest.mark.parametrize("seeds", [2, 3, 4, 5])
def test_intervals_are_honest_whatever_varies(seeds, seed, groups, continuous):
    """Few pictures that arms differ on make intervals wide; too narrow they are nowhere."""
    world = World(seeds=seeds, seed=seed, groups=groups)
    held, n = count_held(simulate(world, 4000, continuous=continuous))
    print(f"{seeds} seeds, sd {seed}, {groups} groups, continuous {continuous}: {held / n:.4f}")
    assert is_calibrated(held, n, (0.915, 0.98 if continuous else 1.0))


@pytest.mark.soak
def test_intervals_of_many_linear_heads_hold_the_truth():
    rng = np.random.default_rng(1)
    for seeds in (2, 3, 5):
        pairs = [heads.draw_pair(rng, seeds) for _ in range(2000)]
        shares = [share_held(pairs, change) for change in (as_is, without_groups, unpaired)]
        print(f"{seeds} seeds: as is {shares[0]:.4f}, no groups {shares[1]:.4f}, unpaired {shares[2]:.4f}")
        assert RANGE[0] <= shares[0] <= RANGE[1]
        assert shares[1] < RANGE[0]
        assert shares[2] > RANGE[1]


def test_unequal_groups_are_not_counted_as_many():
    """Two groups hold half of the pictures: their two outcomes cannot give the precision of twenty."""
    rng, held = np.random.default_rng(2), 0
    groups = np.repeat(np.arange(20), [9, 9, *[1] * 18])
    for _ in range(1000):
        a = rng.standard_normal((3, 20))[:, groups] + rng.standard_normal(20)[groups]
        found = gain(a, np.zeros_like(a), groups)
        held += found.low <= 0 <= found.high
    assert is_calibrated(held, 1000, (0.92, 0.985))


def test_a_gain_of_one_seed_and_pictures_of_their_own_is_the_paired_t_test():
    rng = np.random.default_rng(3)
    a, b = rng.standard_normal((2, 40))
    found = gain(a[None], b[None], np.arange(40))
    expected = stats.ttest_rel(a, b)
    assert found.mean == pytest.approx(np.mean(a - b))
    assert found.p == pytest.approx(expected.pvalue)
    interval = expected.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert (found.seeds, found.groups, found.pictures) == (1, 40, 40)


def test_many_equal_trainings_do_not_stand_for_many_test_pictures():
    rng = np.random.default_rng(4)
    a, b = (rng.random((2, 1, 50)) < 0.7).astype(float)
    one, many = gain(a, b, np.arange(50)), gain(np.repeat(a, 9, 0), np.repeat(b, 9, 0), np.arange(50))
    assert many.error == pytest.approx(one.error)


def test_a_difference_between_seeds_is_not_hidden_by_many_pictures():
    """Both trainings of an arm are one point apart on every picture: more pictures make that no surer."""
    rng = np.random.default_rng(5)
    a, b = rng.standard_normal((2, 5, 1)) + 0.01 * rng.standard_normal((2, 5, 4000))
    between = np.std((a - b).mean(axis=1), ddof=1)
    assert gain(a, b, np.arange(4000)).error == pytest.approx(between / 5**0.5, rel=0.01)


def test_arms_that_agree_everywhere_have_an_interval_with_a_width():
    right = np.ones((2, 30))
    found = gain(right, right, np.arange(30))
    assert found.mean == 0
    assert found.high == -found.low == pytest.approx(stats.t.ppf(0.975, 29) / 30)


def test_order_of_pictures_and_names_of_groups_do_not_matter():
    rng = np.random.default_rng(6)
    a, b = rng.random((2, 3, 50))
    groups = rng.integers(0, 12, 50)
    order = rng.permutation(50)
    moved = gain(a[:, order], b[:, order], 1000 - 3 * groups[order])
    assert vars(moved) == pytest.approx(vars(gain(a, b, groups)), nan_ok=True)
    swapped, found = gain(b, a, groups), gain(a, b, groups)
    assert (swapped.low, swapped.high) == pytest.approx((-found.high, -found.low))


@pytest.mark.parametrize(
    ("a", "b", "groups", "message"),
    [
        (np.zeros((2, 5)), np.zeros((2, 6)), np.arange(5), "shapes"),
        (np.zeros((2, 5)), np.zeros((2, 5)), np.arange(4), "4 test pictures"),
        (np.zeros((2, 0)), np.zeros((2, 0)), np.arange(0), "0 test pictures"),
        (np.full((2, 5), np.nan), np.zeros((2, 5)), np.arange(5), "not finite"),
    ],
)
def test_scores_that_are_no_pairs_are_refused(a, b, groups, message):
    with pytest.raises(ValueError, match=message):
        gain(a, b, groups)


def test_one_group_has_no_interval():
    found = gain(np.ones((2, 4)), np.zeros((2, 4)), np.zeros(4))
    assert found.mean == 1
    assert all(map(math.isnan, (found.low, found.high, found.p, found.detectable)))
    assert found.verdict == "undecided"


def test_holm_is_that_of_the_paper_and_of_the_largest_family():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([math.nan, 0.02]) == pytest.approx([math.nan, 0.02], nan_ok=True)
    assert holm([]) == []


def test_a_family_finds_something_in_one_of_twenty_families_of_equal_arms():
    found = 0
    for key in range(100):
        rng = np.random.default_rng(key)
        scores = (rng.standard_normal(60) + rng.standard_normal((8, 3, 60)) > 0).astype(float)
        family = {str(i): gain(arm, scores[0], np.arange(60)) for i, arm in enumerate(scores[1:])}
        found += any(g.verdict != "undecided" for g in correct_family(family).values())
    assert found <= stats.binom.ppf(0.9975, 100, 0.05)


def test_the_detectable_gain_is_found_in_four_of_five_cases():
    rng, found, limits = np.random.default_rng(7), 0, []
    for _ in range(500):
        a, b = rng.standard_normal((2, 1, 60)) + rng.standard_normal(60)
        one = gain(a + 0.52, b, np.arange(60))
        limits.append(one.detectable)
        found += one.verdict == "helps"
    assert np.median(limits) == pytest.approx(0.52, abs=0.03)
    assert is_calibrated(found, 500, (0.76, 0.84))


def draw_headroom(rng, n=55, seeds=5):
    """Half of some real pictures, all of them, and the groups; another half costs about five points."""
    test, drawn = (
        heads.draw_test(rng, groups=300, size=2, wrong=0.05),
        [heads.draw_rows(rng, 2 * n) for _ in range(seeds)],
    )
    half = heads.score_arm([(x[:n], y[:n]) for x, y in drawn], test, LAYER)
    return half, heads.score_arm(drawn, test, LAYER), test, drawn


def test_real_pictures_in_the_place_of_synthetic_ones_help_where_there_is_headroom():
    half, whole, test, _ = draw_headroom(np.random.default_rng(8))
    found = gain(whole, half, test[2])
    print(f"headroom {100 * found.mean:.1f} points [{100 * found.low:.1f}, {100 * found.high:.1f}]")
    assert 0.03 < found.mean < 0.08
    assert found.low > 0
    assert found.verdict == "helps"


def test_real_pictures_in_the_place_of_synthetic_ones_are_worth_their_number():
    """Three halves of the real pictures: the arm has the whole and another half of it."""
    rng = np.random.default_rng(9)
    half, whole, test, drawn = draw_headroom(rng, seeds=8)
    more = [heads.draw_rows(rng, 55) for _ in drawn]
    mixed = [
        tuple(np.concatenate(pair) for pair in zip(d, m, strict=True))
        for d, m in zip(drawn, more, strict=True)
    ]
    found = exchange_rate(heads.score_arm(mixed, test, LAYER), whole, half, test[2], real=110)
    print(found.says)
    assert found.low <= 55 <= found.high
    assert 15 < found.pictures < 110


@pytest.mark.parametrize(
    ("mixed", "half", "says"),
    [
        (0.0, 0.2, "none"),
        (-0.3, 0.2, "none"),
        (0.5, 0.2, "beyond 400"),
        (0.2, 0.0, "beyond 400"),
        (0.1, 0.2, "about 165 (165 to 166)"),
    ],
)
def test_an_exchange_rate_says_none_and_beyond(mixed, half, says):
    rng = np.random.default_rng(10)
    base = rng.standard_normal(5000)
    whole, more, less = (base + 0.01 * rng.standard_normal((4, 5000)) for _ in range(3))
    found = exchange_rate(more + mixed, whole, less - half, np.arange(5000), real=400)
    # A gain of exactly nothing may reach a few pictures.
    assert found.says == says or (mixed == 0.0 and found.low == 0 and found.high < 4)


def test_an_exchange_rate_without_headroom_to_see_is_open():
    rng = np.random.default_rng(11)
    mixed, whole, half = (rng.random((3, 2, 60)) < 0.8).astype(float)
    found = exchange_rate(mixed, whole, half, np.arange(60), real=100)
    assert (found.low, found.high) == (0, math.inf)
    assert "none to beyond 100" in found.says


def test_the_interval_of_an_exchange_rate_holds_the_truth():
    """The true gain is half of the headroom: 2 to the half less 1 times the real pictures."""
    rng, held = np.random.default_rng(12), 0
    for _ in range(100):
        base = rng.standard_normal(80)
        mixed, whole, half = base + 0.5 * rng.standard_normal((3, 5, 80))
        found = exchange_rate(mixed + 0.15, whole, half - 0.3, np.arange(80), real=100)
        held += found.low <= 100 * (2**0.5 - 1) <= found.high
    assert is_calibrated(held, 100)


def test_exchange_rates_are_said_in_words():
    assert Exchange(0, 0, 0, 9).says == "none"
    assert Exchange(math.inf, 120, math.inf, 445).says == "beyond 445 (120 to beyond 445)"
    assert Exchange(50, 0, math.inf, 1445).says == "about 50 (none to beyond 1,445)"


def test_a_contrast_of_two_arms_is_their_gain():
    a, b = np.random.default_rng(13).random((2, 4, 30))
    assert contrast([a, b], [1, -1], np.arange(30)) == gain(a, b, np.arange(30))


def test_copies_are_all_found_and_gain_nothing():
    rng = np.random.default_rng(14)
    test, trainings = heads.draw_test(rng), [heads.draw_rows(rng, 150) for _ in range(5)]
    copied = [(np.concatenate([x, x + 1e-3]), np.concatenate([y, y])) for x, y in trainings]
    found = gain(heads.score_arm(copied, test, LAYER), heads.score_arm(trainings, test, LAYER), test[2])
    assert found.low <= 0 <= found.high
    (pool, _), (held_out, _) = heads.digits()
    features = [heads.see(x, LAYER) for x in (pool[:150] + 1e-3, pool, held_out)]
    copies = find_copies(*features)
    assert copies.found.all()
    assert copies.share == 1
    assert copies.limit > 0


def test_new_pictures_are_copies_once_in_a_hundred_times():
    (pool, _), (held_out, _) = heads.digits()
    features = [heads.see(x, LAYER) for x in (held_out[:400], pool, held_out[400:])]
    assert find_copies(*features).share < 0.04
    with pytest.raises(ValueError, match="held-out"):
        find_copies(features[0], features[1], features[2][:0])


def test_equal_pictures_are_copies_where_a_held_out_picture_is_one_too():
    x = np.random.default_rng(15).standard_normal((50, 4))
    copies = find_copies(np.concatenate([x[:3], x[:3] + 1]), x, x[:20])
    assert copies.found.tolist() == [True] * 3 + [False] * 3


def test_shuffled_labels_teach_nothing():
    rng = np.random.default_rng(16)
    test = heads.draw_test(rng, groups=300, size=2, wrong=0)
    shuffled = [(x, rng.permutation(y)) for x, y in (heads.draw_rows(rng, 300) for _ in range(10))]
    chance = np.full((10, len(test[2])), 1 / heads.CLASSES)
    scores = heads.score_arm(shuffled, test, LAYER)
    found = gain(scores, chance, test[2])
    assert found.low <= 0 <= found.high
    assert abs(found.mean) < 0.02
