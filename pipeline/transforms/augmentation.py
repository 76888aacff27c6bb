"""Changes images at random: a batch of tensors on the fly, or single ones to be stored, with the same draws and maths.

Colours change first, so that what comes in from outside stays as black as it is; then pixels move; then a part is
hidden; then comes whatever else Albumentations is asked for.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from pipeline.images import Pixels
from pipeline.transforms import by_name, colour, cutout, draw, geometry
from pipeline.transforms.draw import Draws
from pipeline.transforms.policy import Policy


def augment_batch(images: Tensor, policy: Policy, rng: torch.Generator) -> Tensor:
    """Changes each image of a batch, on the images' device.

    Args:
        images: float [N, C, H, W] in [-1, 1].
        rng: drawn from in a fixed order, so that its seed decides the result.

    Raises:
        UserError: a transform of Albumentations cannot be applied to these images.
    """
    draws = draw.for_batch(len(images), policy, rng)
    if policy.recolours:
        images = colour.recolour_batch(images, draw.colours(draws, colour.mean_luma_batch(images)))
    if policy.moves:
        matrix = draw.matrices(draws, *images.shape[2:])
        images = geometry.resample_batch(images, matrix, policy.border).clamp(-1, 1)
    if policy.hides:
        images = cutout.hide_batch(images, draw.boxes(draws, *images.shape[2:]))
    return _with_extras(images, draws) if policy.extra else images


def augment_images(images: Sequence[Pixels], policy: Policy, seeds: Sequence[int]) -> Iterator[Pixels]:
    """Yields each image changed; images of one shape. What becomes of an image depends on its seed alone.

    Raises:
        UserError: a transform of Albumentations cannot be applied to these images.
    """
    if not images:
        return
    height, width = images[0].shape[:2]
    draws, recolours, moves = draw.for_seeds(seeds, policy), None, None
    if policy.recolours:
        means = np.array([colour.mean_luma(pixels) for pixels in images])
        recolours = colour.in_levels(draw.colours(draws, means), channels=1 if images[0].ndim == 2 else 3)
    if policy.moves:
        moves = geometry.in_pixels(draw.matrices(draws, height, width), height, width)
    hidden = draw.boxes(draws, height, width) if policy.hides else None
    for number, pixels in enumerate(images):
        changed = pixels if recolours is None else colour.recolour(pixels, recolours[number])
        if moves is not None:
            changed = geometry.resample(changed, moves[number], policy.border)
        if hidden is not None:
            changed = cutout.hide(changed, hidden, number)
        if policy.extra:
            specs, seed = draw.extras(draws, number)
            changed = by_name.apply(specs, changed, seed)
        yield changed


def _with_extras(images: Tensor, draws: Draws[Tensor]) -> Tensor:
    """The batch after the transforms of Albumentations, which take whole grey levels."""
    levels = ((images + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    if images.shape[1] == 1:
        levels = levels[..., 0]
    changed = []
    for number, pixels in enumerate(levels):
        specs, seed = draw.extras(draws, number)
        changed.append(by_name.apply(specs, np.ascontiguousarray(pixels), seed))
    stacked = torch.from_numpy(np.stack(changed)).reshape(images.permute(0, 2, 3, 1).shape)
    return stacked.permute(0, 3, 1, 2).to(images.device, images.dtype).div_(127.5).sub_(1)
