"""Any image file to pixels; what is damaged, cut off or absurdly large is refused with a reason."""

import io
import warnings

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from pipeline.decoding import fast
from pipeline.images import Pixels

MAX_PIXELS = 100_000_000
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
        with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _refuse_large((image.height, image.width))
            return _to_pixels(ImageOps.exif_transpose(image))
    except UnidentifiedImageError:
        raise UndecodableImageError("no image format known here") from None
    except Image.DecompressionBombError:
        raise UndecodableImageError(f"more than {MAX_PIXELS} pixels") from None
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, TypeError, OverflowError) as error:
        if isinstance(error, UndecodableImageError):
            raise
        raise UndecodableImageError(f"damaged: {' '.join(str(error).split())[:120]}") from None


def _to_pixels(image: Image.Image) -> Pixels:
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        return _deep_grey(np.asarray(image, dtype=np.float64), image.mode)
    if image.mode in ("LA", "PA", "RGBA", "RGBa", "La") or "transparency" in image.info:
        over = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", over.size, "white"), over).convert("RGB")
    mode = "L" if image.mode in ("1", "L") else "RGB"
    return np.asarray(image.convert(mode), dtype=np.uint8)


def _deep_grey(values: npt.NDArray[np.float64], mode: str) -> Pixels:
    top = 65535.0 if mode != "F" or values.max(initial=0.0) > 1.0 else 1.0
    return np.rint(np.clip(values / top, 0.0, 1.0) * 255.0).astype(np.uint8)
