"""Four images of three classes of very different sizes."""

from typing import Any

import torch
from torch import Tensor

from pipeline import losses
from pipeline.losses import Facts, Loss

LOGITS = torch.tensor([[1.0, 0.0, -1.0], [0.0, 2.0, 0.5], [3.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
LABELS = torch.tensor([0, 1, 2, 1])
COUNTS = torch.tensor([100.0, 10.0, 1.0])


def made(name: str, facts: Facts, **options: Any) -> Loss:
    return losses.create(name, options, facts)


def value(
    name: str,
    logits: Tensor = LOGITS,
    targets: Tensor = LABELS,
    counts: Tensor = COUNTS,
    smoothing: float = 0.0,
    progress: float = 0.0,
    **options: Any,
) -> Tensor:
    """The loss of each image, without its further views."""
    values: Tensor = made(name, Facts(4, logits.shape[1], smoothing), **options)(logits, targets, counts, progress)
    return values
