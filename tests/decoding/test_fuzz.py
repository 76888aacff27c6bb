"""Image files damaged at random: each becomes pixels or is refused in a line; nothing else ever happens."""

import io
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from pipeline.decoding import orientation
from pipeline.images import Shape
from pipeline.intake import Accepted, Refused, accept
from pipeline.sources import SourceFile
from tests.fuzz import fuzzed

SHAPE = Shape(16, 3, "crop")
SOFT = np.random.default_rng(0).integers(0, 256, (5, 5, 3), dtype=np.uint8)
PICTURE = Image.fromarray(cv2.resize(SOFT, (32, 32), interpolation=cv2.INTER_CUBIC))
DEEP = Image.fromarray(np.asarray(PICTURE)[..., 0].astype(np.uint16) * 257)


def exif() -> Image.Exif:
    given = Image.Exif()
    given[orientation.TAG] = 6
    given[0x010F] = "a camera"
    given.get_ifd(0x8825).update({1: "N", 2: (48.0, 8.0, 0.0)})
    return given


def text() -> PngImagePlugin.PngInfo:
    given = PngImagePlugin.PngInfo()
    given.add_itxt("Comment", "long " * 50, zip=True)
    return given


FILES: dict[str, tuple[Image.Image, dict[str, Any]]] = {
    "JPEG": (PICTURE, {}),
    "JPEG progressive": (PICTURE, {"progressive": True}),
    "JPEG grey": (PICTURE.convert("L"), {}),
    "JPEG exif": (PICTURE, {"exif": exif()}),
    "JPEG inks": (PICTURE.convert("CMYK"), {"exif": exif()}),
    "PNG": (PICTURE, {}),
    "PNG palette": (PICTURE.convert("P"), {"transparency": 3}),
    "PNG transparent": (PICTURE.convert("RGBA"), {"exif": exif()}),
    "PNG text": (PICTURE, {"pnginfo": text()}),
    "PNG bits": (PICTURE.convert("1"), {}),
    "PNG deep": (DEEP, {}),
    "GIF": (PICTURE, {}),
    "GIF moving": (PICTURE.convert("P"), {"save_all": True, "append_images": [PICTURE.rotate(90).convert("P")]}),
    "BMP": (PICTURE, {}),
    "BMP palette": (PICTURE.convert("P"), {}),
    "TIFF": (PICTURE, {}),
    "TIFF lzw": (PICTURE, {"compression": "tiff_lzw"}),
    "TIFF jpeg": (PICTURE, {"compression": "jpeg"}),
    "TIFF deep": (DEEP, {"compression": "tiff_deflate"}),
    "TIFF float": (PICTURE.convert("F"), {}),
    "TIFF fax": (PICTURE.convert("1"), {"compression": "group4"}),
    "TIFF inks": (PICTURE.convert("CMYK"), {}),
    "WEBP": (PICTURE, {"exif": exif()}),
    "WEBP lossless": (PICTURE.convert("RGBA"), {"lossless": True}),
    "PPM": (PICTURE, {}),
    "PPM grey": (PICTURE.convert("L"), {}),
    "PPM deep": (DEEP, {}),
}


def encoded(kind: str) -> bytes:
    image, options = FILES[kind]
    out = io.BytesIO()
    image.save(out, kind.partition(" ")[0], **options)
    return out.getvalue()


def outcome(data: bytes) -> Accepted | Refused:
    """What `ingest` makes of a file."""
    file = SourceFile(name="a.png", label="a", split=None, read=lambda: data)
    (item,) = accept([(file, data)], SHAPE, {"a": 0})
    return item


@pytest.mark.parametrize("kind", FILES)
def test_an_honest_file_is_used(kind: str) -> None:
    assert isinstance(outcome(encoded(kind)), Accepted)


@pytest.mark.parametrize("kind", FILES)
def test_damage_is_survived(kind: str) -> None:
    refused = 0
    for seed, data in fuzzed(kind, encoded(kind)):
        item = outcome(data)
        if isinstance(item, Refused):
            assert item.reason.isprintable(), seed
            assert len(item.reason) < 200, seed
            refused += 1
        else:
            assert item.pixels.shape == (16, 16, 3), seed
            assert item.pixels.dtype == np.uint8, seed
    assert refused > 0, "damage that is never noticed is no damage"


def exif_damaged(kind: str, mode: str) -> Iterator[bytes]:
    """Whole images whose EXIF is damaged."""
    for _, data in fuzzed(f"exif {kind}", exif().tobytes()):
        out = io.BytesIO()
        PICTURE.convert(mode).save(out, kind, exif=data[:60_000])
        yield out.getvalue()


@pytest.mark.parametrize(("kind", "mode"), [("JPEG", "RGB"), ("JPEG", "CMYK"), ("PNG", "RGB"), ("WEBP", "RGB")])
def test_an_image_outlives_its_exif(kind: str, mode: str) -> None:
    for data in exif_damaged(kind, mode):
        assert isinstance(outcome(data), Accepted)
