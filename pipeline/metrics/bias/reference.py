"""The class histogram against what reality looks like, as the user says it."""

import numpy as np
import numpy.typing as npt
from scipy import stats

from pipeline.errors import UserError
from pipeline.metrics.bias.histogram import Counts
from pipeline.metrics.bias.significance import holm
from pipeline.params import unknown

Floats = npt.NDArray[np.float64]


def shares_of(reference: dict[str, float], names: tuple[str, ...], where: str) -> Floats:
    """The user's shares as a distribution, [C], in the order of the classes; they need not add up to 1.

    Raises:
        UserError: a class is unknown or missing, or no share is above 0.
    """
    for name in reference:
        if name not in names:
            raise UserError(f"{where}: {unknown('class', name, names)}")
    missing = [name for name in names if name not in reference]
    if missing:
        raise UserError(
            f"{where}: says nothing of {', '.join(map(repr, missing))}; give every class a share, 0 or more"
        )
    shares = np.array([reference[name] for name in names], dtype=np.float64)
    if shares.sum() <= 0:
        raise UserError(f"{where}: at least one share must be above 0, got {reference}")
    distribution: Floats = shares / shares.sum()
    return distribution


def total_variation(p: Floats, q: Floats) -> float:
    """Half the sum of absolute differences, in [0, 1]: the share that would have to change its class."""
    return float(np.abs(p - q).sum() / 2)


def kullback_leibler(p: Floats, q: Floats) -> float:
    """Divergence of p from q in bits; inf where p has a class that q has not."""
    held = p > 0
    if (q[held] == 0).any():
        return float("inf")
    return float(max(0.0, np.sum(p[held] * np.log2(p[held] / q[held]))))


def jensen_shannon(p: Floats, q: Floats) -> float:
    """Jensen-Shannon divergence in bits, in [0, 1] (Lin 1991): symmetric, and finite where classes are missing."""
    middle = (p + q) / 2
    return (kullback_leibler(p, middle) + kullback_leibler(q, middle)) / 2


def shortages(counts: Counts, reference: Floats) -> tuple[Floats, Floats]:
    """How short each class is of its due, and whether that may be chance.

    Returns:
        The share of its due images that a class lacks, [C], 0 for none; one-sided exact binomial p-values, [C], that
        hold for all classes together.
    """
    due = counts.sum() * reference
    lacking = np.where(due > 0, np.maximum(0.0, 1 - counts / np.where(due > 0, due, 1.0)), 0.0)
    p_values = stats.binom.cdf(counts, counts.sum(), reference)
    return lacking, holm(p_values)
