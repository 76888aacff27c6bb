"""Differentiable augmentation (Zhao et al. 2020): what a discriminator sees, of real and made images alike.

The generator learns through it and is not led to make augmented images, and few real images last longer. Strengths are
the authors'. Each function takes float [N, C, H, W] in [-1, 1] and draws for each image.
"""

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional as F


def augment(images: Tensor, names: Iterable[str]) -> Tensor:
    """Applies the augmentations of these names in turn."""
    for name in names:
        images = AUGMENTATIONS[name](images)
    return images


def colour(images: Tensor) -> Tensor:
    """Brightness by up to 0.5, saturation by a factor from 0 to 2, contrast by one from 0.5 to 1.5."""
    brightness, saturation, contrast = _uniform(images, 3).view(3, -1, 1, 1, 1)
    images = images + (brightness - 0.5)
    grey = images.mean(dim=1, keepdim=True)
    images = torch.lerp(grey, images, 2 * saturation)
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    return torch.lerp(mean, images, 0.5 + contrast)


def translation(images: Tensor) -> Tensor:
    """Moves by whole pixels, up to an eighth of the side in each direction; what comes in is 0."""
    height, width = images.shape[2:]
    most = (max(1, height // 8), max(1, width // 8))
    padded = F.pad(images, (most[1], most[1], most[0], most[0]))
    row, column = (
        torch.arange(side, device=images.device) + _whole(images, 2 * reach + 1)[:, None]
        for side, reach in zip((height, width), most, strict=True)
    )
    number = torch.arange(len(images), device=images.device)[:, None, None]
    moved = padded.permute(0, 2, 3, 1)[number, row[:, :, None], column[:, None, :]]
    return moved.permute(0, 3, 1, 2)


def cutout(images: Tensor) -> Tensor:
    """Sets a rectangle of half the sides to 0, where it may reach over the border (DeVries & Taylor 2017)."""
    rows, columns = (
        torch.arange(side, device=images.device) - (_whole(images, side + 1) - side // 4)[:, None]
        for side in images.shape[2:]
    )
    rows, columns = (rows >= 0) & (rows < images.shape[2] // 2), (columns >= 0) & (columns < images.shape[3] // 2)
    return images * ~(rows[:, None, :, None] & columns[:, None, None, :])


AUGMENTATIONS = {"colour": colour, "translation": translation, "cutout": cutout}


def _uniform(images: Tensor, count: int) -> Tensor:
    return torch.rand(count, len(images), device=images.device, dtype=images.dtype)


def _whole(images: Tensor, end: int) -> Tensor:
    """A whole number from 0 to `end` - 1 for each image, int64 [N]."""
    return torch.randint(end, (len(images),), device=images.device)
