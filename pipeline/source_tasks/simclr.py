"""SimCLR: two views of an image are drawn together and away from all others of the batch (Chen et al. 2020)."""

from collections.abc import Callable, Sequence
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from pipeline.params import section

VIEWS = 2


@section
class Params:
    """Options.

    Attributes:
        width: of the space in which views are compared.
        temperature: of the comparison.
    """

    width: Annotated[int, Field(ge=2, le=4096)]
    temperature: Annotated[float, Field(gt=0)]


class SimCLR(nn.Module):
    """The loss with its projection, which is thrown away after the training."""

    def __init__(self, num_features: int, width: int, temperature: float) -> None:
        super().__init__()
        self.project = nn.Sequential(nn.Linear(num_features, num_features), nn.ReLU(), nn.Linear(num_features, width))
        self._temperature = temperature

    def forward(self, features: Callable[[Tensor], Tensor], views: Sequence[Tensor]) -> Tensor:
        """The mean loss of both views of all images, []."""
        projected = F.normalize(self.project(features(torch.cat(list(views)))))
        return nt_xent(projected, self._temperature)


def nt_xent(z: Tensor, temperature: float) -> Tensor:
    """-log exp(z_i z_j / T) / sum_k!=i exp(z_i z_k / T), j the other view of i (Chen et al. 2020, eq. 1), its mean.

    Args:
        z: of length 1, [2 N, D]; the other view of row i is row i + N modulo 2 N.
    """
    similar = (z @ z.T / temperature).fill_diagonal_(-torch.inf)
    return F.cross_entropy(similar, torch.arange(len(z), device=z.device).roll(len(z) // 2))


def build(params: Params, num_features: int) -> nn.Module:
    """The loss for features of that width."""
    return SimCLR(num_features, params.width, params.temperature)
