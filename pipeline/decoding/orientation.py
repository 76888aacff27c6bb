"""How a camera was held: the EXIF tag Orientation (EXIF 2.32, section 4.6.4), applied to pixels."""

import numpy as np
import numpy.typing as npt
from PIL import Image

TAG = 0x0112
UPRIGHT = 1


def orientation_of(image: Image.Image) -> int:
    """1 to 8; 1 where an image does not say, or says it in a damaged way: the picture itself may be whole."""
    try:
        value = image.getexif().get(TAG, UPRIGHT)
    except Exception:  # noqa: BLE001 - Pillow raises whatever its parsing of a hostile header stumbles over
        return UPRIGHT
    return value if isinstance(value, int) and 1 <= value <= 8 else UPRIGHT


def upright(pixels: npt.NDArray[np.uint8], orientation: int) -> npt.NDArray[np.uint8]:
    """The picture as it was seen, [H, W] or [H, W, 3], sides exchanged for orientations 5 to 8."""
    turned = pixels.swapaxes(0, 1) if orientation >= 5 else pixels
    if orientation in (3, 4, 7, 8):
        turned = turned[::-1]
    if orientation in (2, 3, 6, 7):
        turned = turned[:, ::-1]
    return np.ascontiguousarray(turned)
