"""Says of which class new images are: files, folders or archives, by a trained arm or an exported ONNX file."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UserError
from pipeline.images import Shape
from pipeline.prediction.model import Model, open_model
from pipeline.prediction.pictures import Picture, Pictures
from pipeline.prediction.table import Row, columns, writing
from pipeline.progress import log, track

BATCH_VALUES, MAX_BATCH = 2**22, 256  # pixel values, and images, that are asked about at once
DIGITS = 6


def run(
    images: tuple[str, ...],
    *,
    model: Path = Path("models/completed"),
    out: str = "predictions.csv",
    seed: int | None = None,
    top: int = 3,
    strict: bool = False,
) -> None:
    """Writes path, class, calibrated probability, the next likely classes and any problem of each image to `out`.

    Args:
        images: files, folders (with all below them) and archives.
        model: the folder of an arm, whose networks answer together, or an ONNX file from `export_model`.
        out: a .csv, .parquet or .jsonl file, or - to print CSV.
        seed: the one network to ask.
        top: likely classes to name.
        strict: end with an error if any image can't be read.

    Raises:
        UserError: no model, no image, a wrong option; or no image (with `strict`: not every image) could be read.
    """
    if top < 1:
        raise UserError(f"predict: --top must be at least 1, got {top}")
    asked = open_model(model, seed)
    names, refused = columns(min(top, len(asked.class_names))), list[Picture]()
    with ExitStack() as stack:
        pictures = Pictures(images, stack)
        write = stack.enter_context(writing(out, names))
        coming = track(pictures.prepared(asked.shape), "predict", len(pictures), "image")
        for batch in _batches(coming, asked.shape):
            write(_answers(asked, batch, names))
            refused += [Picture(picture.path, None, picture.problem) for picture in batch if picture.problem]
    log(f"predict: {len(pictures) - len(refused)} of {len(pictures)} images classified by {asked.told}; in {out}")
    if len(refused) == len(pictures) or (refused and strict):
        first = f"first: {refused[0].path}: {refused[0].problem}"
        raise UserError(f"predict: {len(refused)} of {len(pictures)} images could not be read ({first})")


def _batches(pictures: Iterator[Picture], shape: Shape) -> Iterator[list[Picture]]:
    size = min(MAX_BATCH, max(1, BATCH_VALUES // (shape.size**2 * shape.channels)))
    while batch := list(islice(pictures, size)):
        yield batch


def _answers(model: Model, batch: Sequence[Picture], names: Sequence[str]) -> list[Row]:
    """A row for each picture, in order."""
    seen = [picture.pixels for picture in batch if picture.pixels is not None]
    probs = iter(model.ask(np.stack([_channels_first(pixels) for pixels in seen])) if seen else ())
    rows = []
    for picture in batch:
        row: Row = {"path": picture.path, "problem": picture.problem}
        if picture.pixels is not None:
            row |= zip(names[1:-1], _likely(next(probs), model.class_names, (len(names) - 2) // 2), strict=True)
        rows.append(row)
    return rows


def _likely(probs: NDArray[np.float32], class_names: Sequence[str], top: int) -> list[str | float]:
    """Name and probability of the `top` likeliest classes, one after the other."""
    order = np.argsort(-probs, kind="stable")[:top]
    return [value for label in order for value in (class_names[label], round(float(probs[label]), DIGITS))]


def _channels_first(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
