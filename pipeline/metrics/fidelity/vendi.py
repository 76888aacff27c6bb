"""Vendi score: the effective number of different images (Friedman & Dieng 2023)."""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def score(features: Floats) -> float:
    """exp(-sum l log l) over the eigenvalues l of K / N (eq. 2), K the cosines of unit vectors [N, D].

    1 if all are the same, N if all are at right angles.
    """
    if not len(features):
        return float("nan")
    wide = features.shape[0] <= features.shape[1]
    gram = features @ features.T if wide else features.T @ features  # which have the same eigenvalues but for zeros
    values = np.linalg.eigvalsh(gram / len(features))
    values = values[values > 1e-12]
    return float(np.exp(-(values * np.log(values)).sum()))
