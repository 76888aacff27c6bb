"""The figures of one arm as entries of the metrics."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.metrics import classification, subgroups
from pipeline.metrics.bootstrap import Resamples, interval
from pipeline.metrics.temperature import tempered

Ints = NDArray[np.integer]
Floats = NDArray[np.float64]


def arm_entry(
    labels: Ints,
    probs: NDArray[np.floating],
    arm: str,
    resamples: Resamples,
    names: Sequence[str],
    groups: Mapping[str, NDArray[np.int64]],
    temperature: float = 1.0,
) -> dict[str, Any]:
    """Everything that is measured of an arm.

    Args:
        labels: [N] true classes of the test images.
        probs: [S, N, C] probabilities.
        arm: its name in `resamples`.
        resamples: of all arms.
        names: of the K tested classes.
        groups: name -> class indices, as `bias.groups` gives them.
        temperature: that the mean of the seeds' probabilities is used with.
    """
    confusion = classification.confusion_matrices(labels, probs.argmax(axis=2), probs.shape[2])
    recall = classification.per_class_recall(confusion)
    group_recall = classification.group_means(recall, resamples.classes, groups)
    areas = classification.auroc(labels, probs)
    recalls = {name: measure(recall[:, k], resamples.recall[arm][:, k]) for k, name in enumerate(names)}
    worst = names[int(recall.mean(axis=0).argmin())]
    return {
        "balanced_accuracy": measure(classification.balanced_accuracy(confusion), resamples.balanced_accuracy(arm)),
        "accuracy": measure(classification.accuracy(confusion), resamples.accuracy(arm)),
        "macro_f1": measure(classification.macro_f1(confusion), resamples.macro_f1[arm]),
        "auroc": over_seeds(areas.mean(axis=1)),
        "calibration_error": over_seeds(classification.calibration_error(labels, probs)),
        "together": _together(labels, probs, temperature),
        "worst_class": {"class": worst, **recalls[worst]},
        "per_class_recall": recalls,
        "per_class_auroc": {name: over_seeds(areas[:, k]) for k, name in enumerate(names)},
        "groups": {name: over_seeds(values) for name, values in group_recall.items()},
    }


def _together(labels: Ints, probs: NDArray[np.floating], temperature: float) -> dict[str, float]:
    """Figures of the seeds' mean probability, which is what `predict` uses, before and after its temperature."""
    mean = probs.mean(axis=0, keepdims=True, dtype=np.float64)
    confusion = classification.confusion_matrices(labels, mean.argmax(axis=2), mean.shape[2])
    cooled = tempered(np.log(np.maximum(mean, np.finfo(np.float64).tiny)), temperature)
    return {
        "balanced_accuracy": rounded(classification.balanced_accuracy(confusion)[0]),
        "accuracy": rounded(classification.accuracy(confusion)[0]),
        "temperature": temperature,
        "calibration_error": rounded(classification.calibration_error(labels, mean)[0]),
        "calibration_error_tempered": rounded(classification.calibration_error(labels, cooled)[0]),
    }


def subgroup_entry(
    labels: Ints, probs: Mapping[str, NDArray[np.floating]], groups: subgroups.Groups
) -> dict[str, Any] | None:
    """Accuracy in the groups that the source names; none where it names none.

    Args:
        labels: [N] true classes of the test images.
        probs: arm -> [S, N, C] probabilities.
        groups: of the test images.
    """
    if not groups.names:
        return None
    judged = [groups.names[place] for place in groups.judged]
    shares = {arm: subgroups.group_accuracy(groups, labels, array.argmax(axis=2)) for arm, array in probs.items()}
    return {
        "groups": len(groups.names),
        "judged": len(judged),
        "arms": {arm: _spread(values, judged, groups.named) for arm, values in shares.items()} if judged else {},
    }


def _spread(values: Floats, judged: Sequence[str], named: bool) -> dict[str, Any]:
    """The worst group and how far groups lie apart, from accuracies [S, G]; each group's own where they are few."""
    means = values.mean(axis=0)
    worst = int(means.argmin())
    return {
        "worst": {"group": judged[worst], **over_seeds(values[:, worst])},
        "median": rounded(np.median(means)),
        "spread": rounded(means.std(ddof=1) if len(means) > 1 else 0.0),
        "accuracy": {name: over_seeds(values[:, g]) for g, name in enumerate(judged)} if named else {},
    }


def measure(values: Floats, resampled: Floats) -> dict[str, Any]:
    """A figure over the seeds [S] with the 95 % interval of its resamples [B]."""
    return {**over_seeds(values), "ci95": list(interval(resampled))}


def over_seeds(values: Floats) -> dict[str, float | None]:
    """Mean and sample standard deviation of one figure over the seeds [S]; a single seed has spread 0.

    Where the figure is not defined (NaN) both are None.
    """
    if np.isnan(values).any():
        return {"mean": None, "std": None}
    return {"mean": rounded(values.mean()), "std": rounded(values.std(ddof=1) if len(values) > 1 else 0.0)}


def rounded(value: float | np.floating) -> float:
    """Rounded as everything in the metrics is; -0.0 becomes 0.0."""
    return round(float(value), 6) + 0.0
