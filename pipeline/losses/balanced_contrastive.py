"""Balanced contrastive learning (Zhu et al. 2022): two more views of each image are drawn to the views of its class.

The first view is classified under logits shifted by the log of the class counts (eq. 8), as by `balanced_softmax`; the
two others are contrasted (eq. 6). As in the paper a class's prototype is made of the head's row of that class by a
projection of its own; unlike there the head is the network's plain linear one. Real and added images are contrasted
with each other.
"""

from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from pipeline.losses import Facts, Loss
from pipeline.losses._adjusted import Adjusted
from pipeline.params import section


@section
class Params:
    """Options; the defaults are those of the paper on CIFAR.

    Attributes:
        classification: weight of the classification.
        contrast: weight of the contrast between views.
        temperature: of the contrast.
        width: of the space that is contrasted in.
    """

    classification: Annotated[float, Field(gt=0)] = 2.0
    contrast: Annotated[float, Field(ge=0)] = 0.6
    temperature: Annotated[float, Field(gt=0)] = 0.1
    width: Annotated[int, Field(ge=2)] = 128


def build(params: Params, facts: Facts) -> Loss:
    """The loss with its two projections."""
    return BalancedContrastive(params, facts)


class BalancedContrastive(Loss):
    """classification * BalancedSoftmax + contrast * mean over the two views of `balanced_contrast`."""

    views = 2

    def __init__(self, params: Params, facts: Facts) -> None:
        super().__init__(facts.smoothing)
        self._params = params
        self._classify = Adjusted(smoothing=facts.smoothing)
        self.projection = _projection(facts.num_features, params.width)
        self.prototypes = _projection(facts.num_features, params.width)

    def forward(self, logits: Tensor, targets: Tensor, class_counts: Tensor, progress: float) -> Tensor:
        """See `Loss`."""
        values: Tensor = self._classify(logits, targets, class_counts, progress)
        return self._params.classification * values

    def of_views(self, features: Tensor, head: nn.Linear, targets: Tensor, class_counts: Tensor) -> Tensor:
        """See `Loss`."""
        num_classes = len(head.weight)
        shares = F.one_hot(targets, num_classes).to(features.dtype) if targets.ndim == 1 else targets
        z = F.normalize(self.projection(features.transpose(0, 1).flatten(0, 1)))
        c = F.normalize(self.prototypes(head.weight))
        values = balanced_contrast(z, shares.repeat(self.views, 1), c, class_counts > 0, self._params.temperature)
        return self._params.contrast * values.reshape(self.views, -1).mean(dim=0)


def balanced_contrast(z: Tensor, shares: Tensor, c: Tensor, present: Tensor, temperature: float) -> Tensor:
    """Supervised contrast with class averages and class prototypes (Zhu et al. 2022, eq. 6), a value an anchor [M].

    -mean_p log(exp(z_i z_p / T) / sum_j mean_k exp(z_i z_k / T)), where p runs over the members of the anchor's class
    and k over those of class j, prototypes among them, the anchor itself left out of both.

    Args:
        z: of the images, of length 1, [M, D].
        shares: of each image in the classes, one-hot or a distribution, [M, C].
        c: the prototypes, of length 1, [C, D].
        present: bool [C]; classes without images stay out.
    """
    member = torch.cat([shares, torch.diag(present.to(shares.dtype))])
    similar = z @ torch.cat([z, c]).T / temperature
    others = torch.ones_like(similar).fill_diagonal_(0)
    size = (others @ member).clamp(min=torch.finfo(z.dtype).tiny)
    attracted = (similar * others) @ member / size
    highest = similar.detach().amax(dim=1, keepdim=True)
    repelled = ((similar - highest).exp() * others) @ member / size
    return repelled.sum(dim=1).log() + highest[:, 0] - (shares * attracted).sum(dim=1)


def _projection(num_features: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(num_features, num_features), nn.ReLU(), nn.Linear(num_features, width))
