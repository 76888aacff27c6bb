"""What each means brought, by hand."""

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.metrics.attribution import Fresh, attribute
from pipeline.metrics.bootstrap import bootstrap

LABELS = np.repeat([0, 1], [10, 10])
CE, BS = "baseline_cross_entropy", "baseline_balanced_softmax"


def right_on(large: int, small: int, seeds: int = 2) -> NDArray[np.int64]:
    """Predictions [S, 20] that are right on so many images of each class."""
    right = np.concatenate([np.arange(10) < large, np.arange(10) < small])
    return np.tile(np.where(right, LABELS, 2), (seeds, 1))


ARMS = {
    CE: right_on(9, 1),
    BS: right_on(8, 4),
    "augmented": right_on(8, 6),
    "completed": right_on(7, 9),
    "feature_completed": right_on(9, 3),
}
FOUND = bootstrap(LABELS, ARMS, num_resamples=200, seed=0)
FEW = np.array([1, 2])  # class 2 has no test images


def test_each_means_is_a_gain_over_the_arm_without_it() -> None:
    losses = {"augmented": "balanced_softmax", "completed": "balanced_softmax", "feature_completed": "cross_entropy"}
    found = attribute(LABELS, ARMS, FOUND, FEW, losses, None)
    assert list(found) == ["augmentation", "synthesis", "feature completion"]
    assert {means: (entry["with"], entry["without"]) for means, entry in found.items()} == {
        "augmentation": ("augmented", BS),
        "synthesis": ("completed", "augmented"),
        "feature completion": ("feature_completed", CE),
    }
    means = {name: entry["balanced_accuracy"]["mean"] for name, entry in found.items()}
    assert means == {"augmentation": 0.1, "synthesis": 0.1, "feature completion": 0.1}
    few = {name: entry["few"]["mean"] for name, entry in found.items()}
    assert few == {"augmentation": 0.2, "synthesis": 0.3, "feature completion": 0.2}
    low, high = found["synthesis"]["few"]["ci95"]
    assert low < 0.3 < high


def test_transfer_is_told_by_as_many_seeds_as_went_without_it() -> None:
    found = attribute(LABELS, ARMS, FOUND, FEW, {}, Fresh("cross_entropy", right_on(5, 0, seeds=1)))["transfer"]
    assert (found["with"], found["without"], found["seeds"]) == (CE, "without_transfer", 1)
    assert found["balanced_accuracy"]["mean"] == pytest.approx((0.4 + 0.1) / 2)


def test_an_arm_is_beside_the_baseline_under_its_own_loss() -> None:
    arms = ARMS | {"baseline_ldam_drw": right_on(8, 5)}
    found = attribute(
        LABELS, arms, bootstrap(LABELS, arms, num_resamples=200, seed=0), FEW, {"augmented": "ldam_drw"}, None
    )
    assert found["augmentation"]["without"] == "baseline_ldam_drw"
    assert found["augmentation"]["balanced_accuracy"]["mean"] == 0.05
    assert found["feature completion"]["without"] == BS  # its loss is not known


def test_no_class_with_few_images_and_no_arm_of_features() -> None:
    four = {arm: values for arm, values in ARMS.items() if arm != "feature_completed"}
    found = attribute(LABELS, four, FOUND, np.array([], dtype=np.int64), {}, None)
    assert list(found) == ["augmentation", "synthesis"]
    assert found["synthesis"]["few"] is None
