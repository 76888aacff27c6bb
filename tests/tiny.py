"""Tiny data sets and settings, cheap enough for every test."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from pipeline import params
from pipeline.dataset import PixelStore, ShardWriter, make_row
from pipeline.dataset.reader import Dataset
from pipeline.training.batches import Batch, gather
from pipeline.training.schedule import Schedule

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("COUNTERWEIGHT_DATA") or ROOT.parent / "shared" / "data")  # larger data, if it is there
NAMES = ("bar 0", "bär 1", "bar 2")
Ints = npt.NDArray[np.int64]
T = TypeVar("T")


def bars(labels: Sequence[int] | Ints, shape: tuple[int, int, int] = (1, 8, 8), seed: int = 0) -> npt.NDArray[np.uint8]:
    """uint8 [N, C, H, W]: class k is a bright bar over rows 2k and 2k + 1, on noise, so that no two are alike."""
    images = np.random.default_rng(seed).integers(0, 60, (len(labels), *shape), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[:, 2 * label : 2 * label + 2] += np.uint8(180)
    return images


def write(
    folder: Path,
    images: npt.NDArray[np.uint8],
    labels: Sequence[int] | Ints,
    names: tuple[str, ...] = NAMES,
    **row: Any,
) -> Path:
    """Writes uint8 [N, C, H, W] images as a data set; `row` goes to `make_row`."""
    folder.mkdir(parents=True)
    with ShardWriter(folder, names) as writer:
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            pixels = image[0] if len(image) == 1 else np.ascontiguousarray(image.transpose(1, 2, 0))
            writer.add(make_row(pixels, int(label), path=f"{number}.png", **({"origin": "real"} | row)))
    return folder


def write_bars(folder: Path, counts: Sequence[int], shape: tuple[int, int, int] = (1, 8, 8), **row: Any) -> Path:
    """Writes `counts[k]` images of class k; folders of different names hold different images."""
    labels = np.repeat(np.arange(len(counts)), counts)
    return write(folder, bars(labels, shape, seed=sum(folder.name.encode())), labels, **row)


def settings(kind: type[T], section: str, **changes: Any) -> T:
    """The section of params.yaml with changes; a change to a mapping changes its keys only."""
    return params.build(kind, merged(params.read(ROOT / "params.yaml")[section], changes), section)


def merged(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`values` with `changes`, mappings merged at any depth."""
    out = dict(values)
    for key, change in changes.items():
        both = isinstance(change, dict) and isinstance(out.get(key), dict)
        out[key] = merged(out[key], change) if both else change
    return out


def schedule(**changes: Any) -> Schedule:
    """A short schedule."""
    values = {"steps": 10, "batch_size": 8, "lr": 0.002, "warmup": 0.0, "weight_decay": 0.0, "ema_decay": 0.0}
    return Schedule(**(values | {"max_grad_norm": 1000.0} | changes))


def batch_of(images: npt.NDArray[np.uint8], labels: Ints) -> Batch:
    """A batch of these images, all of the target domain and of weight 1."""
    floats = torch.from_numpy(images).float() / 127.5 - 1
    classes = torch.from_numpy(labels)
    zeros = torch.zeros_like(classes)
    return Batch(floats, classes, torch.ones(len(labels)), zeros, zeros.bool())


def first_batch(folder: Path, size: int) -> Batch:
    """The first images of a data set."""
    return gather(PixelStore(Dataset.open(folder)), np.arange(size))
