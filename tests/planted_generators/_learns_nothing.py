"""What the planted generators share: one weight, which the loop moves in vain."""

import torch
from torch import Tensor, nn

from pipeline.generators import Batch, Generator


class LearnsNothing(Generator):
    def __init__(self, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.image_shape = image_shape
        self.weight = nn.Parameter(torch.ones(1))

    def players(self) -> dict[str, list[nn.Parameter]]:
        return {"planted": [self.weight]}

    def loss(self, _player: str, _batch: Batch, _progress: float) -> Tensor:
        return self.weight.square().sum()
