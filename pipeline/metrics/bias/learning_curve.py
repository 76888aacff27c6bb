"""How much more images of a class are expected to help: a power law through the errors on nested subsamples.

The error of class c on images that the classifier did not see is modelled as a_c n^-b_c (Cortes et al. 1993; Hestness
et al. 2017), n being its training images. Classes lend each other strength: one with few images says little about its
own curve and is drawn towards the common one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.metrics.bias import quick_classifier

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

FRACTIONS = (0.125, 0.25, 0.5, 1.0)
EXPONENTS = np.linspace(0.0, 1.0, 101)
PRIOR_IMAGES = 8.0  # images that the common curve counts as
ENOUGH = 50.0  # images from which a class says as much as any about the common exponent
EXPONENT_SPREAD = 0.1  # standard deviation of the exponents around the common one


@dataclass(frozen=True)
class Points:
    """What was measured, at each of J subsamples.

    Attributes:
        sizes: mean number of training images, [C, J].
        errors: share of a class's images that were mistaken, [C, J]; NaN for a class without images.
        images: images of each class that were judged, [C].
    """

    sizes: Floats
    errors: Floats
    images: Ints


@dataclass(frozen=True)
class Curves:
    """A power law a class; `scale` and `exponent` are [C]."""

    scale: Floats
    exponent: Floats

    def error(self, sizes: Floats) -> Floats:
        """Expected share of mistakes with so many training images, [C] or [C, J]; 1 without any."""
        scale, exponent = (part.reshape(-1, *[1] * (np.ndim(sizes) - 1)) for part in (self.scale, self.exponent))
        with np.errstate(divide="ignore"):
            return np.where(sizes > 0, np.minimum(1.0, scale * np.asarray(sizes, dtype=np.float64) ** -exponent), 1.0)


def measure(x: Floats, labels: Ints, num_classes: int, repeats: Sequence[Ints], seed: int) -> Points:
    """Errors on images left out, with growing shares of the others; `repeats` are ways to cut into folds, [N] each."""
    sizes, wrong = np.zeros((num_classes, len(FRACTIONS))), np.zeros((num_classes, len(FRACTIONS)))
    num_fits = 0
    for repeat, folds in enumerate(repeats):
        rng = np.random.default_rng((seed, repeat))
        for fold in np.unique(folds):
            out = np.flatnonzero(folds == fold)
            order, ranks, totals = _nested(labels, rng.permutation(np.flatnonzero(folds != fold)), num_classes)
            num_fits += 1
            for place, fraction in enumerate(FRACTIONS):
                rows = order[ranks < np.maximum(1, np.rint(fraction * totals))[labels[order]]]
                sizes[:, place] += np.bincount(labels[rows], minlength=num_classes)
                guessed = quick_classifier.fit(x[rows], labels[rows]).scores(x[out], num_classes).argmax(axis=1)
                wrong[:, place] += np.bincount(labels[out][guessed != labels[out]], minlength=num_classes)
    images = np.bincount(labels, minlength=num_classes)
    with np.errstate(invalid="ignore"):
        errors = wrong / (len(repeats) * images)[:, None]
    return Points(sizes / num_fits, errors, images)


def _nested(labels: Ints, order: Ints, num_classes: int) -> tuple[Ints, Ints, Ints]:
    """Shuffled rows, the rank of each within its class, and the classes' totals."""
    totals = np.bincount(labels[order], minlength=num_classes)
    grouped = np.argsort(labels[order], kind="stable")
    ranks = np.empty(len(order), dtype=np.int64)
    ranks[grouped] = np.arange(len(order)) - np.repeat(np.cumsum(totals) - totals, totals)
    return order, ranks, totals


def fit(points: Points) -> Curves:
    """The curves of all classes."""
    used = (points.sizes > 0) & ~np.isnan(points.errors)
    sizes, errors = np.where(used, points.sizes, 1.0), np.where(used, points.errors, 0.0)
    images = np.where(used.any(axis=1), points.images, 0).astype(np.float64)
    common_scale, common = _common(sizes, errors, np.where(used, np.minimum(images, ENOUGH)[:, None], 0.0))
    expected = common_scale * sizes**-common
    held = images[:, None] + PRIOR_IMAGES
    smoothed = np.minimum(1.0, (images[:, None] * errors + PRIOR_IMAGES * expected) / held)
    weight = np.where(used, held / (smoothed * (1 - smoothed) + 0.01), 0.0)
    weight[~used.any(axis=1), -1] = 1.0  # a class that could not be measured has the common curve
    cost, scales = _costs(sizes, smoothed, weight)
    best = np.argmin(cost + ((EXPONENTS - common) / EXPONENT_SPREAD) ** 2, axis=1)
    return Curves(scales[np.arange(len(best)), best], EXPONENTS[best])


def _common(sizes: Floats, errors: Floats, weight: Floats) -> tuple[float, float]:
    """Mean scale, and the exponent that all classes share, each with a scale of its own."""
    if not weight.any():
        return 1.0, 0.0
    cost, scales = _costs(sizes, errors, weight)
    best = int(np.argmin(cost.sum(axis=0)))
    return float(scales[weight.any(axis=1), best].mean()), float(EXPONENTS[best])


def _costs(sizes: Floats, errors: Floats, weight: Floats) -> tuple[Floats, Floats]:
    """For each class and exponent, [C, E]: the weighted squares left by the best scale, and that scale."""
    basis = sizes[:, :, None] ** -EXPONENTS
    weighted = weight[:, :, None] * basis
    scales = (weighted * errors[:, :, None]).sum(axis=1) / np.maximum((weighted * basis).sum(axis=1), 1e-12)
    left = errors[:, :, None] - scales[:, None, :] * basis
    return (weight[:, :, None] * left**2).sum(axis=1), scales
