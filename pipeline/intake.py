"""From a source's files to rows of one image shape; what can't be used is set aside with a reason."""

import csv
import hashlib
import io
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np

from pipeline import source_lock, sources
from pipeline.atomic import write_text
from pipeline.dataset import Row, make_row
from pipeline.errors import UserError
from pipeline.images import UndecodableImageError, decode, fit, is_grey
from pipeline.sources import SourceFile

MAX_AUTO_SIDE = 64
MEASURED_IMAGES = 500


@dataclass(frozen=True)
class Shape:
    """What every image is brought to: `size` x `size` pixels, 1 or 3 channels."""

    size: int
    channels: int
    how: Literal["crop", "pad"]


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


def class_names(pin: source_lock.Pin) -> tuple[str, ...]:
    """The classes in the order of the batch that they first appear in, by name within a batch."""
    first: dict[str, int] = {}
    for file in sources.files(pin.source):
        number = pin.batch_of(file.name)
        if number is not None:
            first[file.label] = min(number, first.get(file.label, number))
    return tuple(sorted(first, key=lambda name: (first[name], name)))


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
            pixels = decode(source_lock.read_bytes(file))
        except UndecodableImageError:
            continue
        sides.append(min(pixels.shape[:2]))
        coloured = coloured or not is_grey(pixels)
    median = int(np.median(sides)) if sides else MAX_AUTO_SIDE
    rounded = min(MAX_AUTO_SIDE, max(4, round(median / 4) * 4))
    return Shape(rounded if size == "auto" else size, (3 if coloured else 1) if channels == "auto" else channels, how)


def accept(
    files: Iterable[tuple[SourceFile, bytes]], shape: Shape, labels: dict[str, int]
) -> Iterator[tuple[SourceFile, Row | Refused]]:
    """Decodes each file and brings it to `shape`, or says why not."""
    for file, data in files:
        try:
            pixels = fit(decode(data), shape.size, shape.channels, shape.how)
        except UndecodableImageError as error:
            yield file, refuse(file, data, str(error))
        else:
            yield file, make_row(pixels, labels[file.label], path=file.name, origin="real")


def refuse(file: SourceFile, data: bytes, reason: str) -> Refused:
    """Notes why a file with these bytes is not used."""
    return Refused(file.name, reason, hashlib.sha256(data).hexdigest(), len(data))


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
