"""Completion in feature space: features for classes with hardly an image. One file a method; the folder is a registry.

A method module has
    Params: its options, under complete_features.methods.NAME of params.yaml;
    draw(known, wanted, seed, params) -> Tensor: `wanted[label]` features of each class, in the order of the labels.
Features mean something to the network that computed them and to no other: a method is asked anew for each network.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from pipeline import registry

KIND = "method"

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Known:
    """What a method may look at.

    Attributes:
        features: of the real training images, as one network sees them, [N, D].
        labels: int64 [N].
        rich: classes with images enough to borrow from; at least one.
    """

    features: Tensor
    labels: Ints
    rich: Ints

    def of(self, label: int) -> Tensor:
        """Features of a class, float64 [n, D]."""
        return self.features[self.labels == label].double()


def complete(
    name: str, options: dict[str, dict[str, Any]], known: Known, wanted: Ints, seed: int
) -> tuple[Tensor, Ints]:
    """Made-up features, float64 [sum of wanted, D], and their labels.

    Args:
        wanted: features to make of each class, [C]; 0 for a class without a real image.

    Raises:
        UserError: no such method, or wrong options.
    """
    module, params = registry.chosen(__name__, name, options.get(name, {}), "params.yaml: complete_features.methods")
    drawn: Tensor = module.draw(known, wanted, seed, params)
    if not (known.features < 0).any():
        drawn = drawn.clamp(min=0)  # what comes out of a ReLU is never negative
    return drawn, np.repeat(np.arange(len(wanted)), wanted)
