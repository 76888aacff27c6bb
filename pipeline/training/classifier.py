"""Trains one classifier: the recipe that is the same in every arm; only the data differ."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from pipeline import losses
from pipeline.backbones import Network
from pipeline.dataset import Dataset, PixelStore
from pipeline.losses import Facts
from pipeline.seeds import derive, seeded
from pipeline.training.batches import Batch, class_balanced_probs, concatenate, epoch_rows, gather, weighted_rows
from pipeline.training.checkpoint import Checkpoint
from pipeline.training.classifier_task import ClassifierTask, HeadTask, TrainingData, TunedTask
from pipeline.training.device import device
from pipeline.training.feature_transfer import fit_features
from pipeline.training.fine_tuning import FineTuning, Tuner
from pipeline.training.loop import Point, train
from pipeline.training.recipe import Arm, Recipe
from pipeline.training.transfer import Report, transfer
from pipeline.transforms.augmentation import augment_batch
from pipeline.transforms.mixing import Mixing

# What a checkpoint of a classifier's training is of, as `code.digest` takes it.
CODE = ("backbones", "dataset", "heads", "images.py", "losses", "seeds.py", "training", "transforms")


def fit(
    network: Network,
    loss: str,
    data: TrainingData,
    recipe: Recipe,
    seed: int,
    label: str,
    *,
    options: dict[str, Any] | None = None,
    tuner: Tuner | None = None,
    show: bool = False,
    checkpoint: Checkpoint | None = None,
) -> tuple[Network, list[Point]]:
    """Trains `network` for the recipe's number of updates, whatever the amount of data.

    Args:
        options: of the loss.
        tuner: how the network is fine-tuned, if other than as a whole.
        checkpoint: where a killed training goes on; it is left there for the caller to remove once the result is kept.
    """
    facts = Facts(network.head.in_features, network.head.out_features, recipe.label_smoothing.get(loss, 0.0))
    criterion = losses.create(loss, options or {}, facts, derive(seed, "loss"))
    criterion.start(network.head)
    parts = (network, criterion, data, recipe, seed)
    task = (ClassifierTask(*parts) if tuner is None else TunedTask(*parts, tuner)).to(device())
    batch_at = batches(data, recipe, criterion.views, seed)
    trained, points = train(
        task, batch_at, recipe.schedule, seed=seed, label=label, show=show, checkpoint=checkpoint, keep=True
    )
    result: ClassifierTask = trained  # type: ignore[assignment]
    if isinstance(result, TunedTask):
        result.tuner.settle(result.network)
    result.criterion.finish(result.network.head)
    if recipe.head_retraining.steps:
        retrain_head(result.network, data, recipe, derive(seed, "head"), f"{label}, head")
    return result.network, points


def retrain_head(network: Network, data: TrainingData, recipe: Recipe, seed: int, label: str) -> None:
    """Trains the head anew, from random weights, by cross-entropy on class-balanced draws (cRT, Kang et al. 2020)."""
    how, head = recipe.head_retraining, network.head
    schedule = replace(recipe.schedule, steps=how.steps, lr=how.lr)  # type: ignore[type-var]
    values = {"schedule": schedule, "class_balance": how.class_balance, "mixing": Mixing()}
    alone: Recipe = replace(recipe, **values)  # type: ignore[type-var]
    with seeded(seed):
        head.reset_parameters()
    facts = Facts(head.in_features, head.out_features, recipe.label_smoothing.get("cross_entropy", 0.0))
    task = HeadTask(network, losses.create("cross_entropy", {}, facts), data, alone, seed)
    trained, _ = train(task, batches(data, alone, 0, seed), schedule, seed=seed, label=label, show=False)
    network.load_state_dict(trained.network.state_dict())  # type: ignore[union-attr]


def fit_arm(
    train: Sequence[Path],
    source: Path,
    arm: Arm,
    seed: int,
    label: str,
    *,
    loss: str | None = None,
    rows: npt.NDArray[np.int64] | None = None,
    checkpoint: Checkpoint | None = None,
) -> tuple[Network, list[Point]]:
    """One classifier of an arm, which starts from the source's network.

    Args:
        train: the real images, then data sets that are added to them.
        loss: instead of the arm's.
        rows: of the real images; all by default.
        checkpoint: as in `fit`.
    """
    real, more = Dataset.open(train[0]), Dataset(tuple(train[1:]))
    store, loss = PixelStore(real), loss or arm.loss
    data = TrainingData(
        store,
        np.arange(len(store)) if rows is None else rows,
        PixelStore(more) if more.folders and more.num_rows else None,
        arm.added,
    )
    target = (source, store.image_shape[0], real.class_names)
    network, report = transfer(*target, arm.transfer, seed, arm.structure)
    options = arm.losses.get(loss, {})
    if arm.transfer == "feature" and arm.feature.fit == "closed_form":
        return fit_features(network, report, loss, options, data, arm.recipe, arm.feature.decay)
    tuner = _tuner(network, report, arm, seed)
    return fit(network, loss, data, arm.recipe, seed, label, options=options, tuner=tuner, checkpoint=checkpoint)


def _tuner(network: Network, report: Report, arm: Arm, seed: int) -> Tuner | None:
    """None where the network is trained as a whole."""
    frozen = arm.transfer == "feature"
    if not frozen and arm.fine_tuning == FineTuning():
        return None
    started = {*report["taken"], *report["adapted"]}
    return Tuner(network, arm.fine_tuning, started, frozen=frozen, seed=seed)


def batches(data: TrainingData, recipe: Recipe, num_views: int, seed: int) -> Callable[[int], Batch]:
    """The batch of each step, changed at random, with as many further views of each image."""
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
