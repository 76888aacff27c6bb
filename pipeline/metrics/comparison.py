"""Two arms on the same test images: McNemar's test of their votes, and where the doubt about a gain comes from."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.integer]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Discordant:
    """Test images that one arm's vote gets right and the other's does not, and how likely so uneven a count is."""

    only_new: int
    only_old: int
    p_value: float


def vote(probs: NDArray[np.floating]) -> NDArray[np.int64]:
    """What an arm's classifiers say together: the class of the largest mean probability, [N], of probs [S, N, C].

    McNemar's test speaks of two given classifiers. Of each arm the vote is the one that needs no choice: the first
    seed would be as arbitrary as any, and the tests of all pairs of seeds would be no one test.
    """
    voted: NDArray[np.int64] = probs.mean(axis=0, dtype=np.float64).argmax(axis=1)
    return voted


def mcnemar(labels: Ints, new: Ints, old: Ints) -> Discordant:
    """McNemar's exact test, two-sided: of the images on which two classifiers differ, half should fall to each.

    It knows no chance in the training seeds and weighs images alike, unlike the bootstrap of the balanced accuracy.

    Args:
        labels: [N] true classes.
        new, old: [N] predicted classes of the two classifiers.
    """
    from scipy.stats import binomtest  # takes a second

    new_right, old_right = new == labels, old == labels
    only_new, only_old = int(np.sum(new_right & ~old_right)), int(np.sum(old_right & ~new_right))
    total = only_new + only_old
    return Discordant(only_new, only_old, float(binomtest(only_new, total).pvalue) if total else 1.0)


@dataclass(frozen=True)
class ErrorParts:
    """Variance of a mean over seeds and images, split: it is the sum of the three.

    Attributes:
        seeds: from the draw of the training seeds; more of them make it smaller.
        images: from the draw of the test images; more of them make it smaller.
        both: from what an image is to one seed and not to another; either makes it smaller.
    """

    seeds: float
    images: float
    both: float

    @property
    def total(self) -> float:
        """Variance of the mean."""
        return self.seeds + self.images + self.both


def error_parts(labels: Ints, values: Floats) -> ErrorParts:
    """Splits the variance of the class-balanced mean of `values` by a two-way analysis of variance without replicates.

    Each class k has v = mean + seed + image + rest, seeds random and shared by the classes, images random within
    theirs (Searle, Casella and McCulloch 1992, chapter 4). Estimates below 0 are set to 0. With one seed, what seeds
    add cannot be told from what images add, and a class of one image adds no known spread.

    Args:
        labels: [N] true classes.
        values: [S, N], such as the difference in being right of two arms.
    """
    num_seeds, classes = len(values), np.unique(labels)
    by_class = np.stack([values[:, labels == label].mean(axis=1) for label in classes])  # [K, S]
    images = rest = 0.0
    for label, means in zip(classes, by_class, strict=True):
        inside = values[:, labels == label]
        count = inside.shape[1]
        if count > 1:
            of_image = inside.mean(axis=0)
            images += of_image.var(ddof=1) / count
            left = inside - of_image - means[:, None] + means.mean()
            rest += np.sum(left**2) / max(num_seeds - 1, 1) / (count - 1) / (num_seeds * count)
    images, rest = images / len(classes) ** 2, rest / len(classes) ** 2
    seeds = by_class.mean(axis=0).var(ddof=1) / num_seeds if num_seeds > 1 else 0.0
    return ErrorParts(max(float(seeds - rest), 0.0), max(float(images - rest), 0.0), float(rest))
