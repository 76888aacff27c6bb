"""Losses of a classifier. One file a loss; the folder is the registry.

A loss module has
    Params: its options, a section of params.yaml;
    build(options, facts) -> Loss.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pipeline import registry
from pipeline.seeds import seeded

KIND = "loss"
ABSENT = 1e-12  # what is said to be there of a class that has no image


class Facts(NamedTuple):
    """What a loss may need to know before it sees an image.

    Attributes:
        num_features: of the network, before its head.
        smoothing: share of each label that is spread evenly over the classes (Szegedy et al. 2016, section 7).
    """

    num_features: int
    num_classes: int
    smoothing: float = 0.0


class Loss(nn.Module):
    """The loss of one training, with a value for each image; whatever parameters it has learn along with the network.

    Attributes:
        views: further versions of each image that it wants, each changed at random anew.
    """

    views = 0

    def __init__(self, smoothing: float = 0.0) -> None:
        super().__init__()
        self.smoothing = smoothing

    def start(self, head: nn.Linear) -> None:
        """Prepares the head before the first update."""

    def logits(self, features: Tensor, head: nn.Linear) -> Tensor:
        """What the head makes of features [N, D] while training, [N, C]."""
        made: Tensor = head(features)
        return made

    def forward(self, logits: Tensor, targets: Tensor, class_counts: Tensor, progress: float) -> Tensor:
        """The value of each image, [N].

        Args:
            logits: [N, C].
            targets: labels, int64 [N], or distributions over the classes, float [N, C].
            class_counts: images of each class as they are drawn, [C].
            progress: of the training, 0 to 1.
        """
        raise NotImplementedError

    def of_views(self, features: Tensor, head: nn.Linear, targets: Tensor, class_counts: Tensor) -> Tensor:
        """What the further views add to each image's value, [N]; `features` are theirs, [N, views, D]."""
        raise NotImplementedError

    def finish(self, head: nn.Linear) -> None:
        """Makes of the head, after the last update, one whose decisions are those of `logits`."""


def create(name: str, options: dict[str, Any], facts: Facts, seed: int = 0) -> Loss:
    """The loss of that name; equal seeds give equal parameters.

    Raises:
        UserError: there is none, or its options are wrong.
    """
    module, params = registry.chosen(__name__, name, options, "params.yaml: train_classifier.losses")
    with seeded(seed):
        loss: Loss = module.build(params, facts)
    return loss


def at(values: Tensor, targets: Tensor) -> Tensor:
    """Of values [N, C] each image's at its label, or their mean under its distribution, [N]."""
    if targets.ndim == 1:
        return values.gather(1, targets[:, None])[:, 0]
    return (values * targets).sum(dim=1)


def smoothed(values: Tensor, targets: Tensor, smoothing: float, class_counts: Tensor) -> Tensor:
    """`at` with a share of each label spread over the classes that have images, [N]."""
    present = class_counts > 0
    spread = (values * present).sum(dim=1) / present.sum()
    return (1 - smoothing) * at(values, targets) + smoothing * spread


def effective_weights(class_counts: Tensor, beta: float) -> Tensor:
    """1 over the effective number of images, (1 - beta^n) / (1 - beta), of each class (Cui et al. 2019, eq. 2).

    Their sum is the number of classes that have images; a class without any weighs 0.
    """
    present = class_counts > 0
    log_beta = torch.tensor(beta, dtype=torch.float64).log()
    number = -torch.expm1(class_counts.double().clamp(min=ABSENT) * log_beta) / (1 - beta)
    weights = torch.where(present, 1 / number, 0.0)
    return (weights * present.sum() / weights.sum()).to(class_counts.dtype)
