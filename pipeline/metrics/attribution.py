"""What each means brought: gains between arms that differ by that one means."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.metrics.arms import AUGMENTED, COMPLETED, FEATURES
from pipeline.metrics.bootstrap import Resamples, bootstrap, interval
from pipeline.metrics.figures import rounded

Ints = NDArray[np.integer]
Mask = NDArray[np.bool_]

FRESH = "without_transfer"


@dataclass(frozen=True, eq=False)
class Fresh:
    """Classifiers that take no weights of the source network, on the test images.

    Attributes:
        loss: which of the baseline's they were trained under.
        predictions: [S, N] predicted classes; seed s is seed s of the baseline, but there may be fewer.
    """

    loss: str
    predictions: Ints


def attribute(
    labels: Ints,
    predictions: Mapping[str, Ints],
    resamples: Resamples,
    few: Ints,
    losses: Mapping[str, str],
    fresh: Fresh | None,
    seed: int = 0,
) -> dict[str, Any]:
    """Gain of each means in balanced accuracy, and in the recall of the classes with few training images.

    An arm is compared with the baseline under its own loss, or Balanced Softmax where its loss is not known.

    Args:
        labels: [N] true classes of the test images.
        predictions: arm -> [S, N] predicted classes.
        resamples: of those arms.
        few: indices of the classes with few training images.
        losses: arm -> the loss that it was trained under; the trunk's of the arm of completed features.
        fresh: what transfer is told by; none if there is nothing.
        seed: of its bootstrap.
    """
    seeds = len(predictions[COMPLETED])
    pairs = {
        "augmentation": (AUGMENTED, _baseline(losses.get(AUGMENTED), predictions)),
        "synthesis": (COMPLETED, AUGMENTED),
        "feature completion": (FEATURES, _baseline(losses.get(FEATURES), predictions)),
    }
    gains = {
        means: _entry(resamples, new, old, few, seeds) for means, (new, old) in pairs.items() if new in predictions
    }
    if fresh is not None:
        seeds, old = len(fresh.predictions), _baseline(fresh.loss, predictions)
        both = {old: predictions[old][:seeds], FRESH: fresh.predictions}
        again = bootstrap(labels, both, num_resamples=len(resamples.macro_f1[COMPLETED]), seed=seed)
        gains["transfer"] = _entry(again, old, FRESH, few, seeds)
    return gains


def _baseline(loss: str | None, predictions: Mapping[str, Ints]) -> str:
    name = f"baseline_{loss}"
    return name if name in predictions else "baseline_balanced_softmax"


def _entry(resamples: Resamples, new: str, old: str, few: Ints, seeds: int) -> dict[str, Any]:
    columns = np.isin(resamples.classes, few)
    return {
        "with": new,
        "without": old,
        "seeds": seeds,
        "balanced_accuracy": _gain(resamples, new, old, np.ones_like(columns)),
        "few": _gain(resamples, new, old, columns) if columns.any() else None,
    }


def _gain(resamples: Resamples, new: str, old: str, columns: Mask) -> dict[str, Any]:
    observed = resamples.observed_class_gain(new, old)[columns]
    resampled = resamples.class_gain(new, old)[:, columns]
    return {"mean": rounded(observed.mean()), "ci95": list(interval(resampled.mean(axis=1)))}
