"""A classifier's training step and its augmentation against the plain ways of doing them."""

import albumentations as A
import numpy as np
import torch
import torch.nn.functional as F

from benchmarks.timing import Result, compare
from pipeline import backbones
from pipeline.transforms.affine import Affine, augment

BATCH, STEPS, SIDE = 64, 20, 32


def run() -> list[Result]:
    """Benchmarks on batches of 64 images of 32 x 32 pixels, on one thread: more only measure who else is busy."""
    torch.set_num_threads(1)
    return [
        compare("training step, channels last vs plain", lambda: _steps(True), lambda: _steps(False), "steps/s", 1.1),
        compare("augment a batch (rotate, shift, scale, flip), vs albumentations", _ours, _peer, "images/s", 4.0),
    ]


def _steps(channels_last: bool) -> int:
    network = backbones.create("resnet", {"depth": 20, "width": 16}, 3, 10, seed=0)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    network = network.to(memory_format=layout)  # type: ignore[call-overload]
    images = torch.randn(BATCH, 3, SIDE, SIDE).to(memory_format=layout)
    labels = torch.randint(0, 10, (BATCH,))
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3)
    for _ in range(STEPS):
        optimiser.zero_grad(set_to_none=True)
        F.cross_entropy(network(images), labels).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return STEPS


def _ours() -> int:
    params = Affine(
        rotation_degrees=15,
        shift=0.1,
        scale=0.1,
        shear=0.0,
        horizontal_flip=0.5,
        brightness=0,
        contrast=0,
        border="black",
    )
    images, rng = torch.rand(BATCH, 3, SIDE, SIDE) * 2 - 1, torch.Generator().manual_seed(0)
    for _ in range(STEPS):
        augment(images, params, rng)
    return STEPS * BATCH


def _peer() -> int:
    change = A.Compose([A.Affine(rotate=(-15, 15), translate_percent=0.1, scale=(0.9, 1.1), p=1.0), A.HorizontalFlip()])
    image = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    for _ in range(STEPS * BATCH):
        change(image=image)
    return STEPS * BATCH
