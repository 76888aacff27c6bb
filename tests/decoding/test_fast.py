"""The fast decoders give what Pillow gives, and find damage that Pillow does not."""

import io
import struct
import zlib
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from pipeline.decoding import UndecodableImageError, decode, fast
from pipeline.images import Pixels


def photo(seed: int, height: int = 64, width: int = 48) -> Pixels:
    """Smooth patches with some noise, as a photograph has."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    large = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC).astype(int)
    return np.clip(large + rng.integers(-12, 12, large.shape), 0, 255).astype(np.uint8)


def encoded(pixels: Pixels, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind, **options)
    return out.getvalue()


def by_pillow(data: bytes) -> Pixels:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("L" if image.mode == "L" else "RGB"))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"quality": 95, "subsampling": 0},
        {"quality": 30, "subsampling": 1},
        {"progressive": True},
        {"optimize": True},
    ],
    ids=str,
)
@pytest.mark.parametrize("size", [(64, 48), (33, 47), (8, 8), (500, 375)])
def test_a_jpeg_gives_pillow_s_pixels(options: dict[str, Any], size: tuple[int, int]) -> None:
    data = encoded(photo(0, *[max(8, side) for side in size])[: size[0], : size[1]], "JPEG", **options)
    pixels = fast.decode(data)
    assert pixels is not None
    np.testing.assert_array_equal(pixels, by_pillow(data))


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_grey_stays_grey(kind: str) -> None:
    data = encoded(photo(1)[..., 0], kind)
    np.testing.assert_array_equal(fast.decode(data), by_pillow(data))


def test_a_png_gives_pillow_s_pixels_whatever_text_it_carries() -> None:
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "hello")
    for options in ({}, {"pnginfo": text}, {"dpi": (300, 300)}, {"compress_level": 0}):
        data = encoded(photo(2), "PNG", **options)
        np.testing.assert_array_equal(fast.decode(data), photo(2))


@pytest.mark.parametrize(
    "data",
    [
        encoded(np.zeros((4, 4, 4), np.uint8), "PNG"),
        cv2.imencode(".png", np.zeros((4, 4), np.uint16))[1].tobytes(),
        encoded(photo(0), "GIF"),
        encoded(photo(0), "PNG", icc_profile=b"x" * 100),
    ],
    ids=["transparent", "16 bits", "GIF", "profile"],
)
def test_the_rest_is_left_to_pillow(data: bytes) -> None:
    assert fast.decode(data) is None
    assert decode(data).dtype == np.uint8


def test_four_inks_are_left_to_pillow() -> None:
    out = io.BytesIO()
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(out, "JPEG")
    assert fast.decode(out.getvalue()) is None
    assert decode(out.getvalue()).shape == (16, 16, 3)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_every_truncated_file_is_found(kind: str) -> None:
    data = encoded(photo(4), kind)
    rng = np.random.default_rng(0)
    for length in [*rng.integers(1, len(data), 100), len(data) - 1, len(data) - 2]:
        with pytest.raises(UndecodableImageError):
            decode(data[:length])


@pytest.mark.parametrize(("kind", "least"), [("JPEG", 0.7), ("PNG", 1.0)])
def test_most_changed_bytes_are_found(kind: str, least: float) -> None:
    rng = np.random.default_rng(0)
    found = 0
    for trial in range(100):
        data = bytearray(encoded(photo(trial, 128, 128), kind))
        for place in rng.integers(0, len(data), 5):
            data[place] ^= int(rng.integers(1, 256))
        try:
            decode(bytes(data))
        except UndecodableImageError:
            found += 1
    assert found >= least * 100


def test_a_bomb_is_refused_by_its_header_alone() -> None:
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    chunk = struct.pack(">I", 13) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    with pytest.raises(UndecodableImageError, match=r"^60000 x 60000 pixels, more than 100000000$"):
        decode(fast.PNG + chunk)
    data = bytearray(encoded(photo(0), "JPEG"))
    start = data.index(b"\xff\xc0")
    data[start + 5 : start + 9] = struct.pack(">HH", 60_000, 50_000)
    with pytest.raises(UndecodableImageError, match=r"^50000 x 60000 pixels, more than 100000000$"):
        decode(bytes(data))
