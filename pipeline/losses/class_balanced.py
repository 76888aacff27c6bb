"""Class-balanced loss: cross-entropy weighted by the effective number of images (Cui et al. 2019, eq. 2)."""

from typing import Annotated

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from pipeline.losses import Facts, Loss, effective_weights, smoothed
from pipeline.params import section


@section
class Params:
    """Options.

    Attributes:
        beta: how much an image repeats others of its class; 0 weighs all classes alike, towards 1 it nears 1 / n.
    """

    beta: Annotated[float, Field(ge=0, lt=1)] = 0.999


def build(params: Params, facts: Facts) -> Loss:
    """The paper's softmax form; the weights of the classes sum to their number."""
    return ClassBalanced(params.beta, facts.smoothing)


class ClassBalanced(Loss):
    """-w[label] log softmax(logits)[label]."""

    def __init__(self, beta: float, smoothing: float = 0.0) -> None:
        super().__init__(smoothing)
        self._beta = beta

    def forward(self, logits: Tensor, targets: Tensor, class_counts: Tensor, progress: float) -> Tensor:
        """See `Loss`."""
        weights = effective_weights(class_counts, self._beta)
        return -smoothed(weights * F.log_softmax(logits, dim=1), targets, self.smoothing, class_counts)
