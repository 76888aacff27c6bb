"""Trains one classifier: the recipe that is the same in every arm; only the data differ."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from pipeline import losses
from pipeline.backbones import Network
from pipeline.dataset import Dataset, PixelStore
from pipeline.losses import Facts, Loss
from pipeline.seeds import derive
from pipeline.training.batches import Batch, class_balanced_probs, concatenate, epoch_rows, gather, weighted_rows
from pipeline.training.device import device
from pipeline.training.loop import Point, train
from pipeline.training.recipe import Added, Arm, Recipe
from pipeline.training.transfer import transfer
from pipeline.transforms.augmentation import augment_batch
from pipeline.transforms.mixing import mix


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

    def __init__(self, network: Network, criterion: Loss, data: TrainingData, recipe: Recipe, seed: int) -> None:
        super().__init__()
        self.network, self.criterion = network, criterion
        self._recipe, self._how, self._seed = recipe, data.how, seed
        num_classes = network.head.out_features
        counts = _counts(data.real.labels[data.rows], num_classes)
        self.register_buffer("real_counts", _as_drawn(counts, recipe.class_balance))
        if data.added is not None:
            self.register_buffer("added_counts", _counts(data.added.labels, num_classes, data.added.weights))

    def players(self) -> dict[str, list[nn.Parameter]]:
        """One player: the network, with whatever the loss learns."""
        return {"classifier": [*self.network.parameters(), *self.criterion.parameters()]}

    def loss(self, _player: str, batch: Batch, progress: float) -> Tensor:
        """The loss of one update; where images are mixed, that of both labels in their shares."""
        if not self._recipe.mixing.on:
            return self._loss_of(batch, batch.images, progress)
        step = round(progress * self._recipe.schedule.steps)
        rng = np.random.default_rng(derive(self._seed, "mixing", step))
        partners = _partners(batch.added)
        images, share = mix(batch.images, partners, self._recipe.mixing, rng)
        return self._loss_of(batch, images, progress, partners, share)

    def _loss_of(
        self, batch: Batch, images: Tensor, progress: float, partners: Tensor | None = None, share: float = 1.0
    ) -> Tensor:
        head, counts, labels = self.network.head, self._counts_of(batch), batch.labels
        features, further = self._features(images, batch.views)
        logits = self.criterion.logits(features, head)

        def total(values: Tensor, weights: Tensor) -> Tensor:
            return self._mean(values, weights, batch.added, progress)

        loss = total(self.criterion(logits, labels, counts, progress), batch.weights)
        if partners is not None:
            mixed_in = total(self.criterion(logits, labels[partners], counts, progress), batch.weights[partners])
            loss = share * loss + (1 - share) * mixed_in
        if further is not None:  # views are not mixed
            loss = loss + total(self.criterion.of_views(further, head, labels, counts), batch.weights)
        return loss

    def _features(self, images: Tensor, views: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Features of the images, [N, D], and of their further views, [N, views, D]."""
        if views is None:
            return self.network.features(images), None
        features = self.network.features(torch.cat([images, views.flatten(0, 1)]))
        return features[: len(images)], features[len(images) :].reshape(*views.shape[:2], -1)

    def _counts_of(self, batch: Batch) -> Tensor:
        """Of each image the class counts of the data that it was drawn from, [C] if these are one and [N, C] if not."""
        if self._how is None or not batch.added.any():
            return self.real_counts
        return torch.where(batch.added[:, None], self.added_counts, self.real_counts)

    def _mean(self, values: Tensor, weights: Tensor, added: Tensor, progress: float) -> Tensor:
        total = values[~added].mean()
        if self._how is None or not added.any():
            return total
        weight = self._how.weight + progress * (self._how.final_weight - self._how.weight)
        return total + weight * (values[added] * weights[added]).sum() / weights[added].sum()


