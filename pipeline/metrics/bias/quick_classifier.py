"""A classifier that is trained in milliseconds: linear discriminant analysis on random-patch features.

Good enough to tell which labels look wrong and which classes more images would help; no stand-in for a network.
"""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import Field
from scipy.optimize import minimize
from scipy.special import expit, softmax

from pipeline.metrics.bias import patches
from pipeline.params import section

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Images = npt.NDArray[np.uint8]

COMPONENTS = 200
PCA_ROWS = 5000
BLOCK = 1000
CALIBRATED_ON = 4000  # images


@section
class Params:
    """Section `analyze_bias.quick_classifier`.

    Attributes:
        max_images: images it is trained and tested on, evenly over the classes.
        filters: random patches; each gives eight features.
        folds: parts into which the images are cut, each judged by a classifier that was trained on the others.
    """

    max_images: Annotated[int, Field(ge=20)]
    filters: Annotated[int, Field(ge=8, le=1024)]
    folds: Annotated[int, Field(ge=2, le=20)]


def features(images: Images, num_filters: int, seed: int) -> Floats:
    """Principal components of patch features, [N, P]; only of a sample are all features held at once."""
    filters = patches.learn(images, num_filters, seed)
    order = np.random.default_rng(seed).permutation(len(images))
    sample = filters.features(images[order[:PCA_ROWS]]).astype(np.float64)
    mean, spread = sample.mean(axis=0), sample.std(axis=0)
    scaling = np.where(spread > 1e-9, 1 / np.maximum(spread, 1e-9), 0.0)
    scaled = (sample - mean) * scaling
    values, vectors = np.linalg.eigh(scaled.T @ scaled / len(scaled))
    kept = max(1, min(COMPONENTS, len(images) - 1, int((values > 1e-9).sum())))
    axes = scaling[:, None] * vectors[:, ::-1][:, :kept]
    out = np.empty((len(images), kept))
    out[order[:PCA_ROWS]] = (sample - mean) @ axes
    for start in range(PCA_ROWS, len(images), BLOCK):
        rows = order[start : start + BLOCK]
        out[rows] = (filters.features(images[rows]) - mean) @ axes
    return out


@dataclass(frozen=True)
class Discriminant:
    """Linear scores; `classes` are those that it was trained on."""

    classes: Ints
    weights: Floats
    offsets: Floats

    def scores(self, x: Floats, num_classes: int) -> Floats:
        """Log-likelihoods up to a constant an image, [N, C]; -inf for a class that it never saw."""
        out = np.full((len(x), num_classes), -np.inf)
        out[:, self.classes] = x @ self.weights + self.offsets
        return out


def fit(x: Floats, labels: Ints) -> Discriminant:
    """Linear discriminant analysis with a shrunken covariance and equal priors."""
    classes, places = np.unique(labels, return_inverse=True)
    means = np.stack([x[labels == label].mean(axis=0) for label in classes])
    covariance = shrunken_covariance(x - means[places], len(x) - len(classes))
    weights = np.linalg.solve(covariance, means.T)
    return Discriminant(classes, weights, -0.5 * (means.T * weights).sum(axis=0))


def shrunken_covariance(residuals: Floats, freedom: int) -> Floats:
    """Covariance of residuals [n, P], shrunken towards a multiple of the identity (Ledoit & Wolf 2004)."""
    num_rows, size = residuals.shape
    raw = residuals.T @ residuals / num_rows
    level = float(np.trace(raw)) / size
    if level <= 0:
        return np.eye(size)
    distance = float(((raw - level * np.eye(size)) ** 2).sum())
    noise = float(((residuals**2).sum(axis=1) ** 2).sum() / num_rows - (raw**2).sum()) / num_rows
    share = 1.0 if distance <= 0 else min(1.0, max(1e-3, noise / distance))
    shrunken = (1 - share) * raw + share * level * np.eye(size)
    return np.asarray(shrunken * num_rows / max(1, freedom))


def out_of_fold(x: Floats, labels: Ints, folds: Ints, num_classes: int) -> Floats:
    """Scores [N, C] of each image by the classifier that was trained without its fold."""
    scores = np.full((len(x), num_classes), -np.inf)
    for fold in np.unique(folds):
        out = folds == fold
        if (~out).any():
            scores[out] = fit(x[~out], labels[~out]).scores(x[out], num_classes)
    return scores


def calibrate(scores: Floats, labels: Ints, log_prior: Floats) -> tuple[float, float]:
    """What scores must be divided by to be honest log-likelihoods, and the share of labels that are wrong.

    Temperature (Guo et al. 2017, section 4.2) and symmetric label noise (Natarajan et al. 2013) are fitted together:
    alone, the temperature would take wrong labels for a classifier that is too sure of itself. It never sharpens: of
    images that are all told apart anything sharper would do as well. Images of a class that their classifier never saw
    tell nothing and are left out.
    """
    rows = np.flatnonzero(np.isfinite(scores[np.arange(len(labels)), labels]))
    if not len(rows):
        return 1.0, 0.0
    rows = rows[:: -(-len(rows) // CALIBRATED_ON)]
    some, own, others = scores[rows], labels[rows], scores.shape[1] - 1

    def loss(at: Floats) -> float:
        divisor, wrong = read(at)
        probs = softmax(some / divisor + log_prior, axis=1)[np.arange(len(rows)), own]
        return float(-np.log((1 - wrong) * probs + wrong * (1 - probs) / others + 1e-300).mean())

    def read(at: Floats) -> tuple[float, float]:
        return float(np.exp(max(at[0], 0.0))), 0.5 * float(expit(at[1]))

    best = minimize(loss, np.array([0.5, -3.0]), method="Nelder-Mead", options={"xatol": 1e-3, "fatol": 1e-6}).x
    return read(best)


def probabilities(scores: Floats, log_prior: Floats, divisor: float) -> Floats:
    """Probabilities [N, C] of scores divided by a temperature, under the classes' log-priors."""
    return np.asarray(softmax(scores / divisor + log_prior, axis=1))
