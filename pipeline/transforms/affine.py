"""On-the-fly augmentation of a batch: rotation, shift, scale, shear and flip composed to one matrix, resampled once."""

import math
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from pipeline.params import section

Border = Literal["black", "edge", "reflect"]
_PADDING = {"black": "zeros", "edge": "border", "reflect": "reflection"}
Share = Annotated[float, Field(ge=0, le=1)]


@section
class Affine:
    """Ranges of the random changes; each is drawn uniformly from -x to x.

    Attributes:
        rotation_degrees: turn around the centre.
        shift: share of the side.
        scale: relative change of size, drawn for each axis.
        shear: slant along x.
        horizontal_flip: probability of a mirror image.
        brightness, contrast: added to, and relative change of, pixels between -1 and 1.
        border: what lies outside the image.
    """

    rotation_degrees: Annotated[float, Field(ge=0, le=180)]
    shift: Share
    scale: Annotated[float, Field(ge=0, lt=1)]
    shear: Share
    horizontal_flip: Share
    brightness: Share
    contrast: Annotated[float, Field(ge=0, lt=1)]
    border: Border


def augment(images: Tensor, params: Affine, rng: torch.Generator) -> Tensor:
    """Changes each image of a batch at random.

    Args:
        images: float [N, C, H, W] in [-1, 1].
        rng: drawn from in a fixed order, so that its seed decides the result.
    """
    matrices = _matrices(len(images), params, rng)
    grid = F.affine_grid(matrices.to(images.device), list(images.shape), align_corners=False)
    # Sampling in [0, 2] makes what lies outside black rather than grey.
    moved = F.grid_sample(images + 1, grid, padding_mode=_PADDING[params.border], align_corners=False) - 1
    if params.brightness or params.contrast:
        contrast = 1 + _uniform((len(images), 1, 1, 1), params.contrast, rng).to(images.device)
        moved = moved * contrast + _uniform((len(images), 1, 1, 1), params.brightness, rng).to(images.device)
    return moved.clamp(-1, 1)


def _matrices(n: int, params: Affine, rng: torch.Generator) -> Tensor:
    """2 x 3 matrices from output to input coordinates in [-1, 1], float [N, 2, 3]."""
    angle = _uniform((n,), math.radians(params.rotation_degrees), rng)
    scale_x, scale_y = 1 + _uniform((n,), params.scale, rng), 1 + _uniform((n,), params.scale, rng)
    shear = _uniform((n,), params.shear, rng)
    shift = _uniform((n, 2), 2 * params.shift, rng)
    flip = 1 - 2 * (torch.rand(n, generator=rng) < params.horizontal_flip).float()
    cos, sin = angle.cos(), angle.sin()
    top = torch.stack([cos * scale_x * flip, (cos * shear - sin) * scale_y, shift[:, 0]], dim=1)
    bottom = torch.stack([sin * scale_x * flip, (sin * shear + cos) * scale_y, shift[:, 1]], dim=1)
    return torch.stack([top, bottom], dim=1)


def _uniform(shape: tuple[int, ...], limit: float, rng: torch.Generator) -> Tensor:
    return (torch.rand(shape, generator=rng) * 2 - 1) * limit
