"""How arms fare on corrupted test images (Hendrycks and Dietterich 2019)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.corruptions import SEVERITIES, corrupted
from pipeline.metrics import classification
from pipeline.metrics.figures import over_seeds, rounded
from pipeline.training.arm import probabilities

Floats = npt.NDArray[np.float64]


def robustness(
    arms: Mapping[str, Path],
    images: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.int64],
    corruptions: Sequence[str],
    seed: int,
) -> dict[str, Any] | None:
    """Balanced accuracy of each arm under each corruption, and their mean, over all severities; None without any.

    Args:
        arms: name -> folder of its classifiers.
        images: uint8 [N, C, H, W], clean.
        labels: [N].
        corruptions: files of `pipeline.corruptions`.
        seed: of the corruptions; every arm sees the same images.
    """
    if not corruptions:
        return None
    found: dict[str, dict[str, list[Floats]]] = {arm: {name: [] for name in corruptions} for arm in arms}
    for name in corruptions:
        for severity in SEVERITIES:
            worse = corrupted(images, name, severity, seed)
            for arm, folder in arms.items():
                probs = probabilities(folder, worse, f"evaluate {arm}, {name} {severity}")
                confusion = classification.confusion_matrices(labels, probs.argmax(axis=2), probs.shape[2])
                found[arm][name].append(classification.balanced_accuracy(confusion))
    return {arm: _entry({name: np.stack(values) for name, values in by_name.items()}) for arm, by_name in found.items()}


def _entry(accuracies: Mapping[str, Floats]) -> dict[str, Any]:
    """An arm's figures, from balanced accuracies [severities, S] under each corruption."""
    return {
        "balanced_accuracy": over_seeds(np.stack(list(accuracies.values())).mean(axis=(0, 1))),
        "corruptions": {
            name: {**over_seeds(values.mean(axis=0)), "by_severity": [rounded(v) for v in values.mean(axis=1)]}
            for name, values in accuracies.items()
        },
    }
