"""Rotation, flip, crop, scale, shear and shift as one 2 x 3 matrix: composed first, then the image is resampled once.

A matrix leads from a place in the result to the place in the image that it is taken from, in coordinates that run from
-1 to 1 between the outer edges. The algebra is the same for float64 arrays (one image at a time, cv2) and for tensors
(a batch, torch), and so are the results, to within one grey level.
"""

from typing import Generic, Literal, NamedTuple, TypeVar

import cv2
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.images import Pixels

Floats = npt.NDArray[np.float64]
Values = TypeVar("Values", Tensor, Floats)
Border = Literal["black", "edge", "reflect"]

_CV2 = {"black": cv2.BORDER_CONSTANT, "edge": cv2.BORDER_REPLICATE, "reflect": cv2.BORDER_REFLECT}
_FLAGS = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
_TORCH = {"black": "zeros", "edge": "border", "reflect": "reflection"}


class Matrix(NamedTuple, Generic[Values]):
    """The matrices of N images, each entry [N]: a point (x, y) is taken from (a x + b y + u, c x + d y + v)."""

    a: Values
    b: Values
    u: Values
    c: Values
    d: Values
    v: Values


def rotation(angle: Values, aspect: float = 1.0) -> Matrix[Values]:
    """A turn around the centre.

    Args:
        angle: radians [N].
        aspect: width over height, so that a turn stays one on images that are not square.
    """
    cos, sin = (angle.cos(), angle.sin()) if isinstance(angle, Tensor) else (np.cos(angle), np.sin(angle))
    zero = angle * 0
    return Matrix(cos, -sin / aspect, zero, sin * aspect, cos, zero)


def scale(x: Values, y: Values) -> Matrix[Values]:
    """The image becomes 1 / x times as wide and 1 / y times as high; a negative factor mirrors it."""
    zero = x * 0
    return Matrix(x, zero, zero, zero, y, zero)


def shear(x: Values, aspect: float = 1.0) -> Matrix[Values]:
    """A slant along x: pixels for each pixel of height."""
    zero = x * 0
    return Matrix(zero + 1, x / aspect, zero, zero, zero + 1, zero)


def shift(x: Values, y: Values) -> Matrix[Values]:
    """A move by x / 2 of the width and y / 2 of the height, to the left and up."""
    zero = x * 0
    return Matrix(zero + 1, zero, x, zero, zero + 1, y)


def crop(width: Values, height: Values, x: Values, y: Values) -> Matrix[Values]:
    """A part of the image scaled back to the whole: its size in shares of the side, and the place of its centre."""
    zero = width * 0
    return Matrix(width, zero, x, zero, height, y)


def compose(*changes: Matrix[Values]) -> Matrix[Values]:
    """All changes as one; the image undergoes them in this order."""
    total = changes[0]
    for inner in changes[1:]:
        total = Matrix(
            total.a * inner.a + total.b * inner.c,
            total.a * inner.b + total.b * inner.d,
            total.a * inner.u + total.b * inner.v + total.u,
            total.c * inner.a + total.d * inner.c,
            total.c * inner.b + total.d * inner.d,
            total.c * inner.u + total.d * inner.v + total.v,
        )
    return total


def in_pixels(matrix: Matrix[Floats], height: int, width: int) -> Floats:
    """The matrices in coordinates of pixel centres, as cv2 takes them, float64 [N, 2, 3].

    Rounded, so that processors whose cosines differ in the last bit take the same pixels.
    """
    a, b, u, c, d, v = matrix
    b, c = b * width / height, c * height / width
    u = ((u + 1) * width + a * (1 - width) + b * (1 - height) - 1) / 2
    v = ((v + 1) * height + c * (1 - width) + d * (1 - height) - 1) / 2
    rows = np.stack([a, b, u, c, d, v], axis=1).reshape(-1, 2, 3)
    rounded: Floats = rows.round(9)
    return rounded


def resample(pixels: Pixels, matrix: Floats, border: Border) -> Pixels:
    """Applies one of the matrices of `in_pixels` to one image, bilinearly."""
    height, width = pixels.shape[:2]
    moved = cv2.warpAffine(pixels, matrix, (width, height), flags=_FLAGS, borderMode=_CV2[border])
    return moved.astype(np.uint8, copy=False)


def resample_batch(images: Tensor, matrix: Matrix[Tensor], border: Border) -> Tensor:
    """Applies a matrix to each image of a batch, float [N, C, H, W] in [-1, 1], bilinearly."""
    rows = torch.stack(list(matrix), dim=1).reshape(-1, 2, 3).to(images.device, images.dtype)
    grid = F.affine_grid(rows, list(images.shape), align_corners=False)
    # Sampling in [0, 2] makes what lies outside black rather than grey.
    return F.grid_sample(images + 1, grid, padding_mode=_TORCH[border], align_corners=False) - 1
