"""Planted cases: what helps ships, what does not is held, and harm is named."""

from collections.abc import Mapping

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.errors import UserError
from pipeline.metrics import verdict as vd
from pipeline.metrics.bootstrap import Resamples, bootstrap

NAMES = ["cat", "dog", "owl"]
SIZES = (200, 200, 200)
CE, BS = vd.BASELINES


def resamples(
    recalls: Mapping[str, tuple[float, ...]], sizes: tuple[int, ...] = SIZES, seed: int = 0, num_resamples: int = 1000
) -> Resamples:
    """Five seeds of three arms with the given expected recalls, on images of a shared difficulty."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(sizes)), sizes)
    difficulty = rng.random(len(labels))
    predictions = {}
    for arm, recall in recalls.items():
        blended = 0.8 * difficulty + 0.2 * rng.random((5, len(labels)))
        thresholds = np.quantile(0.8 * rng.random(100_000) + 0.2 * rng.random(100_000), recall)
        predictions[arm] = np.where(blended < thresholds[labels], labels, (labels + 1) % len(sizes))
    return bootstrap(labels, predictions, num_resamples=num_resamples, seed=0)


def decide(found: Resamples, min_test_images: int = 20) -> vd.Verdict:
    return vd.decide(found, NAMES, max_class_loss=0.05, min_test_images=min_test_images)


def test_help_ships() -> None:
    found = decide(resamples({CE: (0.7, 0.6, 0.5), BS: (0.68, 0.62, 0.54), vd.COMPLETED: (0.75, 0.7, 0.65)}))
    assert found.verdict == "ship"
    assert found.harmed == found.cannot_be_judged == ()
    assert found.reason.startswith("Completed beats both baselines: +1")
    assert " points over cross-entropy [" in found.reason
    assert found.reason.endswith("]; no class is shown to lose more than 5 points.")


def test_noise_is_held() -> None:
    found = decide(resamples({CE: (0.7, 0.6, 0.5), BS: (0.7, 0.6, 0.5), vd.COMPLETED: (0.7, 0.6, 0.5)}))
    assert found.verdict == "hold"
    assert found.reason.startswith("Not shown to beat cross-entropy: ")
    assert ", nor Balanced Softmax: " in found.reason
    assert found.harmed == ()


def test_noise_rarely_ships() -> None:
    same = {CE: (0.7, 0.6, 0.5), BS: (0.7, 0.6, 0.5), vd.COMPLETED: (0.7, 0.6, 0.5)}
    shipped = [decide(resamples(same, seed=seed, num_resamples=200)).verdict == "ship" for seed in range(60)]
    assert sum(shipped) <= 3


def test_one_class_harmed_is_held_and_named_though_the_mean_gains() -> None:
    found = decide(resamples({CE: (0.7, 0.6, 0.6), BS: (0.7, 0.6, 0.6), vd.COMPLETED: (0.9, 0.9, 0.4)}))
    assert found.verdict == "hold"
    assert found.harmed == ("owl",)
    assert found.reason.startswith("Completed beats both baselines: ")
    assert "; 1 class is shown to lose more than 5 points: 'owl' (-" in found.reason


def test_gain_over_one_baseline_only_is_held() -> None:
    found = decide(resamples({CE: (0.7, 0.6, 0.5), BS: (0.75, 0.7, 0.65), vd.COMPLETED: (0.75, 0.7, 0.65)}))
    assert found.verdict == "hold"
    assert found.reason.startswith("Not shown to beat Balanced Softmax: ")
    assert "cross-entropy" not in found.reason


def test_shown_to_be_worse_is_said() -> None:
    found = decide(resamples({CE: (0.9, 0.9, 0.9), BS: (0.5, 0.5, 0.5), vd.COMPLETED: (0.6, 0.6, 0.6)}))
    assert found.verdict == "hold"
    assert "; shown to be worse than cross-entropy; 3 classes are shown to lose" in found.reason


def test_class_with_few_images_cannot_be_judged() -> None:
    arms = {CE: (0.7, 0.6, 0.9), BS: (0.7, 0.6, 0.9), vd.COMPLETED: (0.95, 0.95, 0.3)}
    found = decide(resamples(arms, sizes=(400, 400, 10)))
    assert found.harmed == ()
    assert found.cannot_be_judged == ("owl",)
    assert found.reason.endswith(" Cannot be judged, with fewer than 20 test images: 'owl'.")
    assert decide(resamples(arms, sizes=(400, 400, 10)), min_test_images=10).harmed == ("owl",)


def test_harmed_class_is_named_rightly_after_one_that_cannot_be_judged() -> None:
    arms = {CE: (0.5, 0.9, 0.5), BS: (0.5, 0.9, 0.5), vd.COMPLETED: (0.5, 0.5, 0.9)}
    found = decide(resamples(arms, sizes=(10, 300, 300)))
    assert found.cannot_be_judged == ("cat",)
    assert found.harmed == ("dog",)


def test_class_without_images_is_named_too() -> None:
    found = decide(resamples({CE: (0.7, 0.6), BS: (0.7, 0.6), vd.COMPLETED: (0.9, 0.9)}, sizes=(200, 200)))
    assert found.cannot_be_judged == ("owl",)
    assert set(found.detectable) == {"cat", "dog"}


def test_no_class_can_be_judged() -> None:
    found = decide(resamples({CE: (0.5,) * 3, BS: (0.5,) * 3, vd.COMPLETED: (0.9,) * 3}), min_test_images=500)
    assert found.cannot_be_judged == ("cat", "dog", "owl")
    assert "no class has enough test images to judge its loss" in found.reason


def test_too_few_resamples_name_the_parameter() -> None:
    arms = {CE: (0.7, 0.6, 0.5), BS: (0.7, 0.6, 0.5), vd.COMPLETED: (0.7, 0.6, 0.5)}
    message = r"evaluate.num_resamples must be > 120 to test 6 \(class, baseline\) pairs at 0.05 together, got 120"
    with pytest.raises(UserError, match=message):
        decide(resamples(arms, num_resamples=120))
    assert decide(resamples(arms, num_resamples=121)).verdict == "hold"


def test_p_values_count_resamples_with_an_allowed_loss() -> None:
    losses = np.array([[0.0, 0.06], [0.05 + 1e-12, 0.07], [0.2, 0.08]])[None]  # B = 3, two classes
    assert vd.loss_p_values(losses, 0.05).tolist() == [[3 / 4, 1 / 4]]


def test_holm_by_hand() -> None:
    # sorted 0.005 <= 0.05/4, 0.01 <= 0.05/3, 0.03 > 0.05/2: stop, though 0.04 <= 0.05/1
    assert vd.holm(np.array([0.01, 0.04, 0.03, 0.005])).tolist() == [True, False, False, True]
    assert vd.holm(np.array([])).tolist() == []


def with_gain_of_std(std: float, num_images: int) -> Resamples:
    """Two arms whose gain has exactly this sample standard deviation over two resamples."""
    ones: NDArray[np.float64] = np.array([[0.5 + std / np.sqrt(2)], [0.5 - std / np.sqrt(2)]])
    return Resamples(
        classes=np.array([0]),
        num_images=np.array([num_images]),
        observed={"a": np.array([0.5]), "b": np.array([0.5])},
        recall={"a": ones, "b": np.full((2, 1), 0.5)},
        macro_f1={},
    )


def test_smallest_detectable_by_hand() -> None:
    # one hypothesis: z(0.95) + z(0.8) = 1.644854 + 0.841621; two: z(0.975) = 1.959964
    assert vd.smallest_detectable(with_gain_of_std(0.02, 1000), "a", "b", 1) == pytest.approx([0.02 * 2.486475])
    assert vd.smallest_detectable(with_gain_of_std(0.02, 1000), "a", "b", 2) == pytest.approx([0.02 * 2.801585])


def test_unanimous_images_still_leave_a_doubt_of_one_image() -> None:
    assert vd.smallest_detectable(with_gain_of_std(0.0, 50), "a", "b", 1) == pytest.approx([2.486475 / 50])


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
        p_value = vd.loss_p_values(-found.class_gain("new", "base")[None], 0.05)[0, 0]
        shown += p_value <= 0.05
        detectable.append(vd.smallest_detectable(found, "new", "base", num_hypotheses)[0])
    assert np.mean(detectable) == pytest.approx(0.0139, rel=0.05)
    assert 0.68 <= shown / 120 <= 0.92


@pytest.mark.parametrize(("share", "shown"), [(0.012, 1.2), (0.0, 0.0), (0.0004, 0.04), (-0.12, -12.0), (1e-9, 0.0)])
def test_points_never_round_a_figure_to_nothing(share: float, shown: float) -> None:
    assert vd._decimal(share) == shown
