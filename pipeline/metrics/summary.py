"""The JSON of the `evaluate` stage: every arm, every gain, the verdict."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UserError
from pipeline.metrics import bias, classification
from pipeline.metrics.bootstrap import Resamples, bootstrap, interval
from pipeline.metrics.verdict import BASELINES, COMPLETED, count_hypotheses, decide, smallest_detectable

Ints = NDArray[np.integer]
Floats = NDArray[np.float64]

RIVALS = {
    "over_cross_entropy": "baseline_cross_entropy",
    "over_balanced_softmax": "baseline_balanced_softmax",
    "over_augmented": "augmented",
}
BASELINE_RIVALS = {key: over for key, over in RIVALS.items() if over in BASELINES}
ARMS = (*BASELINES, "augmented", COMPLETED)
APART = ("feature_completed",)  # arms that the verdict does not look at


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What `summarise` is told by params.yaml.

    Attributes:
        num_resamples: B of the bootstrap.
        seed: of the bootstrap.
        max_class_loss: allowed loss of recall of a class, in [0, 1].
        min_test_images: a class with fewer is not judged.
        many_above: a class with more training images is in the group "many".
        few_up_to: a class with at most this many training images is in the group "few".
    """

    num_resamples: int
    seed: int
    max_class_loss: float
    min_test_images: int
    many_above: int
    few_up_to: int


def summarise(
    labels: Ints,
    class_names: Sequence[str],
    train_counts: NDArray[np.int64],
    probs: Mapping[str, NDArray[np.floating]],
    settings: Settings,
) -> dict[str, Any]:
    """Metrics of every arm with 95 % intervals, gains of the completed arm and the verdict, as plain numbers.

    Arms of `APART` need not be there; their gains over the baselines stand under "apart".

    Args:
        labels: [N] true classes of the test images.
        class_names: [C].
        train_counts: [C] real training images a class, which make the groups many/medium/few.
        probs: arm -> [S, N, C] probabilities; seed s and image n are the same in every arm.
        settings: thresholds and the bootstrap's size.

    Raises:
        UserError: no test images, an arm's probabilities are not finite, or too few resamples.
    """
    _check(labels, class_names, probs)
    groups = bias.groups(train_counts, settings.many_above, settings.few_up_to)
    arms = [arm for arm in (*ARMS, *APART) if arm in probs]
    predictions = {arm: probs[arm].argmax(axis=2) for arm in arms}
    resamples = bootstrap(labels, predictions, num_resamples=settings.num_resamples, seed=settings.seed)
    verdict = decide(
        resamples, class_names, max_class_loss=settings.max_class_loss, min_test_images=settings.min_test_images
    )
    num_hypotheses = count_hypotheses(resamples, settings.min_test_images)
    names = [class_names[index] for index in resamples.classes]
    return {
        "arms": {arm: _arm(arm, labels, probs[arm], resamples, names=names, groups=groups) for arm in arms},
        "gain": _gains(resamples, COMPLETED, RIVALS, names, num_hypotheses),
        "apart": {arm: _gains(resamples, arm, BASELINE_RIVALS, names, num_hypotheses) for arm in arms if arm in APART},
        "verdict": verdict.verdict,
        "reason": verdict.reason,
        "harmed": list(verdict.harmed),
        "cannot_be_judged": list(verdict.cannot_be_judged),
        "seeds": int(probs[COMPLETED].shape[0]),
        "test_images": len(labels),
        "max_class_loss": _rounded(settings.max_class_loss),
        "groups": {name: [class_names[index] for index in indices] for name, indices in groups.items()},
    }


def _arm(
    arm: str,
    labels: Ints,
    probs: NDArray[np.floating],
    resamples: Resamples,
    *,
    names: Sequence[str],
    groups: Mapping[str, NDArray[np.int64]],
) -> dict[str, Any]:
    confusion = classification.confusion_matrices(labels, probs.argmax(axis=2), probs.shape[2])
    recall = classification.per_class_recall(confusion)
    group_recall = classification.group_means(recall, resamples.classes, groups)
    return {
        "balanced_accuracy": _measure(classification.balanced_accuracy(confusion), resamples.balanced_accuracy(arm)),
        "accuracy": _measure(classification.accuracy(confusion), resamples.accuracy(arm)),
        "macro_f1": _measure(classification.macro_f1(confusion), resamples.macro_f1[arm]),
        "calibration_error": _over_seeds(classification.calibration_error(labels, probs)),
        "per_class_recall": {name: _measure(recall[:, k], resamples.recall[arm][:, k]) for k, name in enumerate(names)},
        "groups": {name: _over_seeds(values) for name, values in group_recall.items()},
    }


def _gains(
    resamples: Resamples, arm: str, rivals: Mapping[str, str], names: Sequence[str], num_hypotheses: int
) -> dict[str, Any]:
    return {key: _gain(resamples, arm, over, names, num_hypotheses) for key, over in rivals.items()}


def _gain(resamples: Resamples, arm: str, over: str, names: Sequence[str], num_hypotheses: int) -> dict[str, Any]:
    observed = resamples.observed_class_gain(arm, over)
    per_class = resamples.class_gain(arm, over)
    detectable = smallest_detectable(resamples, arm, over, num_hypotheses)
    return {
        "balanced_accuracy": {
            "mean": _rounded(observed.mean()),
            "ci95": list(interval(resamples.gain(arm, over))),
        },
        "per_class": {
            name: {
                "mean": _rounded(observed[k]),
                "ci95": list(interval(per_class[:, k])),
                "detectable": _rounded(detectable[k]),
            }
            for k, name in enumerate(names)
        },
    }


def _measure(values: Floats, resampled: Floats) -> dict[str, Any]:
    return {**_over_seeds(values), "ci95": list(interval(resampled))}


def _over_seeds(values: Floats) -> dict[str, float]:
    """Mean and sample standard deviation of one figure over the seeds [S]; a single seed has spread 0."""
    return {"mean": _rounded(values.mean()), "std": _rounded(values.std(ddof=1) if len(values) > 1 else 0.0)}


def _rounded(value: float | np.floating) -> float:
    return round(float(value), 6) + 0.0  # + 0.0 turns -0.0 into 0.0


def _check(labels: Ints, class_names: Sequence[str], probs: Mapping[str, NDArray[np.floating]]) -> None:
    assert set(ARMS) <= set(probs) <= {*ARMS, *APART}, f"arms must be {', '.join(ARMS)}, got {', '.join(probs)}"
    if len(labels) == 0:
        raise UserError("evaluate: the test split holds no images; raise the test share under ingest in params.yaml")
    for arm, array in probs.items():
        assert array.shape[1:] == (len(labels), len(class_names)), f"{arm}: probs must be [S, N, C], got {array.shape}"
        if not np.isfinite(array).all():
            raise UserError(
                f"evaluate: the probabilities of '{arm}' must be finite, got NaN or inf: its training diverged"
            )
        assert np.allclose(array.sum(axis=2), 1, atol=0.01), f"{arm}: probs must sum to 1 over the classes"
