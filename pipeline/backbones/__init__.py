"""Classifier networks. One file a family; the folder is the registry.

A backbone module has
    Params: its options, a section of params.yaml;
    build(options, in_channels) -> Trunk.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pipeline import heads, registry
from pipeline.seeds import seeded

KIND = "backbone"


class Trunk(NamedTuple):
    """All of a network but its head.

    Attributes:
        module: images [N, C, H, W], from 0 to 1, to features [N, num_features].
        stages: names of its parameters in groups, from the image to the features; one group if there is none.
    """

    module: nn.Module
    num_features: int
    stages: Sequence[Sequence[str]] = ()


class Network(nn.Module):
    """A trunk, hidden layers of the head if it has some, and the head's last layer.

    Attributes:
        stages: names of the trunk's parameters in groups, from the image to the features.
    """

    head: nn.Linear

    def __init__(self, trunk: Trunk, layers: Sequence[nn.Module]) -> None:
        super().__init__()
        self.trunk, self.neck = trunk.module, nn.Sequential(*layers[:-1])
        self.head = layers[-1]  # type: ignore[assignment]
        names = trunk.stages or [[name for name, _ in trunk.module.named_parameters()]]
        self.stages = [[f"trunk.{name}" for name in stage] for stage in names]

    def features(self, images: Tensor) -> Tensor:
        """float [N, C, H, W] in [-1, 1] to features [N, D].

        The trunk sees 0 to 1, so that the zeros that convolutions pad with are black: on small images with a black
        ground, grey borders cost 1 to 3 points of accuracy.
        """
        out: Tensor = self.neck(self.trunk((images + 1) / 2))
        return out

    def forward(self, images: Tensor) -> Tensor:
        """float [N, C, H, W] in [-1, 1] to logits [N, num_classes]."""
        out: Tensor = self.head(self.features(images))
        return out


def create(
    name: str,
    options: dict[str, Any],
    in_channels: int,
    num_classes: int,
    seed: int,
    head: str = "linear",
    head_options: dict[str, Any] | None = None,
) -> Network:
    """A freshly initialised network; equal seeds give equal weights.

    Raises:
        UserError: unknown name or wrong options.
    """
    module, params = registry.chosen(__name__, name, options, "params.yaml: train_source.backbones")
    with seeded(seed):
        trunk: Trunk = module.build(params, in_channels)
        network = Network(trunk, heads.create(head, head_options or {}, trunk.num_features, num_classes))
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]
