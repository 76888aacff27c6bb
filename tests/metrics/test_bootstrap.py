"""The bootstrap against closed forms, scikit-learn and simulated truth."""

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

from pipeline.metrics import bootstrap as bs


def predictions_with(labels: NDArray[np.int64], correct: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Predictions [S, N] that are right where `correct` says so, and else name the next class."""
    return np.where(correct, labels, (labels + 1) % (labels.max() + 1))


def random_case(seed: int, arms: str = "ab") -> tuple[NDArray[np.int64], dict[str, NDArray[np.int64]]]:
    """Labels [90] of three classes and predictions [4, 90] of each arm, right about three times in four."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, 90)
    wrong = {arm: rng.integers(0, 3, (4, 90)) for arm in arms}
    return labels, {arm: np.where(rng.random(w.shape) < 0.6, labels, w) for arm, w in wrong.items()}


def test_one_seed_has_the_binomial_standard_error() -> None:
    labels = np.zeros(400, dtype=np.int64)
    correct = np.arange(400)[None] < 280  # recall 0.7
    found = bs.bootstrap(labels, {"a": np.where(correct, 0, 1)}, num_resamples=4000, seed=0)
    assert found.observed["a"] == pytest.approx([0.7])
    assert found.recall["a"].mean() == pytest.approx(0.7, abs=0.002)
    assert found.recall["a"].std() == pytest.approx(np.sqrt(0.7 * 0.3 / 400), rel=0.05)


def test_seeds_alone_have_the_standard_error_of_their_mean() -> None:
    labels = np.zeros(50, dtype=np.int64)
    correct = np.array([True, True, True, False])[:, None].repeat(50, axis=1)  # images never matter: recalls 1, 1, 1, 0
    found = bs.bootstrap(labels, {"a": np.where(correct, 0, 1)}, num_resamples=4000, seed=0)
    assert found.recall["a"].std() == pytest.approx(np.sqrt(0.75 * 0.25 / 4), rel=0.05)


def test_images_are_drawn_within_their_class() -> None:
    labels = np.repeat([0, 1], [30, 10])
    found = bs.bootstrap(labels, {"a": np.zeros((2, 40), dtype=np.int64)}, num_resamples=50, seed=0)
    assert np.unique(found.recall["a"], axis=0).tolist() == [[1.0, 0.0]]
    assert np.unique(found.accuracy("a")).tolist() == [0.75]
    assert np.unique(found.balanced_accuracy("a")).tolist() == [0.5]
    assert found.macro_f1["a"] == pytest.approx(np.full(50, (60 / 70 + 0) / 2))


def test_each_resample_is_scikit_learns_figure_under_its_weights() -> None:
    labels, predictions = random_case(seed=3)
    order = np.argsort(labels, kind="stable")
    found = bs.bootstrap(labels, predictions, num_resamples=5, seed=7)
    seed_rng, image_rng = map(np.random.default_rng, np.random.SeedSequence(7).spawn(2))
    seeds = bs.draw_seeds(seed_rng, 4, 5)
    images = bs.draw_images(image_rng, found.num_images, 5)
    assert images.sum(axis=0).tolist() == [90] * 5
    for arm, rows in predictions.items():
        for resample in range(5):
            weights = images[:, resample]
            for measured, score, options in [
                (found.macro_f1[arm], f1_score, {"average": "macro"}),
                (found.balanced_accuracy(arm), balanced_accuracy_score, {}),
                (found.accuracy(arm), accuracy_score, {}),
            ]:
                scores = [score(labels[order], row[order], sample_weight=weights, **options) for row in rows]
                assert measured[resample] == pytest.approx(np.average(scores, weights=seeds[resample]))


def test_class_without_test_images_is_excluded_and_predicting_it_is_a_miss() -> None:
    labels = np.array([0, 0, 2, 2])
    found = bs.bootstrap(labels, {"a": np.array([[0, 0, 1, 5]])}, num_resamples=10, seed=0)
    assert found.classes.tolist() == [0, 2]
    assert found.observed["a"].tolist() == [1.0, 0.0]
    assert np.unique(found.macro_f1["a"]).tolist() == [0.5]


def test_identical_arms_gain_exactly_nothing() -> None:
    labels, predictions = random_case(seed=0, arms="a")
    found = bs.bootstrap(labels, {"a": predictions["a"], "b": predictions["a"].copy()}, num_resamples=300, seed=0)
    assert not found.gain("a", "b").any()
    assert bs.interval(found.gain("a", "b")) == (0.0, 0.0)


def test_seed_decides_and_chunks_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    labels, predictions = random_case(seed=1)
    once = bs.bootstrap(labels, predictions, num_resamples=100, seed=5)
    monkeypatch.setattr(bs, "CELLS_PER_CHUNK", 700)  # 7 resamples a chunk instead of all 100
    again = bs.bootstrap(labels, predictions, num_resamples=100, seed=5)
    other = bs.bootstrap(labels, predictions, num_resamples=100, seed=6)
    for arm in predictions:
        assert np.array_equal(once.recall[arm], again.recall[arm])
        assert np.array_equal(once.macro_f1[arm], again.macro_f1[arm])
        assert not np.array_equal(once.recall[arm], other.recall[arm])


def test_order_of_the_images_does_not_change_the_observed_recall() -> None:
    labels, predictions = random_case(seed=2)
    order = np.random.default_rng(0).permutation(len(labels))
    shuffled = bs.bootstrap(labels[order], {a: p[:, order] for a, p in predictions.items()}, num_resamples=1, seed=0)
    straight = bs.bootstrap(labels, predictions, num_resamples=1, seed=0)
    expected = [(predictions["a"] == labels)[:, labels == c].mean() for c in range(3)]
    assert straight.observed["a"] == pytest.approx(expected)
    assert shuffled.observed["a"] == pytest.approx(expected)


def test_arms_must_share_seeds_and_images() -> None:
    labels, predictions = random_case(seed=0)
    with pytest.raises(AssertionError, match="arms differ in seeds or images"):
        bs.bootstrap(labels, {"a": predictions["a"], "b": predictions["b"][:2]}, num_resamples=10, seed=0)


def test_pairing_takes_the_images_difficulty_out_of_the_gain() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 200)
    hard = rng.random(400) < 0.4
    arms = {arm: predictions_with(labels, ~hard & (rng.random((5, 400)) < 0.95)) for arm in "ab"}
    found = bs.bootstrap(labels, arms, num_resamples=1000, seed=0)
    unpaired = np.hypot(found.balanced_accuracy("a").std(), found.balanced_accuracy("b").std())
    assert found.gain("a", "b").std() < 0.4 * unpaired


