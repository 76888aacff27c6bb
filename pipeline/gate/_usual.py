"""What is usual for a new real image: quantiles of what was measured of real images by classifiers that left them out.

A class goes by its own images and, counting for five more, by those of all classes, in which every class counts alike.
Counted by images, those would be the rich classes': their unseen images lie nearer to prototypes made of many images,
and a limit taken from them refuses three quarters of the *real* unseen images of a class with two.
"""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

BORROWED = 5.0  # images of the class for which those of all classes together count
ANY = -1  # a class without images, which goes by all alike
SMALLEST = 1e-6  # what is measured is positive up to rounding
FENCE = 3.0  # interquartile ranges beyond the quartiles: what Tukey (1977) calls far out


class Usual:
    """The distributions, over real images of each class, of a positive and skewed measure, such as a distance.

    Outliers are left out on the logarithm: on the measure itself the fence would cut off the long upper tail of skewed
    measures, and with it a quarter of the new real images.
    """

    def __init__(self, values: Floats, labels: Ints) -> None:
        """Takes what was measured of N real images, [N], not finite where it could not be measured."""
        known = np.isfinite(values)
        self._logs, self._labels = np.log(np.maximum(values[known], SMALLEST)), labels[known]
        counts = np.bincount(self._labels, minlength=1)
        self._shared = BORROWED / np.count_nonzero(counts) / counts[self._labels] if known.any() else np.empty(0)
        self._quantiles: dict[tuple[int, float], float] = {}

    def quantile(self, label: int, share: float) -> float:
        """The value below which `share` of the class's new real images lie; NaN if no real image was measured.

        All lie above 0 and below infinity, whatever was measured: shares of 0 and 1 are no limits.
        """
        if not len(self._logs):
            return float("nan")
        if share in (0, 1):
            return float("inf") if share else 0.0
        if (label, share) not in self._quantiles:
            logs, below = self._distribution(label)
            self._quantiles[label, share] = float(np.exp(np.interp(share, below, logs)))
        return self._quantiles[label, share]

    def limits(self, labels: Ints, share: float) -> Floats:
        """`quantile` of the class of each of N images, [N]."""
        distinct, places = np.unique(labels, return_inverse=True)
        return np.array([self.quantile(int(label), share) for label in distinct], dtype=np.float64)[places]

    def lesser(self, labels: Ints, share: float) -> Floats:
        """`limits`, and at most what is usual for all classes alike: a class's few images may say anything, [N]."""
        return np.fmin(self.limits(labels, share), self.quantile(ANY, share))

    def share_below(self, label: int, values: Floats) -> Floats:
        """Share of the class's real images below each value, [N]; 0 if no real image was measured."""
        if not len(self._logs):
            return np.zeros(len(values))
        logs, below = self._distribution(label)
        return np.interp(np.log(np.maximum(values, SMALLEST)), logs, below, left=0.0, right=1.0)

    def _distribution(self, label: int) -> tuple[Floats, Floats]:
        """Sorted logarithms without outliers, and the share of new values below each."""
        logs, below, weights = _sorted(self._logs, self._shared + (self._labels == label))
        low, high = np.interp([0.25, 0.75], below, logs)
        fence = FENCE * (high - low)
        inside = (logs >= low - fence) & (logs <= high + fence)
        return _sorted(logs[inside], weights[inside])[:2]


def _sorted(logs: Floats, weights: Floats) -> tuple[Floats, Floats, Floats]:
    """Values in order, the share of new values below each, and the weights.

    The share is i / (n + 1) for equal weights (Weibull 1939); uneven ones count for n = (sum w)^2 / sum w^2 values
    (Kish 1965).
    """
    order = np.argsort(logs, kind="stable")
    weights = weights[order]
    size = weights.sum() ** 2 / (weights**2).sum()
    return logs[order], np.cumsum(weights) / weights.sum() * size / (size + 1), weights
