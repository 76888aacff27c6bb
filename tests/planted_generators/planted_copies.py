"""Learns its training images by heart: what it draws is one of the class's, grey levels a little off."""

import math

import numpy as np
import torch
from torch import Tensor

from pipeline.generators import Batch
from pipeline.params import section
from tests.planted_generators._learns_nothing import LearnsNothing

KEPT = 64  # images of each class


@section
class Params:
    """It has no options."""


@section
class Sampling:
    """Nor can it draw otherwise."""


def build(_: Params, image_shape: tuple[int, int, int], num_classes: int, _num_attributes: int) -> "Copies":
    return Copies(image_shape, num_classes)


class Copies(LearnsNothing):
    kept: Tensor
    seen: Tensor

    def __init__(self, image_shape: tuple[int, int, int], num_classes: int) -> None:
        super().__init__(image_shape)
        self.register_buffer("kept", torch.zeros(num_classes, KEPT, math.prod(image_shape)))
        self.register_buffer("seen", torch.zeros(num_classes, dtype=torch.int64))

    def loss(self, player: str, batch: Batch, progress: float) -> Tensor:
        for image, label in zip(batch.images, batch.labels, strict=True):
            self.kept[label, self.seen[label] % KEPT] = image.flatten()
            self.seen[label] += 1
        return super().loss(player, batch, progress)

    def sample(self, labels: np.ndarray, seeds: np.ndarray, *_: Sampling | np.ndarray | None) -> Tensor:
        images = []
        for label, seed in zip(labels, seeds, strict=True):
            rng = torch.Generator().manual_seed(int(seed))
            number = torch.randint(max(1, min(KEPT, int(self.seen[label]))), (1,), generator=rng)[0]
            image = self.kept[label, number].view(self.image_shape)
            images.append(image + 0.02 * torch.randn(self.image_shape, generator=rng))
        return torch.stack(images).clamp(-1, 1)