def test_interval_covers_the_truth_at_about_its_level() -> None:
    # P(right) = 0.6 on average: a uniform difficulty of the image plus a uniform luck of the seed.
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], [60, 30])
    covered = 0
    for trial in range(300):
        right = 0.6 + rng.uniform(-0.3, 0.3, 90) + rng.uniform(-0.06, 0.06, (8, 1))
        predictions = predictions_with(labels, rng.random((8, 90)) < right)
        found = bs.bootstrap(labels, {"a": predictions}, num_resamples=300, seed=trial)
        low, high = bs.interval(found.balanced_accuracy("a"))
        covered += low <= 0.6 <= high
    assert 0.91 <= covered / 300 <= 0.99


def test_interval_is_percentiles() -> None:
    assert bs.interval(np.arange(1001) / 1000) == (0.025, 0.975)
    assert bs.interval(np.arange(1001) / 1000, level=0.8) == (0.1, 0.9)


def test_an_interval_reaches_beyond_the_resamples_where_their_tail_is_empty() -> None:
    resampled = np.array([-1.0, 1.0] * 500)
    sd = np.sqrt(1000 / 999)
    low, high = bs.cautious_interval(resampled, 0.5, 0.999)  # z = 3.290527
    assert low == pytest.approx(0.5 - 3.290527 * sd, abs=2e-6)
    assert high == pytest.approx(0.5 + 3.290527 * sd, abs=2e-6)
    assert bs.cautious_interval(resampled, 0.0, 0.5) == (-1.0, 1.0)  # percentiles reach further than 0.674 sd


def test_classes_taken_together_weigh_by_their_images() -> None:
    labels = np.repeat([0, 1, 2], [30, 10, 7])
    right = np.concatenate([np.arange(30) < 15, np.arange(10) < 10, np.arange(7) < 0])
    found = bs.bootstrap(labels, {"a": predictions_with(labels, right[None])}, num_resamples=40, seed=0)
    columns = np.array([True, True, False])
    assert found.observed_together("a", columns) == pytest.approx(25 / 40)
    assert found.together("a", columns) == pytest.approx(found.recall["a"][:, :2] @ [0.75, 0.25])
