"""Noise of a sensor in the dark: normal, each value by itself."""

import numpy as np
import numpy.typing as npt

from pipeline.corruptions import strength

SMALL, LARGE = (0.04, 0.06, 0.08, 0.09, 0.10), (0.08, 0.12, 0.18, 0.26, 0.38)  # standard deviation


def corrupt(image: npt.NDArray[np.float64], severity: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """The image, float [H, W, C] in [0, 1], with noise added."""
    return image + rng.normal(0, strength(SMALL, LARGE, severity, min(image.shape[:2])), image.shape)
