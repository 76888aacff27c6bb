"""Decoded pixels as one uint8 memory map a folder: derived from the shards, not versioned, made once.

`COUNTERWEIGHT_CACHE` names the folder (default `.counterweight/cache`); an entry's name is the digest of its data set.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.atomic import new_file
from pipeline.dataset.reader import Dataset
from pipeline.errors import UserError

MAX_SIDE = 256


def cache_folder() -> Path:
    """Where derived files live."""
    return Path(os.environ.get("COUNTERWEIGHT_CACHE") or ".counterweight/cache")


class PixelStore:
    """All images of a data set, addressed by row number; the operating system keeps in memory what is used.

    Attributes:
        labels: int64 [N].
        weights: float32 [N].
        image_shape: (C, H, W).
    """

    def __init__(self, dataset: Dataset) -> None:
        self.image_shape = Dataset.open(*dataset.folders).image_shape
        if max(self.image_shape[1:]) > MAX_SIDE:
            side = max(self.image_shape[1:])
            raise UserError(f"{dataset.folders[0]}: images of {side} pixels a side; training takes at most {MAX_SIDE}")
        parts = [Dataset.open(folder) for folder in dataset.folders]
        self._parts = [_pixels(part, self.image_shape) for part in parts]
        self._ends = np.cumsum([len(part) for part in self._parts])
        self.labels = dataset.labels
        self.weights = dataset.frame(["weight"])["weight"].to_numpy(np.float32, copy=True)

    def __len__(self) -> int:
        return int(self._ends[-1])

    def images(self, rows: npt.NDArray[np.int64] | Sequence[int] | None = None) -> npt.NDArray[np.uint8]:
        """Images of the given rows (all by default), uint8 [N, C, H, W]."""
        rows = np.arange(len(self)) if rows is None else np.asarray(rows, dtype=np.int64)
        out = np.empty((len(rows), *self.image_shape), dtype=np.uint8)
        part = np.searchsorted(self._ends, rows, side="right")
        for number, pixels in enumerate(self._parts):
            chosen = part == number
            if chosen.any():
                start = int(self._ends[number]) - len(pixels)
                out[chosen] = pixels[rows[chosen] - start]
        return out


def _pixels(dataset: Dataset, shape: tuple[int, int, int]) -> npt.NDArray[np.uint8]:
    if not dataset.num_rows:
        return np.empty((0, *shape), dtype=np.uint8)
    path = cache_folder() / f"{dataset.digest}-{'x'.join(map(str, shape))}.npy"
    if not path.exists():
        with new_file(path) as temporary:
            _decode_into(temporary, dataset, shape)
    pixels: npt.NDArray[np.uint8] = np.load(path, mmap_mode="r", allow_pickle=False)
    return pixels


def _decode_into(path: Path, dataset: Dataset, shape: tuple[int, int, int]) -> None:
    total = (dataset.num_rows, *shape)
    pixels = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=total)
    for row, image in enumerate(dataset.images()):
        chw = image[None] if image.ndim == 2 else image.transpose(2, 0, 1)
        if chw.shape != shape:
            raise UserError(f"{dataset.folders[0]}: images differ in shape, {chw.shape} beside {shape}")
        pixels[row] = chw
    pixels.flush()
