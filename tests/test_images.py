import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.decoding import MAX_PIXELS, UndecodableImageError, decode
from pipeline.images import decode_png, encode_png, fit, is_grey, pixel_hash
from tests.builders import picture, solid


def file(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def exif_turned(orientation: int) -> bytes:
    image = Image.fromarray(picture(0, 0, 4, 6))
    exif = Image.Exif()
    exif[0x0112] = orientation
    return file(image, exif=exif)


def test_colour_keeps_its_order() -> None:
    np.testing.assert_array_equal(decode(file(Image.fromarray(picture(1, 2)))), picture(1, 2))
    assert decode(file(Image.new("RGB", (1, 1), (255, 0, 7)))).tolist() == [[[255, 0, 7]]]


@pytest.mark.parametrize(
    ("image", "kind", "expected"),
    [
        (Image.new("L", (1, 1), 77), "PNG", 77),
        (Image.new("1", (1, 1), 1), "PNG", 255),
        (Image.new("LA", (1, 1), (0, 255)), "PNG", [0, 0, 0]),
        (Image.new("RGBA", (1, 1), (10, 20, 30, 255)), "PNG", [10, 20, 30]),
        (Image.new("RGBA", (1, 1), (10, 20, 30, 0)), "PNG", [255, 255, 255]),
        (Image.new("RGBA", (1, 1), (0, 100, 255, 51)), "PNG", [204, 224, 255]),  # a fifth over white
        (Image.new("CMYK", (1, 1), (0, 255, 255, 0)), "TIFF", [255, 0, 0]),
        (Image.new("CMYK", (1, 1), (0, 0, 0, 0)), "TIFF", [255, 255, 255]),
        (Image.new("RGB", (1, 1), (9, 9, 200)).quantize(2), "GIF", [9, 9, 200]),
        (Image.new("F", (1, 1), 0.2), "TIFF", 51),
        (Image.new("F", (1, 1), 25700.0), "TIFF", 100),
        (Image.fromarray(np.full((1, 1), 25700, np.uint16)), "PNG", 100),  # 25700 = 100 * 257
        (Image.fromarray(np.full((1, 1), 65535, np.uint16)), "TIFF", 255),
        (Image.fromarray(np.full((1, 1), 128, np.uint16)), "PNG", 0),  # not 128: scaled, never cut
    ],
    ids=lambda value: f"{value.mode}" if isinstance(value, Image.Image) else str(value),
)
def test_every_mode_becomes_8_bits(image: Image.Image, kind: str, expected: Any) -> None:
    pixels = decode(file(image, kind))
    assert pixels.dtype == np.uint8
    assert pixels.tolist() == [[expected]]


def test_a_transparent_palette_is_laid_over_white() -> None:
    image = Image.new("RGB", (2, 1), (0, 0, 0))
    image.putpixel((1, 0), (200, 0, 0))
    palette = image.quantize(2)
    data = file(palette, transparency=palette.getpixel((0, 0)))
    assert decode(data).tolist() == [[[255, 255, 255], [200, 0, 0]]]


def test_a_16_bit_colour_png_keeps_its_high_byte() -> None:
    cv2 = pytest.importorskip("cv2")
    deep = np.full((1, 1, 3), (3 * 257, 2 * 257, 1 * 257), np.uint16)  # blue, green, red
    assert decode(cv2.imencode(".png", deep)[1].tobytes()).tolist() == [[[1, 2, 3]]]


def test_orientation_is_applied() -> None:
    np.testing.assert_array_equal(decode(exif_turned(1)), picture(0, 0, 4, 6))
    np.testing.assert_array_equal(decode(exif_turned(3)), picture(0, 0, 4, 6)[::-1, ::-1])
    np.testing.assert_array_equal(decode(exif_turned(6)), np.rot90(picture(0, 0, 4, 6), -1))


def test_a_moving_picture_gives_its_first_frame() -> None:
    frames = [Image.new("L", (2, 2), value) for value in (10, 200)]
    assert decode(file(frames[0], "TIFF", save_all=True, append_images=frames[1:])).tolist() == [[10, 10], [10, 10]]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"no image at all", "no image format known here"),
        (file(Image.fromarray(picture(0, 0, 40, 40)))[:-300], "damaged: "),
        (file(Image.fromarray(picture(0, 0, 40, 40)), "JPEG")[:-300], "damaged: "),
        (b"P5 20000 5001 255\n", "20000 x 5001 pixels, more than 100000000"),
        (b"P5 40000 10000 255\n", "more than 100000000 pixels"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "no image format known here"),
        (file(Image.new("RGB", (8, 8)), "DDS"), "no image format known here"),
    ],
    ids=["empty", "text", "png cut", "jpeg cut", "large", "bomb", "a program for ghostscript", "unlisted format"],
)
def test_what_cannot_be_used_gives_a_reason(data: bytes, reason: str) -> None:
    assert MAX_PIXELS == 100_000_000
    with pytest.raises(UndecodableImageError) as caught:
        decode(data)
    assert str(caught.value).startswith(reason)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM"])
