"""Paired bootstrap over training seeds and test images.

Seeds and images are crossed (every seed's classifier sees every image), so both are drawn anew, independently: the
pigeonhole bootstrap (Owen 2007, Annals of Applied Statistics 1(2)). Images are drawn within each class, so class sizes
stay as they are. All arms share each draw: what makes an image hard or a seed lucky cancels in their difference.
With S seeds the variance over seeds comes out short by a factor of (S - 1) / S; a single seed shows none.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

Ints = NDArray[np.integer]
Floats = NDArray[np.float64]

CELLS_PER_CHUNK = 2_000_000  # 16 MB an array; about five of them are alive at once


@dataclass(frozen=True, kw_only=True)
class Resamples:
    """Every arm's class recall and macro F1 under the same B resamples; K is the number of classes with test images.

    Attributes:
        classes: [K] indices of the classes that have test images.
        num_images: [K] test images of each.
        num_seeds: S.
        observed: arm -> [K] recall before resampling, mean over seeds.
        recall: arm -> [B, K] recall, mean over the drawn seeds.
        macro_f1: arm -> [B], mean over the drawn seeds.
    """

    classes: NDArray[np.int64]
    num_images: NDArray[np.int64]
    num_seeds: int
    observed: dict[str, Floats]
    recall: dict[str, Floats]
    macro_f1: dict[str, Floats]

    def balanced_accuracy(self, arm: str) -> Floats:
        """Resampled balanced accuracy [B]."""
        means: Floats = self.recall[arm].mean(axis=1)
        return means

    def accuracy(self, arm: str) -> Floats:
        """Resampled accuracy [B]: the recalls weighted by class size."""
        return np.average(self.recall[arm], axis=1, weights=self.num_images)

    def class_gain(self, arm: str, over: str) -> Floats:
        """Resampled gain in recall of one arm over another, [B, K]."""
        return self.recall[arm] - self.recall[over]

    def together(self, arm: str, columns: NDArray[np.bool_]) -> Floats:
        """Resampled share of right images of some of the K classes taken together, [B]."""
        return np.average(self.recall[arm][:, columns], axis=1, weights=self.num_images[columns])

    def observed_together(self, arm: str, columns: NDArray[np.bool_]) -> float:
        """The same before resampling."""
        return float(np.average(self.observed[arm][columns], weights=self.num_images[columns]))

    def gain(self, arm: str, over: str) -> Floats:
        """Resampled gain in balanced accuracy of one arm over another, [B]."""
        means: Floats = self.class_gain(arm, over).mean(axis=1)
        return means

    def observed_class_gain(self, arm: str, over: str) -> Floats:
        """Gain in recall before resampling, [K]; its mean is the gain in balanced accuracy."""
        return self.observed[arm] - self.observed[over]


@dataclass(frozen=True)
class Shown:
    """A difference of shares as it was observed, and its interval."""

    mean: float
    low: float
    high: float


def bootstrap(labels: Ints, predictions: Mapping[str, Ints], *, num_resamples: int, seed: int) -> Resamples:
    """Resample seeds and, within each class, test images; the same draws for every arm.

    Args:
        labels: [N] true classes.
        predictions: arm -> [S, N] predicted classes; seed s and image n are the same in every arm.
        num_resamples: B.
        seed: of the draws.
    """
    shapes = {arm: array.shape for arm, array in predictions.items()}
    num_seeds = next(iter(predictions.values())).shape[0]
    assert set(shapes.values()) == {(num_seeds, len(labels))}, f"arms differ in seeds or images: {shapes}"
    classes, num_images = np.unique(labels.astype(np.int64), return_counts=True)
    by_class = np.argsort(labels, kind="stable")
    counters = {arm: _counter(classes, labels[by_class], array[:, by_class]) for arm, array in predictions.items()}
    recall = {arm: np.empty((num_resamples, len(classes))) for arm in predictions}
    f1 = {arm: np.empty(num_resamples) for arm in predictions}
    seed_rng, image_rng = map(np.random.default_rng, np.random.SeedSequence(seed).spawn(2))
    seed_weights = draw_seeds(seed_rng, num_seeds, num_resamples)
    step = max(1, CELLS_PER_CHUNK // max(len(labels), 2 * num_seeds * len(classes)))
    for start in range(0, num_resamples, step):
        weights = seed_weights[start : start + step]
        images = draw_images(image_rng, num_images, len(weights))
        chunk = slice(start, start + len(weights))
        for arm, counter in counters.items():
            recall[arm][chunk], f1[arm][chunk] = _statistics(counter @ images, weights, num_images)
    once, every_seed = np.ones((len(labels), 1)), np.ones((1, num_seeds))
    observed = {arm: _statistics(counter @ once, every_seed, num_images)[0][0] for arm, counter in counters.items()}
    return Resamples(
        classes=classes,
        num_images=num_images,
        num_seeds=num_seeds,
        observed=observed,
        recall=recall,
        macro_f1=f1,
    )


def interval(resampled: Floats, level: float = 0.95) -> tuple[float, float]:
    """Percentile interval of one resampled figure [B], rounded to 6 decimals: what is written is what is decided on."""
    tail = (1 - level) / 2
    low, high = np.quantile(resampled, [tail, 1 - tail])
    return round(float(low), 6) + 0.0, round(float(high), 6) + 0.0


def cautious_interval(resampled: Floats, observed: float, level: float) -> tuple[float, float]:
    """Percentile interval, widened to the normal one where that reaches further, rounded likewise.

    B resamples say little of a tail that holds but a few of them, and nothing beyond their extremes.
    """
    low, high = interval(resampled, level)
    reach = NormalDist().inv_cdf((1 + level) / 2) * float(resampled.std(ddof=1))
    return min(low, round(observed - reach, 6) + 0.0), max(high, round(observed + reach, 6) + 0.0)


def draw_seeds(rng: np.random.Generator, num_seeds: int, num_resamples: int) -> Floats:
    """How often each seed is drawn, [B, S]; each row sums to S."""
    return rng.multinomial(num_seeds, np.full(num_seeds, 1 / num_seeds), size=num_resamples).astype(np.float64)


def draw_images(rng: np.random.Generator, num_images: NDArray[np.int64], num_resamples: int) -> Floats:
    """How often each image is drawn, [N, B], images ordered by class; each class keeps its `num_images` [K]."""
    ends = np.repeat(np.cumsum(num_images), num_images)
    starts = ends - np.repeat(num_images, num_images)
    drawn = rng.integers(starts, ends, size=(num_resamples, len(ends)))
    cells = drawn * num_resamples + np.arange(num_resamples)[:, None]
    counts = np.bincount(cells.ravel(), minlength=drawn.size)
    return counts.reshape(len(ends), num_resamples).astype(np.float64)


def _counter(classes: NDArray[np.int64], labels: Ints, predictions: Ints) -> csr_array:
    """Sparse 0/1 matrix [2 S K, N] that turns image weights into right, then wrong predictions of each seed and class.

    F1 needs no more of the confusion matrix than that, and an image takes S entries instead of S C.
    """
    num_seeds, num_images = predictions.shape
    column = np.full(max(int(predictions.max()), int(labels.max())) + 1, -1)
    column[classes] = np.arange(len(classes))  # a class without test images stays -1: predicting it is simply a miss
    seeds, images = np.nonzero(column[predictions] >= 0)
    predicted = predictions[seeds, images]
    rows = ((predicted != labels[images]) * num_seeds + seeds) * len(classes) + column[predicted]
    return csr_array((np.ones(len(rows)), (rows, images)), shape=(2 * num_seeds * len(classes), num_images))


def _statistics(counts: Floats, seed_weights: Floats, num_images: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Recall [B, K] and macro F1 [B], mean over the drawn seeds, from counts [2 S K, B] and seed weights [B, S]."""
    num_resamples, num_seeds = seed_weights.shape
    right, wrong = counts.reshape(2, num_seeds, len(num_images), num_resamples)
    recall = np.einsum("skb,bs->bk", right, seed_weights) / (num_seeds * num_images)
    f1 = (2 * right / (num_images[:, None] + right + wrong)).mean(axis=1)
    return recall, np.einsum("sb,bs->b", f1, seed_weights) / num_seeds