def fit(
    network: Network,
    loss: str,
    data: TrainingData,
    recipe: Recipe,
    seed: int,
    label: str,
    *,
    options: dict[str, Any] | None = None,
    show: bool = False,
) -> tuple[Network, list[Point]]:
    """Trains `network` for the recipe's number of updates, whatever the amount of data.

    Args:
        options: of the loss.
    """
    facts = Facts(network.head.in_features, network.head.out_features, recipe.label_smoothing.get(loss, 0.0))
    criterion = losses.create(loss, options or {}, facts, derive(seed, "loss"))
    criterion.start(network.head)
    task = ClassifierTask(network, criterion, data, recipe, seed).to(device())
    batch_at = _batches(data, recipe, criterion.views, seed)
    trained, points = train(task, batch_at, recipe.schedule, seed=seed, label=label, show=show)
    result: ClassifierTask = trained  # type: ignore[assignment]
    result.criterion.finish(result.network.head)
    return result.network, points


def fit_arm(
    train: Sequence[Path],
    source: Path,
    arm: Arm,
    seed: int,
    label: str,
    *,
    loss: str | None = None,
    rows: npt.NDArray[np.int64] | None = None,
) -> tuple[Network, list[Point]]:
    """One classifier of an arm, which starts from the source's network.

    Args:
        train: the real images, then data sets that are added to them.
        loss: instead of the arm's.
        rows: of the real images; all by default.
    """
    real, more = Dataset.open(train[0]), Dataset(tuple(train[1:]))
    store, loss = PixelStore(real), loss or arm.loss
    data = TrainingData(
        store,
        np.arange(len(store)) if rows is None else rows,
        PixelStore(more) if more.folders and more.num_rows else None,
        arm.added,
    )
    network, _ = transfer(source, store.image_shape[0], real.class_names, arm.transfer, seed)
    return fit(network, loss, data, arm.recipe, seed, label, options=arm.losses.get(loss))


def _batches(data: TrainingData, recipe: Recipe, num_views: int, seed: int) -> Callable[[int], Batch]:
    size, policy = recipe.schedule.batch_size, recipe.augmentation
    cumulative = np.cumsum(class_balanced_probs(data.real.labels[data.rows], recipe.class_balance))

    def rows_at(step: int) -> npt.NDArray[np.int64]:
        if recipe.class_balance:
            return weighted_rows(cumulative, size, derive(seed, "rows"), step)
        return epoch_rows(len(data.rows), size, seed, step)

    def batch_at(step: int) -> Batch:
        batch = gather(data.real, data.rows[rows_at(step)])
        if data.added is not None and data.how is not None:
            extra = gather(data.added, epoch_rows(len(data.added), data.how.batch_size, derive(seed, "added"), step))
            batch = concatenate(batch, extra._replace(added=torch.ones_like(extra.added)))
        rng = torch.Generator().manual_seed(derive(seed, "augmentation", step))
        seen = batch._replace(images=augment_batch(batch.images, policy, rng))
        if not num_views:
            return seen
        views = [augment_batch(batch.images, recipe.views or policy, rng) for _ in range(num_views)]
        return seen._replace(views=torch.stack(views, dim=1))

    return batch_at


def _partners(added: Tensor) -> Tensor:
    """Of each image the one before it, real ones among themselves: batches are in random order already."""
    partners = torch.arange(len(added), device=added.device)
    for rows in (partners[~added], partners[added]):
        partners[rows] = rows.roll(1)
    return partners


def _counts(labels: npt.NDArray[np.int64], num_classes: int, weights: npt.NDArray[np.float32] | None = None) -> Tensor:
    return torch.from_numpy(np.bincount(labels, weights, minlength=num_classes)).float()


def _as_drawn(counts: Tensor, class_balance: float) -> Tensor:
    """The class counts [C] that natural draws would need to bring the classes in these shares."""
    if not class_balance:
        return counts
    shares = torch.where(counts > 0, counts ** (1 - class_balance), 0.0)
    return shares * (counts.sum() / shares.sum())
