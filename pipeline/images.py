"""Pixels: one array shape, and PNG bytes for storage."""

import hashlib
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
"""uint8, H x W (grey) or H x W x 3 (RGB)."""

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".pgm", ".ppm"})

SHAPE_FILE = "shape.json"  # beside the shards of real training images: what they were brought to


@dataclass(frozen=True)
class Shape:
    """What every image is brought to: `size` x `size` pixels, 1 or 3 channels."""

    size: int
    channels: int
    how: Literal["crop", "pad"]


def is_grey(pixels: Pixels) -> bool:
    """Whether the image carries no colour (one channel, or three equal ones)."""
    return pixels.ndim == 2 or bool((pixels[..., :1] == pixels).all())


def fit(pixels: Pixels, size: int, channels: int, how: str) -> Pixels:
    """Brings an image to `size` x `size` and 1 or 3 channels.

    Args:
        how: "crop" cuts the centre square and scales it; "pad" scales the longer side and adds black.
    """
    if channels == 1 and pixels.ndim == 3:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(np.uint8, copy=False)
    elif channels == 3 and pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=2)
    if how == "crop":
        pixels = _centre(pixels, min(pixels.shape[:2]))
    height, width = pixels.shape[:2]
    if (height, width) == (size, size):
        return pixels
    scale = size / max(height, width)
    new = (max(1, round(width * scale)), max(1, round(height * scale)))
    resized = cv2.resize(pixels, new, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    return _centre(resized.astype(np.uint8, copy=False), size)


def _centre(pixels: Pixels, size: int) -> Pixels:
    out = np.zeros((size, size, *pixels.shape[2:]), dtype=np.uint8)
    spans = []
    for length in pixels.shape[:2]:
        kept = min(length, size)
        spans.append(
            (
                slice((length - kept) // 2, (length - kept) // 2 + kept),
                slice((size - kept) // 2, (size - kept) // 2 + kept),
            )
        )
    (from_y, to_y), (from_x, to_x) = spans
    out[to_y, to_x] = pixels[from_y, from_x]
    return out


def encode_png(pixels: Pixels) -> bytes:
    """Encodes grey or RGB pixels as PNG, free of any metadata; equal pixels give equal bytes."""
    bgr = pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    written, buffer = cv2.imencode(".png", bgr)
    assert written, "cv2 could not encode a PNG"
    return buffer.tobytes()


def decode_png(data: bytes) -> Pixels:
    """Decodes a PNG that we stored ourselves; the fast way."""
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert pixels is not None, "a stored PNG could not be decoded"
    return (
        pixels.astype(np.uint8, copy=False)
        if pixels.ndim == 2
        else cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB).astype(np.uint8)
    )


def pixel_hash(pixels: Pixels) -> str:
    """sha256 of shape and pixels: equal for equal pictures whatever file format they came in."""
    return hashlib.sha256(repr(pixels.shape).encode() + np.ascontiguousarray(pixels).tobytes()).hexdigest()
