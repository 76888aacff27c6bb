"""Hidden layers before the logits; 1024 and 512 are those of the usual InceptionV3 example of fine-tuning."""

from typing import Annotated

from pydantic import Field
from torch import nn

from pipeline.params import section


@section
class Params:
    """Options of the head.

    Attributes:
        hidden: width of each hidden layer.
        dropout: share of the hidden features that training hides.
    """

    hidden: Annotated[list[Annotated[int, Field(ge=1, le=8192)]], Field(min_length=1)]
    dropout: Annotated[float, Field(ge=0, lt=1)]


def build(params: Params, num_features: int, num_classes: int) -> list[nn.Module]:
    """Linear and ReLU for each hidden layer, then the linear layer."""
    layers: list[nn.Module] = []
    width = num_features
    for hidden in params.hidden:
        layers += [nn.Linear(width, hidden), nn.ReLU(), *([nn.Dropout(params.dropout)] if params.dropout else [])]
        width = hidden
    return [*layers, nn.Linear(width, num_classes)]
