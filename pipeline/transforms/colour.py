"""Every linear change of colour as one 3 x 4 matrix: composed first, then each pixel is multiplied once.

A matrix takes (R, G, B, 1), each from 0 to 1, to the new (R, G, B). All changes but `channel_mix` commute, since they
keep grey grey, so their order matters only where a result is clipped. Grey images take what happens to their luma.
"""

import math
from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

from pipeline.images import Pixels
from pipeline.transforms.geometry import Floats, Values

LUMA = np.array([0.299, 0.587, 0.114])
_EYE = np.eye(3)
_GREY = np.tile(LUMA, (3, 1))  # every channel becomes the luma
_YIQ = np.array([LUMA, [0.595716, -0.274453, -0.321263], [0.211456, -0.522591, 0.311135]])
_TURN = np.linalg.inv(_YIQ) @ [[0, 0, 0], [0, 0, 1], [0, -1, 0]] @ _YIQ  # chroma a quarter on, red to yellow


def brightness(factor: Values) -> Values:
    """Multiplies all channels by a factor [N]; [N, 3, 4]."""
    return _with_offset(_times(factor, _EYE), factor * 0)


def contrast(factor: Values, mean: Values) -> Values:
    """Moves all channels away from (> 1) or towards (< 1) the image's mean luma [N], 0 to 1; [N, 3, 4]."""
    return _with_offset(_times(factor, _EYE), (1 - factor) * mean)


def saturation(factor: Values) -> Values:
    """Moves each pixel away from (> 1) or towards (< 1) its own luma; [N, 3, 4]."""
    return _with_offset(_times(factor, _EYE) + _times(1 - factor, _GREY), factor * 0)


def hue(turns: Values) -> Values:
    """Turns the chroma plane of YIQ by a share of the circle [N], which keeps the luma; [N, 3, 4]."""
    angle = turns * (2 * math.pi)
    cos, sin = (angle.cos(), angle.sin()) if isinstance(angle, Tensor) else (np.cos(angle), np.sin(angle))
    turned = _times(cos * 0 + 1, _GREY) + _times(cos, _EYE - _GREY) + _times(sin, _TURN)
    return _with_offset(turned, turns * 0)


def channel_mix(shares: Sequence[Values]) -> Values:
    """Adds to each channel a share of each of the two others and takes as much from its own; [N, 3, 4].

    Args:
        shares: of green and blue for red, of red and blue for green, of red and green for blue, six times [N].
    """
    places = [(row, column) for row in range(3) for column in range(3) if row != column]
    mixed = _times(shares[0] * 0 + 1, _EYE)
    for share, (row, column) in zip(shares, places, strict=True):
        change = np.zeros((3, 3))
        change[row, column], change[row, row] = 1, -1
        mixed = mixed + _times(share, change)
    return _with_offset(mixed, shares[0] * 0)


def compose(*changes: Values) -> Values:
    """All changes as one; the pixels undergo them in this order; [N, 3, 4]."""
    total = changes[0]
    for outer in changes[1:]:
        product = outer[:, :, :3] @ total
        product[:, :, 3] += outer[:, :, 3]
        total = product
    return total


def mean_luma(pixels: Pixels) -> float:
    """Mean luma of an image, 0 to 1."""
    means = cv2.mean(pixels)
    return means[0] / 255 if pixels.ndim == 2 else float(np.dot(means[:3], LUMA)) / 255


def mean_luma_batch(images: Tensor) -> Tensor:
    """Mean luma of each image of a batch in [-1, 1], float [N] from 0 to 1, on the CPU, where matrices are made."""
    means = (images.mean(dim=(2, 3)).cpu() + 1) / 2
    return means[:, 0] if means.shape[1] == 1 else means @ _like(LUMA, means)


def in_levels(matrices: Floats, channels: int) -> Floats:
    """The matrices for pixels from 0 to 255, as cv2 takes them, float64 [N, C, C + 1]; rounded as in `geometry`."""
    rows = _of_grey(matrices) if channels == 1 else matrices
    rounded: Floats = (rows * [*[1.0] * channels, 255.0]).round(9)
    return rounded


def recolour(pixels: Pixels, matrix: Floats) -> Pixels:
    """Applies one of the matrices of `in_levels` to one image."""
    return cv2.transform(pixels, matrix).astype(np.uint8, copy=False)


def recolour_batch(images: Tensor, matrices: Tensor) -> Tensor:
    """Applies a matrix to each image of a batch, float [N, C, H, W] in [-1, 1]."""
    rows = (_of_grey(matrices) if images.shape[1] == 1 else matrices).to(images.device, images.dtype)
    offset = rows[:, :, :-1].sum(dim=2) + 2 * rows[:, :, -1] - 1
    mixed = torch.einsum("nij,njhw->nihw", rows[:, :, :-1], images)
    return (mixed + offset[:, :, None, None]).clamp(-1, 1)


def _of_grey(matrices: Values) -> Values:
    """What a matrix does to the luma of grey, [N, 1, 2]."""
    kept = _like(LUMA, matrices) @ matrices
    gain, offset = kept[:, :3].sum(1), kept[:, 3]
    if isinstance(matrices, Tensor):
        return torch.stack([gain, offset], dim=1)[:, None]
    return np.stack([gain, offset], axis=1)[:, None]


def _times(factors: Values, constant: Floats) -> Values:
    """A constant matrix times a factor an image, [N, 3, 3]."""
    return factors[:, None, None] * _like(constant, factors)


def _with_offset(mixed: Values, offset: Values) -> Values:
    """[N, 3, 3] and what is added to every channel [N], as [N, 3, 4]."""
    if isinstance(mixed, Tensor):
        return torch.cat([mixed, offset[:, None, None].expand(-1, 3, 1)], dim=2)
    return np.concatenate([mixed, np.broadcast_to(offset[:, None, None], (len(offset), 3, 1))], axis=2)


def _like(constant: Floats, values: Values) -> Values:
    return torch.as_tensor(constant, dtype=values.dtype) if isinstance(values, Tensor) else constant
