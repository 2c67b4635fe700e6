"""Which rows are in a training set: counts by arithmetic, no pixel twice, parents of the training split."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from astro_dist.engine.config import validate
from astro_dist.engine.errors import ConfigError, IntegrityError
from astro_dist.engine.work import Task
from astro_dist.flare.classify_config import ArmConfig, CombineConfig, settle_arms, take
from astro_dist.flare.combine import Stores, check_parents, write_set
from astro_dist.flare.combine_stage import COMBINE
from astro_dist.flare.sets import SOURCES, read_pictures_set
from tests.settings import make_run

SIZES = {"planets": 82, "galaxies": 409, "asteroids": 48, "nebulae": 184}
SIZES |= {"comets": 149, "black holes": 52, "stars": 498, "constellations": 194}
"""Pictures of each class as FLARE's code shows them; which class has which size is not said."""
N = sum(SIZES.values())
TRAIN, VALIDATION, TEST = 0, 1, 2


def columns(all_train=False, seed=1):
    """Pictures of FLARE's classes in groups of up to three, a tenth each held out."""
    rng = np.random.default_rng(seed)
    label = np.repeat(np.arange(len(SIZES)), list(SIZES.values()))
    # Groups within a class, so that a group lies in one split.
    group = np.concatenate([1000 * k + np.sort(rng.integers(0, n, n)) for k, n in enumerate(SIZES.values())])
    dealt = {g: rng.choice(3, p=[0.8, 0.1, 0.1]) for g in np.unique(group)}
    split = np.array([TRAIN if all_train else dealt[g] for g in group])
    return {"label": label, "group": group, "split": split}


def paint(pictures, k=5):
    """Five synthetic pictures of every training picture, in the order of the variants."""
    train = np.flatnonzero(pictures["split"] == TRAIN)
    parent, variant = np.tile(train, k), np.repeat(np.arange(k), len(train))
    return {"label": pictures["label"][parent], "parent": parent, "variant": variant}


def combine(tmp_path, pictures, as_published=False, **arms):
    """Write sets and return rows, what is said of them, and facts by name."""
    config = validate(CombineConfig, {"arms": arms})
    run = make_run(tmp_path, COMBINE, combine=config)
    run.output.mkdir(parents=True, exist_ok=True)
    stores = Stores(run, pictures, paint(pictures), tuple(SIZES), as_published)
    found = {}
    for name in arms:
        result = write_set(stores, Task(name))
        found[name] = (*read_pictures_set(run.output / f"{name}.parquet"), result)
    return found


def keys(rows):
    return list(zip(rows.source.tolist(), rows.index.tolist(), rows.copy.tolist(), strict=True))


def test_the_numbers_of_the_paper(tmp_path):
    """1,616 pictures, 9,696 with copies, 8,080 synthetic, and 12,928 rows of the best mixture."""
    pictures = columns(all_train=True)
    arms = {
        **{"Raw_LR": {"k": 1}, "Raw_Aug_LR": {}, "T2I_Aug_HR": {"alpha": 0, "beta": 1}},
        **{"FLARE": {"alpha": 0.5, "beta": 1, "real": "upscaled"}, "Both": {"alpha": 1, "beta": 0.5}},
    }
    found = combine(tmp_path, pictures, **arms)
    assert N == 1616
    assert {name: len(rows) for name, (rows, _, _) in found.items()} == {
        **{"Raw_LR": 1616, "Raw_Aug_LR": 9696, "T2I_Aug_HR": 8080},
        **{"FLARE": 12_928, "Both": 9696 + 3 * 1616},
    }
    config = validate(CombineConfig, {"arms": arms})
    assert {name: sum(config.count(name, N)) for name in arms} == {n: len(r[0]) for n, r in found.items()}
    rows, about, facts = found["FLARE"]
    sources = Counter(SOURCES[place] for place in rows.source)
    assert sources == {"upscaled": 3 * N, "synthetic": 5 * N}
    # The original, and the first two augmentations: jitter and flip.
    assert Counter(rows.copy[rows.source == 1].tolist()) == {0: N, 1: N, 2: N}
    assert (about["leak"], about["arm"]["alpha"]) == (False, 0.5)
    assert (facts["rows"], facts["real"], facts["synthetic"]) == (12_928, 3 * N, 5 * N)
    assert facts["classes"]["galaxies"] == 8 * 409


