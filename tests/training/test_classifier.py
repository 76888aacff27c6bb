"""The classifier's two-term loss, how its images are drawn, and each loss through a whole training."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline import backbones, losses, params, registry
from pipeline.dataset import Dataset, PixelStore
from pipeline.losses import Facts
from pipeline.training import classifier_task
from pipeline.training.batches import Batch, concatenate, epoch_rows, to_uint8
from pipeline.training.classifier import fit
from pipeline.training.classifier_task import ClassifierTask, HeadTask, TrainingData
from pipeline.training.recipe import Added, Recipe
from pipeline.transforms import policy
from pipeline.transforms.policy import Policy
from tests.stages.chain import Chain
from tests.tiny import ROOT, bars, batch_of, merged, write_bars

KINDS = registry.names("pipeline.losses")
LABELS, ADDED = np.array([0, 0, 1, 2]), np.array([2, 1, 2])


def recipe(**changes: Any) -> Recipe:
    values = params.read(ROOT / "params.yaml")["train_classifier"]["recipe"]
    short = merged(values, {"schedule": {"steps": 8, "batch_size": 4}})
    return params.build(Recipe, merged(short, changes), "recipe")


@pytest.fixture
def data(tmp_path: Path) -> TrainingData:
    real = PixelStore(Dataset.open(write_bars(tmp_path / "real", [16, 4, 1])))
    added = PixelStore(Dataset.open(write_bars(tmp_path / "added", [0, 2, 3], origin="synthetic", weight=0.5)))
    return TrainingData(real, np.arange(len(real)), added, Added(weight=0.4, final_weight=0.2, batch_size=len(ADDED)))


def grey_network() -> backbones.Network:
    return backbones.create("resnet", {"depth": 8, "width": 4}, 1, 3, seed=0)


def task(data: TrainingData, name: str = "cross_entropy", how: Recipe | None = None) -> ClassifierTask:
    return ClassifierTask(grey_network(), losses.create(name, {}, Facts(16, 3)), data, how or recipe(), 7).eval()


def batch() -> Batch:
    """Four real images, then three added ones of different weights."""
    added = batch_of(bars(ADDED, seed=2), ADDED)
    added = added._replace(weights=torch.tensor([0.5, 1.0, 2.0]), added=torch.ones(len(ADDED), dtype=torch.bool))
    return concatenate(batch_of(bars(LABELS, seed=1), LABELS), added)


# ------------------------------------------------------------ the loss of a batch


@pytest.mark.parametrize("name", KINDS)
def test_every_image_is_judged_by_the_class_counts_of_the_mixture(data: TrainingData, name: str) -> None:
    trained = task(data, name)
    assert trained.real_counts.tolist() == [16, 4, 1]
    # At half time the weight is 0.3: that share of 21 images, of which two fifths are of class 1 and three of class 2.
    torch.testing.assert_close(trained.class_counts(0.5), torch.tensor([16, 4 + 0.3 * 21 * 0.4, 1 + 0.3 * 21 * 0.6]))
    with torch.no_grad():
        value = trained.loss("classifier", batch(), 0.5)
        logits = trained.criterion.logits(trained.network.features(batch().images), trained.network.head)
        values = trained.criterion(logits, batch().labels, trained.class_counts(0.5), 0.5)
    weighted = (values[4:] * torch.tensor([0.5, 1.0, 2.0])).sum() / 3.5
    assert value.item() == pytest.approx((values[:4].mean() + 0.3 * weighted).item(), rel=1e-5)


@pytest.mark.parametrize("mixing", [{}, {"mixup": 0.8}])
@pytest.mark.parametrize("name", KINDS)
def test_labels_may_be_distributions(data: TrainingData, name: str, mixing: dict[str, float]) -> None:
    hard = batch()
    soft = hard._replace(labels=torch.nn.functional.one_hot(hard.labels, 3).float())
    trained = task(data, name, recipe(mixing=mixing))
    with torch.no_grad():
        values = [trained.loss("classifier", given, 0.5) for given in (hard, soft)]
    torch.testing.assert_close(values[0], values[1])


def test_the_views_of_real_and_added_images_are_contrasted_with_each_other(data: TrainingData) -> None:
    seen: list[tuple[Tensor, Tensor]] = []
    trained = task(data, "balanced_contrastive")

    class Spy(type(trained.criterion)):  # type: ignore[misc]
        def of_views(self, features: Tensor, head: torch.nn.Linear, targets: Tensor, class_counts: Tensor) -> Tensor:
            values: Tensor = super().of_views(features, head, targets, class_counts)
            seen.append((features, values))
            return values

    trained.criterion.__class__ = Spy
    first = batch()
    views = torch.stack([batch_of(bars([*LABELS, *ADDED], seed=n), LABELS).images for n in (5, 6)], dim=1)
    with torch.no_grad():
        alone = trained._mean(
            trained.criterion(trained.network(first.images), first.labels, trained.class_counts(0.5), 0.5),
            *(first.weights, first.added, 0.5),
        )
        value = trained.loss("classifier", first._replace(views=views), 0.5)
        features, values = seen[0]
        torch.testing.assert_close(features[:, 1], trained.network.features(views[:, 1]))
    assert features.shape == (7, 2, 16)
    torch.testing.assert_close(value - alone, trained._mean(values, first.weights, first.added, 0.5))


# ------------------------------------------------------------ how images are drawn


def drawn(
    monkeypatch: pytest.MonkeyPatch,
    data: TrainingData,
    how: Recipe,
    name: str = "cross_entropy",
    network: backbones.Network | None = None,
) -> list[Batch]:
    """The batches of a training."""
    batches: list[Batch] = []
    loss = ClassifierTask.loss

    def noted(self: ClassifierTask, player: str, batch: Batch, progress: float) -> Tensor:
        batches.append(batch)
        return loss(self, player, batch, progress)

    monkeypatch.setattr(ClassifierTask, "loss", noted)
    fit(network or grey_network(), name, data, how, 3, "test")
    return batches


@pytest.mark.parametrize(("power", "expected"), [(0.0, [16, 4, 1]), (0.5, [4, 2, 1]), (1.0, [1, 1, 1])])
def test_classes_come_in_the_shares_that_class_balance_says(
    data: TrainingData, monkeypatch: pytest.MonkeyPatch, power: float, expected: list[int]
) -> None:
    how = recipe(class_balance=power, schedule={"steps": 2, "batch_size": 4000})
    batches = drawn(monkeypatch, TrainingData(data.real, data.rows), how)
    shares = np.bincount(torch.cat([batch.labels for batch in batches]).numpy()) / 8000
    assert shares == pytest.approx(np.array(expected) / sum(expected), abs=0.02)


def test_what_is_left_out_is_never_drawn(data: TrainingData, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.flatnonzero(data.real.labels > 0)
    batches = drawn(monkeypatch, TrainingData(data.real, rows), recipe(class_balance=1.0))
    assert {int(label) for batch in batches for label in batch.labels} == {1, 2}


@pytest.mark.parametrize(("power", "shares"), [(0.0, [16, 4, 1]), (0.5, [12, 6, 3]), (1.0, [7, 7, 7])])
def test_the_loss_is_told_the_class_counts_as_they_are_drawn(
    data: TrainingData, power: float, shares: list[int]
) -> None:
    counts = task(data, how=recipe(class_balance=power)).real_counts
    torch.testing.assert_close(counts, torch.tensor(shares).float())
    absent = classifier_task._as_drawn(torch.tensor([9.0, 1.0, 0.0]), power)
    assert absent[2] == 0
    assert absent.sum().item() == pytest.approx(10)


def test_views_are_changed_anew_by_the_policy_of_views(data: TrainingData, monkeypatch: pytest.MonkeyPatch) -> None:
    how = replace(recipe(schedule={"steps": 1}), augmentation=Policy(), views=Policy(brightness=0.5))
    (seen,) = drawn(monkeypatch, data, how, "balanced_contrastive")
    assert seen.views is not None
    assert seen.views.shape == (7, 2, 1, 8, 8)
    factors = ((seen.views + 1) / (seen.images[:, None] + 1).clamp(min=0.01)).mean(dim=(2, 3, 4))
    assert (factors - 1).abs().max() < 0.51
    assert (factors[:, 0] - factors[:, 1]).abs().min() > 1e-4  # each image and view by a draw of its own
    assert drawn(monkeypatch, data, how)[-1].views is None


@pytest.mark.parametrize("name", policy.names())
def test_every_policy_works_while_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    store = PixelStore(Dataset.open(write_bars(tmp_path / "colour", [5, 3, 1], (3, 8, 8))))
    how = replace(recipe(schedule={"steps": 2, "batch_size": 16}), augmentation=Policy(name=name))
    coloured = backbones.create("resnet", {"depth": 8, "width": 4}, 3, 3, seed=0)
    batches = drawn(monkeypatch, TrainingData(store, np.arange(9)), how, network=coloured)
    plain = [store.images(epoch_rows(9, 16, 3, step)) for step in range(2)]
    changed = [(to_uint8(batch.images) != images).any() for batch, images in zip(batches, plain, strict=True)]
    assert all(changed) == (name != "none")
    assert all((batch.images.abs() <= 1).all() for batch in batches)


# ------------------------------------------------------------ the head anew


def trained(data: TrainingData, **head: Any) -> dict[str, Tensor]:
    result, points = fit(grey_network(), "cross_entropy", data, recipe(head_retraining=head), 3, "test")
    assert len(points) == 8
    return result.state_dict()


def test_the_head_alone_is_trained_anew_and_no_step_leaves_it(data: TrainingData) -> None:
    own, none, other = trained(data), trained(data, steps=0, lr=0.5), trained(data, steps=3, lr=0.01)
    assert all(torch.equal(own[name], none[name]) for name in own)
    assert {name for name in own if not torch.equal(own[name], other[name])} == {"head.weight", "head.bias"}
    assert all(torch.equal(other[name], again) for name, again in trained(data, steps=3, lr=0.01).items())


def test_the_head_anew_is_told_apart_by_class_balanced_draws(
    data: TrainingData, monkeypatch: pytest.MonkeyPatch
) -> None:
    how = recipe(schedule={"steps": 1}, head_retraining={"steps": 1, "class_balance": 1.0}, mixing={"mixup": 1.0})
    how = replace(how, schedule=replace(how.schedule, batch_size=2000))
    natural, balanced = drawn(monkeypatch, TrainingData(data.real, data.rows), how)
    assert np.bincount(natural.labels) / 2000 == pytest.approx([16 / 21, 4 / 21, 1 / 21], abs=0.01)
    assert np.bincount(balanced.labels) / 2000 == pytest.approx([1 / 3] * 3, abs=0.04)


def test_all_before_the_head_works_as_it_does_when_it_is_asked(data: TrainingData) -> None:
    criterion = losses.create("cross_entropy", {}, Facts(16, 3))
    alone = HeadTask(grey_network(), criterion, data, recipe(mixing={"mixup": 0.8}), 7).train()
    assert [module.training for module in alone.network.trunk.modules()].count(True) == 0
    alone.loss("head", batch(), 0.0).backward()
    moved = {name for name, parameter in alone.network.named_parameters() if parameter.grad is not None}
    assert moved == {"head.weight", "head.bias"}


# ------------------------------------------------------------ whole trainings


@pytest.mark.parametrize("name", KINDS)
def test_every_loss_runs_through_the_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("COUNTERWEIGHT_WORKERS", "1")
    chain = Chain(tmp_path)
    chain.train_source()
    folder = chain.train_classifier("arm", chain.train, chain.augmented, loss=name, seeds=1)
    assert [path.name for path in (folder / name).iterdir()] == ["seed-0.safetensors"]
    assert 0 <= chain.json("arm")["val_balanced_accuracy"][name]["mean"] <= 1
