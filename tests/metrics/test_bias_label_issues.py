import numpy as np
import numpy.typing as npt
import pytest

from pipeline.metrics.bias import label_issues
from pipeline.metrics.bias import quick_classifier as quick
from pipeline.stages import analyze_bias
from tests.tiny import bars, settings

Ints = npt.NDArray[np.int64]
PARAMS = settings(analyze_bias.Params, "analyze_bias").label_issues


def found(labels: Ints, shown: Ints, seed: int = 0) -> label_issues.Issues:
    """What is doubted of `labels` for images that show the classes `shown`."""
    images = bars(shown, (1, 8, 8), seed).transpose(0, 2, 3, 1)
    x = quick.features(images, 16, seed)
    scores = quick.out_of_fold(x, labels, np.random.default_rng(seed).permutation(len(labels)) % 5, 4)
    return label_issues.find(scores, labels, PARAMS)


@pytest.mark.parametrize("seed", range(4))
def test_planted_swaps_are_found_with_their_true_class(seed: int) -> None:
    shown = np.repeat(np.arange(4), [60, 40, 25, 15])
    swapped = np.random.default_rng(seed).choice(100, 6, replace=False)
    labels = shown.copy()
    labels[swapped] = (shown[swapped] + 1) % 4
    issues = found(labels, shown, seed)
    assert len(set(issues.rows) & set(swapped)) >= 5
    assert set(issues.rows) <= set(swapped)
    assert (issues.suggested == shown[issues.rows]).all()
    assert (np.diff(issues.score) >= 0).all()
    assert issues.score.max() <= PARAMS.max_given_prob
    assert (issues.skipped, issues.examined) == ({}, 140)


@pytest.mark.parametrize("seed", range(4))
def test_right_labels_are_not_doubted(seed: int) -> None:
    shown = np.repeat(np.arange(4), [60, 40, 25, 15])
    assert not len(found(shown, shown, seed).rows)


def test_small_and_unknown_classes_are_not_examined_and_the_reason_is_said() -> None:
    labels = np.array([0] * 4 + [1] * 20 + [2] * 20 + [3] * 20)
    scores = np.zeros((64, 4))
    scores[np.arange(64), labels] = 9.0
    scores[44:59, 1] = 10.0  # a quarter of the last class is recognised
    scores[4, 2] = 30.0
    issues = label_issues.find(scores, labels, PARAMS)
    assert issues.skipped == {
        0: "4 images, fewer than 10",
        3: "the quick classifier recognises 25% of it, fewer than 30%",
    }
    assert issues.examined == 40
    assert (issues.rows.tolist(), issues.suggested.tolist()) == ([4], [2])


def test_nothing_is_examined_where_one_class_is_left() -> None:
    labels = np.array([0] * 12 + [1] * 2)
    scores = np.zeros((14, 2))
    scores[:, 0] = 1.0
    issues = label_issues.find(scores, labels, PARAMS)
    assert (len(issues.rows), issues.examined, list(issues.skipped)) == (0, 0, [1])


def certain(labels: Ints) -> npt.NDArray[np.float64]:
    """Scores of a classifier that is sure of what the labels say."""
    scores = np.zeros((len(labels), labels.max() + 1))
    scores[np.arange(len(labels)), labels] = 12.0
    return scores


def test_an_image_of_a_small_class_is_not_doubted_for_the_rarity_of_its_class() -> None:
    # Two of the ten are as like the one class as the other: where that is 300 times as frequent, 1/301. Half of the
    # large class is so like the small one that only its frequency decides, and that not for sure: usual is less.
    labels = np.array([0] * 3000 + [1] * 10)
    scores = certain(labels)
    scores[:1500] = [np.log(19 / 300), 0.0]
    scores[[3001, 3002]] = 0.0
    assert not len(label_issues.find(scores, labels, PARAMS).rows)
    scores[3001] = [12.0, -12.0]
    assert label_issues.find(scores, labels, PARAMS).rows.tolist() == [3001]


def test_cleanlab_must_doubt_a_label_too() -> None:
    # 1/200 for its own class; 0.6 and 0.395 for two others are far from what is usual for their own images.
    labels = np.repeat([0, 1, 2], 300)
    scores = certain(labels)
    scores[0] = [0.0, np.log(120), np.log(79)]
    assert not len(label_issues.find(scores, labels, PARAMS).rows)
    scores[0] = [0.0, 12.0, 0.0]
    assert label_issues.find(scores, labels, PARAMS).rows.tolist() == [0]
