"""Pictures for the tests of transforms, and the ways in and out of tensors."""

import numpy as np
import torch
from torch import Tensor

from pipeline.images import Pixels


def noise(*shape: int, seed: int = 0) -> Pixels:
    """The hardest picture: no two pixels are alike, so that any misplaced one shows."""
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def smooth(side: int = 48, seed: int = 0) -> Pixels:
    """Waves of at least half the side, uint8 [side, side]: what bilinear interpolation reproduces well."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] / side
    waves = [np.sin(2 * np.pi * (rng.uniform(-1, 1) * x + rng.uniform(-1, 1) * y + rng.random())) for _ in range(3)]
    values = sum(waves[1:], start=waves[0])
    return np.rint((values - values.min()) / np.ptp(values) * 255).astype(np.uint8)


def tensor(*images: Pixels) -> Tensor:
    """Float [N, C, H, W] in [-1, 1]."""
    stacked = torch.from_numpy(np.stack(images))
    planes = stacked[:, None] if stacked.ndim == 3 else stacked.permute(0, 3, 1, 2)
    return planes.float() / 127.5 - 1


def pixels(images: Tensor) -> list[Pixels]:
    """The way back: each image of a batch, grey levels rounded."""
    levels = ((images + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
    return [image[..., 0] if image.shape[2] == 1 else image for image in levels]


def apart(one: Pixels, other: Pixels) -> int:
    """The largest difference in grey levels."""
    return int(np.abs(one.astype(int) - other.astype(int)).max(initial=0))
