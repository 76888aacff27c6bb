"""Two images as one with both their labels, while training."""

from typing import Annotated, NamedTuple

import numpy as np
from pydantic import Field
from torch import Tensor

from pipeline.params import section


@section
class Mixing:
    """How often and how evenly images are mixed; both alphas at 0, as they are by default, leave them alone.

    Attributes:
        mixup: alpha of the Beta(alpha, alpha) that the share of the first image is drawn from (Zhang et al. 2018).
        cutmix: the same for the share of the area (Yun et al. 2019); with both above 0 each has half of the batches.
        probability: share of the batches that are mixed.
    """

    mixup: Annotated[float, Field(ge=0)] = 0.0
    cutmix: Annotated[float, Field(ge=0)] = 0.0
    probability: Annotated[float, Field(ge=0, le=1)] = 1.0

    @property
    def on(self) -> bool:
        """Whether any image is mixed."""
        return self.probability > 0 and (self.mixup > 0 or self.cutmix > 0)


class Mixed(NamedTuple):
    """A batch after mixing; `share` is the share of its own image and label that each image keeps."""

    images: Tensor
    share: float


def mix(images: Tensor, partners: Tensor, mixing: Mixing, rng: np.random.Generator) -> Mixed:
    """Mixes each image of a batch with its partner, all in the same shares, as both papers do.

    Args:
        images: float [N, C, H, W].
        partners: the row of each image's partner, int64 [N].
    """
    used, choice = rng.random(2)
    if used >= mixing.probability:
        return Mixed(images, 1.0)
    cut = choice < 0.5 if mixing.mixup and mixing.cutmix else mixing.cutmix > 0
    alpha = mixing.cutmix if cut else mixing.mixup
    share = float(rng.beta(alpha, alpha))
    if not cut:
        return Mixed(share * images + (1 - share) * images[partners], share)
    height, width = images.shape[2:]
    top, bottom, left, right = _box(height, width, share, rng)
    pasted = images.clone()
    pasted[:, :, top:bottom, left:right] = images[partners, :, top:bottom, left:right]
    return Mixed(pasted, 1 - (bottom - top) * (right - left) / (height * width))


def _box(height: int, width: int, share: float, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """A box around a random pixel that leaves `share` of the area, less where the image ends first."""
    side = (1 - share) ** 0.5
    spans = []
    for length in (height, width):
        centre, half = int(rng.integers(length)), round(length * side) // 2
        spans += [max(0, centre - half), min(length, centre + half)]
    return spans[0], spans[1], spans[2], spans[3]
