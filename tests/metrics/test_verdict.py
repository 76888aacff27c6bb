"""Planted cases: what helps ships, what does not is held, and harm is named."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pipeline.errors import UserError
from pipeline.metrics import reason
from pipeline.metrics import verdict as vd
from pipeline.metrics.arms import BASELINES, COMPLETED
from pipeline.metrics.bootstrap import Resamples, bootstrap
from pipeline.metrics.looks import Look

NAMES = ["cat", "dog", "owl"]
SIZES = (200, 200, 200)
CE, BS = BASELINES
OWN = "baseline_ldam_drw"


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


def decide(found: Resamples, min_test_images: int = 20, **changes: Any) -> vd.Verdict:
    settings = {"max_class_loss": 0.05, "min_test_images": min_test_images, "min_seeds": 5}
    return vd.decide(found, NAMES, **(settings | changes))


def test_help_ships() -> None:
    found = decide(resamples({CE: (0.7, 0.6, 0.5), BS: (0.68, 0.62, 0.54), COMPLETED: (0.75, 0.7, 0.65)}))
    assert found.verdict == "ship"
    assert found.harmed == found.cannot_be_judged == ()
    assert found.reason.startswith("Completed beats both baselines: +1")
    assert " points over cross-entropy [" in found.reason
    assert found.reason.endswith("]; no class is shown to lose more than 5 points.")


def test_what_too_few_seeds_show_is_told_and_held() -> None:
    found = resamples({CE: (0.7, 0.6, 0.5), BS: (0.68, 0.62, 0.54), COMPLETED: (0.75, 0.7, 0.65)})
    enough, too_few = decide(found, min_seeds=5), decide(found, min_seeds=6)
    assert (enough.verdict, too_few.verdict) == ("ship", "hold")
    told = (
        "Only 5 training seeds, and evaluate.min_seeds asks for 6; as far as these tell, completed beats both baselines"
    )
    assert too_few.reason.startswith(told)
    assert too_few.reason.partition("ompleted")[2] == enough.reason.partition("ompleted")[2]
    assert replace(too_few, verdict="ship", reason=enough.reason, findings=enough.findings) == enough
    assert [finding.p_values for finding in too_few.findings] == [finding.p_values for finding in enough.findings]


def test_one_seed_is_named_beside_what_else_holds() -> None:
    arms = {CE: (0.9, 0.9, 0.9), BS: (0.5, 0.5, 0.5), COMPLETED: (0.6, 0.6, 0.6)}
    found = decide(replace(resamples(arms), num_seeds=1))
    told = (
        "Only 1 training seed, and evaluate.min_seeds asks for 5; as far as these tell, not shown to beat cross-entropy"
    )
    assert found.reason.startswith(told)
    assert "; 3 classes are shown to lose" in found.reason


def test_noise_is_held() -> None:
    found = decide(resamples({CE: (0.7, 0.6, 0.5), BS: (0.7, 0.6, 0.5), COMPLETED: (0.7, 0.6, 0.5)}))
    assert found.verdict == "hold"
    assert found.reason.startswith("Not shown to beat cross-entropy: ")
    assert ", nor Balanced Softmax: " in found.reason
    assert found.harmed == ()


def test_noise_rarely_ships() -> None:
    same = {CE: (0.7, 0.6, 0.5), BS: (0.7, 0.6, 0.5), COMPLETED: (0.7, 0.6, 0.5)}
    shipped = [decide(resamples(same, seed=seed, num_resamples=200)).verdict == "ship" for seed in range(60)]
    assert sum(shipped) <= 3


def test_one_class_harmed_is_held_and_named_though_the_mean_gains() -> None:
    found = decide(resamples({CE: (0.7, 0.6, 0.6), BS: (0.7, 0.6, 0.6), COMPLETED: (0.9, 0.9, 0.4)}))
    assert found.verdict == "hold"
    assert found.harmed == ("owl",)
    assert found.reason.startswith("Completed beats both baselines: ")
    assert "; 1 class is shown to lose more than 5 points: 'owl' (-" in found.reason


def test_gain_over_one_baseline_only_is_held() -> None:
    found = decide(resamples({CE: (0.7, 0.6, 0.5), BS: (0.75, 0.7, 0.65), COMPLETED: (0.75, 0.7, 0.65)}))
    assert found.verdict == "hold"
    assert found.reason.startswith("Not shown to beat Balanced Softmax: ")
    assert "cross-entropy" not in found.reason


def test_a_gain_that_is_the_loss_s_and_not_the_data_s_is_held() -> None:
    before = {CE: (0.7, 0.6, 0.5), BS: (0.68, 0.62, 0.54)}
    after = {COMPLETED: (0.85, 0.8, 0.75)}
    found = decide(resamples(before | {OWN: (0.85, 0.8, 0.75)} | after))
    assert found.verdict == "hold"
    assert found.reason.startswith("Not shown to beat ldam drw: ")
    assert "cross-entropy" not in found.reason
    assert "Balanced Softmax" not in found.reason
    found = decide(resamples(before | {OWN: (0.7, 0.65, 0.6)} | after))
    assert found.verdict == "ship"
    assert found.reason.startswith("Completed beats all 3 baselines: +")
    assert found.reason.count(" points over ") == 1
    assert ", +" in found.reason.partition(" over ldam drw [")[0]


def test_harm_against_the_baseline_under_its_own_loss_is_harm() -> None:
    found = decide(
        resamples({CE: (0.5, 0.5, 0.5), BS: (0.5, 0.5, 0.5), OWN: (0.6, 0.6, 0.9), COMPLETED: (0.9,) * 2 + (0.6,)})
    )
    assert found.harmed == ("owl",)
    assert "'owl' (-" in found.reason
    assert " against ldam drw [" in found.reason
    message = r"must be > 180 to test 9 \(class, baseline\) pairs"
    with pytest.raises(UserError, match=message):
        decide(resamples(dict.fromkeys((CE, BS, OWN, COMPLETED), (0.5, 0.5, 0.5)), num_resamples=180))


def test_shown_to_be_worse_is_said() -> None:
    found = decide(resamples({CE: (0.9, 0.9, 0.9), BS: (0.5, 0.5, 0.5), COMPLETED: (0.6, 0.6, 0.6)}))
    assert found.verdict == "hold"
    assert "; shown to be worse than cross-entropy; 3 classes are shown to lose" in found.reason


def test_class_with_few_images_cannot_be_judged() -> None:
    arms = {CE: (0.7, 0.6, 0.9), BS: (0.7, 0.6, 0.9), COMPLETED: (0.95, 0.95, 0.3)}
    found = decide(resamples(arms, sizes=(400, 400, 10)))
    assert found.harmed == ()
    assert found.cannot_be_judged == ("owl",)
    assert found.reason.endswith(" Cannot be judged, with fewer than 20 test images: 'owl'.")
    assert decide(resamples(arms, sizes=(400, 400, 10)), min_test_images=10).harmed == ("owl",)


def test_harmed_class_is_named_rightly_after_one_that_cannot_be_judged() -> None:
    arms = {CE: (0.5, 0.9, 0.5), BS: (0.5, 0.9, 0.5), COMPLETED: (0.5, 0.5, 0.9)}
    found = decide(resamples(arms, sizes=(10, 300, 300)))
    assert found.cannot_be_judged == ("cat",)
    assert found.harmed == ("dog",)


def test_small_classes_that_lose_together_are_held() -> None:
    sizes = (400, 400, 15, 15)
    before, after = (0.7, 0.6, 0.9, 0.9), (0.95, 0.95, 0.3, 0.3)
    found = vd.decide(
        resamples({CE: before, BS: before, COMPLETED: after}, sizes=sizes),
        [*NAMES, "yak"],
        max_class_loss=0.05,
        min_test_images=20,
        min_seeds=5,
    )
    assert found.verdict == "hold"
    assert found.harmed == ()
    assert found.cannot_be_judged == ("owl", "yak")
    told = "; 2 classes that are too small to be judged alone are shown to lose more than 5 points together (-"
    assert told in found.reason
    assert " against " in found.reason.partition(told)[2]


def test_a_later_look_wants_more_of_a_gain_and_no_less_of_a_guard() -> None:
    arms = {CE: (0.7, 0.6, 0.5), BS: (0.69, 0.61, 0.51), COMPLETED: (0.715, 0.625, 0.53)}
    found = resamples(arms)
    verdicts = {}
    for number in (1, 2, 60):
        verdicts[number] = decide(found, look=Look(number, budget=0.05))
    assert verdicts[1].verdict == "ship"
    assert " (97.5 % intervals at look 1); no class is shown" in verdicts[1].reason
    assert verdicts[60].verdict == "hold"
    assert "Not shown to beat" in verdicts[60].reason
    assert verdicts[60].level == pytest.approx(1 - 0.05 / (60 * 61))
    harmful = resamples({CE: (0.7, 0.6, 0.6), BS: (0.7, 0.6, 0.6), COMPLETED: (0.9, 0.9, 0.4)})
    for number in (1, 60):
        look = Look(number, budget=0.05)
        assert decide(harmful, look=look).harmed == ("owl",)


def test_the_smallest_gain_that_would_have_been_shown_by_hand() -> None:
    found = with_gain_of_std(0.02)  # 1.959964 + 0.841621
    assert vd.smallest_detectable_gain(found, "a", "b", 0.95) == pytest.approx(0.02 * 2.801585)


def with_gain_of_std(std: float) -> Resamples:
    """Two arms whose gain has exactly this sample standard deviation over two resamples."""
    return Resamples(
        classes=np.array([0]),
        num_images=np.array([50]),
        num_seeds=1,
        observed={"a": np.array([0.5]), "b": np.array([0.5])},
        recall={"a": np.array([[0.5 + std / np.sqrt(2)], [0.5 - std / np.sqrt(2)]]), "b": np.full((2, 1), 0.5)},
        macro_f1={},
    )


def test_class_without_images_is_named_too() -> None:
    found = decide(resamples({CE: (0.7, 0.6), BS: (0.7, 0.6), COMPLETED: (0.9, 0.9)}, sizes=(200, 200)))
    assert found.cannot_be_judged == ("owl",)
    assert set(found.detectable) == {"cat", "dog"}


def test_no_class_can_be_judged() -> None:
    found = decide(resamples({CE: (0.5,) * 3, BS: (0.5,) * 3, COMPLETED: (0.9,) * 3}), min_test_images=500)
    assert found.cannot_be_judged == ("cat", "dog", "owl")
    assert "no class has enough test images to judge its loss" in found.reason


def test_too_few_resamples_name_the_parameter() -> None:
    arms = {CE: (0.7, 0.6, 0.5), BS: (0.7, 0.6, 0.5), COMPLETED: (0.7, 0.6, 0.5)}
    message = r"evaluate.num_resamples must be > 120 to test 6 \(class, baseline\) pairs at 0.05 together, got 120"
    with pytest.raises(UserError, match=message):
        decide(resamples(arms, num_resamples=120))
    assert decide(resamples(arms, num_resamples=121)).verdict == "hold"


@pytest.mark.parametrize(("share", "shown"), [(0.012, 1.2), (0.0, 0.0), (0.0004, 0.04), (-0.12, -12.0), (1e-9, 0.0)])
def test_points_never_round_a_figure_to_nothing(share: float, shown: float) -> None:
    assert reason.decimal(share) == shown
