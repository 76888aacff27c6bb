"""Trains one classifier: the recipe that is the same in every arm; only the data differ."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field, field_validator
from torch import Tensor, nn

from pipeline import losses
from pipeline.backbones import Network
from pipeline.dataset import Dataset, PixelStore
from pipeline.params import section
from pipeline.seeds import derive
from pipeline.training.batches import Batch, concatenate, epoch_rows, gather
from pipeline.training.device import device
from pipeline.training.loop import Point, train
from pipeline.training.schedule import Schedule
from pipeline.training.transfer import How, transfer
from pipeline.transforms.augmentation import augment_batch
from pipeline.transforms.mixing import Mixing, mix
from pipeline.transforms.policy import Policy


@section
class Recipe:
    """How a classifier is trained, whatever the data.

    Attributes:
        schedule: number and size of updates.
        augmentation: on-the-fly changes.
        label_smoothing: share of each label that is spread over the classes, for each loss that has one.
        mixing: of two images and their labels, after those changes.
    """

    schedule: Schedule
    augmentation: Policy
    label_smoothing: dict[str, Annotated[float, Field(ge=0, lt=1)]]
    mixing: Mixing = Mixing()

    @field_validator("label_smoothing")
    @classmethod
    def _known_losses(cls, given: dict[str, float]) -> dict[str, float]:
        for name in given:
            losses.get(name)
        return given


@section
class Added:
    """How added (augmented, synthetic) images enter.

    Attributes:
        weight: weight of the loss over added images beside that over real ones, at the start.
        final_weight: the same at the end; it changes linearly, so that real images can have the last word.
        batch_size: added images an update, beside the real ones.
    """

    weight: Annotated[float, Field(ge=0)]
    final_weight: Annotated[float, Field(ge=0)]
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

    Loss = mean over real + weight * weighted mean over added, each with the class counts of the data that it was drawn
    from.
    """

    real_counts: Tensor
    added_counts: Tensor

    def __init__(self, network: Network, loss: str, data: TrainingData, recipe: Recipe, seed: int) -> None:
        super().__init__()
        self.network = network
        self._loss, self._recipe, self._how, self._seed = losses.get(loss), recipe, data.how, seed
        self._smoothing = recipe.label_smoothing.get(loss, 0.0)
        num_classes = network.head.out_features
        self.register_buffer("real_counts", _counts(data.real.labels[data.rows], num_classes))
        if data.added is not None:
            self.register_buffer("added_counts", _counts(data.added.labels, num_classes, data.added.weights))

    def players(self) -> dict[str, list[nn.Parameter]]:
        """One player: the network."""
        return {"classifier": list(self.network.parameters())}

    def loss(self, _player: str, batch: Batch, progress: float) -> Tensor:
        """The loss of one update; where images are mixed, that of both labels in their shares."""
        if not self._recipe.mixing.on:
            return self._loss_of(self.network(batch.images), batch, progress)
        step = round(progress * self._recipe.schedule.steps)
        rng = np.random.default_rng(derive(self._seed, "mixing", step))
        partners = _partners(batch.added)
        images, share = mix(batch.images, partners, self._recipe.mixing, rng)
        logits = self.network(images)
        own = self._loss_of(logits, batch, progress)
        mixed_in = batch._replace(labels=batch.labels[partners], weights=batch.weights[partners])
        return share * own + (1 - share) * self._loss_of(logits, mixed_in, progress)

    def _loss_of(self, logits: Tensor, batch: Batch, progress: float) -> Tensor:
        real, added, smoothing = ~batch.added, batch.added, self._smoothing
        total = self._loss(logits[real], batch.labels[real], self.real_counts, smoothing).mean()
        if self._how is None or not added.any():
            return total
        values = self._loss(logits[added], batch.labels[added], self.added_counts, smoothing)
        weights = batch.weights[added]
        weight = self._how.weight + progress * (self._how.final_weight - self._how.weight)
        return total + weight * (values * weights).sum() / weights.sum()


def fit(
    network: Network, loss: str, data: TrainingData, recipe: Recipe, seed: int, label: str, show: bool = False
) -> tuple[Network, list[Point]]:
    """Trains `network` for the recipe's number of updates, whatever the amount of data."""
    size = recipe.schedule.batch_size

    def batch_at(step: int) -> Batch:
        batch = gather(data.real, data.rows[epoch_rows(len(data.rows), size, seed, step)])
        if data.added is not None and data.how is not None:
            extra = gather(data.added, epoch_rows(len(data.added), data.how.batch_size, derive(seed, "added"), step))
            batch = concatenate(batch, extra._replace(added=torch.ones_like(extra.added)))
        rng = torch.Generator().manual_seed(derive(seed, "augmentation", step))
        return batch._replace(images=augment_batch(batch.images, recipe.augmentation, rng))

    task = ClassifierTask(network, loss, data, recipe, seed).to(device())
    trained, points = train(task, batch_at, recipe.schedule, seed=seed, label=label, show=show)
    result: Network = trained.network  # type: ignore[assignment]
    return result, points


def fit_arm(
    train: Sequence[Path],
    source: Path,
    how: How,
    loss: str,
    recipe: Recipe,
    added: Added,
    seed: int,
    label: str,
    rows: npt.NDArray[np.int64] | None = None,
) -> tuple[Network, list[Point]]:
    """One classifier of an arm, which starts from the source's network.

    Args:
        train: the real images, then data sets that are added to them.
        rows: of the real images; all by default.
    """
    real, more = Dataset.open(train[0]), Dataset(tuple(train[1:]))
    store = PixelStore(real)
    data = TrainingData(
        store,
        np.arange(len(store)) if rows is None else rows,
        PixelStore(more) if more.folders and more.num_rows else None,
        added,
    )
    network, _ = transfer(source, store.image_shape[0], real.class_names, how, seed)
    return fit(network, loss, data, recipe, seed, label)


def _partners(added: Tensor) -> Tensor:
    """Of each image the one before it, real ones among themselves: batches are in random order already."""
    partners = torch.arange(len(added), device=added.device)
    for rows in (partners[~added], partners[added]):
        partners[rows] = rows.roll(1)
    return partners


def _counts(labels: npt.NDArray[np.int64], num_classes: int, weights: npt.NDArray[np.float32] | None = None) -> Tensor:
    return torch.from_numpy(np.bincount(labels, weights, minlength=num_classes)).float()
