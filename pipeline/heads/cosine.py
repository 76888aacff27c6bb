"""Cosine classifier: logits are the cosines between features and a prototype of each class, times a scale.

Longer weights, which many images of a class otherwise give it, favour none (Gidaris & Komodakis 2018, eq. 3).
"""

from typing import Annotated

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from pipeline.params import section


@section
class Params:
    """Options of the head.

    Attributes:
        scale: what cosines are multiplied by; logits lie between -scale and scale.
    """

    scale: Annotated[float, Field(gt=0)]


class Cosine(nn.Linear):
    """scale * cos(W_c, f(x)) for each class c."""

    def __init__(self, in_features: int, out_features: int, scale: float) -> None:
        super().__init__(in_features, out_features, bias=False)
        self.scale = scale

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        """[N, D] to [N, C]."""
        return self.scale * F.linear(F.normalize(input), F.normalize(self.weight))


def build(params: Params, num_features: int, num_classes: int) -> list[nn.Module]:
    """The layer."""
    return [Cosine(num_features, num_classes, params.scale)]
