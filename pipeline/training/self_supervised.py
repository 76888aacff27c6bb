"""Trains a source network on images without their labels, by a file of pipeline/source_tasks."""

from typing import Any

import torch
from torch import Tensor, nn

from pipeline import source_tasks
from pipeline.backbones import Network
from pipeline.dataset import PixelStore
from pipeline.errors import UserError
from pipeline.seeds import derive
from pipeline.training.batches import Batch, concatenate, epoch_rows, gather
from pipeline.training.checkpoint import Checkpoint
from pipeline.training.device import device
from pipeline.training.loop import Point, train
from pipeline.training.schedule import Schedule
from pipeline.transforms.augmentation import augment_batch
from pipeline.transforms.policy import Policy


class Learner(nn.Module):
    """A network with what it learns, for the training loop."""

    def __init__(self, network: Network, criterion: nn.Module, num_views: int) -> None:
        super().__init__()
        self.network, self.criterion, self._num_views = network, criterion, num_views

    def players(self) -> dict[str, list[nn.Parameter]]:
        """One player: the network without its head, which has no task, and what the loss learns."""
        learning = [*self.network.trunk.parameters(), *self.network.neck.parameters(), *self.criterion.parameters()]
        return {"source": learning}

    def loss(self, _player: str, batch: Batch, _progress: float) -> Tensor:
        """The loss of one update; a batch holds all first views of its images, then all second ones."""
        value: Tensor = self.criterion(self.network.features, batch.images.chunk(self._num_views))
        return value


def fit_without_labels(
    network: Network,
    name: str,
    options: dict[str, Any],
    store: PixelStore,
    schedule: Schedule,
    views: Policy,
    seed: int,
    checkpoint: Checkpoint | None = None,
) -> tuple[Network, list[Point]]:
    """Trains `network` on the pictures of `store`.

    Args:
        name: a file of pipeline/source_tasks.
        options: of it.
        views: the changes that make a view of an image.
        checkpoint: where a killed training goes on; it is left there for the caller to remove once the result is kept.

    Raises:
        UserError: the task is unknown, its options are wrong, or there are too few images.
    """
    size = min(schedule.batch_size, len(store))
    size -= size % schedule.accumulate  # so that each part of a batch holds all views of its images
    if size < 2 * schedule.accumulate:
        raise UserError(
            f"train_source: {name} compares images with each other and needs 2 in each part of a batch, got "
            f"{min(schedule.batch_size, len(store))} images in {schedule.accumulate}"
        )
    criterion, num_views = source_tasks.create(name, options, network.head.in_features, derive(seed, name))
    learner = Learner(network, criterion, num_views).to(device())

    def batch_at(step: int) -> Batch:
        images = gather(store, epoch_rows(len(store), size, seed, step))
        rng = torch.Generator().manual_seed(derive(seed, "augmentation", step))
        seen = [images._replace(images=augment_batch(images.images, views, rng)) for _ in range(num_views)]
        batch = seen[0]
        for view in seen[1:]:
            batch = concatenate(batch, view)
        return batch

    trained, points = train(
        learner, batch_at, schedule, seed=seed, label="train_source", checkpoint=checkpoint, keep=True
    )
    result: Network = trained.network  # type: ignore[assignment]
    return result, points
