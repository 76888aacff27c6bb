"""Rotation, flip, crop and change of colour: composed and done once, against libraries that do one after the other."""

from pathlib import Path

import albumentations as A
import cv2
import kornia.augmentation as K
import numpy as np
import torch
from torch import nn

from benchmarks.timing import Result, compare
from pipeline.transforms.augmentation import augment_batch, augment_images
from pipeline.transforms.policy import Policy

BATCH, SMALL, LARGE = 256, 32, 224
POLICY = Policy(
    rotation_degrees=15, horizontal_flip=0.5, crop=0.3, brightness=0.2, contrast=0.2, saturation=0.2, hue=0.1
)


def run(_: Path) -> list[Result]:
    """Benchmarks on one thread: more only measure who else is busy."""
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    return [
        _against_albumentations(SMALL, 8.0, times=4),
        _against_albumentations(LARGE, 2.0, times=1),
        _against_kornia(3.0),
    ]


def _images(side: int, number: int) -> np.ndarray:
    coarse = np.random.default_rng(0).integers(0, 256, (number, side // 4, side // 4, 3), dtype=np.uint8)
    return coarse.repeat(4, axis=1).repeat(4, axis=2)


def _against_albumentations(side: int, target: float, times: int) -> Result:
    number = BATCH if side == SMALL else BATCH // 8
    images, seeds = list(_images(side, number)), list(range(number))
    peer = A.Compose(
        [
            A.Rotate((-15, 15), border_mode=cv2.BORDER_CONSTANT, p=1.0),
            A.HorizontalFlip(p=0.5),
            A.RandomResizedCrop((side, side), scale=(0.7, 1.0), ratio=(0.85, 1.18), p=1.0),
            A.ColorJitter(brightness=(0.8, 1.2), contrast=(0.8, 1.2), saturation=(0.8, 1.2), hue=(-0.1, 0.1), p=1.0),
        ]
    )

    def ours() -> int:
        return sum(1 for _ in range(times) for _ in augment_images(images, POLICY, seeds))

    def theirs() -> int:
        return sum(1 for _ in range(times) for image in images if peer(image=image)["image"] is not None)

    return compare(f"four transforms at {side} px, vs albumentations", ours, theirs, "images/s", target)


def _against_kornia(target: float) -> Result:
    images = torch.from_numpy(_images(SMALL, BATCH)).permute(0, 3, 1, 2).float()
    ours_in, theirs_in = images / 127.5 - 1, images / 255
    rng = torch.Generator().manual_seed(0)
    peer = nn.Sequential(
        K.RandomRotation(15.0, p=1.0),
        K.RandomHorizontalFlip(p=0.5),
        K.RandomResizedCrop((SMALL, SMALL), scale=(0.7, 1.0), ratio=(0.85, 1.18), p=1.0),
        K.ColorJiggle(brightness=(0.8, 1.2), contrast=(0.8, 1.2), saturation=(0.8, 1.2), hue=(-0.1, 0.1), p=1.0),
    )

    def ours() -> int:
        return sum(len(augment_batch(ours_in, POLICY, rng)) for _ in range(8))

    def theirs() -> int:
        return sum(len(peer(theirs_in)) for _ in range(8))

    return compare("four transforms of a batch of tensors at 32 px, vs kornia", ours, theirs, "images/s", target)
