"""`builtin:glyphs`: 4,000 digits rendered from the fonts that ship with matplotlib, a source domain for transfer.

Bright on dark and 8 x 8 pixels like `builtin:digits`; font, stroke, size, slant, place, sharpness and contrast vary.
"""

import math
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pipeline.images import Pixels, encode_png
from pipeline.sources import SourceFile

NUM_IMAGES = 4000
RECIPE = 1  # to be raised with every change of how glyphs are drawn
SIDE = 8
_DRAWN_SIDE = 32
_FAMILIES = ("DejaVu", "STIXGeneral", "cmr10", "cmb10", "cmss10", "cmtt10")
_CANVAS = 128


def accepts(source: str) -> bool:
    """True for `builtin:glyphs`."""
    return source == "builtin:glyphs"


def files(source: str) -> Iterator[SourceFile]:
    """All glyphs, as many of each digit."""
    fonts = _fonts()
    for number in range(NUM_IMAGES):
        digit = str(number % 10)
        name, read = f"{digit}/{number:04d}.png", partial(_png, fonts, digit, number)
        identity = f"glyphs {RECIPE} {number} of {len(fonts)} fonts".encode()
        yield SourceFile(name=name, label=digit, split=None, read=read, identity=identity)


def _fonts() -> tuple[Path, ...]:
    import matplotlib

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    return tuple(
        path for path in sorted(folder.glob("*.ttf")) if path.name.startswith(_FAMILIES) and "Display" not in path.name
    )


def _png(fonts: tuple[Path, ...], digit: str, seed: int) -> bytes:
    rng = np.random.default_rng(seed)
    return encode_png(_vary(_outline(fonts[rng.integers(len(fonts))], digit), rng))


@cache
def _outline(font: Path, digit: str) -> Pixels:
    """The digit drawn large in the middle of a square canvas, uint8 [128, 128]."""
    image = Image.new("L", (_CANVAS, _CANVAS), 0)
    draw = ImageDraw.Draw(image)
    loaded = ImageFont.truetype(str(font), 80)
    left, top, right, bottom = draw.textbbox((0, 0), digit, font=loaded)
    draw.text(((_CANVAS - left - right) / 2, (_CANVAS - top - bottom) / 2), digit, fill=255, font=loaded)
    return np.asarray(image)


def _vary(outline: Pixels, rng: np.random.Generator) -> Pixels:
    """One writer's version of the glyph, uint8 [8, 8]."""
    inked = _change_stroke(outline, int(rng.integers(-4, 7)))
    rows, columns = np.nonzero(inked > 127)
    height = int(np.ptp(rows)) + 1
    scale_y = _DRAWN_SIDE * rng.uniform(0.85, 1.05) / height
    scale_x = scale_y * rng.uniform(0.8, 1.25)
    angle, slant = math.radians(rng.uniform(-15, 15)), rng.uniform(-0.25, 0.25)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    matrix = turn @ np.array([[1.0, slant], [0.0, 1.0]]) @ np.diag([scale_x, scale_y])
    centre = np.array([columns.mean(), rows.mean()])
    offset = _DRAWN_SIDE / 2 + rng.uniform(-2, 2, 2) - matrix @ centre
    drawn = cv2.warpAffine(inked, np.c_[matrix, offset], (_DRAWN_SIDE, _DRAWN_SIDE), flags=cv2.INTER_AREA)
    if rng.random() < 0.5:
        drawn = cv2.GaussianBlur(drawn, (0, 0), rng.uniform(0.25, 2.0))
    small = cv2.resize(drawn, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    varied: Pixels = np.clip(small * rng.uniform(0.9, 1.3), 0, 255).astype(np.uint8)
    return varied


def _change_stroke(outline: Pixels, by: int) -> Pixels:
    """Thickens (`by` > 0) or thins the stroke, unless too little of it would be left."""
    if by > 0:
        return cv2.dilate(outline, np.ones((by, by), np.uint8)).astype(np.uint8)
    if by < -1:
        thinner = cv2.erode(outline, np.ones((-by, -by), np.uint8)).astype(np.uint8)
        if (thinner > 127).sum() > 0.35 * (outline > 127).sum():
            return thinner
    return outline
