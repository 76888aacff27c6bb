"""A classifier's training against the plain way of doing it, and what it waits for its input."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.timing import Result, compare
from pipeline import backbones, torchvision_ops
from pipeline.dataset import Dataset, PixelStore, ShardWriter, make_row
from pipeline.images import encode_png
from pipeline.training.classifier import batches, fit
from pipeline.training.classifier_task import TrainingData
from pipeline.training.recipe import Recipe
from pipeline.training.schedule import Schedule
from pipeline.transforms.policy import Policy

BATCH, STEPS, SIDE, CLASSES = 64, 20, 32, 10
EPOCH = 8  # steps
WAIT = 0.05  # the most of a step that may be spent on making its batch


def run(folder: Path) -> list[Result]:
    """Benchmarks on batches of 64 images of 32 x 32 pixels, on one thread: more only measure who else is busy."""
    torch.set_num_threads(1)
    data = _written(folder)
    return [
        compare("training step, channels last vs plain", lambda: _steps(True), lambda: _steps(False), "steps/s", 1.1),
        *(_wait(data, policy) for policy in ("cifar", "trivial")),
        compare(
            "epoch of a ResNet-32, vs ImageFolder and DataLoader",
            partial(_epoch, data),
            partial(_plain_epoch, folder / "images"),
            "images/s",
            1.3,
            rounds=3,
            clock=time.process_time,
        ),
    ]


def _network(depth: int) -> backbones.Network:
    return backbones.create("resnet", {"depth": depth, "width": 16}, 3, CLASSES, seed=0)


def _steps(channels_last: bool) -> int:
    network = _network(20)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    network = network.to(memory_format=layout)  # type: ignore[call-overload]
    images = torch.randn(BATCH, 3, SIDE, SIDE).to(memory_format=layout)
    labels = torch.randint(0, CLASSES, (BATCH,))
    return _updates(network, [(images, labels)] * STEPS)


def _updates(network: nn.Module, given: object) -> int:
    """Plain updates, one for each pair of images and labels; how many there were."""
    optimiser, done = torch.optim.AdamW(network.parameters(), lr=1e-3), 0
    for images, labels in given:  # type: ignore[attr-defined]
        optimiser.zero_grad(set_to_none=True)
        F.cross_entropy(network(images), labels).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        done += 1
    return done


# ------------------------------------------------------------ input


def _wait(data: TrainingData, policy: str) -> Result:
    """Batches made beside updates done: as many times more as a step may be longer than its wait."""
    batch_at = batches(data, _recipe(policy), 0, seed=0)
    given = batch_at(0)
    network = _network(32)

    def made() -> int:
        return len([batch_at(step) for step in range(STEPS)])

    def done() -> int:
        return _updates(network, [(given.images, given.labels)] * 4)

    name = f"batches made under {policy}, beside steps of a ResNet-32"
    return compare(name, made, done, "a second", 1 / WAIT, rounds=3, clock=time.process_time)


# ------------------------------------------------------------ an epoch


def _epoch(data: TrainingData) -> int:
    fit(_network(32), "cross_entropy", data, _recipe("cifar"), seed=0, label="epoch")
    return EPOCH * BATCH


def _recipe(policy: str) -> Recipe:
    schedule = Schedule(
        steps=EPOCH, batch_size=BATCH, lr=1e-3, warmup=0.0, weight_decay=0.01, ema_decay=0.0, max_grad_norm=5.0
    )
    return Recipe(schedule=schedule, augmentation=Policy(name=policy), label_smoothing={})


def _plain_epoch(folder: Path) -> int:
    loader = _loader(folder)
    network = _network(32).to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return _updates(network.train(), loader()) * BATCH


def _loader(folder: Path) -> Callable[[], object]:
    """The same changes image by image, as torchvision's examples have them."""
    torchvision_ops.declare()
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import Compose, Normalize, RandomCrop, RandomErasing, RandomHorizontalFlip, ToTensor

    square = RandomErasing(p=1.0, scale=(0.25, 0.25), ratio=(1.0, 1.0))
    steps = [RandomCrop(SIDE, padding=4), RandomHorizontalFlip(), ToTensor(), Normalize([0.5] * 3, [0.5] * 3), square]
    images = ImageFolder(folder, Compose(steps))
    return lambda: torch.utils.data.DataLoader(images, batch_size=BATCH, shuffle=True)


def _written(folder: Path) -> TrainingData:
    """The same images as a data set of ours and as a folder a class."""
    coarse = np.random.default_rng(0).integers(0, 256, (EPOCH * BATCH, SIDE // 4, SIDE // 4, 3), dtype=np.uint8)
    images = coarse.repeat(4, axis=1).repeat(4, axis=2)
    (folder / "data").mkdir()
    with ShardWriter(folder / "data", tuple(map(str, range(CLASSES)))) as writer:
        for number, pixels in enumerate(images):
            writer.add(make_row(pixels, number % CLASSES, path=f"{number}.png", origin="real"))
            path = folder / "images" / str(number % CLASSES) / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encode_png(pixels))
    store = PixelStore(Dataset.open(folder / "data"))
    return TrainingData(store, np.arange(len(store)))
