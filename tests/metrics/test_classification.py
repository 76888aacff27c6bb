"""Measures of classification: hand-computed values, and scikit-learn's on random predictions."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score, roc_auc_score

from pipeline.metrics import classification as cl

# Two seeds, four classes, of which class 2 has no test image though it is predicted once.
LABELS = np.array([0, 0, 0, 0, 1, 1, 3])
PREDICTIONS = np.array([[0, 0, 0, 1, 1, 1, 3], [0, 0, 2, 1, 1, 0, 0]])
CONFUSION = cl.confusion_matrices(LABELS, PREDICTIONS, 4)


def test_confusion_matrices() -> None:
    assert CONFUSION[0].tolist() == [[3, 1, 0, 0], [0, 2, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1]]
    assert CONFUSION[1].tolist() == [[2, 1, 1, 0], [1, 1, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0]]
    assert CONFUSION.sum(axis=0)[0].tolist() == [5, 2, 1, 0]


def test_class_without_test_images_is_left_out() -> None:
    assert cl.tested_classes(CONFUSION).tolist() == [0, 1, 3]
    assert cl.per_class_recall(CONFUSION).tolist() == [[0.75, 1.0, 1.0], [0.5, 0.5, 0.0]]


def test_means_by_hand() -> None:
    assert cl.accuracy(CONFUSION) == pytest.approx([6 / 7, 3 / 7])
    assert cl.balanced_accuracy(CONFUSION) == pytest.approx([2.75 / 3, 1 / 3])
    # seed 0: 6/7, 4/5, 1; seed 1: 4/8, 2/4, and 0 for the class never predicted
    assert cl.macro_f1(CONFUSION) == pytest.approx([(6 / 7 + 4 / 5 + 1) / 3, (1 / 2 + 1 / 2 + 0) / 3])


def test_same_as_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    labels = np.concatenate([np.arange(6), rng.integers(0, 6, 300)])
    predictions = np.where(rng.random((3, 306)) < 0.6, labels, rng.integers(0, 6, (3, 306)))
    confusion = cl.confusion_matrices(labels, predictions, 6)
    for ours, theirs in [
        (cl.accuracy, accuracy_score),
        (cl.balanced_accuracy, balanced_accuracy_score),
        (cl.macro_f1, lambda true, predicted: f1_score(true, predicted, average="macro")),
    ]:
        assert ours(confusion) == pytest.approx([theirs(labels, row) for row in predictions])


def test_calibration_error_by_hand() -> None:
    # Bins of width 1/2. Seed 0: confidences 0.8 (right), 0.9 (wrong): |1.7 - 1| / 2 = 0.35.
    # Seed 1: 0.5 falls in the lower bin (right: gap 0.5), 1.0 in the upper (wrong: gap 1): 1.5 / 2 = 0.75.
    probs = np.array([[[0.8, 0.2], [0.9, 0.1]], [[0.5, 0.5], [1.0, 0.0]]])
    assert cl.calibration_error(np.array([0, 1]), probs, num_bins=2) == pytest.approx([0.35, 0.75])


def test_calibrated_probabilities_have_a_small_error() -> None:
    rng = np.random.default_rng(0)
    first = rng.random((1, 200_000))
    labels = (rng.random(200_000) > first[0]).astype(np.int64)
    assert cl.calibration_error(labels, np.stack([first, 1 - first], axis=2))[0] < 0.01


def test_group_means_leave_out_a_group_without_tested_class() -> None:
    groups = {"many": np.array([0, 1]), "medium": np.array([2]), "few": np.array([3])}
    means = cl.group_means(cl.per_class_recall(CONFUSION), cl.tested_classes(CONFUSION), groups)
    assert {name: values.tolist() for name, values in means.items()} == {"many": [0.875, 0.5], "few": [1.0, 0.0]}


def test_area_under_the_curve_by_hand_and_with_ties() -> None:
    labels = np.array([0, 0, 1, 1, 1])
    scores = np.array([0.9, 0.5, 0.5, 0.4, 0.1])  # of class 0: of 6 pairs 5 are in order and one is a tie
    probs = np.stack([scores, 1 - scores, np.zeros(5)], axis=1)[None]
    assert cl.auroc(labels, probs) == pytest.approx(np.array([[5.5 / 6, 5.5 / 6]]))


def test_area_under_the_curve_is_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    labels = np.concatenate([np.arange(4), rng.integers(0, 4, 200)])
    probs = rng.dirichlet(np.ones(4), (3, 204)).round(2)
    areas = cl.auroc(labels, probs)
    for seed in range(3):
        theirs = [roc_auc_score(labels == k, probs[seed, :, k]) for k in range(4)]
        assert areas[seed] == pytest.approx(theirs)


def test_one_class_alone_has_no_curve() -> None:
    assert np.isnan(cl.auroc(np.zeros(3, dtype=np.int64), np.full((2, 3, 2), 0.5))).tolist() == [[True], [True]]
