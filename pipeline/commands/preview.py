"""Draws a sheet of what `augment` makes of each class: real images, and below each its augmented ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pipeline import params
from pipeline.atomic import new_file
from pipeline.dataset import Dataset, Row
from pipeline.errors import UserError
from pipeline.images import Pixels, decode_png, encode_png
from pipeline.params import unknown
from pipeline.progress import log
from pipeline.seeds import derive
from pipeline.stages import augment
from pipeline.transforms.augmentation import augment_images
from pipeline.transforms.recipe import Recipe

MOST_CLASSES = 10
SHOWN_SIDE, MAX_SHOWN_SIDE = 64, 96
GAP, TITLE, SPACE = 2, 22, 20
_PAPER, _INK = (255, 255, 255), (30, 30, 30)


@dataclass(frozen=True)
class Block:
    """What is shown of one class; `rows` holds real images, then row by row what becomes of each."""

    title: str
    rows: list[list[Pixels]]


def run(
    params_file: Path,
    train: Path = Path("data/real/train"),
    out: Path = Path("results/preview.png"),
    *,
    classes: tuple[str, ...] = (),
    parents: int = 6,
    copies: int = 4,
) -> None:
    """Writes the sheet as PNG; the images are the very ones that `augment` would make first.

    Args:
        classes: the classes to show; by default the smallest, which are given the most images.
        parents: real images of each.
        copies: augmented images of each of those.

    Raises:
        UserError: a class is unknown, a number is below 1, or the section `augment` is wrong.
    """
    if parents < 1 or copies < 1:
        raise UserError(f"preview: parents and copies must be at least 1, got {parents} and {copies}")
    settings = params.load(augment.Params, params_file, "augment")
    real = Dataset.open(train)
    how = augment.recipe_of(settings, real)
    found = first_rows(real, _labels(real, classes), parents)
    blocks = [_block(label, rows, how, settings.seed, copies) for label, rows in found.items()]
    with new_file(out) as temporary:
        temporary.write_bytes(encode_png(draw_sheet(blocks)))
    log(f"preview: {len(blocks)} classes under the policy {how.policy.name!r} in {out}; the upper row is real")


def _labels(real: Dataset, classes: Sequence[str]) -> list[int]:
    for name in classes:
        if name not in real.class_names:
            raise UserError(f"preview: {unknown('class', name, real.class_names)}")
    if classes:
        return [real.class_names.index(name) for name in classes]
    counts = real.class_counts()
    smallest = [int(label) for label in np.argsort(counts, kind="stable") if counts[label]]
    return sorted(smallest[:MOST_CLASSES])


def first_rows(real: Dataset, labels: Sequence[int], most: int) -> dict[int, list[Row]]:
    """The first rows of each class; reads no further than it must."""
    counts, found = real.class_counts(), {label: list[Row]() for label in labels}
    missing = sum(min(most, int(counts[label])) for label in labels)
    for row in real.rows() if missing else ():
        if len(found.get(row.label, [])) < most and row.label in found:
            found[row.label].append(row)
            missing -= 1
            if not missing:
                break
    return found


def _block(label: int, rows: list[Row], how: Recipe, seed: int, copies: int) -> Block:
    images = [decode_png(row.image) for row in rows]
    made = [
        list(augment_images(images, how.policy_of(label), [derive(seed, row.id, copy) for row in rows]))
        for copy in range(copies)
    ]
    name = how.class_names[label]
    own = f" ({how.per_class[name].name}, of its own)" if name in how.per_class else ""
    return Block(name + own, [images, *made])


def draw_sheet(blocks: Sequence[Block]) -> Pixels:
    """The blocks in columns, each image enlarged by a whole factor (or shrunk, if it is large)."""
    drawn = [_draw_block(block) for block in blocks]
    columns = 1 if len(drawn) < 4 else 2
    per_column = -(-len(drawn) // columns)
    height, width = (max(image.shape[axis] for image in drawn) + SPACE for axis in (0, 1))
    sheet = np.full((per_column * height + SPACE, columns * width + SPACE, 3), _PAPER, dtype=np.uint8)
    for number, image in enumerate(drawn):
        top, left = number % per_column * height + SPACE, number // per_column * width + SPACE
        sheet[top : top + image.shape[0], left : left + image.shape[1]] = image
    return sheet


def _draw_block(block: Block) -> Pixels:
    rows = [[_shown(image) for image in row] for row in block.rows]
    height, width = rows[0][0].shape[:2] if rows[0] else (0, 0)
    title = _title(block.title)
    lower = TITLE + len(rows) * (height + GAP) + 4 * GAP
    drawn = np.full((lower, max(len(rows[0]) * (width + GAP), title.shape[1]), 3), _PAPER, dtype=np.uint8)
    drawn[:TITLE, : title.shape[1]] = title
    for line, row in enumerate(rows):
        top = TITLE + line * (height + GAP) + (4 * GAP if line else 0)  # a wider gap below the real images
        for place, image in enumerate(row):
            left = place * (width + GAP)
            drawn[top : top + height, left : left + width] = image
    return drawn


def _shown(image: Pixels) -> Pixels:
    colour = image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2)
    side = max(colour.shape[:2])
    if side > MAX_SHOWN_SIDE:
        height, width = (max(1, round(length * MAX_SHOWN_SIDE / side)) for length in colour.shape[:2])
        return cv2.resize(colour, (width, height), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    zoom = max(1, SHOWN_SIDE // side)
    return colour.repeat(zoom, axis=0).repeat(zoom, axis=1)


def _title(text: str) -> Pixels:
    import matplotlib

    font = ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), 13)
    image = Image.new("RGB", (int(font.getlength(text)) + 4, TITLE), _PAPER)
    ImageDraw.Draw(image).text((0, 2), text, fill=_INK, font=font)
    return np.asarray(image)
