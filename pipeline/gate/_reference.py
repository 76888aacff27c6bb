"""What candidates are measured against: real training images, seen by classifiers that did not train on them."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.backbones import Network
from pipeline.gate._nearest import Nearest, Pictures, nearest, pictures
from pipeline.gate._usual import ANY, SMALLEST, Usual
from pipeline.training.inference import logits_and_features

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Measures:
    """What was measured of N candidates.

    Attributes:
        labels: int64 [N], the classes they are meant for.
        features: unit vectors, float [K, N, D], of K fold classifiers.
        pictures: the candidates as they are compared.
        distance: cosine distance to the prototype of that class, mean over the fold classifiers, [N].
        own_share: share of the fold classifiers for which that prototype is the nearest, [N].
        surprise: minus the logarithm of that class's probability, mean over the fold classifiers, [N].
        agreement: share of the fold classifiers that take the image for that class, [N].
        copied: the nearest real training image.
        accepted: images that were let through before.
        pending: bool [N], which of the candidates no check before refused.
    """

    labels: Ints
    features: Tensor
    pictures: Pictures
    distance: Floats
    own_share: Floats
    surprise: Floats
    agreement: Floats
    copied: Nearest
    accepted: Pictures | None = None
    pending: Bools = field(default_factory=lambda: np.ones(0, np.bool_))


class Reference:
    """Real training images and the fold classifiers.

    A fold's prototypes (mean of normalised features of a class) come from the images that its classifier trained on;
    what is measured of the images that it did not see is what is usual for a new real image. Distances of trained-on
    images would be far smaller and make the gate refuse what is good.

    Attributes:
        labels: int64 [M].
        features: unit vectors, float [K, M, D].
        distance, surprise: out of fold, as in `Measures`.
        copied: each real image's nearest other one, by the features of the classifier that did not see the image.
        judgeable_classes: classes that a fold classifier saw.
    """

    def __init__(
        self,
        images: npt.NDArray[np.uint8],
        labels: Ints,
        folds: Ints,
        networks: list[Network],
        num_classes: int,
    ) -> None:
        self.labels, self.folds, self._networks = labels, folds, networks
        outputs = [_outputs(network, images) for network in networks]
        self.features = torch.stack([features for _, features in outputs])
        self._pictures = pictures(images, self.features, labels)
        self._prototypes = torch.stack(
            [
                _prototypes(features[folds != fold], labels[folds != fold], num_classes)
                for fold, features in enumerate(self.features)
            ]
        )
        unseen = self._prototypes.isnan().any(dim=2).all(dim=0)
        self.judgeable_classes = np.flatnonzero(~unseen.numpy())
        distance, surprise = np.full(len(labels), np.nan), np.full(len(labels), np.nan)
        self.copied = Nearest.none(len(labels))
        for fold, (logits, features) in enumerate(outputs):
            rows = np.flatnonzero(folds == fold)
            distance[rows] = _distances(features[rows], self._prototypes[fold], labels[rows])
            surprise[rows] = np.where(np.isnan(distance[rows]), np.nan, _surprise(logits[rows], labels[rows]))
            bank = self._pictures.with_features(features)
            self.copied.put(rows, nearest(bank.take(rows), bank, excluded=rows))
        self.distance, self.surprise = distance, surprise
        self.usual_distance, self.usual_surprise = Usual(distance, labels), Usual(surprise, labels)
        self.usual_pixel, self.usual_feature = Usual(self.copied.pixel, labels), Usual(self.copied.feature, labels)

    def measure(self, images: npt.NDArray[np.uint8], labels: Ints, accepted: Pictures | None = None) -> Measures:
        """Measures candidates, uint8 [N, C, H, W], made for the classes `labels`."""
        features, distances, nearer, surprises, agrees = [], [], [], [], []
        for network, prototypes in zip(self._networks, self._prototypes, strict=True):
            logits, deep = _outputs(network, images)
            features.append(deep)
            distances.append(_distances(deep, prototypes, labels))
            unseen = np.isnan(distances[-1])
            similarity = torch.nan_to_num(deep @ prototypes.T, nan=-2.0)
            nearer.append(np.where(unseen, np.nan, similarity.argmax(1).numpy() == labels))
            surprises.append(np.where(unseen, np.nan, _surprise(logits, labels)))
            agrees.append(np.where(unseen, np.nan, logits.argmax(1).numpy() == labels))
        stacked = torch.stack(features)
        compared = pictures(images, stacked, labels)
        return Measures(
            labels,
            stacked,
            compared,
            _mean(distances),
            _mean(nearer),
            _mean(surprises),
            _mean(agrees),
            nearest(compared, self._pictures),
            accepted,
            np.ones(len(labels), dtype=np.bool_),
        )

    def copy_limits(self, labels: Ints, quantile: float) -> tuple[Floats, Floats]:
        """How near new real images of these classes come to real ones but for a share: in pixels, in features, [N].

        The lesser of what is usual for the class and for all: a few images say little about how near others may come.
        """
        both = (self.usual_pixel, self.usual_feature)
        pixel, feature = (np.fmin(usual.limits(labels, quantile), usual.quantile(ANY, quantile)) for usual in both)
        return np.nan_to_num(pixel, nan=SMALLEST), np.nan_to_num(feature, nan=SMALLEST)

    def left_out(self, label: int) -> list[Floats]:
        """Features of the class's images by each classifier that did not see them, K arrays [M_k, D]."""
        rows = [(self.folds == fold) & (self.labels == label) for fold in range(len(self.features))]
        return [features[chosen].double().numpy() for features, chosen in zip(self.features, rows, strict=True)]

    def quality(self, measures: Measures) -> Floats:
        """Share of the class's real images that lie no nearer to their prototype when unseen, [N]: 1 is best.

        NaN for a class that no fold classifier saw.
        """
        shares = np.full(len(measures.labels), np.nan)
        for label in np.unique(measures.labels):
            rows = (measures.labels == label) & np.isfinite(measures.distance)
            shares[rows] = 1 - self.usual_distance.share_below(int(label), measures.distance[rows])
        return shares


def _outputs(network: Network, images: npt.NDArray[np.uint8]) -> tuple[Tensor, Tensor]:
    """Logits [N, C] and features as unit vectors [N, D]."""
    logits, features = logits_and_features(network, images)
    return logits, F.normalize(features, dim=1)


def _prototypes(features: Tensor, labels: Ints, num_classes: int) -> Tensor:
    """Normalised mean feature of each class, [C, D]; NaN for a class without an image."""
    rows = [features[labels == label].mean(dim=0) for label in range(num_classes)]
    return F.normalize(torch.stack(rows), dim=1)


def _distances(features: Tensor, prototypes: Tensor, labels: Ints) -> Floats:
    """Cosine distance of each image to the prototype of its class, [N]; NaN where the class has none."""
    return 1 - (features * prototypes[labels]).sum(1).double().numpy()


def _surprise(logits: Tensor, labels: Ints) -> Floats:
    """-log of the probability of each image's class, [N]."""
    return F.cross_entropy(logits, torch.from_numpy(labels), reduction="none").double().numpy()


def _mean(values: list[Floats]) -> Floats:
    """Mean over fold classifiers, less those that never saw the class; NaN for a class that none saw."""
    stacked = np.stack(values)
    known = ~np.isnan(stacked)
    total = np.where(known, stacked, 0.0).sum(axis=0)
    return np.where(known.any(axis=0), total / np.maximum(known.sum(axis=0), 1), np.nan)
