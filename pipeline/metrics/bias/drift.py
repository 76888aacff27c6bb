"""What is new against what was there before: is it drawn from the same distribution?"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from pipeline.metrics.bias.histogram import Counts
from pipeline.metrics.bias.reference import total_variation
from pipeline.metrics.bias.significance import permutation_p

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
BINS = 10
FLOOR = 1e-4


@dataclass(frozen=True)
class Shift:
    """How a property differs.

    Attributes:
        before, after: medians.
        distance: Kolmogorov-Smirnov distance within classes, 0 to 1.
        stability: population stability index within classes; above 0.2 is usually called a shift.
        p: of the distance.
    """

    before: float
    after: float
    distance: float
    stability: float
    p: float


def kolmogorov_smirnov(before: Floats, after: Floats) -> tuple[float, float]:
    """Largest difference between the two distribution functions, 0 to 1, and its two-sided p-value."""
    found = stats.ks_2samp(before, after, method="auto" if min(len(before), len(after)) < 1000 else "asymp")
    return float(found.statistic), float(found.pvalue)


def population_stability(before: Floats, after: Floats) -> float:
    """Population stability index over ten bins that hold a tenth of `before` each: symmetric KL divergence, nats."""
    edges = np.unique(np.quantile(before, np.arange(1, BINS) / BINS))
    shares = []
    for values in (before, after):
        counts = np.bincount(np.searchsorted(edges, values, side="left"), minlength=len(edges) + 1)
        shares.append(np.maximum(counts / len(values), FLOOR))
    return float(np.sum((shares[1] - shares[0]) * np.log(shares[1] / shares[0])))


def centred(values: Floats, labels: Ints, is_new: npt.NDArray[np.bool_], min_images: int) -> Floats:
    """Values less the median that their class had before; NaN for classes with fewer than `min_images` old ones.

    A change in how often the classes occur is thus no shift of the property.
    """
    out = np.full(len(values), np.nan)
    for label in np.unique(labels):
        own = labels == label
        old = values[own & ~is_new]
        if len(old) >= min_images:
            out[own] = values[own] - np.median(old)
    return out


def shift(values: Floats, labels: Ints, is_new: npt.NDArray[np.bool_], min_images: int) -> Shift | None:
    """How a property of the new images differs from that of the old ones; None where too few can be compared."""
    within = centred(values, labels, is_new, min_images)
    before, after = within[~is_new & ~np.isnan(within)], within[is_new & ~np.isnan(within)]
    if min(len(before), len(after)) < min_images:
        return None
    distance, p = kolmogorov_smirnov(before, after)
    medians = float(np.median(values[~is_new])), float(np.median(values[is_new]))
    return Shift(*medians, distance, population_stability(before, after), p)


@dataclass(frozen=True)
class ShareChange:
    """How the classes' shares differ.

    Attributes:
        distance: total variation, 0 to 1; p: of it, by exact resampling.
        change: share after less share before, [C].
        class_p: two-sided p-values of the changes that hold for all classes together, [C].
    """

    distance: float
    p: float
    change: Floats
    class_p: Floats


def share_change(before: Counts, after: Counts, permutations: int, seed: int) -> ShareChange:
    """Whether the new images' classes are a random draw from all: permutation test by the hypergeometric law."""
    total, num_new = before + after, int(after.sum())
    drawn = np.random.default_rng(seed).multivariate_hypergeometric(
        total, num_new, size=permutations, method="marginals"
    )
    old, new = (total - drawn) / before.sum(), drawn / num_new
    null = np.abs(new - old)
    change = after / num_new - before / before.sum()
    distance = total_variation(before / before.sum(), after / num_new)
    p = (1 + int((null.sum(axis=1) / 2 >= distance - 1e-12).sum())) / (permutations + 1)
    return ShareChange(distance, p, change, permutation_p(np.abs(change), null))
