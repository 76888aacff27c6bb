"""The `evaluate` stage's JSON: its figures by hand, its shape, and that equal runs give equal files."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.errors import UserError
from pipeline.metrics.arms import ARMS
from pipeline.metrics.looks import Look
from pipeline.metrics.summary import Known, Settings, summarise

NAMES = ["cat", "dog", "owl", "yak"]
LABELS = np.repeat([0, 1, 2], [40, 40, 5])  # no yak
COUNTS = np.array([500, 50, 5, 0])
SETTINGS = Settings(
    num_resamples=500, seed=0, max_class_loss=0.05, min_test_images=20, min_seeds=2, many_above=100, few_up_to=20
)


def probs_right_on(num_right: dict[int, list[int]]) -> NDArray[np.float64]:
    """Probabilities [2, 85, 4]: for each class, the first so many images of each seed are right, at confidence 0.7."""
    predictions = np.full((2, len(LABELS)), 3)
    for label, per_seed in num_right.items():
        first = int(np.argmax(label == LABELS))
        for seed, count in enumerate(per_seed):
            predictions[seed, first : first + count] = label
    probs: NDArray[np.float64] = 0.1 + 0.6 * np.eye(4)[predictions]
    return probs


PROBS = {
    "baseline_cross_entropy": probs_right_on({0: [20, 20], 1: [20, 20], 2: [0, 0]}),
    "baseline_balanced_softmax": probs_right_on({0: [20, 20], 1: [20, 20], 2: [1, 1]}),
    "augmented": probs_right_on({0: [24, 24], 1: [24, 24], 2: [1, 1]}),
    "completed": probs_right_on({0: [30, 32], 1: [36, 36], 2: [2, 3]}),
}


@pytest.fixture(scope="module")
def summary() -> dict[str, Any]:
    return summarise(LABELS, NAMES, COUNTS, PROBS, SETTINGS)


def test_arm_by_hand(summary: dict[str, Any]) -> None:
    arm = summary["arms"]["completed"]
    assert list(summary["arms"]) == list(ARMS)
    assert arm["accuracy"]["mean"] == round((68 + 71) / 2 / 85, 6)
    first, second = (0.75 + 0.9 + 0.4) / 3, (0.8 + 0.9 + 0.6) / 3
    assert arm["balanced_accuracy"]["mean"] == round((first + second) / 2, 6)
    assert arm["balanced_accuracy"]["std"] == round((second - first) / np.sqrt(2), 6)
    low, high = arm["balanced_accuracy"]["ci95"]
    assert low < arm["balanced_accuracy"]["mean"] < high
    assert arm["calibration_error"]["mean"] == pytest.approx(69.5 / 85 - 0.7)
    assert arm["per_class_recall"]["cat"]["mean"] == 0.775
    assert arm["per_class_recall"]["dog"]["std"] == 0.0
    assert list(arm["per_class_recall"]) == ["cat", "dog", "owl"]
    assert arm["groups"] == {
        "many": {"mean": 0.775, "std": round(0.05 / np.sqrt(2), 6)},
        "medium": {"mean": 0.9, "std": 0.0},
        "few": {"mean": 0.5, "std": round(0.2 / np.sqrt(2), 6)},
    }
    # every miss names yak, which has no test image: precision 1, so F1 = 2 r / (1 + r)
    f1 = [np.mean([2 * r / (1 + r) for r in seed]) for seed in ([0.75, 0.9, 0.4], [0.8, 0.9, 0.6])]
    assert arm["macro_f1"]["mean"] == round(float(np.mean(f1)), 6)


def test_gain_by_hand(summary: dict[str, Any]) -> None:
    gain = summary["gain"]
    assert list(gain) == ["over_cross_entropy", "over_balanced_softmax", "over_augmented"]
    assert gain["over_cross_entropy"]["per_class"]["dog"]["mean"] == 0.4
    assert gain["over_augmented"]["per_class"]["dog"]["mean"] == 0.3
    assert gain["over_cross_entropy"]["balanced_accuracy"]["mean"] == round((0.275 + 0.4 + 0.5) / 3, 6)
    assert gain["over_cross_entropy"]["per_class"]["dog"]["detectable"] > 0


def test_an_arm_apart_has_its_own_gain_and_changes_no_other_figure(summary: dict[str, Any]) -> None:
    assert summary["apart"] == {}
    with_it = summarise(LABELS, NAMES, COUNTS, {**PROBS, "feature_completed": PROBS["augmented"]}, SETTINGS)
    assert list(with_it["apart"]["feature_completed"]) == ["over_cross_entropy", "over_balanced_softmax"]
    gain = with_it["apart"]["feature_completed"]["over_cross_entropy"]
    assert gain["per_class"]["dog"]["mean"] == 0.1  # 24 of 40 beside 20
    assert gain["balanced_accuracy"]["mean"] == round((0.1 + 0.1 + 0.2) / 3, 6)
    assert with_it["arms"].pop("feature_completed") == summary["arms"]["augmented"]
    assert with_it["attribution"].pop("feature completion")["balanced_accuracy"]["mean"] == pytest.approx(
        2 / 30, abs=1e-6
    )
    assert with_it | {"apart": {}} == summary


def test_verdict_and_facts(summary: dict[str, Any]) -> None:
    assert summary["verdict"] == "ship"
    assert summary["reason"].startswith("Completed beats both baselines")
    assert summary["harmed"] == []
    assert summary["cannot_be_judged"] == ["owl", "yak"]
    facts = ("seeds", "min_seeds", "test_images", "max_class_loss")
    assert [summary[fact] for fact in facts] == [2, 2, 85, 0.05]
    assert summary["groups"] == {"many": ["cat"], "medium": ["dog"], "few": ["owl", "yak"]}


def test_a_baseline_under_another_loss_is_one_more_rival(summary: dict[str, Any]) -> None:
    arms = {"baseline_focal": PROBS["completed"], "feature_completed": PROBS["augmented"], **PROBS}
    found = summarise(LABELS, NAMES, COUNTS, arms, SETTINGS)
    assert list(found["arms"]) == [*ARMS[:2], "baseline_focal", *ARMS[2:], "feature_completed"]
    rivals = ["over_cross_entropy", "over_balanced_softmax", "over_focal"]
    assert list(found["gain"]) == [*rivals, "over_augmented"]
    assert list(found["apart"]["feature_completed"]) == rivals
    assert list(found["pooled"]["gain"]) == rivals
    assert found["gain"]["over_focal"]["balanced_accuracy"]["mean"] == 0.0
    assert found["gain"]["over_focal"]["per_class"]["cat"]["loss_p_value"] == 1.0
    assert found["verdict"] == "hold"
    before, now = (told["gain"]["over_cross_entropy"]["per_class"]["cat"] for told in (summary, found))
    assert now["mean"] == before["mean"]
    assert now["detectable"] > before["detectable"]  # one more baseline to be judged against


def test_equal_runs_give_equal_files(summary: dict[str, Any]) -> None:
    again = summarise(LABELS, NAMES, COUNTS, {arm: PROBS[arm] for arm in reversed(ARMS)}, SETTINGS)
    assert json.dumps(again, allow_nan=False) == json.dumps(summary, allow_nan=False)


def test_single_precision_gives_the_same_verdict(summary: dict[str, Any]) -> None:
    again = summarise(LABELS, NAMES, COUNTS, {arm: array.astype(np.float32) for arm, array in PROBS.items()}, SETTINGS)
    assert again["gain"] == summary["gain"]


def test_one_seed_is_free_of_nan() -> None:
    alone = summarise(LABELS, NAMES, COUNTS, {arm: array[:1] for arm, array in PROBS.items()}, SETTINGS)
    json.dumps(alone, allow_nan=False)
    assert alone["arms"]["completed"]["accuracy"]["std"] == 0.0


def test_users_mistakes_are_named() -> None:
    diverged = {**PROBS, "completed": np.full_like(PROBS["completed"], np.nan)}
    with pytest.raises(UserError, match="'completed' must be finite"):
        summarise(LABELS, NAMES, COUNTS, diverged, SETTINGS)
    with pytest.raises(UserError, match="test split holds no images"):
        summarise(LABELS[:0], NAMES, COUNTS, {arm: array[:, :0] for arm, array in PROBS.items()}, SETTINGS)
    with pytest.raises(UserError, match=r"evaluate\.num_resamples must be > 80"):
        summarise(LABELS, NAMES, COUNTS, PROBS, replace(SETTINGS, num_resamples=80))


def test_logits_are_refused() -> None:
    with pytest.raises(AssertionError, match="must sum to 1"):
        summarise(LABELS, NAMES, COUNTS, {**PROBS, "completed": 9 * PROBS["completed"]}, SETTINGS)


def test_worst_class_and_ranking_by_hand(summary: dict[str, Any]) -> None:
    arm = summary["arms"]["completed"]
    assert arm["worst_class"] == {"class": "owl", **arm["per_class_recall"]["owl"]}
    # Of dog, right is at 0.7 and everything else at 0.1: 0.9 of the dogs are above all others, the rest are ties.
    assert arm["per_class_auroc"]["dog"] == {"mean": 0.95, "std": 0.0}
    means = [(1 + recall) / 2 for recall in (0.775, 0.9, 0.5)]
    assert arm["auroc"]["mean"] == round(float(np.mean(means)), 6)


def test_a_test_split_of_one_class_has_no_ranking() -> None:
    chosen = LABELS == 0
    alone = summarise(LABELS[chosen], NAMES, COUNTS, {arm: p[:, chosen] for arm, p in PROBS.items()}, SETTINGS)
    assert alone["arms"]["completed"]["auroc"] == {"mean": None, "std": None}
    json.dumps(alone, allow_nan=False)


def test_what_stands_beside_a_gain(summary: dict[str, Any]) -> None:
    gain = summary["gain"]["over_cross_entropy"]
    # the vote is right wherever one seed is, at 0.4 beside 0.1 and 0.4 for the class that is not there: a tie, which
    # the first class takes: cat and dog and owl alike
    assert gain["mcnemar"] == {"only_new": 12 + 16 + 3, "only_old": 0, "p_value": float(f"{2 * 0.5**31:.6g}")}
    entry = gain["balanced_accuracy"]
    assert entry["interval"][0] <= entry["ci95"][0] < entry["mean"] < entry["ci95"][1] <= entry["interval"][1]
    parts = entry["standard_error"]
    assert parts["total"] ** 2 == pytest.approx(
        parts["seeds"] ** 2 + parts["images"] ** 2 + parts["both"] ** 2, abs=1e-5
    )
    assert entry["detectable"] > 0
    assert gain["per_class"]["cat"]["loss_p_value"] == 1.0  # it gains
    assert gain["per_class"]["owl"]["loss_p_value"] is None  # too small to be judged
    assert summary["gain"]["over_augmented"]["per_class"]["cat"]["loss_p_value"] is None


def test_classes_that_are_too_small_are_named_and_told_together() -> None:
    found = summarise(LABELS, NAMES, COUNTS, PROBS, replace(SETTINGS, min_test_images=41, num_resamples=200))
    pooled = found["pooled"]
    assert pooled["classes"] == ["cat", "dog", "owl"]  # no yak: it has no test image
    assert (pooled["test_images"], pooled["judged"], pooled["harmed"]) == (85, True, False)
    right = (30 + 32) / 2 + 36 + (2 + 3) / 2
    assert pooled["gain"]["over_cross_entropy"]["mean"] == round((right - 40) / 85, 6)
    assert summarise(LABELS, NAMES, COUNTS, PROBS, replace(SETTINGS, min_test_images=5))["pooled"] is None


def test_the_look_is_told_and_widens_the_interval_of_the_verdict(summary: dict[str, Any]) -> None:
    assert summary["look"] is None
    third = summarise(LABELS, NAMES, COUNTS, PROBS, SETTINGS, Known(look=Look(3, 0.05)))
    assert third["look"] == {"number": 3, "alpha": 0.00416667, "spent": 0.0375, "budget": 0.05, "test_split": 1}
    before, now = (found["gain"]["over_augmented"]["balanced_accuracy"] for found in (summary, third))
    assert now["interval"][0] < before["interval"][0]
    assert now["ci95"] == before["ci95"]


def test_groups_are_told_where_the_source_names_them(summary: dict[str, Any]) -> None:
    assert summary["subgroups"] is None
    groups = ["north" if number % 40 < 20 else "south" for number in range(80)] + [None] * 4 + ["east"]
    found = summarise(LABELS, NAMES, COUNTS, PROBS, SETTINGS, Known(groups_of=groups))["subgroups"]
    assert (found["groups"], found["judged"]) == (3, 2)
    arm = found["arms"]["completed"]  # of north all are right, of south 10 + 16 and 12 + 16
    south = {"mean": round((26 + 28) / 80, 6), "std": round(2 / 40 / np.sqrt(2), 6)}
    assert arm["accuracy"] == {"north": {"mean": 1.0, "std": 0.0}, "south": south}
    assert arm["worst"] == {"group": "south", **south}
    assert arm["spread"] == pytest.approx((1 - 27 / 40) / np.sqrt(2), abs=1e-6)
    nobody = summarise(LABELS, NAMES, COUNTS, PROBS, SETTINGS, Known(groups_of=[str(number) for number in range(85)]))
    assert nobody["subgroups"] == {"groups": 85, "judged": 0, "arms": {}}


def test_the_classifiers_together_and_what_their_temperature_does() -> None:
    found = summarise(LABELS, NAMES, COUNTS, PROBS, SETTINGS, Known(temperatures={"completed": 0.5}))
    together = found["arms"]["completed"]["together"]
    # 68 + 3 images are right: of 68 both seeds are sure of the class (0.7), of the others their votes tie at 0.4
    right = 32 + 36 + 3
    assert together["accuracy"] == round(right / 85, 6)
    assert together["balanced_accuracy"] == round((32 / 40 + 36 / 40 + 3 / 5) / 3, 6)
    ties, sure = 2 + 1, 85 - 3  # a tie goes to the first class, which is the true one
    assert together["calibration_error"] == pytest.approx((ties * 0.6 + abs((right - 3) - sure * 0.7)) / 85, abs=1e-6)
    hot, tie = 0.49 / (0.49 + 3 * 0.01), 0.16 / (2 * 0.16 + 2 * 0.01)  # squared and made to sum to 1
    tempered = (ties * (1 - tie) + abs((right - 3) - sure * hot)) / 85
    assert together["calibration_error_tempered"] == pytest.approx(tempered, abs=1e-6)
    assert found["arms"]["augmented"]["together"]["temperature"] == 1.0
