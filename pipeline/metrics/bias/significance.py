"""Whether what was seen could be chance, with many things looked at."""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def holm(p_values: Floats) -> Floats:
    """p-values that hold for all tests together (Holm 1979): step-down Bonferroni."""
    order = np.argsort(p_values, kind="stable")
    stepped = np.minimum(1.0, np.maximum.accumulate(p_values[order] * np.arange(len(p_values), 0, -1)))
    adjusted = np.empty(len(p_values))
    adjusted[order] = stepped
    return adjusted


def permutation_p(observed: Floats, null: Floats) -> Floats:
    """p-values of M statistics that hold for all together, [M]: single-step max-T (Westfall & Young 1993, 2.6).

    A statistic counts in standard deviations of its own null, so that a noisy one does not hide the others. The
    smallest value that B permutations can give is 1 / (B + 1).

    Args:
        observed: [M], larger is stranger.
        null: [B, M], the same statistics of permuted data.
    """
    mean, spread = null.mean(axis=0), null.std(axis=0)
    known = spread > 1e-12
    if not known.any():
        return np.ones(len(observed))
    seen = np.where(known, (observed - mean) / np.where(known, spread, 1.0), -np.inf)
    largest = ((null[:, known] - mean[known]) / spread[known]).max(axis=1)
    exceeded = (largest[:, None] >= seen - 1e-9).sum(axis=0)
    return np.asarray((1 + exceeded) / (len(null) + 1))
