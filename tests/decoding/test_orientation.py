"""An image stands as it was seen, whatever file it comes in; a damaged EXIF costs it nothing but that."""

import io
import struct
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from pipeline.decoding import decode
from pipeline.decoding.orientation import TAG, upright

KINDS = [("JPEG", "RGB"), ("JPEG", "L"), ("JPEG", "CMYK"), ("PNG", "RGB"), ("TIFF", "RGB"), ("WEBP", "RGB")]


def turned_file(kind: str, mode: str, orientation: int, **exif: Any) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (24, 40, 3), dtype=np.uint8)
    given, out = Image.Exif(), io.BytesIO()
    given[TAG] = orientation
    Image.fromarray(pixels).convert(mode).save(out, kind, **({"exif": given} | exif))
    return out.getvalue()


def as_pillow_has_it(data: bytes, mode: str) -> np.ndarray[Any, Any]:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("L" if mode == "L" else "RGB"))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("kind", "mode"), KINDS)
def test_an_image_stands_upright_as_with_pillow(kind: str, mode: str, orientation: int) -> None:
    data = turned_file(kind, mode, orientation)
    np.testing.assert_array_equal(decode(data), as_pillow_has_it(data, mode))


def test_by_hand() -> None:
    pixels = np.array([[1, 2, 3], [4, 5, 6]], np.uint8)
    assert upright(pixels, 1).tolist() == [[1, 2, 3], [4, 5, 6]]
    assert upright(pixels, 3).tolist() == [[6, 5, 4], [3, 2, 1]]
    assert upright(pixels, 6).tolist() == [[4, 1], [5, 2], [6, 3]]  # a quarter to the right
    assert upright(pixels, 8).tolist() == [[3, 6], [2, 5], [1, 4]]  # and to the left


@pytest.mark.parametrize(("kind", "mode"), [pair for pair in KINDS if pair[0] != "TIFF"])  # which is made of tags
@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\0\0no such thing",
        b"Exif\0\0" + b"MM\0*\0\0\0\x08\0\x01" + struct.pack(">HHII", TAG, 2, 2, 0x36000000) + b"\0" * 4,
        b"Exif\0\0" + b"MM\0*\0\0\0\x08\0\x01" + struct.pack(">HHIHH", TAG, 3, 1, 9, 0) + b"\0" * 4,
        b"Exif\0\0" + b"MM\0*\0\0\0\x08\0\x09" + struct.pack(">HHII", 0x8825, 4, 1, 0xFFFFFFF0),
    ],
    ids=["no header", "text", "out of range", "cut off"],
)
def test_a_damaged_exif_leaves_the_image_as_it_lies(kind: str, mode: str, exif: bytes) -> None:
    expected = decode(turned_file(kind, mode, 1))
    np.testing.assert_array_equal(decode(turned_file(kind, mode, 1, exif=exif)), expected)
