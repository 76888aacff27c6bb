"""An arm's trained classifiers, asked together."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.errors import UserError
from pipeline.progress import track
from pipeline.training.inference import logits_and_features
from pipeline.training.transfer import load

Probs = npt.NDArray[np.float64]


def only_loss(arm: Path) -> Path:
    """The folder of the one loss that an arm was trained under.

    Raises:
        UserError: there is none, or several.
    """
    inside = sorted(path for path in arm.glob("*") if path.is_dir())
    if len(inside) != 1:
        raise UserError(f"{arm}: expected classifiers of one loss, found {len(inside)}; has its stage run?")
    return inside[0]


def classifiers(folder: Path) -> list[Path]:
    """Weights of an arm's classifiers, by seed.

    Raises:
        UserError: there are none.
    """
    found = sorted(folder.glob("seed-*.safetensors"), key=lambda path: int(path.stem.split("-")[1]))
    if not found:
        raise UserError(f"{folder}: holds no classifiers; has its stage run?")
    return found


def probabilities(folder: Path, images: npt.NDArray[np.uint8], label: str) -> Probs:
    """Probabilities of every classifier of an arm, float [S, N, C], for uint8 [N, C, H, W] images."""
    probs = []
    for path in track(classifiers(folder), label, unit="classifier"):
        network = load(folder.parent, f"{folder.name}/{path.stem}")
        probs.append(logits_and_features(network, images)[0].softmax(dim=1).double().numpy())
    return np.stack(probs)
