"""Makes noise of any class."""

import numpy as np
import torch
from torch import Tensor

from pipeline.params import section
from tests.planted_generators._learns_nothing import LearnsNothing


@section
class Params:
    """It has no options."""


@section
class Sampling:
    """Nor can it draw otherwise."""


def build(_: Params, image_shape: tuple[int, int, int], _num_classes: int, _num_attributes: int) -> "Noise":
    return Noise(image_shape)


class Noise(LearnsNothing):
    def sample(self, _labels: np.ndarray, seeds: np.ndarray, *_: Sampling | np.ndarray | None) -> Tensor:
        rows = [torch.rand(self.image_shape, generator=torch.Generator().manual_seed(int(seed))) for seed in seeds]
        return 2 * torch.stack(rows) - 1
