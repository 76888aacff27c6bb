"""What Pillow decodes for us and would fill up, cut off or warn about."""

import io
import struct

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from pipeline.decoding import UndecodableImageError, decode


def tiff(values: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(values).save(out, "TIFF")
    return out.getvalue()


def promising(data: bytes, tag: int, value: int) -> bytes:
    """A TIFF whose header says another number."""
    with Image.open(io.BytesIO(data)) as image:
        assert isinstance(image, TiffImagePlugin.TiffImageFile)
        old = image.tag_v2[tag]
    entry = struct.pack("<HHI", tag, 4, 1)
    assert data.count(entry + struct.pack("<I", old)) == 1
    return data.replace(entry + struct.pack("<I", old), entry + struct.pack("<I", value))


@pytest.mark.parametrize("tag", [TiffImagePlugin.IMAGEWIDTH, TiffImagePlugin.IMAGELENGTH], ids=["width", "height"])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_a_tiff_that_holds_less_than_it_promises_is_damaged(tag: int, dtype: type) -> None:
    whole = tiff(np.full((4, 4), 1, dtype))
    assert decode(whole).shape == (4, 4)
    with pytest.raises(UndecodableImageError, match=r"^damaged: "):
        decode(promising(whole, tag, 3_000_000))


@pytest.mark.parametrize(
    ("values", "grey"),
    [
        (np.array([[0.0, 0.5, 1.0, -1.0, np.nan]], np.float32), [0, 128, 255, 0, 0]),
        (np.array([[0.0, 25700.0, 65535.0, 9e9, np.nan]], np.float32), [0, 100, 255, 255, 0]),
        (np.array([[0, 128, 129, 25700, 65535]], np.uint16), [0, 0, 1, 100, 255]),  # 129 / 257 is more than a half
        (np.array([[0, -5, 25700, 70000, 65535]], np.int32), [0, 0, 100, 255, 255]),
    ],
    ids=["shares", "large floats", "16 bits", "32 bits"],
)
def test_deep_grey_is_scaled_to_8_bits(values: np.ndarray, grey: list[int]) -> None:
    assert decode(tiff(values)).tolist() == [grey]
