"""Any image file to pixels; what is damaged, cut off or absurdly large is refused with a reason."""

import io
import warnings
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, TiffImagePlugin, UnidentifiedImageError

from pipeline.decoding import fast
from pipeline.decoding.orientation import orientation_of, upright
from pipeline.images import Pixels

MAX_PIXELS = 100_000_000
_QUIET = Lock()  # one thread at a time may change which warnings are shown
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")


class UndecodableImageError(ValueError):
    """The bytes are no image that can be used; the message is the reason shown in the quarantine."""


def decode(data: bytes) -> Pixels:
    """Decodes any image file to 8-bit grey or RGB, orientation applied, transparency laid over white.

    Raises:
        UndecodableImageError: empty, unknown, truncated, damaged or absurdly large.
    """
    if not data:
        raise UndecodableImageError("empty file")
    try:
        _refuse_large(fast.size_of(data))
        pixels = fast.decode(data)
    except fast.DamagedError as error:
        raise UndecodableImageError(f"damaged: {error}") from None
    return _decode_any(data) if pixels is None else pixels


def _refuse_large(size: tuple[int, int] | None) -> None:
    if size is not None and size[0] * size[1] > MAX_PIXELS:
        raise UndecodableImageError(f"{size[1]} x {size[0]} pixels, more than {MAX_PIXELS}")


def _decode_any(data: bytes) -> Pixels:
    try:
        with _QUIET, warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _refuse_large((image.height, image.width))
            _refuse_partly_filled(image)
            pixels = _to_pixels(image)  # before the orientation is asked for: a TIFF is turned as it is read
            return upright(pixels, orientation_of(image))
    except UnidentifiedImageError:
        raise UndecodableImageError("no image format known here") from None
    except Image.DecompressionBombError:
        raise UndecodableImageError(f"more than {MAX_PIXELS} pixels") from None
    except UndecodableImageError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever a hostile file makes Pillow stumble over is told as its reason
        raise UndecodableImageError(f"damaged: {' '.join(str(error).split())[:120]}") from None


def _refuse_partly_filled(image: Image.Image) -> None:
    """Stops at a TIFF whose header promises more than its strips hold, which Pillow would fill up with black."""
    tiles = image.tile if isinstance(image, TiffImagePlugin.TiffImageFile) else []
    held = [tile[1] for tile in tiles if tile[1] is not None]
    if held and max(box[2] for box in held) * max(box[3] for box in held) < image.width * image.height:
        raise UndecodableImageError("damaged: the TIFF holds less than its header promises")


def _to_pixels(image: Image.Image) -> Pixels:
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        return _deep_grey(np.asarray(image))
    if image.mode in ("LA", "PA", "RGBA", "RGBa", "La") or "transparency" in image.info:
        over = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", over.size, "white"), over).convert("RGB")
    mode = "L" if image.mode in ("1", "L") else "RGB"
    return np.asarray(image.convert(mode), dtype=np.uint8)


def _deep_grey(values: npt.NDArray[Any]) -> Pixels:
    """16-bit grey as 8 bits, rounded; floats of at most 1 are shares of white, and what is no number is black."""
    if values.dtype.kind != "f":
        return np.asarray((np.clip(values, 0, 65535).astype(np.uint32) + 128) // 257, dtype=np.uint8)
    shares = np.nan_to_num(values)
    shares = np.clip(shares / np.float32(65535.0 if shares.max(initial=0.0) > 1.0 else 1.0), 0.0, 1.0)
    return np.asarray(np.rint(shares * np.float32(255.0)), dtype=np.uint8)
