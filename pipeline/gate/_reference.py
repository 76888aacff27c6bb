"""What candidates are measured against: real training images, seen by classifiers that did not train on them."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.backbones import Network
from pipeline.gate._nearest import Nearest, Pictures, nearest, pictures
from pipeline.gate._usual import SMALLEST, Usual
from pipeline.training.inference import logits_and_features

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

UNLIKE = -2.0  # stands for the similarity to a prototype that there is not: less than any cosine


@dataclass(frozen=True)
class Measures:
    """What was measured of N candidates.

    Attributes:
        labels: int64 [N], the classes they are meant for.
        features: unit vectors, float [K, N, D], of K fold classifiers.
        pictures: the candidates as they are compared.
        distance: cosine distance to the prototype of that class, mean over the fold classifiers, [N].
        own_share: share of the fold classifiers for which that prototype is the nearest, [N].
        detour: that distance over the one to the nearest other prototype, mean over the fold classifiers, [N].
        surprise: minus the logarithm of that class's probability, mean over the fold classifiers, [N].
        agreement: share of the fold classifiers that take the image for that class, [N].
        odds: of the most probable other class against that class, geometric mean over the fold classifiers, [N].
        copied: the nearest real training image.
        accepted: images that were let through before.
        pending: bool [N], which of the candidates no check before refused.
    """

    labels: Ints
    features: Tensor
    pictures: Pictures
    distance: Floats
    own_share: Floats
    detour: Floats
    surprise: Floats
    agreement: Floats
    odds: Floats
    copied: Nearest
    accepted: Pictures | None
    pending: Bools


class Reference:
    """Real training images and the fold classifiers.

    A fold's prototypes (mean of normalised features of a class) come from the images that its classifier trained on;
    what is measured of the images that it did not see is what is usual for a new real image. Distances of trained-on
    images would be far smaller and make the gate refuse what is good.

    Attributes:
        labels: int64 [M].
        features: unit vectors, float [K, M, D].
        real: what was measured of the real images by the classifiers that did not see them, by name as in `Measures`.
        copied: each real image's nearest other one, by the features of the classifier that did not see the image.
        usual_distance, …: what of these is usual for a new real image of a class.
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
        self.copied = Nearest.none(len(labels))
        parts = []
        for fold, (logits, features) in enumerate(outputs):
            rows = np.flatnonzero(folds == fold)
            parts.append(_means([_opinion(logits[rows], features[rows], self._prototypes[fold], labels[rows])]))
            bank = self._pictures.with_features(features)
            self.copied.put(rows, nearest(bank.take(rows), bank, excluded=rows))
        by_fold = np.argsort(folds, kind="stable").argsort()
        self.real = {name: np.concatenate([part[name] for part in parts])[by_fold] for name in parts[0]}
        self.usual_distance, self.usual_detour = (
            Usual(self.real["distance"], labels),
            Usual(self.real["detour"], labels),
        )
        self.usual_surprise, self.usual_odds = Usual(self.real["surprise"], labels), Usual(self.real["odds"], labels)
        self.usual_pixel, self.usual_feature = Usual(self.copied.pixel, labels), Usual(self.copied.feature, labels)

    def measure(self, images: npt.NDArray[np.uint8], labels: Ints, accepted: Pictures | None = None) -> Measures:
        """Measures candidates, uint8 [N, C, H, W], made for the classes `labels`."""
        outputs = [_outputs(network, images) for network in self._networks]
        opinions = [
            _opinion(*output, prototypes, labels) for output, prototypes in zip(outputs, self._prototypes, strict=True)
        ]
        features = torch.stack([deep for _, deep in outputs])
        compared = pictures(images, features, labels)
        copied, pending = nearest(compared, self._pictures), np.ones(len(labels), dtype=np.bool_)
        return Measures(
            labels, features, compared, **_means(opinions), copied=copied, accepted=accepted, pending=pending
        )

    def left_out(self, most: int) -> Iterator[Measures]:
        """For each fold its real images, at most so many of a class, as if they were candidates.

        They are measured by the classifier that did not see them, and by no other.
        """
        for fold, features in enumerate(self.features):
            rows = np.flatnonzero(self.folds == fold)
            rows = rows[_rank(self.labels[rows]) < most]
            values = {name: measured[rows] for name, measured in self.real.items()}
            yield Measures(
                self.labels[rows],
                features[None, rows],
                self._pictures.take(rows).with_features(features[rows]),
                **values,
                copied=self.copied.take(rows),
                accepted=None,
                pending=np.ones(len(rows), dtype=np.bool_),
            )

    def copy_limits(self, labels: Ints, quantile: float) -> tuple[Floats, Floats]:
        """How near new real images of these classes come to real ones but for a share: in pixels, in features, [N].

        The lesser of what is usual for the class and for all: a few images say little about how near others may come.
        """
        pixel, feature = (usual.lesser(labels, quantile) for usual in (self.usual_pixel, self.usual_feature))
        return np.nan_to_num(pixel, nan=SMALLEST), np.nan_to_num(feature, nan=SMALLEST)

    def features_left_out(self, label: int) -> list[Floats]:
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


def _opinion(logits: Tensor, features: Tensor, prototypes: Tensor, labels: Ints) -> dict[str, Floats]:
    """What one classifier measures of N images, [N] each, the odds as their logarithm; NaN for a class it never saw."""
    own = torch.from_numpy(labels)[:, None]
    distance = _distances(features, prototypes, labels)
    similarity = torch.nan_to_num(features @ prototypes.T, nan=UNLIKE)
    other = 1 - similarity.scatter(1, own, UNLIKE).amax(1).double().numpy()
    surprise = _surprise(logits, labels)
    rival = -F.log_softmax(logits, dim=1).scatter(1, own, -torch.inf).amax(1).double().numpy()
    opinion = {
        "distance": distance,
        "own_share": similarity.argmax(1).numpy() == labels,
        "detour": distance / np.maximum(other, SMALLEST),
        "surprise": surprise,
        "agreement": logits.argmax(1).numpy() == labels,
        "odds": surprise - rival,
    }
    return {name: np.where(np.isnan(distance), np.nan, values) for name, values in opinion.items()}


def _means(opinions: list[dict[str, Floats]]) -> dict[str, Floats]:
    """Means over the classifiers; of the odds the geometric one."""
    means = {name: _mean([opinion[name] for opinion in opinions]) for name in opinions[0]}
    return means | {"odds": np.exp(means["odds"])}


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


def _rank(labels: Ints) -> Ints:
    """How many images of the same class come before each, [N]."""
    order = np.argsort(labels, kind="stable")
    starts = np.searchsorted(labels[order], labels[order])
    rank = np.empty(len(labels), dtype=np.int64)
    rank[order] = np.arange(len(labels)) - starts
    return rank
