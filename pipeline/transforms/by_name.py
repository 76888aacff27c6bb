"""Any other transform, by its name in Albumentations: `{name: GaussNoise, std_range: [0.1, 0.2], p: 0.3}`."""

import importlib
import inspect
import json
import os
import re
import warnings
from collections.abc import Sequence
from difflib import get_close_matches
from functools import cache, lru_cache
from types import ModuleType
from typing import Any

import cv2
import numpy as np
from pydantic_core import PydanticCustomError

from pipeline.errors import UserError
from pipeline.images import Pixels

Spec = dict[str, Any]
"""A transform's `name`, its arguments, and `p`, the probability that an image undergoes it (0.5 if not given)."""

# What else does the same as a value of a policy: where that value has a limit, these would get around it.
SAME_AS = {
    "rotation_degrees": ("Affine", "D4", "RandomRotate90", "Rotate", "SafeRotate", "ShiftScaleRotate", "Transpose"),
    "horizontal_flip": ("D4", "HorizontalFlip", "SquareSymmetry", "Transpose"),
    "vertical_flip": ("D4", "SquareSymmetry", "Transpose", "VerticalFlip"),
    "shift": ("Affine", "ShiftScaleRotate"),
    "scale": ("Affine", "RandomScale", "ShiftScaleRotate"),
    "shear": ("Affine",),
    "crop": ("RandomResizedCrop", "RandomSizedCrop"),
    "brightness": ("ColorJitter", "RandomBrightnessContrast"),
    "contrast": ("ColorJitter", "RandomBrightnessContrast"),
    "saturation": ("ColorJitter", "HueSaturationValue"),
    "hue": ("ColorJitter", "HueSaturationValue"),
    "channel_mix": ("ChannelShuffle", "RGBShift"),
}


def check(spec: Spec) -> Spec:
    """Makes the transform once to see whether it can be.

    Raises:
        PydanticCustomError: there is no such transform, or it does not take these arguments as they are.
    """
    known, name = _transforms(), spec.get("name")
    if not isinstance(name, str) or name not in known:
        near = get_close_matches(str(name), known, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else "albumentations.ai/docs lists them"
        raise PydanticCustomError("transform", "named after a transform of Albumentations ({hint})", {"hint": hint})
    accepted = [key for key in inspect.signature(known[name]).parameters if key not in ("kwargs", "strict")]
    for key in spec.keys() - {"name", *accepted}:
        near = get_close_matches(key, accepted, n=1)
        hint = f"did you mean {near[0]}?" if near else f"{name} has {', '.join(accepted)}"
        raise PydanticCustomError("transform", "without {key} ({hint})", {"key": repr(key), "hint": hint})
    try:
        with warnings.catch_warnings(action="error"):
            made = _make(spec)
    except (TypeError, ValueError, UserWarning, DeprecationWarning) as error:
        told = {"name": name, "why": _told(error)}
        raise PydanticCustomError("transform", "what {name} takes ({why})", told) from None
    if made.targets_as_params:
        needs = ", ".join(made.targets_as_params)
        raise PydanticCustomError("transform", "a transform of an image alone ({needs})", {"needs": f"needs {needs}"})
    return spec


def check_on(specs: Sequence[Spec], pixels: Pixels) -> None:
    """Tries each transform on an image like those to come, before the first of them.

    Raises:
        UserError: a transform cannot be applied to such an image, or changes its shape.
    """
    for spec in specs:
        apply([{**spec, "p": 1.0}], pixels, seed=0)


def apply(specs: Sequence[Spec], pixels: Pixels, seed: int) -> Pixels:
    """One image after the transforms; equal seeds give equal pixels.

    Raises:
        UserError: a transform cannot be applied to such an image, or changes its shape.
    """
    for number, spec in enumerate(specs):
        pipeline = _pipeline(json.dumps(spec, sort_keys=True))
        pipeline.set_random_seed(seed + number)
        try:
            with warnings.catch_warnings(action="ignore"):
                changed = pipeline(image=pixels if pixels.ndim == 3 else pixels[..., None])["image"]
        except (ValueError, KeyError, IndexError, NotImplementedError, cv2.error) as error:
            raise UserError(f"policy: {spec['name']} cannot be applied to {_kind(pixels)} ({_told(error)})") from None
        if changed.size != pixels.size or changed.shape[:2] != pixels.shape[:2] or changed.dtype != np.uint8:
            raise UserError(f"policy: {spec['name']} makes {_kind(changed)} of {_kind(pixels)}; neither may change")
        pixels = np.ascontiguousarray(changed.reshape(pixels.shape))
    return pixels


def _kind(pixels: Pixels) -> str:
    return f"{'x'.join(map(str, pixels.shape))} {pixels.dtype}"


def _told(error: BaseException) -> str:
    """Albumentations' message on one line, without what pydantic adds."""
    found = re.findall(r"^(\S+)\n\s+(?:Value error, )?(.*?)(?: \[type=.*)?$", str(error), re.MULTILINE)
    text = "; ".join(f"{place.partition('.')[0]}: {message}" for place, message in found) or str(error)
    return " ".join(text.split())


@lru_cache(maxsize=64)
def _pipeline(spec: str) -> Any:
    return _albumentations().Compose([_make(json.loads(spec))])


def _make(spec: Spec) -> Any:
    return _transforms()[spec["name"]](**{key: value for key, value in spec.items() if key != "name"})


@cache
def _transforms() -> dict[str, Any]:
    """All transforms of images, by their names."""
    library = _albumentations()
    bases = (library.ImageOnlyTransform, library.DualTransform)
    return {
        name: value
        for name, value in vars(library).items()
        if inspect.isclass(value)
        and issubclass(value, bases)
        and not issubclass(value, library.Transform3D)
        and value not in (*bases, library.Lambda)
    }


def _albumentations() -> ModuleType:
    """The library, which takes seconds to import and would ask the network for a newer version of itself."""
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    return importlib.import_module("albumentations")
