"""What candidates are measured against: real training images, seen by classifiers that did not train on them."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.backbones import Network
from pipeline.training.inference import logits_and_features

Floats = npt.NDArray[np.float64]
MIN_OWN_THRESHOLD = 10


@dataclass(frozen=True)
class Measures:
    """What was measured of N candidates.

    Attributes:
        labels: int64 [N], the classes they are meant for.
        distance: cosine distance to the prototype of that class, mean over the fold classifiers, [N].
        own_share: share of the fold classifiers for which that prototype is the nearest, [N].
        copy_distance: root mean squared pixel difference to the nearest real training image, [N], 0 to 255.
    """

    labels: npt.NDArray[np.int64]
    distance: Floats
    own_share: Floats
    copy_distance: Floats


class Reference:
    """Real training images and the fold classifiers.

    A fold's prototypes (mean of normalised features of a class) come from the images that its classifier trained on;
    the distances of the images that it did not see are what is usual for a new real image. Distances of trained-on
    images would be far smaller and make the gate refuse what is good.
    """

    def __init__(
        self,
        images: npt.NDArray[np.uint8],
        labels: npt.NDArray[np.int64],
        folds: npt.NDArray[np.int64],
        networks: list[Network],
        num_classes: int,
    ) -> None:
        self.labels, self._networks = labels, networks
        self._pixels = _flat(images)
        self._prototypes = []
        self.out_of_fold = np.full(len(labels), np.nan)
        for fold, network in enumerate(networks):
            features = _normalised(network, images)
            prototypes = _prototypes(features[folds != fold], labels[folds != fold], num_classes)
            self._prototypes.append(prototypes)
            left_out = np.flatnonzero(folds == fold)
            own = features[left_out] * prototypes[labels[left_out]]
            self.out_of_fold[left_out] = 1 - own.sum(1).numpy()
        unseen = torch.stack(self._prototypes).isnan().any(dim=2).all(dim=0)
        self.judgeable_classes = np.flatnonzero(~unseen.numpy())
        self.copy_distance = self._nearest(self._pixels, exclude_self=True)

    def measure(self, images: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64]) -> Measures:
        """Measures candidates, uint8 [N, C, H, W], made for the classes `labels`."""
        distances, nearest = [], []
        for network, prototypes in zip(self._networks, self._prototypes, strict=True):
            similarity = _normalised(network, images) @ prototypes.T
            distances.append(1 - similarity[np.arange(len(labels)), labels].numpy())
            known = torch.nan_to_num(similarity, nan=-2.0).argmax(1).numpy() == labels
            nearest.append(np.where(np.isnan(distances[-1]), np.nan, known))
        return Measures(labels, _mean(distances), _mean(nearest), self._nearest(_flat(images)))

    def usual_distance(self, label: int, quantile: float) -> float:
        """Quantile of the out-of-fold distances of a class, or of all classes where it has too few images."""
        values = self.out_of_fold[(self.labels == label) & ~np.isnan(self.out_of_fold)]
        if len(values) < MIN_OWN_THRESHOLD:
            values = self.out_of_fold[~np.isnan(self.out_of_fold)]
        return float(np.quantile(values, quantile)) if len(values) else 2.0

    def quality(self, measures: Measures) -> Floats:
        """Share of real images that lie no nearer to their prototype when unseen, [N]: 1 is best."""
        values = np.sort(self.out_of_fold[~np.isnan(self.out_of_fold)])
        if not len(values):
            return np.ones(len(measures.labels))
        return 1 - np.searchsorted(values, measures.distance) / len(values)

    def _nearest(self, pixels: Tensor, exclude_self: bool = False) -> Floats:
        if exclude_self and len(pixels) < 2:
            return np.full(len(pixels), np.inf)
        nearest = []
        for start in range(0, len(pixels), 256):
            distances = torch.cdist(pixels[start : start + 256], self._pixels)
            if exclude_self:
                rows = torch.arange(len(distances))
                distances[rows, start + rows] = torch.inf
            nearest.append(distances.min(dim=1).values)
        return torch.cat(nearest).double().numpy() / float(np.sqrt(self._pixels.shape[1]))


def _flat(images: npt.NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(images.reshape(len(images), -1)).float()


def _normalised(network: Network, images: npt.NDArray[np.uint8]) -> Tensor:
    return F.normalize(logits_and_features(network, images)[1], dim=1)


def _prototypes(features: Tensor, labels: npt.NDArray[np.int64], num_classes: int) -> Tensor:
    """Normalised mean feature of each class, [C, D]; NaN for a class without an image."""
    rows = [features[labels == label].mean(dim=0) for label in range(num_classes)]
    stacked = torch.stack(rows)
    return F.normalize(stacked, dim=1)


def _mean(values: list[Floats]) -> Floats:
    """Mean over fold classifiers, less those that never saw the class; a class that none saw counts as fitting."""
    stacked = np.stack(values)
    known = ~np.isnan(stacked)
    total = np.where(known, stacked, 0.0).sum(axis=0)
    return np.where(known.any(axis=0), total / np.maximum(known.sum(axis=0), 1), 0.0)
