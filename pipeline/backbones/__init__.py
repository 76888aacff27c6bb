"""Classifier networks. One file a family; the folder is the registry.

A backbone module has
    Params: its options, a section of params.yaml;
    build(options, in_channels, num_classes) -> Network.
"""

from typing import Any

import torch
from torch import Tensor, nn

from pipeline import registry
from pipeline.params import build as build_params

KIND = "backbone"


class Network(nn.Module):
    """A trunk with a linear head."""

    def __init__(self, trunk: nn.Module, num_features: int, num_classes: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = nn.Linear(num_features, num_classes)

    def features(self, images: Tensor) -> Tensor:
        """float [N, C, H, W] in [-1, 1] to features [N, D].

        The trunk sees 0 to 1, so that the zeros that convolutions pad with are black: on small images with a black
        ground, grey borders cost 1 to 3 points of accuracy.
        """
        out: Tensor = self.trunk((images + 1) / 2)
        return out

    def forward(self, images: Tensor) -> Tensor:
        """float [N, C, H, W] in [-1, 1] to logits [N, num_classes]."""
        out: Tensor = self.head(self.features(images))
        return out


def create(name: str, options: dict[str, Any], in_channels: int, num_classes: int, seed: int) -> Network:
    """A freshly initialised network; equal seeds give equal weights.

    Raises:
        UserError: unknown name or wrong options.
    """
    module = registry.get(__name__, name)
    params = build_params(module.Params, options, f"params.yaml: train_source.backbones.{name}")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network: Network = module.build(params, in_channels, num_classes)
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]
