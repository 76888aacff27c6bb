"""A picture out of focus."""

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.corruptions import strength

SMALL, LARGE = (0.4, 0.6, 0.7, 0.8, 1.0), (1.0, 2.0, 3.0, 4.0, 6.0)  # standard deviation in pixels


def corrupt(image: npt.NDArray[np.float64], severity: int, _rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """The image, float [H, W, C] in [0, 1], blurred; beyond its border it goes on as it ends."""
    sigma = strength(SMALL, LARGE, severity, min(image.shape[:2]))
    blurred = cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(blurred, np.float64).reshape(image.shape)
