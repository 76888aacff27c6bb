"""What photographs suffer (Hendrycks and Dietterich 2019). One file a corruption; the folder is the registry.

A corruption module has
    corrupt(image, severity, rng): a float image [H, W, C] in [0, 1] (C is 1 or 3) made worse; severity is 1 to 5.

The paper gives strengths for images of 224 pixels a side (ImageNet-C) and of 32 (CIFAR-10-C): smaller images hold out
less. Sides between are interpolated, and what lies beyond has the nearest of the two.
"""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pipeline import registry
from pipeline.seeds import derive

KIND = "corruption"
SEVERITIES = (1, 2, 3, 4, 5)
SMALL, LARGE = 32, 224  # pixels a side


def corrupted(images: npt.NDArray[np.uint8], name: str, severity: int, seed: int) -> npt.NDArray[np.uint8]:
    """Images, uint8 [N, C, H, W], under a corruption; image i depends on itself, its number and the seed alone.

    Raises:
        UserError: there is no such corruption.
    """
    corrupt = registry.get(__name__, name).corrupt
    out = np.empty_like(images)
    for number, image in enumerate(images):
        rng = np.random.default_rng(derive(seed, name, severity, number))
        worse = corrupt(image.transpose(1, 2, 0) / 255, severity, rng)
        out[number] = np.rint(255 * np.clip(worse, 0, 1)).astype(np.uint8).transpose(2, 0, 1)
    return out


def strength(small: Sequence[float], large: Sequence[float], severity: int, side: int) -> float:
    """The strength at a severity, from those of CIFAR-10-C and of ImageNet-C, linear in the logarithm of the side."""
    share = (math.log(side) - math.log(SMALL)) / (math.log(LARGE) - math.log(SMALL))
    first, last = small[severity - 1], large[severity - 1]
    return first + min(max(share, 0.0), 1.0) * (last - first)
