import numpy as np
import pytest
from sklearn import metrics as theirs

from astro_dist.metrics.classification import Scores, confusion, f1_scores, score
from astro_dist.metrics.gains import gain


def draw(key, n=200, classes=8, present=8):
    rng = np.random.default_rng(key)
    labels = rng.choice(present, n, p=np.arange(1, present + 1) / np.arange(1, present + 1).sum())
    wrong = rng.random(n) < 0.4
    return labels, np.where(wrong, rng.integers(0, classes, n), labels)


@pytest.mark.parametrize("key", range(4))
@pytest.mark.parametrize("present", [3, 8])
def test_figures_are_those_of_scikit_learn(key, present):
    labels, predicted = draw(key, present=present)
    found = score(confusion(labels, predicted, 8))
    assert (
        confusion(labels, predicted, 8) == theirs.confusion_matrix(labels, predicted, labels=range(8))
    ).all()
    assert found.accuracy == pytest.approx(theirs.accuracy_score(labels, predicted))
    for average in ("macro", "weighted"):
        expected = theirs.precision_recall_fscore_support(labels, predicted, average=average, zero_division=0)
        figures = [getattr(found, f"{name}_{average}") for name in ("precision", "recall", "f1")]
        assert figures == pytest.approx(expected[:3])
    assert found.recall_weighted == pytest.approx(found.accuracy)


def test_a_class_that_is_never_predicted_counts_as_0_and_an_absent_one_not_at_all():
    found = score(confusion(np.array([0, 0, 1]), np.array([0, 0, 0]), 5))
    assert found.recall_macro == pytest.approx(0.5)
    assert found.f1_macro == pytest.approx(0.4)
    assert found.precision_weighted == pytest.approx(4 / 9)


def test_without_pictures_there_are_no_figures():
    nothing = score(confusion(np.zeros(0, int), np.zeros(0, int), 3))
    assert np.isnan([getattr(nothing, name) for name in Scores.__dataclass_fields__]).all()


def test_a_class_outside_the_list_is_refused():
    with pytest.raises(ValueError, match="class 3"):
        confusion(np.array([0, 3]), np.array([0, 1]), 3)


@pytest.mark.parametrize("present", [4, 8])
def test_the_mean_of_f1_scores_is_f1_and_a_score_is_the_influence_of_its_picture(present):
    labels, predicted = draw(9, present=present)
    scores = f1_scores(labels, predicted, 8)
    f1 = theirs.f1_score(labels, predicted, average="macro")
    assert scores.mean() == pytest.approx(f1)
    # A picture more, of n: F1 moves by its influence over n, but for the square of 1 / n.
    for i in (0, 7, 50):
        rows = np.append(np.repeat(np.arange(200), 50), i)
        more = theirs.f1_score(labels[rows], predicted[rows], average="macro")
        assert (more - f1) * len(rows) == pytest.approx(scores[i] - f1, rel=2e-2, abs=1e-3)


def test_the_interval_of_f1_is_that_of_a_bootstrap_over_groups():
    labels, a = draw(1, n=300)
    b = draw(2, n=300)[1]
    groups = np.arange(300) // 3
    found = gain(f1_scores(labels, a, 8), f1_scores(labels, b, 8), groups)
    rng, drawn = np.random.default_rng(0), []
    for _ in range(400):
        rows = (rng.integers(0, 100, 100)[:, None] * 3 + np.arange(3)).ravel()
        values = [score(confusion(labels[rows], p[rows], 8)).f1_macro for p in (a, b)]
        drawn.append(values[0] - values[1])
    assert found.error == pytest.approx(np.std(drawn), rel=0.12)
