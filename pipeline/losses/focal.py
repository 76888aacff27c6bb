"""Focal loss (Lin et al. 2017, eq. 4), of the softmax's probabilities: what is already sure counts little."""

from typing import Annotated

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from pipeline.losses import Facts, Loss, smoothed
from pipeline.params import section

LEAST = 1e-6  # of 1 - p, so that its power has a gradient everywhere


@section
class Params:
    """Options.

    Attributes:
        gamma: how much less sure images count; 0 is cross-entropy.
    """

    gamma: Annotated[float, Field(ge=0)] = 2.0


def build(params: Params, facts: Facts) -> Loss:
    """The loss without the paper's alpha; `class_balanced` weights classes."""
    return Focal(params.gamma, facts.smoothing)


class Focal(Loss):
    """-(1 - p)^gamma log p, where p is the probability of the label."""

    def __init__(self, gamma: float, smoothing: float = 0.0) -> None:
        super().__init__(smoothing)
        self._gamma = gamma

    def forward(self, logits: Tensor, targets: Tensor, class_counts: Tensor, progress: float) -> Tensor:
        """See `Loss`."""
        log_probs = F.log_softmax(logits, dim=1)
        unsure = (-log_probs.expm1()).clamp(min=LEAST) ** self._gamma
        return -smoothed(unsure * log_probs, targets, self.smoothing, class_counts)
