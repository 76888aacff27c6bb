"""The two formats that nearly all images come in, decoded fast and strictly: a damaged file is found, not guessed at.

JPEG through libjpeg-turbo, where any warning counts as damage (ITU-T T.81 leaves most flipped bits undetected without
that); PNG by its own checksums (W3C PNG, section 5.5) and then OpenCV. What is rarer in either format (four inks,
palette, transparency, 16 bits) is left to Pillow.
"""

import io
import struct
import warnings
import zlib

import cv2
import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image

from pipeline.decoding.orientation import orientation_of, upright

JPEG = b"\xff\xd8\xff"
PNG = b"\x89PNG\r\n\x1a\n"
# Chunks that change nothing about the pixels of an 8-bit grey or RGB image.
PLAIN_CHUNKS = frozenset({b"IHDR", b"IDAT", b"IEND", b"tEXt", b"zTXt", b"iTXt", b"pHYs", b"tIME", b"sBIT"})


class DamagedError(ValueError):
    """The file is not what its format says it must be."""


def size_of(data: bytes) -> tuple[int, int] | None:
    """Height and width that a JPEG's or PNG's header promises, before anything is decoded; None for another format.

    Raises:
        DamagedError: the header is no header.
    """
    if data.startswith(JPEG):
        try:
            height, width, *_ = simplejpeg.decode_jpeg_header(data, strict=False)
        except ValueError as error:
            raise DamagedError(_reason(error)) from None
        except KeyError:  # a subsampling that the library has no name for
            return None
        return int(height), int(width)
    if data.startswith(PNG):
        if len(data) < 33 or data[12:16] != b"IHDR":
            raise DamagedError("the PNG has no header")
        width, height = struct.unpack(">II", data[16:24])
        return int(height), int(width)
    return None


def decode(data: bytes) -> npt.NDArray[np.uint8] | None:
    """Pixels of a JPEG or PNG, [H, W] or [H, W, 3], upright; None for what is left to Pillow.

    Raises:
        DamagedError: cut off or changed.
    """
    if data.startswith(JPEG):
        return _jpeg(data)
    if data.startswith(PNG):
        return _png(data)
    return None


def _jpeg(data: bytes) -> npt.NDArray[np.uint8] | None:
    try:
        _, _, colours, _ = simplejpeg.decode_jpeg_header(data, strict=False)
        if colours not in {"Gray", "YCbCr", "RGB"}:
            return None
        pixels = simplejpeg.decode_jpeg(data, "GRAY" if colours == "Gray" else "RGB", strict=True)
    except ValueError as error:
        raise DamagedError(_reason(error)) from None
    except KeyError:
        return None
    return _upright(pixels[..., 0] if colours == "Gray" else pixels, data)


def _upright(pixels: npt.NDArray[np.uint8], data: bytes) -> npt.NDArray[np.uint8]:
    if b"Exif\0\0" not in data[:65536]:
        return np.ascontiguousarray(pixels)
    with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
        return upright(pixels, orientation_of(image))


def _png(data: bytes) -> npt.NDArray[np.uint8] | None:
    kinds = _checked_chunks(data)
    depth, colour = data[24], data[25]
    if depth != 8 or colour not in {0, 2} or not kinds <= PLAIN_CHUNKS:
        return None
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise DamagedError("the PNG's pixels cannot be unpacked")
    return np.asarray(pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def _checked_chunks(data: bytes) -> set[bytes]:
    """The kinds of a PNG's chunks, every checksum compared, its end seen."""
    kinds: set[bytes] = set()
    start, view = len(PNG), memoryview(data)
    while start + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, start)
        end = start + 12 + length
        if end > len(data):
            break
        kind = data[start + 4 : start + 8]
        (checksum,) = struct.unpack_from(">I", data, end - 4)
        if zlib.crc32(view[start + 4 : end - 4]) != checksum:
            raise DamagedError(f"the PNG's chunk at byte {start} has been changed")
        kinds.add(kind)
        if kind == b"IEND":
            return kinds
        start = end
    raise DamagedError("the PNG is cut off")


def _reason(error: ValueError) -> str:
    return " ".join(str(error).split())[:120] or "the JPEG cannot be decoded"
