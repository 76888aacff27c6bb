import numpy as np
import numpy.typing as npt
import pytest
from sklearn.covariance import ledoit_wolf

from pipeline.metrics.bias import quick_classifier as quick
from tests.tiny import bars


def test_a_covariance_that_is_round_stays_by_hand() -> None:
    residuals = np.array([[1.0, 0], [-1, 0], [0, 1], [0, -1]])
    # The mean square is 1/2 each way; of four residuals two degrees of freedom are left.
    assert quick.shrunken_covariance(residuals, 2).tolist() == [[1.0, 0.0], [0.0, 1.0]]
    assert quick.shrunken_covariance(np.zeros((2, 3)), 0).tolist() == np.eye(3).tolist()


def test_shrinkage_is_ledoit_and_wolf_s() -> None:
    rng = np.random.default_rng(0)
    residuals = rng.normal(size=(40, 12)) @ rng.normal(size=(12, 12))
    expected, share = ledoit_wolf(residuals, assume_centered=True)
    assert share > 0.01
    np.testing.assert_allclose(quick.shrunken_covariance(residuals, 40), expected, rtol=1e-10)


def test_scores_by_hand() -> None:
    # Means (-2, 0) and (2, 0), unit covariance: x . mean - |mean|^2 / 2.
    x = np.array([[-2.0, 1], [-2, -1], [-1, 0], [-3, 0], [2, 1], [2, -1], [3, 0], [1, 0]])
    model = quick.fit(x, np.repeat([0, 2], 4))
    spread = 8 / 6 / 2  # each direction's squares, 4 in all, over 8 less 2 freedoms
    scores = model.scores(np.array([[1.0, 5.0]]), 3)
    assert scores[0, [0, 2]] == pytest.approx([(-2 - 2) / spread, (2 - 2) / spread])
    assert scores[0, 1] == -np.inf  # never seen


def test_no_image_is_judged_by_a_classifier_that_saw_it() -> None:
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(30, 2)), np.repeat([0, 1, 2], 10)
    folds = np.arange(30) % 3
    labels[0] = 3  # the only one of its class
    scores = quick.out_of_fold(x, labels, folds, 4)
    assert scores[0, 3] == -np.inf
    assert np.isfinite(scores[folds != 0, 3]).all()
    expected = quick.fit(x[folds != 1], labels[folds != 1]).scores(x[folds == 1], 4)
    np.testing.assert_array_equal(scores[folds == 1], expected)


def noisy(factor: float, share: float) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Scores that are `factor` times as sure as they may be, and labels of which a share is drawn at random."""
    rng = np.random.default_rng(0)
    honest = rng.normal(size=(4000, 3)) * 3
    chances = np.exp(honest) / np.exp(honest).sum(axis=1, keepdims=True)
    labels = (chances.cumsum(axis=1) < rng.random((4000, 1))).sum(axis=1)
    wrong = rng.random(4000) < share
    labels[wrong] = (labels[wrong] + rng.integers(1, 3, wrong.sum())) % 3
    return honest * factor, labels


@pytest.mark.parametrize(("factor", "share"), [(3.0, 0.0), (3.0, 0.15), (1.5, 0.05)])
def test_calibration_tells_a_too_sure_classifier_from_wrong_labels(factor: float, share: float) -> None:
    divisor, wrong = quick.calibrate(*noisy(factor, share), np.zeros(3))
    assert divisor == pytest.approx(factor, rel=0.15)
    assert wrong == pytest.approx(share, abs=0.02)


def test_calibration_never_sharpens() -> None:
    assert quick.calibrate(*noisy(0.4, 0.0), np.zeros(3))[0] == 1.0


def test_calibration_leaves_out_what_no_classifier_saw() -> None:
    scores, labels = noisy(2.0, 0.1)
    scores, labels = scores[:300], labels[:300]
    unseen = np.concatenate([scores, [[1.0, -np.inf, 0.0]]]), np.append(labels, 1)
    assert quick.calibrate(*unseen, np.zeros(3)) == quick.calibrate(scores, labels, np.zeros(3))
    assert quick.calibrate(unseen[0][-1:], unseen[1][-1:], np.zeros(3)) == (1.0, 0.0)


def test_probabilities_by_hand() -> None:
    probs = quick.probabilities(np.array([[2.0, 0.0, -np.inf]]), np.log([0.25, 0.5, 0.25]), 2.0)
    assert probs[0] == pytest.approx([np.e / (np.e + 2), 2 / (np.e + 2), 0])


def test_features_recognise_a_pattern_in_noise() -> None:
    labels = np.arange(120) % 4
    images = bars(labels, (1, 8, 8)).transpose(0, 2, 3, 1)
    x = quick.features(images, 16, seed=0)
    assert x.shape[1] <= 119
    scores = quick.out_of_fold(x, labels, np.arange(120) // 4 % 5, 4)
    assert np.mean(scores.argmax(axis=1) == labels) > 0.95


def test_features_do_not_depend_on_the_blocks_they_are_made_in(monkeypatch: pytest.MonkeyPatch) -> None:
    images = bars(np.arange(90) % 3, (1, 8, 8)).transpose(0, 2, 3, 1)
    monkeypatch.setattr(quick, "PCA_ROWS", 40)
    some = quick.features(images, 8, seed=0)
    monkeypatch.setattr(quick, "BLOCK", 7)
    np.testing.assert_allclose(quick.features(images, 8, seed=0), some, rtol=1e-5, atol=1e-5)
