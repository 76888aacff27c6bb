"""Stratified folds of training images."""

import numpy as np
import numpy.typing as npt


def assign_folds(labels: npt.NDArray[np.int64], num_folds: int, seed: int) -> npt.NDArray[np.int64]:
    """Fold of each row, int64 [N]: each class is dealt out evenly, and classes start at different folds.

    A class with fewer images than folds is missing from some; with one image its fold's classifier never saw it.
    """
    rng = np.random.default_rng(seed)
    folds = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        folds[rows] = (np.arange(len(rows)) + label) % num_folds
    return folds
