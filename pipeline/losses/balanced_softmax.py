"""Balanced Softmax (Ren et al. 2020, eq. 4), the same as logit adjustment in the loss with tau = 1."""

from pipeline.losses import Facts, Loss
from pipeline.losses._adjusted import Adjusted
from pipeline.params import section


@section
class Params:
    """It has no options."""


def build(params: Params, facts: Facts) -> Loss:
    """Cross-entropy of logits shifted by the log of the class counts."""
    return Adjusted(smoothing=facts.smoothing)
