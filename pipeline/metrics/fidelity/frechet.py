"""Fréchet distance of two sets of features, each taken for a Gaussian (Dowson & Landau 1982; Heusel et al. 2017).

|m_1 - m_2|^2 + tr(S_1 + S_2 - 2 (S_1 S_2)^(1/2))
"""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def moments(features: Floats) -> tuple[Floats, Floats]:
    """Mean [D] and covariance [D, D] of features [N, D].

    The covariance is shrunk towards a multiple of the identity (Ledoit & Wolf 2004), as much as so few samples call
    for: the plain one of fewer samples than features is singular and makes the distance larger than it is.

    Raises:
        ValueError: there are fewer than two.
    """
    if len(features) < 2:
        raise ValueError(f"a covariance takes two samples or more, got {len(features)}")
    mean = features.mean(axis=0)
    return mean, _shrunk(features - mean)


def _shrunk(centred: Floats) -> Floats:
    """Ledoit & Wolf 2004, eq. 14 with the estimates of section 3.3; d^2, b^2 and m are theirs."""
    count, size = centred.shape
    plain = centred.T @ centred / count
    m = np.trace(plain) / size
    squares = (plain**2).sum()
    d2 = squares - size * m**2
    b2 = (((centred**2).sum(axis=1) ** 2).sum() / count - squares) / count
    weight = min(max(b2, 0.0) / d2, 1.0) if d2 > 0 else 1.0
    shrunk = (1 - weight) * plain
    shrunk[np.diag_indices(size)] += weight * m
    return np.asarray(shrunk)


def distance(mean_1: Floats, covariance_1: Floats, mean_2: Floats, covariance_2: Floats) -> float:
    """Fréchet distance of two Gaussians; 0 for equal ones.

    tr (S_1 S_2)^(1/2) is the sum of the roots of the eigenvalues of R S_2 R with R R = S_1, which is symmetric: neither
    complex numbers nor an iteration that may fail, as in the root of the product itself.
    """
    values, vectors = np.linalg.eigh(covariance_1)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    mixed = np.maximum(np.linalg.eigvalsh(root @ covariance_2 @ root), 0)
    apart = float(((mean_1 - mean_2) ** 2).sum())
    return max(0.0, apart + float(np.trace(covariance_1) + np.trace(covariance_2) - 2 * np.sqrt(mixed).sum()))
