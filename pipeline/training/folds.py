"""Stratified folds of training images."""

import numpy as np
import numpy.typing as npt
import pandas as pd

from pipeline.dataset import Dataset

Ints = npt.NDArray[np.int64]


def folds_of(dataset: Dataset, num_folds: int, seed: int) -> Ints:
    """Fold of each row of a data set, whose groups (patients, series) are kept together."""
    return assign_folds(dataset.labels, num_folds, seed, numbered(dataset.frame(["group"])["group"]))


def numbered(groups: pd.Series) -> Ints:
    """A number for the group of each row, in the order they are met, int64 [N]; 0 for none."""
    numbers, _ = pd.factorize(groups)  # -1 for none
    return np.asarray(numbers, dtype=np.int64) + 1


def assign_folds(labels: Ints, num_folds: int, seed: int, groups: Ints | None = None) -> Ints:
    """Fold of each row, int64 [N]: each class is dealt out evenly, and classes start at different folds.

    A class with fewer images than folds is missing from some; with one image its fold's classifier never saw it.

    Args:
        groups: number of each row's group, 0 for none. A group stays in one fold, unless its class has fewer groups
            than folds (sites, say, where patients have more): these are parted, or folds would lack the class.
    """
    rng = np.random.default_rng(seed)
    folds, known = np.empty(len(labels), dtype=np.int64), dict[int, int]()
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        units = [] if groups is None or not groups[rows].any() else _units(rows, groups)
        if len(units) < num_folds:
            folds[rows] = (np.arange(len(rows)) + label) % num_folds
            continue
        filled = np.zeros(num_folds, dtype=np.int64)
        for group, members in units:
            emptiest = int((np.argmin(np.roll(filled, -label)) + label) % num_folds)
            fold = known.setdefault(group, emptiest) if group else emptiest
            folds[members] = fold
            filled[fold] += len(members)
    return folds


def _units(rows: Ints, groups: Ints) -> list[tuple[int, Ints]]:
    """The rows of each group, and each row that has none, with the group's number; the largest first."""
    _, first, of_row = np.unique(groups[rows], return_index=True, return_inverse=True)
    parts = np.split(rows[np.argsort(of_row, kind="stable")], np.cumsum(np.bincount(of_row))[:-1])
    together = [parts[unit] for unit in np.argsort(first) if groups[parts[unit][0]]]  # in the order they are met
    together.sort(key=lambda members: -len(members))
    return [(int(groups[unit[0]]), unit) for unit in [*together, *rows[groups[rows] == 0][:, None]]]
