"""Draws from the images that its options name, a little changed: one a class is a collapse, many are a dream."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pipeline.params import section
from tests.planted_generators._learns_nothing import LearnsNothing


@section
class Params:
    """Options.

    Attributes:
        images: an .npz file with uint8 `images` [N, C, H, W] and their `labels` [N].
    """

    images: Path


@section
class Sampling:
    """It can't draw otherwise."""


def build(params: Params, image_shape: tuple[int, int, int], _num_classes: int, _num_attributes: int) -> "Given":
    with np.load(params.images) as content:
        return Given(image_shape, content["images"], content["labels"])


class Given(LearnsNothing):
    images: Tensor
    labels: Tensor

    def __init__(self, image_shape: tuple[int, int, int], images: np.ndarray, labels: np.ndarray) -> None:
        super().__init__(image_shape)
        self.register_buffer("images", torch.from_numpy(images).float() / 127.5 - 1)
        self.register_buffer("labels", torch.from_numpy(labels))

    def sample(self, labels: np.ndarray, seeds: np.ndarray, *_: Sampling | np.ndarray | None) -> Tensor:
        images = []
        for label, seed in zip(labels, seeds, strict=True):
            rng = torch.Generator().manual_seed(int(seed))
            rows = torch.nonzero(self.labels == int(label))[:, 0]
            row = rows[torch.randint(len(rows), (1,), generator=rng)[0]]
            images.append(self.images[row] + 0.01 * torch.randn(self.image_shape, generator=rng))
        return torch.stack(images).clamp(-1, 1)