@pytest.mark.parametrize("seed", range(3))
def test_no_pixel_is_there_twice_and_no_held_out_group_among_the_parents(tmp_path, seed):
    pictures = columns(seed=seed)
    arms = {
        **{"all": {"beta": 1}, "few": {"per_class": 16, "beta": 0.6}, "half": {"fraction": 0.5}},
        **{
            "other": {"fraction": 0.5, "beta": 1, "synthetic": "held_back"},
            "fill": {"beta": 1, "fill": True},
        },
    }
    held_out = set(pictures["group"][pictures["split"] != TRAIN].tolist())
    for rows, _, facts in combine(tmp_path, pictures, **arms).values():
        assert len(set(keys(rows))) == len(rows) == facts["rows"]
        assert (pictures["split"][rows.parents] == TRAIN).all()
        assert not held_out & set(rows.group.tolist())
        assert (pictures["label"][rows.parents] == rows.label).all()
        assert facts["parents"] == len(set(rows.parents.tolist()))


def test_small_sets_count_pictures_of_each_class_and_contain_each_other(tmp_path):
    pictures = columns()
    sizes = np.bincount(pictures["label"][pictures["split"] == TRAIN])
    arms = {
        **{"few": {"k": 1, "per_class": 16}, "quarter": {"k": 1, "fraction": 0.25}},
        **{"half": {"k": 1, "fraction": 0.5}, "again": {"k": 1, "fraction": 0.5, "draw": 1}},
        "doubled": {"k": 1, "fraction": 0.5, "beta": 0.2, "synthetic": "held_back"},
    }
    found = {name: rows for name, (rows, _, _) in combine(tmp_path, pictures, **arms).items()}
    assert np.bincount(found["few"].label).tolist() == [16] * 8
    assert np.bincount(found["half"].label).tolist() == [take(0.5, n) for n in sizes]
    assert set(keys(found["quarter"])) < set(keys(found["half"])) < set(keys(found["doubled"]))
    # Half of the real pictures and, in the place of synthetic ones, the other half.
    assert len(found["doubled"]) == sizes.sum()
    assert set(keys(found["half"])) != set(keys(found["again"]))


def test_rare_classes_are_filled_up_to_the_largest(tmp_path):
    pictures = columns()
    rows, _, _ = combine(tmp_path, pictures, fill={"k": 1, "beta": 1, "fill": True})["fill"]
    real, synthetic = (np.bincount(rows.label[rows.source == s], minlength=8) for s in (0, 2))
    assert (synthetic <= 5 * real).all()
    assert (real + synthetic).tolist() == np.minimum(real.max(), 6 * real).tolist()
    assert synthetic[real.argmax()] == 0


@pytest.mark.parametrize("by_store", [False, True])
def test_the_leak_trains_on_copies_of_test_pictures_and_says_so(tmp_path, by_store):
    pictures = columns()
    arm = {} if by_store else {"as_published": True}
    (rows, about, facts) = combine(tmp_path, pictures, as_published=by_store, leak=arm)["leak"]
    train = (pictures["split"] == TRAIN).sum()
    assert about["leak"]
    assert facts["leak"]
    assert len(set(keys(rows))) == len(rows) == train + take(train / N, 5 * N)
    leaked = pictures["split"][rows.parents] != TRAIN
    # The test pictures themselves stay out, so that arms with and without the leak are tested alike.
    assert rows.copy[leaked].min() == 1
    assert leaked.mean() == pytest.approx(5 / 6 * (1 - train / N), abs=0.02)
    raw = combine(tmp_path / "raw", pictures, as_published=by_store, raw={"k": 1})["raw"][0]
    assert (pictures["split"][raw.parents] == TRAIN).all()


