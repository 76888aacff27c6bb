"""Fog and flat light: every value nearer to the mean of its channel."""

import numpy as np
import numpy.typing as npt

from pipeline.corruptions import strength

SMALL, LARGE = (0.75, 0.5, 0.4, 0.3, 0.15), (0.4, 0.3, 0.2, 0.1, 0.05)  # share of the contrast that is left


def corrupt(image: npt.NDArray[np.float64], severity: int, _rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """The image, float [H, W, C] in [0, 1], flatter."""
    mean = image.mean(axis=(0, 1), keepdims=True)
    left: npt.NDArray[np.float64] = mean + (image - mean) * strength(SMALL, LARGE, severity, min(image.shape[:2]))
    return left