def test_damaged_bytes_never_raise_anything_else(kind: str) -> None:
    rng = np.random.default_rng(0)
    whole = np.frombuffer(
        file(Image.fromarray(picture(0, 0)).quantize(16) if kind == "GIF" else Image.fromarray(picture(0, 0)), kind),
        np.uint8,
    )
    refused = 0
    for _ in range(150):
        damaged = whole[: rng.integers(len(whole) // 2, len(whole) + 1)].copy()
        damaged[rng.integers(0, len(damaged), 3)] = rng.integers(0, 256, 3)
        try:
            assert decode(damaged.tobytes()).dtype == np.uint8
        except UndecodableImageError:
            refused += 1
    assert refused, "the damage must be such that it is noticed"


def test_crop_keeps_the_centre_square() -> None:
    columns = np.repeat(np.arange(8, dtype=np.uint8)[None] * 10, 4, axis=0)  # 4 x 8
    assert fit(columns, 4, 1, "crop").tolist() == [[20, 30, 40, 50]] * 4
    assert fit(columns, 2, 1, "crop").tolist() == [[25, 45]] * 2  # means of two columns
    assert fit(columns.T.copy(), 4, 1, "crop").tolist() == np.transpose([[20, 30, 40, 50]] * 4).tolist()
    assert fit(np.full((3, 2, 3), 9, np.uint8), 8, 3, "crop").tolist() == [[[9, 9, 9]] * 8] * 8


def test_pad_keeps_all_and_adds_black() -> None:
    assert fit(solid(9, 4, 8), 4, 1, "pad").tolist() == [[0] * 4, [9] * 4, [9] * 4, [0] * 4]
    assert fit(solid(9, 8, 4), 8, 1, "pad").tolist() == [[0, 0, 9, 9, 9, 9, 0, 0]] * 8


@pytest.mark.parametrize("how", ["crop", "pad"])
def test_extreme_shapes_are_handled(how: str) -> None:
    assert fit(solid(9, 1, 1_000_000), 64, 3, how).shape == (64, 64, 3)
    assert fit(solid(9, 1, 1), 64, 1, how).tolist() == [[9] * 64] * 64


def test_channels() -> None:
    assert fit(solid(9), 8, 3, "crop").tolist() == [[[9, 9, 9]] * 8] * 8
    assert fit(solid((9, 9, 9)), 8, 1, "crop").tolist() == [[9] * 8] * 8
    # ITU-R BT.601: 0.299 * 200 + 0.587 * 100 + 0.114 * 50 = 124.2
    assert fit(solid((200, 100, 50), 1, 1), 1, 1, "crop").tolist() == [[124]]


def test_is_grey() -> None:
    assert is_grey(solid(9))
    assert is_grey(solid((9, 9, 9)))
    assert not is_grey(solid((9, 9, 8)))


@pytest.mark.parametrize("pixels", [picture(0, 0, 5, 7), picture(0, 0, 5, 7)[..., 0]], ids=["colour", "grey"])
def test_png_there_and_back(pixels: np.ndarray, tmp_path: Path) -> None:
    data = encode_png(pixels)
    np.testing.assert_array_equal(decode_png(data), pixels)
    np.testing.assert_array_equal(decode(data), pixels)
    assert encode_png(pixels.copy()) == data
    assert [data.count(chunk) for chunk in (b"tEXt", b"tIME", b"eXIf", b"IHDR")] == [0, 0, 0, 1]


def test_pixel_hash_is_of_the_picture_not_the_file() -> None:
    image = Image.fromarray(picture(0, 0))
    assert pixel_hash(decode(file(image, "BMP"))) == pixel_hash(decode(file(image, "PNG")))
    assert pixel_hash(solid(0, 2, 3)) != pixel_hash(solid(0, 3, 2))
    assert pixel_hash(picture(0, 0)) == pixel_hash(np.asfortranarray(picture(0, 0)))
