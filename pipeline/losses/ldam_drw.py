"""Label-distribution-aware margins with deferred re-weighting, LDAM-DRW (Cao et al. 2019, eq. 13 and algorithm 1).

As in the paper the logits are cosines between features and the head's rows, times a scale. A network's head stays a
plain linear one: after training its rows are those directions, in the length that gives features of mean length the
training's logits. Its decisions are those of the cosines.
"""

from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from pipeline.losses import Facts, Loss, at, effective_weights, smoothed
from pipeline.params import section

MOMENTUM = 0.01  # of the mean length of the features
SHORTEST = 1e-6


@section
class Params:
    """Options.

    Attributes:
        max_margin: of the smallest class, as a difference of cosines; others have less, as n^(-1/4).
        scale: of the cosines.
        defer: share of the training after which classes are weighted; 1 never does (LDAM).
        beta: of those weights, as in `class_balanced`.
    """

    max_margin: Annotated[float, Field(ge=0, le=2)] = 0.5
    scale: Annotated[float, Field(gt=0)] = 30.0
    defer: Annotated[float, Field(ge=0, le=1)] = 0.8
    beta: Annotated[float, Field(ge=0, lt=1)] = 0.9999


def build(params: Params, facts: Facts) -> Loss:
    """The loss with the paper's values as defaults."""
    return LdamDrw(params, facts.smoothing)


class LdamDrw(Loss):
    """Cross-entropy with a margin taken off the label's logit.

    Of a distribution over classes each one's margin counts in its share; smoothing comes after the margin.
    """

    mean_length: Tensor

    def __init__(self, params: Params, smoothing: float = 0.0) -> None:
        super().__init__(smoothing)
        self._params = params
        self.register_buffer("mean_length", torch.tensor(0.0))

    def start(self, head: nn.Linear) -> None:
        """Takes the bias away, if there is one: the cosines have none."""
        with torch.no_grad():
            for name, parameter in head.named_parameters():
                if name == "bias":
                    parameter.zero_()

    def logits(self, features: Tensor, head: nn.Linear) -> Tensor:
        """The scaled cosines; notes how long the features are."""
        if self.training:
            length = features.detach().norm(dim=1).mean().to(self.mean_length.dtype)
            self.mean_length.copy_(torch.where(self.mean_length > 0, self.mean_length.lerp(length, MOMENTUM), length))
        return self._params.scale * F.linear(F.normalize(features), F.normalize(head.weight))

    def forward(self, logits: Tensor, targets: Tensor, class_counts: Tensor, progress: float) -> Tensor:
        """See `Loss`."""
        shares = F.one_hot(targets, logits.shape[1]) if targets.ndim == 1 else targets
        log_probs = F.log_softmax(logits - shares * self._params.scale * self._margins(class_counts), dim=1)
        values = -smoothed(log_probs, targets, self.smoothing, class_counts)
        if progress < self._params.defer:
            return values
        return values * at(self._weights(class_counts).expand_as(logits), targets)

    def finish(self, head: nn.Linear) -> None:
        """Gives the head's rows their length."""
        with torch.no_grad():
            head.weight.copy_(F.normalize(head.weight) * (self._params.scale / self.mean_length.clamp(min=SHORTEST)))

    def _margins(self, size: Tensor) -> Tensor:
        """Of each class, the largest that of the smallest class; none for a class without an image."""
        margins = torch.where(size > 0, size, torch.inf) ** -0.25
        return margins * (self._params.max_margin / margins.amax())

    def _weights(self, size: Tensor) -> Tensor:
        """Of each class, in the mean over the images 1, as the weighted mean of the authors' code has it."""
        weights = effective_weights(size, self._params.beta)
        return weights * size.sum() / (weights * size).sum()
