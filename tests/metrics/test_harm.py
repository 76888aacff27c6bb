"""The test for harm against hand-made figures and simulated truth."""

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.errors import UserError
from pipeline.metrics import harm
from pipeline.metrics.arms import BASELINES, COMPLETED
from pipeline.metrics.bootstrap import Resamples, bootstrap

CE, BS = BASELINES


def test_p_values_count_resamples_with_an_allowed_loss() -> None:
    losses = np.array([[0.0, 0.06], [0.05 + 1e-12, 0.07], [0.2, 0.08]])[None]  # B = 3, two classes
    assert harm.loss_p_values(losses, 0.05).tolist() == [[3 / 4, 1 / 4]]


def test_holm_by_hand() -> None:
    # sorted 4 * 0.005, 3 * 0.01, 2 * 0.03, and for 1 * 0.04 no less than the one before it
    assert harm.holm(np.array([0.01, 0.04, 0.03, 0.005])) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert harm.holm(np.array([0.9, 0.8])).tolist() == [1.0, 1.0]
    assert harm.holm(np.array([])).tolist() == []


def with_gain_of_std(std: float, num_images: int) -> Resamples:
    """Two arms whose gain has exactly this sample standard deviation over two resamples."""
    ones: NDArray[np.float64] = np.array([[0.5 + std / np.sqrt(2)], [0.5 - std / np.sqrt(2)]])
    return Resamples(
        classes=np.array([0]),
        num_images=np.array([num_images]),
        num_seeds=1,
        observed={"a": np.array([0.5]), "b": np.array([0.5])},
        recall={"a": ones, "b": np.full((2, 1), 0.5)},
        macro_f1={},
    )


def test_smallest_detectable_by_hand() -> None:
    # one hypothesis: z(0.95) + z(0.8) = 1.644854 + 0.841621; two: z(0.975) = 1.959964
    assert harm.smallest_detectable(with_gain_of_std(0.02, 1000), "a", "b", 1) == pytest.approx([0.02 * 2.486475])
    assert harm.smallest_detectable(with_gain_of_std(0.02, 1000), "a", "b", 2) == pytest.approx([0.02 * 2.801585])


def test_unanimous_images_still_leave_a_doubt_of_one_image() -> None:
    assert harm.smallest_detectable(with_gain_of_std(0.0, 50), "a", "b", 1) == pytest.approx([2.486475 / 50])


def test_detectable_loss_is_found_about_four_times_in_five() -> None:
    # One seed and a symmetric gain, so that the bootstrap's standard error is the true one; a loss of 5 points plus
    # the detectable effect must be shown in about 80 % of repetitions.
    rng = np.random.default_rng(0)
    num_images, num_hypotheses = 2000, 1
    labels = np.zeros(num_images, dtype=np.int64)
    loss = 0.05 + 0.0139
    shown, detectable = 0, []
    for trial in range(120):
        draw = rng.random((1, num_images))
        # half of the images are right, and a share `loss` of all images is lost
        baseline = np.where(draw < 0.5, 0, 1)
        completed = np.where((draw >= loss) & (draw < 0.5), 0, 1)
        found = bootstrap(labels, {"base": baseline, "new": completed}, num_resamples=400, seed=trial)
        p_value = harm.loss_p_values(-found.class_gain("new", "base")[None], 0.05)[0, 0]
        shown += p_value <= 0.05
        detectable.append(harm.smallest_detectable(found, "new", "base", num_hypotheses)[0])
    assert np.mean(detectable) == pytest.approx(0.0139, rel=0.05)
    assert 0.68 <= shown / 120 <= 0.92


def planted(recalls: dict[str, list[float]], sizes: list[int]) -> Resamples:
    """Three seeds of three arms; in class k the first share `recalls[arm][k]` of the images is right."""
    labels = np.repeat(np.arange(len(sizes)), sizes)
    places = np.concatenate([np.arange(size) / size for size in sizes])
    rights = {arm: places < np.array(shares)[labels] for arm, shares in recalls.items()}
    predictions = {arm: np.tile(np.where(right, labels, labels + 1), (3, 1)) for arm, right in rights.items()}
    return bootstrap(labels, predictions, num_resamples=1000, seed=0)


NAMES = ["cat", "dog", "owl", "yak", "none"]


def test_classes_too_small_to_be_judged_alone_are_judged_together() -> None:
    equal, lost = [0.8, 0.75, 0.8, 0.75], [0.8, 0.25, 0.2, 0.25]
    found = planted({CE: equal, BS: equal, COMPLETED: lost}, [100, 8, 10, 8])
    chosen = harm.judged(found, NAMES, 20)
    assert [subject.classes for subject in chosen] == [("cat",), ("dog", "owl", "yak")]
    pool = chosen[1]
    assert pool.is_pool
    assert pool.size_in(found) == 26
    gain = harm.gain_of(found, CE, pool)
    assert gain.mean == pytest.approx((2 - 6 + 2 - 8 + 2 - 6) / 26)  # 6, 8 and 6 right before, 2 each after
    assert gain.low < gain.mean < gain.high < 0
    cat, together = harm.find(found, chosen, 0.05)
    assert cat.against is None
    assert together.against in (CE, BS)
    assert together.p_values[CE] == pytest.approx(4 / 1001)  # the least that 1,000 resamples show, times 4 hypotheses


def test_a_pool_that_is_itself_too_small_is_not_judged() -> None:
    found = planted({arm: [0.5, 0.5, 0.5] for arm in (CE, BS, COMPLETED)}, [100, 9, 10])
    assert [subject.classes for subject in harm.judged(found, NAMES, 20)] == [("cat",)]
    assert harm.pool_of(found, NAMES, 20).classes == ("dog", "owl")
    assert harm.find(found, [], 0.05) == []


def test_the_pool_takes_its_part_of_the_error() -> None:
    equal = [0.5, 0.5, 0.5]
    found = planted({CE: equal, BS: equal, COMPLETED: equal}, [100, 12, 12])
    assert {len(f.p_values) for f in harm.find(found, harm.judged(found, NAMES, 20), 0.05)} == {2}
    with pytest.raises(UserError, match=r"must be > 1000 to test 50 \(class, baseline\) pairs"):
        harm.find(found, harm.judged(found, NAMES, 20)[:1] * 25, 0.05)


def test_harm_is_rarely_found_where_there_is_none_whatever_the_number_of_classes() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(12), 40)
    false = 0
    for trial in range(40):  # a true loss of exactly what is allowed: the hardest case
        old, new = rng.random((2, 1, len(labels))) < np.array([0.8, 0.75])[:, None, None]
        arms = {CE: old, BS: old, COMPLETED: new}
        predictions = {arm: np.where(right, labels, labels + 1) for arm, right in arms.items()}
        found = bootstrap(labels, predictions, num_resamples=600, seed=trial)
        names = [str(label) for label in range(12)]
        false += any(f.against for f in harm.find(found, harm.judged(found, names, 20), 0.05))
    assert false <= 6  # 5 % of 40 are 2; 7 or more would have a probability of 0.3 %
