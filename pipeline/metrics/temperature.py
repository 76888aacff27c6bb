"""Probabilities that mean what they say: one temperature divides the logits (Guo et al. 2017, section 4.2).

It is fitted on validation images alone, and as it is above 0 no class overtakes another: what is predicted stays.
"""

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.integer]
Floats = NDArray[np.float64]

MIN_IMAGES = 20  # fewer say too little of how sure a network may be
PRIOR_STD = 0.5  # of log T around 0; some hundred images outweigh it, and without a mistake among few T stays above 0
BOUNDS = (-3.0, 3.0)  # of log T


def log_softmax(logits: NDArray[np.floating]) -> Floats:
    """Logarithms of probabilities, [..., C]."""
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    out: Floats = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return out


def pooled(logits: NDArray[np.floating]) -> Floats:
    """Logarithms of several networks' mean probabilities, [S, N, C] to [N, C].

    The mean is calibrated, never its parts: a mean of calibrated networks is less sure than it may be (Rahaman and
    Thiery 2021, section 4).
    """
    log_probs = log_softmax(logits)
    out: Floats = np.logaddexp.reduce(log_probs, axis=0) - np.log(len(log_probs))
    return out


def tempered(log_probs: NDArray[np.floating], temperature: float) -> Floats:
    """Probabilities [..., C] under a temperature; those of equal logits are the same whatever was added to them."""
    return np.exp(log_softmax(log_probs / temperature))


def fit_temperature(logits: NDArray[np.floating], labels: Ints) -> float | None:
    """The temperature under which the labels are most probable, None where there are too few images to say.

    It minimises the sum of -log p(y) plus (log T)^2 / (2 PRIOR_STD^2).

    Args:
        logits: [N, C], of validation images.
        labels: [N].
    """
    if len(labels) < MIN_IMAGES or not np.isfinite(logits).all():
        return None
    from scipy.optimize import minimize_scalar  # slow to import

    rows = np.arange(len(labels))

    def objective(log_t: float) -> float:
        likelihood = log_softmax(logits / np.exp(log_t))[rows, labels].sum()
        return float(log_t**2 / (2 * PRIOR_STD**2) - likelihood)

    found = minimize_scalar(objective, bounds=BOUNDS, method="bounded", options={"xatol": 1e-6})
    return round(float(np.exp(found.x)), 6)
