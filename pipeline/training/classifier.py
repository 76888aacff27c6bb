"""Trains one classifier: the recipe that is the same in every arm; only the data differ."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor, nn

from pipeline import losses
from pipeline.backbones import Network
from pipeline.dataset import PixelStore
from pipeline.params import section
from pipeline.seeds import derive
from pipeline.training.batches import Batch, concatenate, epoch_rows, gather
from pipeline.training.device import device
from pipeline.training.loop import Point, Schedule, train
from pipeline.transforms.affine import Affine, augment


@section
class Recipe:
    """How a classifier is trained, whatever the data.

    Attributes:
        schedule: number and size of updates.
        augmentation: on-the-fly changes.
    """

    schedule: Schedule
    augmentation: Affine


@section
class Added:
    """How added (augmented, synthetic) images enter.

    Attributes:
        weight: weight of the loss over added images beside that over real ones.
        batch_size: added images an update, beside the real ones.
    """

    weight: Annotated[float, Field(ge=0)]
    batch_size: Annotated[int, Field(ge=1)]


@dataclass(frozen=True)
class TrainingData:
    """Rows of a real data set, and images added to them."""

    real: PixelStore
    rows: npt.NDArray[np.int64]
    added: PixelStore | None = None
    how: Added | None = None


class ClassifierTask(nn.Module):
    """A network with its loss, for the training loop.

    The first `num_real` images of a batch are real. Loss = mean over real + added_weight * weighted mean over added,
    each with the class counts of the data that it was drawn from.
    """

    def __init__(self, network: Network, loss: str, counts: list[Tensor], num_real: int, added_weight: float) -> None:
        super().__init__()
        self.network = network
        self._loss, self._num_real, self._added_weight = losses.get(loss), num_real, added_weight
        self._counts = counts

    def players(self) -> dict[str, list[nn.Parameter]]:
        """One player: the network."""
        return {"classifier": list(self.network.parameters())}

    def loss(self, _player: str, batch: Batch, _progress: float) -> Tensor:
        """The loss of one update."""
        logits = self.network(batch.images)
        real, added = slice(None, self._num_real), slice(self._num_real, None)
        total = self._loss(logits[real], batch.labels[real], self._counts[0].to(logits.device)).mean()
        if len(batch.labels) > self._num_real:
            values = self._loss(logits[added], batch.labels[added], self._counts[1].to(logits.device))
            weights = batch.weights[added]
            total = total + self._added_weight * (values * weights).sum() / weights.sum()
        return total


def fit(
    network: Network, loss: str, data: TrainingData, recipe: Recipe, seed: int, label: str, show: bool = False
) -> tuple[Network, list[Point]]:
    """Trains `network` for the recipe's number of updates, whatever the amount of data."""
    size = recipe.schedule.batch_size
    num_classes = network.head.out_features
    counts = [_counts(data.real.labels[data.rows], num_classes)]
    if data.added is not None:
        counts.append(_counts(data.added.labels, num_classes, data.added.weights))

    def batch_at(step: int) -> Batch:
        batch = gather(data.real, data.rows[epoch_rows(len(data.rows), size, seed, step)])
        if data.added is not None and data.how is not None:
            extra = gather(data.added, epoch_rows(len(data.added), data.how.batch_size, derive(seed, "added"), step))
            batch = concatenate(batch, extra)
        rng = torch.Generator().manual_seed(derive(seed, "augmentation", step))
        return batch._replace(images=augment(batch.images, recipe.augmentation, rng))

    task = ClassifierTask(network, loss, counts, size, data.how.weight if data.how else 0.0).to(device())
    trained, points = train(task, batch_at, recipe.schedule, seed=seed, label=label, show=show)
    result: Network = trained.network  # type: ignore[assignment]
    return result, points


def _counts(labels: npt.NDArray[np.int64], num_classes: int, weights: npt.NDArray[np.float32] | None = None) -> Tensor:
    return torch.from_numpy(np.bincount(labels, weights, minlength=num_classes)).float()
