"""Too much light."""

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.corruptions import strength

SMALL, LARGE = (0.05, 0.10, 0.15, 0.20, 0.30), (0.1, 0.2, 0.3, 0.4, 0.5)  # added to the value of HSV


def corrupt(image: npt.NDArray[np.float64], severity: int, _rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """The image, float [H, W, C] in [0, 1], brighter; hue and saturation stay."""
    more = strength(SMALL, LARGE, severity, min(image.shape[:2]))
    if image.shape[2] == 1:
        return np.clip(image + more, 0, 1)
    hsv = cv2.cvtColor(image.astype(np.float32), cv2.COLOR_RGB2HSV)
    hsv[..., 2] = np.clip(hsv[..., 2] + more, 0, 1)
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), np.float64)
