"""Trains one generator, in one process or in several."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from pipeline import generators
from pipeline.dataset import Dataset, PixelStore, group_numbers
from pipeline.errors import UserError
from pipeline.generators import Generator
from pipeline.seeds import derive
from pipeline.training.batches import (
    Batch,
    class_balanced_probs,
    concatenate,
    epoch_rows,
    gather,
    to_float,
    weighted_rows,
)
from pipeline.training.checkpoint import Checkpoint
from pipeline.training.device import threads_for
from pipeline.training.loop import Point, train
from pipeline.training.schedule import Schedule
from pipeline.transforms.augmentation import augment_batch
from pipeline.transforms.policy import Policy

if TYPE_CHECKING:
    from lightning_fabric import Fabric

REMEMBERED = 1000  # source images of a class that a generator is shown after training
MEASURED = 2000  # validation images at most
CHECK_BATCH = 256


class Work(NamedTuple):
    """What is to be trained, on what.

    Attributes:
        train: data sets of the target domain; `val` and `source` may be left out.
        attributes: groups that the generator learns as values of the attribute; none if it learns no attribute.
        start: weights to start from, by name.
        watch: called after so many steps with the averaged network.
    """

    name: str
    options: dict[str, Any]
    seed: int
    schedule: Schedule
    class_balance: float
    source_share: float
    augmentation: Policy
    train: tuple[Path, ...]
    val: Path | None
    source: Path | None
    attributes: tuple[str, ...]
    start: dict[str, Tensor]
    watch: dict[int, Callable[[nn.Module], None]]


class Trained(NamedTuple):
    """The result, in a form that goes from one process to another."""

    weights: dict[str, npt.NDArray[Any]]
    points: list[Point]


def fit(work: Work, checkpoint: Checkpoint, fabric: "Fabric") -> Trained:
    """Trains until the schedule ends; killed half-way, the next call goes on from the last checkpoint.

    Raises:
        UserError: the schedule asks for measurements that this generator has none of, or a batch has too few images.
    """
    least = fabric.world_size * work.schedule.accumulate
    if work.schedule.batch_size < least:
        raise UserError(
            f"params.yaml: train_generator.schedule.batch_size must be at least {least}, an image for each of "
            f"COUNTERWEIGHT_DEVICES, got {work.schedule.batch_size}"
        )
    store = PixelStore(Dataset.open(*work.train))
    source = PixelStore(Dataset.open(work.source)) if work.source is not None else None
    num_classes = Dataset.open(*work.train).num_classes
    generator = generators.create(work.name, work.options, store.image_shape, num_classes, work.seed, work.attributes)
    generator.load_state_dict(generator.state_dict() | work.start)
    with threads_for(store.image_shape):
        trained, points = train(
            generator.to(fabric.device),
            _batches(store, source, work),
            work.schedule,
            seed=work.seed,
            label="train_generator",
            checkpoint=checkpoint,
            fabric=fabric,
            validate=_measure(work, generator, fabric.device) if work.schedule.check_every else None,
            watch=work.watch,
        )
        model: Generator = trained  # type: ignore[assignment]
        if source is not None:
            for label in range(num_classes):
                rows = np.flatnonzero(source.labels == label)[:REMEMBERED]
                model.remember(to_float(source.images(rows)).to(fabric.device), label)
    return Trained({key: value.cpu().numpy() for key, value in model.state_dict().items()}, points)


def _batches(store: PixelStore, source: PixelStore | None, work: Work) -> Callable[[int], Batch]:
    cumulative = np.cumsum(class_balanced_probs(store.labels, work.class_balance) * store.weights)
    size = work.schedule.batch_size
    from_source = round(size * work.source_share) if source is not None else 0
    values = _values(work.attributes, *work.train)

    def batch_at(step: int) -> Batch:
        rows = weighted_rows(cumulative, size - from_source, derive(work.seed, "rows"), step)
        rng = torch.Generator().manual_seed(derive(work.seed, "augmentation", step))
        batch = gather(store, rows, values)
        batch = batch._replace(images=augment_batch(batch.images, work.augmentation, rng))
        if source is None:
            return batch
        extra = gather(source, epoch_rows(len(source), from_source, derive(work.seed, "source"), step))
        none_given = None if values is None else torch.zeros_like(extra.labels)
        return concatenate(batch, extra._replace(domains=torch.ones_like(extra.labels), attributes=none_given))

    return batch_at


def _values(attributes: tuple[str, ...], *folders: Path) -> Tensor | None:
    """Value of the attribute of each image of a data set; None where no attribute is learned."""
    return torch.from_numpy(group_numbers(Dataset.open(*folders), attributes)) if attributes else None


def _measure(work: Work, generator: Generator, device: torch.device) -> Callable[[nn.Module], float]:
    """Mean loss over validation images, classes alike as far as they go, with the same random numbers each time."""
    player = generator.judged_by
    if player is None or work.val is None or not Dataset.open(work.val).num_rows:
        why = "there are no validation images" if player else f"the loss of a {work.name} says nothing of unseen images"
        raise UserError(f"params.yaml: train_generator.schedule.check_every: {why}; take 0")
    store, values = PixelStore(Dataset.open(work.val)), _values(work.attributes, work.val)
    rows = np.argsort(_rank_in_class(store.labels), kind="stable")[:MEASURED]

    def measure(model: nn.Module) -> float:
        torch.manual_seed(derive(work.seed, "validation"))
        total = 0.0
        for start in range(0, len(rows), CHECK_BATCH):
            batch = gather(store, rows[start : start + CHECK_BATCH], values).part(0, 1, device)
            total += float(model.loss(player, batch, 1.0)) * len(batch.labels)  # type: ignore[operator]
        return total / len(rows)

    return measure


def _rank_in_class(labels: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The how-manieth of its class each row is, so that a prefix of the sorted rows holds all classes alike."""
    ranks = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        places = np.flatnonzero(labels == label)
        ranks[places] = np.arange(len(places))
    return ranks
