"""The arms of the experiment by name, and which of them are compared."""

from collections.abc import Iterable

COMPLETED = "completed"
AUGMENTED = "augmented"
FEATURES = "feature_completed"
BASELINE = "baseline_"  # before the loss that it was trained under
LOSSES = ("cross_entropy", "balanced_softmax")  # that there is always a baseline under
BASELINES = tuple(f"{BASELINE}{loss}" for loss in LOSSES)
ARMS = (*BASELINES, AUGMENTED, COMPLETED)  # that there always are
APART = (FEATURES,)  # arms that the verdict does not look at
TITLES = {
    "cross_entropy": "cross-entropy",
    "balanced_softmax": "Balanced Softmax",
    FEATURES: "completed in features",
    "without_transfer": "the same without transfer",
}


def baselines(arms: Iterable[str]) -> tuple[str, ...]:
    """Those that the completed arm must beat each: the two that there always are, then one under its own loss."""
    return (*BASELINES, *sorted({arm for arm in arms if arm.startswith(BASELINE)} - set(BASELINES)))


def in_order(arms: Iterable[str]) -> tuple[str, ...]:
    """The arms as they are told: baselines, augmented, completed, and what stands apart."""
    there = tuple(arms)
    return (*baselines(there), AUGMENTED, COMPLETED, *(arm for arm in APART if arm in there))


def gains_over(rivals: Iterable[str]) -> dict[str, str]:
    """What the gain over each of these arms is called in the metrics, such as `over_cross_entropy`, and the arm."""
    return {f"over_{arm.removeprefix(BASELINE)}": arm for arm in rivals}


def called(arm: str) -> str:
    """What people call an arm, or the rival of a gain; a baseline goes by its loss."""
    name = arm.removeprefix(BASELINE).removeprefix("over_")
    return TITLES.get(name, name.replace("_", " "))
