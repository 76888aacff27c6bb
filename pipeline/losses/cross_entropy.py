"""Cross-entropy, blind to how uneven the classes are."""

import torch.nn.functional as F
from torch import Tensor

from pipeline.losses import Facts, Loss
from pipeline.params import section


@section
class Params:
    """It has no options."""


def build(params: Params, facts: Facts) -> Loss:
    """The loss, with the labels smoothed."""
    return CrossEntropy(facts.smoothing)


class CrossEntropy(Loss):
    """-log softmax(logits)[label]."""

    def forward(self, logits: Tensor, targets: Tensor, class_counts: Tensor, progress: float) -> Tensor:
        """See `Loss`."""
        return F.cross_entropy(logits, targets, reduction="none", label_smoothing=self.smoothing)
