"""How uneven a class histogram is: one pure function a measure."""

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UserError

Counts = NDArray[np.int64]


def imbalance_ratio(counts: Counts) -> float:
    """Largest over smallest class; inf where a class has no image."""
    _check(counts)
    return float(counts.max() / counts.min()) if counts.min() > 0 else float("inf")


def entropy(counts: Counts) -> float:
    """Shannon entropy over log(C), in [0, 1]: 1 for equal classes, 0 where one class holds every image."""
    _check(counts)
    if len(counts) == 1:
        return 1.0
    shares = counts[counts > 0] / counts.sum()
    return float(abs(np.sum(shares * np.log(shares))) / np.log(len(counts)))


def gini(counts: Counts) -> float:
    """Gini coefficient, in [0, (C - 1) / C]: 0 for equal classes."""
    _check(counts)
    num_classes = len(counts)
    ranks = np.arange(1, num_classes + 1)
    return float(np.sum((2 * ranks - num_classes - 1) * np.sort(counts)) / (num_classes * counts.sum()))


def effective_number(counts: Counts, beta: float) -> NDArray[np.float64]:
    """Effective number of images of each class (Cui et al. 2019, eq. 2).

    Args:
        counts: [C] images a class.
        beta: in [0, 1); 0 counts a class once however large it is, towards 1 every image counts.

    Raises:
        UserError: beta is outside [0, 1).
    """
    _check(counts)
    if not 0 <= beta < 1:
        raise UserError(f"effective_number: beta must be in [0, 1), got {beta}")
    return (1 - np.float64(beta) ** counts) / (1 - beta)


def groups(counts: Counts, many_above: int, few_up_to: int) -> dict[str, NDArray[np.int64]]:
    """Class indices of the many-, medium- and few-shot groups (Liu et al. 2019, Open Long-Tailed Recognition).

    Args:
        counts: [C] training images a class.
        many_above: a class with more images is "many".
        few_up_to: a class with at most this many images is "few".

    Raises:
        UserError: few_up_to is larger than many_above.
    """
    if few_up_to > many_above:
        raise UserError(f"few_up_to must be at most many_above ({many_above}), got {few_up_to}")
    many, few = counts > many_above, counts <= few_up_to
    return {"many": np.flatnonzero(many), "medium": np.flatnonzero(~many & ~few), "few": np.flatnonzero(few)}


def _check(counts: Counts) -> None:
    assert counts.ndim == 1, f"counts must be [C], got shape {counts.shape}"
    assert counts.sum() > 0, "counts must hold at least one image"
    assert counts.min() >= 0, f"counts must be >= 0, got {counts.min()}"
