"""The `evaluate` stage's JSON: its figures by hand, its shape, and that equal runs give equal files."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.errors import UserError
from pipeline.metrics.summary import ARMS, Settings, summarise

NAMES = ["cat", "dog", "owl", "yak"]
LABELS = np.repeat([0, 1, 2], [40, 40, 5])  # no yak
COUNTS = np.array([500, 50, 5, 0])
SETTINGS = Settings(num_resamples=500, seed=0, max_class_loss=0.05, min_test_images=20, many_above=100, few_up_to=20)


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
    assert with_it | {"apart": {}} == summary


def test_verdict_and_facts(summary: dict[str, Any]) -> None:
    assert summary["verdict"] == "ship"
    assert summary["reason"].startswith("Completed beats both baselines")
    assert summary["harmed"] == []
    assert summary["cannot_be_judged"] == ["owl", "yak"]
    assert (summary["seeds"], summary["test_images"], summary["max_class_loss"]) == (2, 85, 0.05)
    assert summary["groups"] == {"many": ["cat"], "medium": ["dog"], "few": ["owl", "yak"]}


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
