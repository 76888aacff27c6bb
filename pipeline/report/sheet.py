"""The sheet of images: of each class real, augmented and synthetic ones, and the real ones nearest to the synthetic."""

import base64
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.dataset import Dataset
from pipeline.images import Pixels, decode_png, encode_png
from pipeline.progress import bar

MAX_IMAGES = 2000  # on one page, which is to open at once
MAX_SHOWN_SIDE = 96
MAX_COMPARED_SIDE = 64  # larger images are compared shrunk: 500 of them take 50 MB
SMALL_SIDE = 48


@dataclass(frozen=True)
class Nearest:
    """The real training image nearest to a synthetic one.

    Attributes:
        distance: root mean squared difference of the pixels, 0 (a copy) to 255.
        label: class of the real image.
        image: its PNG bytes.
    """

    distance: float
    label: int
    image: bytes


@dataclass(frozen=True)
class ClassSheet:
    """What is shown of one class: PNG bytes; `nearest` follows `synthetic`."""

    label: int
    real: list[bytes]
    augmented: list[bytes]
    synthetic: list[bytes]
    nearest: list[Nearest]


def make(
    train: Dataset, augmented: Dataset, synthetic: Dataset, images_per_class: int, order: Sequence[int]
) -> list[ClassSheet]:
    """The first images of each class, for as many classes as the page has room for.

    Args:
        order: the classes, the ones to show first.
    """
    labels = order[: max(1, MAX_IMAGES // (4 * images_per_class))]
    shown = {
        origin: first_images(dataset, images_per_class, labels)
        for origin, dataset in (("real", train), ("augmented", augmented), ("synthetic", synthetic))
    }
    queries = [decode_png(image) for label in labels for image in shown["synthetic"][label]]
    nearest = iter(nearest_real(queries, train))
    return [
        ClassSheet(
            label,
            shown["real"][label],
            shown["augmented"][label],
            shown["synthetic"][label],
            [next(nearest) for _ in shown["synthetic"][label]],
        )
        for label in labels
    ]


def first_images(dataset: Dataset, per_class: int, labels: Collection[int]) -> dict[int, list[bytes]]:
    """The first `per_class` images (PNG bytes) of each of `labels`; reads no further than it must."""
    found: dict[int, list[bytes]] = {label: [] for label in labels}
    counts = dataset.class_counts()
    missing = sum(min(per_class, int(counts[label])) for label in found)
    if not missing:
        return found
    for batch_labels, images in _batches(dataset):
        for label, image in zip(batch_labels.tolist(), images, strict=True):
            if label in found and len(found[label]) < per_class:
                found[label].append(image)
                missing -= 1
        if not missing:
            break
    return found


def images_of(dataset: Dataset, ids: Collection[str]) -> dict[str, bytes]:
    """PNG bytes of the images of these ids, as far as the data set holds them; reads no further than it must."""
    found: dict[str, bytes] = {}
    for batch in dataset.batches(["id", "image"]) if ids else ():
        for place, key in enumerate(batch.column("id").to_pylist()):
            if key in ids:
                found[key] = batch.column("image").field("bytes")[place].as_py()
        if len(found) == len(ids):
            break
    return found


def nearest_real(queries: Sequence[Pixels], train: Dataset) -> list[Nearest]:
    """The nearest of all training images to each of `queries`; of equally near ones the first.

    Streams the training images. Pixels are whole numbers and float64 holds their squares exactly, so the order of the
    sums, which differs between machines, changes nothing.
    """
    if not queries:
        return []
    wanted = _flat(queries)
    best = np.full(len(wanted), np.inf)
    found = [Nearest(float("inf"), -1, b"")] * len(wanted)
    with bar("report: nearest real images", train.num_rows, "image") as shown:
        for labels, images in _batches(train):
            real = _flat([decode_png(image) for image in images])
            squares = (wanted**2).sum(1)[:, None] + (real**2).sum(1) - 2 * wanted @ real.T
            place = squares.argmin(axis=1)
            least = squares[np.arange(len(wanted)), place]
            for query in np.flatnonzero(least < best).tolist():
                distance = float(np.sqrt(least[query] / wanted.shape[1]))
                found[query] = Nearest(distance, int(labels[place[query]]), images[place[query]])
            best = np.minimum(best, least)
            shown.update(len(images))
    return found


def data_uri(image: bytes) -> str:
    """A PNG as text to put into a page, shrunk if it is large."""
    pixels = decode_png(image)
    side = max(pixels.shape[:2])
    if side > MAX_SHOWN_SIDE:
        image = encode_png(shrunk(pixels, MAX_SHOWN_SIDE / side))
    return "data:image/png;base64," + base64.b64encode(image).decode("ascii")


def shrunk(pixels: Pixels, scale: float) -> Pixels:
    """An image made smaller."""
    height, width = pixels.shape[:2]
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def _batches(dataset: Dataset) -> Iterator[tuple[npt.NDArray[np.int64], list[bytes]]]:
    for batch in dataset.batches(["label", "image"]):
        if batch.num_rows:
            yield batch.column("label").to_numpy(), batch.column("image").field("bytes").to_pylist()


def _flat(images: Sequence[Pixels]) -> npt.NDArray[np.float64]:
    """Images as rows, [N, pixels]."""
    scale = MAX_COMPARED_SIDE / max(images[0].shape[:2])
    compared = images if scale >= 1 else [shrunk(image, scale) for image in images]
    return np.stack([image.reshape(-1) for image in compared]).astype(np.float64)
