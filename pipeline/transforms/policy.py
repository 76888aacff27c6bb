"""Augmentations that are stored: an Albumentations pipeline, seeded for each image."""

from typing import Annotated

import albumentations as A
import cv2
import numpy as np
from pydantic import Field

from pipeline.images import Pixels
from pipeline.params import section
from pipeline.transforms.affine import Border, Share

_BORDER = {"black": cv2.BORDER_CONSTANT, "edge": cv2.BORDER_REPLICATE, "reflect": cv2.BORDER_REFLECT_101}


@section
class Policy:
    """The four changes that everyone uses, in this order.

    Attributes:
        rotation_degrees: turn, uniformly from -x to x.
        horizontal_flip, vertical_flip: probability of a mirror image.
        crop: the most of the area that is cut away before scaling back.
        brightness, contrast, saturation: relative changes from -x to x; hue: turn in shares of the colour circle.
        border: what lies outside the image.
    """

    rotation_degrees: Annotated[float, Field(ge=0, le=180)]
    horizontal_flip: Share
    vertical_flip: Share
    crop: Annotated[float, Field(ge=0, lt=1)]
    brightness: Share
    contrast: Share
    saturation: Share
    hue: Annotated[float, Field(ge=0, le=0.5)]
    border: Border


def build(policy: Policy, height: int, width: int) -> A.Compose:
    """The pipeline for images of one size."""
    crop = A.RandomResizedCrop(
        (height, width), scale=(1 - policy.crop, 1.0), ratio=(0.85, 1.18), p=float(policy.crop > 0)
    )
    colour = A.ColorJitter(
        brightness=(1 - policy.brightness, 1 + policy.brightness),
        contrast=(1 - policy.contrast, 1 + policy.contrast),
        saturation=(1 - policy.saturation, 1 + policy.saturation),
        hue=(-policy.hue, policy.hue),
        p=1.0,
    )
    return A.Compose(
        [
            A.Rotate((-policy.rotation_degrees, policy.rotation_degrees), border_mode=_BORDER[policy.border], p=1.0),
            A.HorizontalFlip(p=policy.horizontal_flip),
            A.VerticalFlip(p=policy.vertical_flip),
            crop,
            colour,
        ]
    )


def apply(pipeline: A.Compose, pixels: Pixels, seed: int) -> Pixels:
    """Changes one image; equal seeds give equal pixels."""
    pipeline.set_random_seed(seed)
    image = pipeline(image=pixels if pixels.ndim == 3 else pixels[..., None])["image"]
    return np.ascontiguousarray(image.reshape(pixels.shape)).astype(np.uint8, copy=False)
