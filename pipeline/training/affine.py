"""A learned affine map of a source's weights: theta_T = (I + U V^T) theta_S + b, with few numbers to learn.

Per layer, theta is the weight as a matrix [out, rest]; U and V are [out, rank], b is [out, 1]. At the start U and b are
0 and the network is the source's. The low rank is LoRA's (Hu et al. 2022, eq. 3), here of what the source's rows are
multiplied by. At the end the map is applied once and the network is an ordinary one.
"""

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize


class AffineMap(nn.Module):
    """The map of one layer's weight."""

    def __init__(self, out: int, rank: int) -> None:
        super().__init__()
        self.U = nn.Parameter(torch.zeros(out, rank))
        self.V = nn.Parameter(torch.randn(out, rank) / out**0.5)
        self.b = nn.Parameter(torch.zeros(out, 1))

    def forward(self, theta: Tensor) -> Tensor:
        """theta_S to theta_T, both [out, …]."""
        rows = theta.flatten(1)
        return theta + (self.U @ (self.V.T @ rows) + self.b).view_as(theta)  # in theta's layout in memory


def attach(network: nn.Module, names: frozenset[str], rank: int) -> None:
    """Puts a map on each weight of `names` that is a matrix or more; the source's weight itself stays as it is."""
    for name, module in list(network.named_modules()):
        weight = getattr(module, "weight", None)
        if f"{name}.weight" in names and isinstance(weight, nn.Parameter) and weight.ndim > 1:
            weight.requires_grad_(False)
            affine = AffineMap(len(weight), rank).to(weight.device)
            parametrize.register_parametrization(module, "weight", affine)


def settle(network: nn.Module) -> None:
    """Replaces every map by the weight that it gives."""
    for module in list(network.modules()):
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)
            module.weight.requires_grad_(True)
