"""Asks trained classifiers."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipeline.backbones import Network
from pipeline.training.batches import to_float
from pipeline.training.device import device


@torch.inference_mode()
def logits_and_features(
    network: Network, images: npt.NDArray[np.uint8], batch_size: int = 512
) -> tuple[Tensor, Tensor]:
    """Logits [N, C] and features [N, D] of uint8 [N, C, H, W] images, on the CPU."""
    where = device()
    network = network.to(where).eval()
    logits, features = [], []
    for start in range(0, len(images), batch_size):
        deep = network.features(to_float(images[start : start + batch_size]).to(where))
        features.append(deep.cpu())
        logits.append(network.head(deep).cpu())
    return torch.cat(logits), torch.cat(features)


def over_seeds(values: Sequence[float] | npt.NDArray[np.float64]) -> dict[str, float]:
    """Mean and deviation of a figure over as many classifiers."""
    return {"mean": round(float(np.mean(values)), 6), "std": round(float(np.std(values)), 6), "seeds": len(values)}


def recall_by_class(logits: Tensor, labels: npt.NDArray[np.int64], num_classes: int) -> npt.NDArray[np.float64]:
    """Recall of each class, [C], NaN for a class without images."""
    hits = np.bincount(labels[logits.argmax(1).numpy() == labels], minlength=num_classes)
    images = np.bincount(labels, minlength=num_classes)
    return np.where(images > 0, hits / np.maximum(images, 1), np.nan)
