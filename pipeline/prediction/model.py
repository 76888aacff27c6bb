"""A classifier to ask: an arm's networks, or the ONNX file that they were written to."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UserError
from pipeline.images import Shape


@dataclass(frozen=True)
class Model:
    """A classifier that is ready to be asked.

    Attributes:
        class_names: [C].
        shape: what its images are brought to.
        told: what it is, in words.
        ask: uint8 [N, channels, size, size] to calibrated probabilities, float32 [N, C].
    """

    class_names: tuple[str, ...]
    shape: Shape
    told: str
    ask: Callable[[NDArray[np.uint8]], NDArray[np.float32]]


def open_model(path: Path, seed: int | None = None) -> Model:
    """Opens the folder of an arm, or an ONNX file.

    Args:
        seed: the one network to ask; None asks all of the arm's and takes the mean.

    Raises:
        UserError: there is no such model, or it has no such seed.
    """
    if not path.is_file():
        from pipeline.prediction import ensemble

        return ensemble.open_arm(path, seed)
    from pipeline.prediction import onnx_file

    if seed is not None:
        raise UserError(f"{path}: an ONNX file has no seeds to choose from; leave --seed out, or name an arm's folder")
    return onnx_file.open_file(path)
