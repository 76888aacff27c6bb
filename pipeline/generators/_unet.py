"""A small U-Net (Ronneberger et al. 2015) that is told time and condition by scale and shift (Perez et al. 2018)."""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

MAX_GROUPS = 8


class UNet(nn.Module):
    """Image and condition to a field of the image's shape.

    Args:
        channels: of the image.
        sizes: heights and widths, halved from level to level.
        width: channels of the full resolution; twice, then four times as many below.
        condition: size of the condition's vector.
        dropout: share of the features inside a block that training hides.
    """

    def __init__(self, channels: int, sizes: list[tuple[int, int]], width: int, condition: int, dropout: float) -> None:
        super().__init__()
        widths = [width * min(2**level, 4) for level in range(len(sizes))]
        self.entry = nn.Conv2d(channels, width, 3, padding=1)
        self.down, self.shrink = nn.ModuleList(), nn.ModuleList()
        self.up, self.grow = nn.ModuleList(), nn.ModuleList()
        for wide, wider in pairwise(widths):
            self.down.append(Block(wide, wide, condition, dropout))
            self.shrink.append(nn.Conv2d(wide, wider, 3, stride=2, padding=1))
            self.grow.insert(0, nn.Conv2d(wider, wide, 3, padding=1))
            self.up.insert(0, Block(2 * wide, wide, condition, dropout))
        self.middle = nn.ModuleList(
            [Block(widths[-1], widths[-1], condition, dropout, attends) for attends in (True, False)]
        )
        self.exit = nn.Sequential(norm(width), nn.SiLU(), shy(nn.Conv2d(width, channels, 3, padding=1)))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """The field, [N, C, H, W]."""
        hidden, kept = self.entry(x), []
        for block, shrink in zip(self.down, self.shrink, strict=True):
            hidden = block(hidden, condition)
            kept.append(hidden)
            hidden = shrink(hidden)
        for block in self.middle:
            hidden = block(hidden, condition)
        for grow, block in zip(self.grow, self.up, strict=True):
            finer = kept.pop()
            hidden = grow(F.interpolate(hidden, size=finer.shape[2:]))
            hidden = block(torch.cat([hidden, finer], dim=1), condition)
        out: Tensor = self.exit(hidden)
        return out


class Block(nn.Module):
    """A residual block of two convolutions, conditioned between them, and attention over the pixels where asked for."""

    def __init__(self, inputs: int, outputs: int, condition: int, dropout: float, attends: bool = False) -> None:
        super().__init__()
        self.before, self.first = norm(inputs), nn.Conv2d(inputs, outputs, 3, padding=1)
        self.scale_shift = nn.Linear(condition, 2 * outputs)
        self.between, self.second = norm(outputs), shy(nn.Conv2d(outputs, outputs, 3, padding=1))
        self.dropout = Dropout(dropout)
        self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()
        self.attention = Attention(outputs) if attends else nn.Identity()

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Features [N, outputs, H, W]."""
        scale, shift = self.scale_shift(condition)[:, :, None, None].chunk(2, dim=1)
        hidden = self.first(F.silu(self.before(x)))
        hidden = self.second(self.dropout(F.silu(torch.addcmul(shift, self.between(hidden), 1 + scale))))
        out: Tensor = self.attention(self.skip(x) + hidden)
        return out


class Dropout(nn.Dropout):
    """Dropout (Srivastava et al. 2014) that on a CPU decides by a byte for each feature, so by a share in 256ths.

    Torch draws a number for each, which takes a twentieth of a training step.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Features of the same shape."""
        dense = x.is_contiguous() or x.is_contiguous(memory_format=torch.channels_last)
        if not (self.training and self.p) or x.device.type != "cpu" or not dense or torch.compiler.is_compiling():
            return super().forward(x)
        kept = max(1, round(256 * (1 - self.p)))
        eights = torch.empty(-(-x.numel() // 8), dtype=torch.int64).random_(-(2**63), None)
        scales = eights.view(torch.uint8)[: x.numel()].to(x.dtype).lt_(kept).mul_(256 / kept)
        return x * scales.as_strided(x.shape, x.stride())


class Attention(nn.Module):
    """Self-attention of one head over all pixels (Vaswani et al. 2017)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm, self.queries_keys_values = norm(channels), nn.Conv2d(channels, 3 * channels, 1)
        self.out = shy(nn.Conv2d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Features of the same shape."""
        queries, keys, values = self.queries_keys_values(self.norm(x)).flatten(2).transpose(1, 2).chunk(3, dim=2)
        weights = (queries @ keys.transpose(1, 2) / math.sqrt(x.shape[1])).softmax(dim=2)
        out: Tensor = x + self.out((weights @ values).transpose(1, 2).unflatten(2, x.shape[2:]))
        return out


def time_features(t: Tensor, size: int) -> Tensor:
    """Sines and cosines of times in [0, 1], [N, size], at wavelengths from 2 pi to 2 pi / 1000."""
    rates = torch.logspace(0, 3, size // 2, device=t.device)
    angles = t[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def norm(channels: int) -> nn.GroupNorm:
    """Normalisation over groups of at least four channels."""
    return nn.GroupNorm(math.gcd(channels // 4, MAX_GROUPS), channels)


def shy(layer: nn.Conv2d) -> nn.Conv2d:
    """A layer that begins near zero, so that the block begins near the identity."""
    nn.init.normal_(layer.weight, std=1e-3)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer
