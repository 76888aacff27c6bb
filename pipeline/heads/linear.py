"""One linear layer: logits = W f(x) + b."""

from torch import nn

from pipeline.params import section


@section
class Params:
    """It has no options."""


def build(params: Params, num_features: int, num_classes: int) -> list[nn.Module]:
    """The layer."""
    return [nn.Linear(num_features, num_classes)]
