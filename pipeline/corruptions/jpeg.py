"""A picture that was compressed too much."""

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.corruptions import strength

SMALL, LARGE = (80, 65, 58, 50, 40), (25, 18, 15, 10, 7)  # JPEG quality


def corrupt(image: npt.NDArray[np.float64], severity: int, _rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """The image, float [H, W, C] in [0, 1], as JPEG gives it back."""
    quality = round(strength(SMALL, LARGE, severity, min(image.shape[:2])))
    pixels = np.ascontiguousarray(np.rint(255 * image).astype(np.uint8)[..., ::-1])  # OpenCV goes by blue, green, red
    written, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert written, "cv2 could not encode a JPEG"
    back = np.asarray(cv2.imdecode(data, cv2.IMREAD_UNCHANGED)).reshape(image.shape)
    return back[..., ::-1] / 255
