"""What a classifier gets right, for all training seeds at once.

Everything but the ranking and the calibration error is read off the confusion matrices [S, C, C]. scikit-learn takes
one seed at a time and warns about classes without test images, so these few lines replace it; the tests hold them to
its figures.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.integer]
Floats = NDArray[np.float64]


def confusion_matrices(labels: Ints, predictions: Ints, num_classes: int) -> NDArray[np.int64]:
    """Confusion matrix of each seed, [S, C, C], true class in the rows; `.sum(axis=0)` is the one over all seeds.

    Args:
        labels: [N] true classes.
        predictions: [S, N] predicted classes.
        num_classes: C.
    """
    assert predictions.shape[1:] == labels.shape, f"{predictions.shape} predictions for {labels.shape} labels"
    num_seeds = len(predictions)
    cells = (np.arange(num_seeds)[:, None] * num_classes + labels) * num_classes + predictions
    counts = np.bincount(cells.ravel(), minlength=num_seeds * num_classes**2)
    return counts.reshape(num_seeds, num_classes, num_classes)


def tested_classes(confusion: NDArray[np.int64]) -> NDArray[np.int64]:
    """The K classes that have test images, ascending; the others have no recall and are left out of every mean."""
    return np.flatnonzero(confusion[0].sum(axis=1))


def per_class_recall(confusion: NDArray[np.int64]) -> Floats:
    """Recall [S, K] of the tested classes."""
    classes = tested_classes(confusion)
    recall: Floats = confusion[:, classes, classes] / confusion[:, classes].sum(axis=2)
    return recall


def accuracy(confusion: NDArray[np.int64]) -> Floats:
    """Share of test images that are right, [S]."""
    share: Floats = np.trace(confusion, axis1=1, axis2=2) / confusion.sum(axis=(1, 2))
    return share


def balanced_accuracy(confusion: NDArray[np.int64]) -> Floats:
    """Mean recall of the tested classes, [S]."""
    means: Floats = per_class_recall(confusion).mean(axis=1)
    return means


def macro_f1(confusion: NDArray[np.int64]) -> Floats:
    """Mean F1 of the tested classes, [S]; a class that is never rightly predicted counts 0."""
    classes = tested_classes(confusion)
    true, predicted = confusion[:, classes].sum(axis=2), confusion[:, :, classes].sum(axis=1)
    f1 = 2 * confusion[:, classes, classes] / (true + predicted)
    means: Floats = f1.mean(axis=1)
    return means


def calibration_error(labels: Ints, probs: NDArray[np.floating], num_bins: int = 15) -> Floats:
    """Return the expected calibration error of each seed, [S] in [0, 1] (Guo et al. 2017, eq. 3; equal-width bins).

    Args:
        labels: [N] true classes.
        probs: [S, N, C] probabilities.
        num_bins: bin m holds the confidences in ((m - 1) / num_bins, m / num_bins].
    """
    num_seeds, num_images, _ = probs.shape
    confidence = probs.max(axis=2).astype(np.float64)
    correct = probs.argmax(axis=2) == labels
    bins = np.clip(np.ceil(confidence * num_bins).astype(np.int64) - 1, 0, num_bins - 1)
    cells = np.arange(num_seeds)[:, None] * num_bins + bins
    gaps = np.bincount(cells.ravel(), weights=(confidence - correct).ravel(), minlength=num_seeds * num_bins)
    errors: Floats = np.abs(gaps).reshape(num_seeds, num_bins).sum(axis=1) / num_images
    return errors


def auroc(labels: Ints, probs: NDArray[np.floating]) -> Floats:
    """Area under the ROC curve of each tested class against all others, [S, K] (Mann-Whitney, ties count a half).

    NaN where all test images are of one class.

    Args:
        labels: [N] true classes.
        probs: [S, N, C] probabilities.
    """
    from scipy.stats import rankdata  # takes a second, which not every training should

    classes, positives = np.unique(labels, return_counts=True)
    negatives = len(labels) - positives
    areas = np.full((len(probs), len(classes)), np.nan)
    for k in np.flatnonzero(negatives):
        ranks = rankdata(probs[:, :, classes[k]], axis=1)[:, labels == classes[k]]
        above = ranks.sum(axis=1) - positives[k] * (positives[k] + 1) / 2
        areas[:, k] = above / (positives[k] * negatives[k])
    return areas


def group_means(
    recall: Floats, classes: NDArray[np.int64], groups: Mapping[str, NDArray[np.int64]]
) -> dict[str, Floats]:
    """Mean recall [S] of each group of classes; a group without a tested class is left out.

    Args:
        recall: [S, K] recall of the tested classes.
        classes: [K] the tested classes.
        groups: name -> class indices, as `bias.groups` gives them.
    """
    members = {name: np.isin(classes, indices) for name, indices in groups.items()}
    return {name: recall[:, chosen].mean(axis=1) for name, chosen in members.items() if chosen.any()}
