"""From a source's files to rows of one image shape; what can't be used is set aside with a reason."""

import csv
import hashlib
import io
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pipeline import source_lock, sources
from pipeline.atomic import write_text
from pipeline.dataset import Row, make_row
from pipeline.decoding import UndecodableImageError, decode
from pipeline.errors import UserError
from pipeline.images import Pixels, Shape, fit, is_grey
from pipeline.sources import SourceFile

MAX_AUTO_SIDE = 64
MEASURED_IMAGES = 500


@dataclass(frozen=True)
class Refused:
    """A file that is not used, and why."""

    name: str
    reason: str
    sha256: str
    bytes: int


def open_pin(lock: Path, stage: str, source: str) -> source_lock.Pin:
    """The pin of a stage's source.

    Raises:
        UserError: source.json pins another source than params.yaml names.
    """
    pins = source_lock.read(lock)
    if stage not in pins or pins[stage].source != source:
        given = pins[stage].source if stage in pins else "nothing"
        raise UserError(
            f"params.yaml: {stage}.source is {source!r}, but {lock} pins {given!r}; run `python -m pipeline scan`"
        )
    return pins[stage]


def measure(
    pin: source_lock.Pin, size: int | Literal["auto"], channels: int | Literal["auto"], how: Literal["crop", "pad"]
) -> Shape:
    """Settles what is "auto" by looking at some images of the first batch, so that later batches change nothing.

    Size: the median shorter side, rounded to a multiple of 4, at most 64. Channels: 1 if no image has colour.
    """
    if size != "auto" and channels != "auto":
        return Shape(size, channels, how)
    first = (file for file in sources.files(pin.source) if pin.batch_of(file.name) == 0)
    step = max(1, pin.batches[0].files // MEASURED_IMAGES) if pin.batches else 1
    sides, coloured = [], False
    for file in islice(first, 0, None, step):
        try:
            pixels = cut(decode(source_lock.read_bytes(file)), file.box)
        except UndecodableImageError:
            continue
        sides.append(min(pixels.shape[:2]))
        coloured = coloured or not is_grey(pixels)
    median = int(np.median(sides)) if sides else MAX_AUTO_SIDE
    rounded = min(MAX_AUTO_SIDE, max(4, round(median / 4) * 4))
    return Shape(rounded if size == "auto" else size, (3 if coloured else 1) if channels == "auto" else channels, how)


@dataclass(frozen=True)
class Accepted:
    """A file that is used: its row, its pixels, and what only the source knows of it."""

    file: SourceFile
    row: Row
    pixels: Pixels
    sha256: str
    bytes: int

    def told(self) -> dict[str, Any]:
        """What is needed to place the image in a split, by column name."""
        return {
            "name": self.file.name,
            "label": self.file.label,
            "hint": self.file.split,
            "group": self.file.group,
            "pixel_hash": self.row.pixel_hash,
            "sha256": self.sha256,
            "bytes": self.bytes,
        }


def accept(
    files: Iterable[tuple[SourceFile, bytes]], shape: Shape, labels: dict[str, int]
) -> Iterator[Accepted | Refused]:
    """Decodes each file and brings it to `shape`, or says why not."""
    for file, data in files:
        sha256 = hashlib.sha256(data).hexdigest()
        try:
            whole = cut(decode(data), file.box)
        except UndecodableImageError as error:
            yield Refused(file.name, str(error) if data else _why_empty(file), sha256, len(data))
            continue
        pixels = fit(whole, shape.size, shape.channels, shape.how)
        row = make_row(pixels, labels[file.label], path=file.name, origin="real")
        height, width = whole.shape[:2]
        row = replace(row, source_width=width, source_height=height, group=file.group)
        yield Accepted(file, row, pixels, sha256, len(data))


def _why_empty(file: SourceFile) -> str:
    """Why a file gave no bytes: what can't be read counts as empty (see `source_lock.read_bytes`)."""
    try:
        file.read()
    except OSError as error:
        return why_unread(error)
    return "empty file"


def why_unread(error: OSError) -> str:
    """The reason why a file can't be read, in one line."""
    told = "".join(sign if sign.isprintable() else " " for sign in error.strerror or str(error))
    return f"cannot be read: {' '.join(told.split())[:120]}"


def cut(pixels: Pixels, box: tuple[int, int, int, int] | None) -> Pixels:
    """The part of an image that is in a box: x, y, width, height.

    Raises:
        UndecodableImageError: the box is empty or not wholly inside.
    """
    if box is None:
        return pixels
    x, y, width, height = box
    if width < 1 or height < 1 or x < 0 or y < 0 or x + width > pixels.shape[1] or y + height > pixels.shape[0]:
        raise UndecodableImageError(
            f"box {box} is not inside the image of {pixels.shape[1]} x {pixels.shape[0]} pixels"
        )
    return np.ascontiguousarray(pixels[y : y + height, x : x + width])


def write_quarantine(folder: Path, refused: Iterable[Refused]) -> None:
    """Writes the refused files' names, reasons, hashes and sizes as a table."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["name", "reason", "sha256", "bytes"])
    table.writerows([item.name, item.reason, item.sha256, item.bytes] for item in refused)
    write_text(folder / "quarantine.csv", text.getvalue())


def refuse_few_classes(source: str, names: tuple[str, ...]) -> None:
    """Stops where there is nothing to tell apart.

    Raises:
        UserError: fewer than two classes.
    """
    if len(names) < 2:
        found = f"only the class {names[0]!r}" if names else "no class"
        raise UserError(f"{source}: holds {found}; a classifier needs at least two classes")


def refuse_bad_files(source: str, refused: list[Refused], total: int, max_fraction: float) -> None:
    """Stops where too little of a source is usable.

    Raises:
        UserError: more than `max_fraction` of the files can't be used.
    """
    if len(refused) > max_fraction * total:
        reason, count = Counter(item.reason for item in refused).most_common(1)[0]
        raise UserError(
            f"{source}: {len(refused)} of {total} images can't be used ({count} times: {reason}; first: "
            f"{refused[0].name}), more than max_bad_fraction = {max_fraction} in params.yaml allows"
        )
