"""A square of each image hidden, wherever its centre comes to lie (DeVries & Taylor 2017).

It takes the image's own mean colour, where the paper has that of all images.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipeline.images import Pixels
from pipeline.transforms.geometry import Floats

Ints = npt.NDArray[np.int64]


class Boxes(NamedTuple):
    """A box an image, each entry int64 [N]; the ends are excluded, and may lie outside."""

    top: Ints
    bottom: Ints
    left: Ints
    right: Ints


def boxes(side: Floats, y: Floats, x: Floats, height: int, width: int) -> Boxes:
    """Squares around random pixels.

    Args:
        side: shares of the image's shorter side, [N].
        y, x: where the centres lie, uniform from 0 to 1 [N].
    """
    length = np.rint(side * min(height, width)).astype(np.int64)
    top, left = (np.floor(place * size).astype(np.int64) - length // 2 for place, size in ((y, height), (x, width)))
    return Boxes(top, top + length, left, left + length)


def hide(pixels: Pixels, box: Boxes, number: int) -> Pixels:
    """One image with the box of that number hidden."""
    top, bottom, left, right = (max(0, int(edge[number])) for edge in box)
    hidden = pixels.copy()
    hidden[top:bottom, left:right] = np.rint(pixels.mean(axis=(0, 1))).astype(np.uint8)
    return hidden


def hide_batch(images: Tensor, box: Boxes) -> Tensor:
    """A batch, float [N, C, H, W], with each image's box hidden."""
    top, bottom, left, right = (torch.from_numpy(edge).to(images.device)[:, None] for edge in box)
    y, x = (torch.arange(size, device=images.device) for size in images.shape[2:])
    rows, columns = (y >= top) & (y < bottom), (x >= left) & (x < right)
    hidden = (rows[:, :, None] & columns[:, None, :])[:, None]
    return torch.where(hidden, images.mean(dim=(2, 3), keepdim=True), images)