def test_a_held_out_parent_is_found(tmp_path):
    pictures = columns()
    rows = combine(tmp_path, pictures, raw={"k": 1})["raw"][0]
    check_parents(rows, pictures)
    test = np.flatnonzero(pictures["split"] == TEST)[0]
    for parents in (test, rows.parents[0]):
        broken = replace(rows, parents=np.append(rows.parents[1:], parents))
        group = pictures["group"].copy()
        if parents != test:
            # A near-duplicate of a test picture.
            group[parents] = group[test]
        with pytest.raises(IntegrityError, match="validation or test split is a parent"):
            check_parents(broken, {**pictures, "group": group})


def test_bytes_of_a_set_are_a_function_of_the_seed(tmp_path):
    digests = [
        [
            r[2]["sha256"]
            for r in combine(tmp_path / str(i), columns(), a={"fraction": 0.3, "beta": 1}).values()
        ]
        for i in range(2)
    ]
    assert digests[0] == digests[1]


@given(share=st.floats(0, 1), count=st.integers(0, 1000))
def test_shares_are_rounded_halves_upwards(share, count):
    found = take(share, count)
    assert abs(found - share * count) <= 0.5 + 1e-9
    assert take(1.0, count) == count
    assert (take(0.5, 5), take(0.5, 6), take(0.75, 6)) == (3, 3, 5)


def test_default_sets_are_those_of_the_paper_that_the_run_can_make():
    everything = settle_arms(CombineConfig(), upscaler=True, painted=5).arms
    assert list(everything) == ["Raw_LR", "Raw_Aug_LR", "Raw_Aug_HR", "T2I_Aug_HR", "FLARE"]
    plain = settle_arms(CombineConfig(), upscaler=False, painted=5).arms
    assert list(plain) == ["Raw_LR", "Raw_Aug_LR", "T2I_Aug_LR", "FLARE"]
    assert {arm.real for arm in plain.values()} == {"pictures"}
    assert list(settle_arms(CombineConfig(), upscaler=False, painted=0).arms) == ["Raw_LR", "Raw_Aug_LR"]
    assert settle_arms(CombineConfig(), upscaler=False, painted=3).k_synthetic == 3
    with pytest.raises(ConfigError, match=r"combine.k_synthetic: 5 synthetic .* and 3 are painted"):
        settle_arms(CombineConfig(k_synthetic=5), upscaler=False, painted=3)
    wanted = CombineConfig(arms={"x": ArmConfig(real="upscaled"), "y": ArmConfig(beta=1)})
    with pytest.raises(ConfigError, match=r"combine.arms.x.real: nothing is upscaled"):
        settle_arms(wanted, upscaler=False, painted=5)
    with pytest.raises(ConfigError, match=r"combine.arms.y.beta: nothing is painted"):
        settle_arms(wanted, upscaler=True, painted=0)


REFUSED = {
    "alpha above": ({"alpha": 1.5}, "combine.arms.x.alpha: must be at most 1, not 1.5"),
    "beta below": ({"beta": -0.1}, "combine.arms.x.beta: must be at least 0, not -0.1"),
    "both 0": ({"alpha": 0, "beta": 0}, "alpha and beta are both 0"),
    "alpha small": (
        {"alpha": 0.05},
        "alpha 0.05 of 6 rounds to no picture; raise it to 0.09, or set it to 0",
    ),
    "beta small": ({"beta": 0.05}, "beta 0.05 of 5 rounds to no picture; raise it to 0.1, or set it to 0"),
    "held back": ({"beta": 1, "synthetic": "held_back"}, "held_back needs a fraction below 1"),
    "painted": ({"beta": 1}, "nothing is painted in this run"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_impossible_sets_are_refused_by_plan_in_one_line(command, tmp_path, case):
    arm, message = REFUSED[case]
    tree = {"pipeline": "flare", "combine": {"arms": {"x": arm}}}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(tree))
    done = command("plan", "c.yaml", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert message in done.stderr


@pytest.mark.parametrize("name", ["a b", "a__b", "../a", "", "a.b"])
def test_names_of_sets_are_names_of_files(name):
    with pytest.raises(ConfigError, match="is no name; use letters, digits"):
        validate(CombineConfig, {"arms": {name: {}}})
