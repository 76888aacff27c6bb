"""Mixed images in the classifier's loss."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from pipeline import backbones, losses, params
from pipeline.dataset import Dataset, PixelStore
from pipeline.losses import Facts
from pipeline.seeds import derive
from pipeline.training.batches import Batch, concatenate
from pipeline.training.classifier import fit
from pipeline.training.classifier_task import ClassifierTask, TrainingData
from pipeline.training.recipe import Added, Recipe
from pipeline.transforms.mixing import Mixing, mix
from tests.tiny import ROOT, bars, batch_of, merged, write_bars

LABELS, ADDED = np.array([0, 0, 1, 2]), np.array([2, 1, 2])
STEPS = 8


def recipe(**mixing: float) -> Recipe:
    values = params.read(ROOT / "params.yaml")["train_classifier"]["recipe"]
    short = {"schedule": {"steps": STEPS, "batch_size": len(LABELS)}, "mixing": mixing}
    return params.build(Recipe, merged(values, short), "recipe")


@pytest.fixture
def data(tmp_path: Path) -> TrainingData:
    real = PixelStore(Dataset.open(write_bars(tmp_path / "real", [4, 3, 1])))
    added = PixelStore(Dataset.open(write_bars(tmp_path / "added", [0, 2, 3], origin="augmented", weight=0.5)))
    return TrainingData(real, np.arange(len(real)), added, Added(weight=0.4, final_weight=0.0, batch_size=len(ADDED)))


def task(data: TrainingData, mixing: Recipe, seed: int = 7) -> ClassifierTask:
    network = backbones.create("resnet", {"depth": 8, "width": 4}, 1, 3, seed=0)
    criterion = losses.create("cross_entropy", {}, Facts(16, 3))
    return ClassifierTask(network, criterion, data, mixing, seed).eval()


def batch() -> Batch:
    """Four real images, then three added ones of different weights."""
    added = batch_of(bars(ADDED, seed=2), ADDED)
    added = added._replace(weights=torch.tensor([0.5, 1.0, 2.0]), added=torch.ones(len(ADDED), dtype=torch.bool))
    return concatenate(batch_of(bars(LABELS, seed=1), LABELS), added)


@pytest.mark.parametrize("kind", [{"mixup": 0.8}, {"cutmix": 0.8}], ids=str)
def test_the_loss_is_that_of_both_labels_in_their_shares(data: TrainingData, kind: dict[str, float]) -> None:
    step, progress = 2, 2 / STEPS
    partners = torch.tensor([3, 0, 1, 2, 6, 4, 5])  # real ones among themselves, added ones among themselves
    rng = np.random.default_rng(derive(7, "mixing", step))
    images, share = mix(batch().images, partners, Mixing(**kind), rng)
    assert 0.02 < share < 0.98
    trained = task(data, recipe(**kind))
    with torch.no_grad():
        value = trained.loss("classifier", batch(), progress)
        log_probs = F.log_softmax(trained.network(images), dim=1)
    expected = 0.0
    for part, labels in ((share, batch().labels), (1 - share, batch().labels[partners])):
        losses = -log_probs[torch.arange(7), labels]
        weights = batch().weights if part == share else batch().weights[partners]
        added = (losses[4:] * weights[4:]).sum() / weights[4:].sum()
        expected += part * (losses[:4].mean() + 0.4 * (1 - progress) * added).item()
    assert value.item() == pytest.approx(expected, rel=1e-5)


def test_every_step_and_seed_mixes_anew(data: TrainingData) -> None:
    def values(seed: int) -> list[float]:
        trained = task(data, recipe(mixup=1.0), seed)
        with torch.no_grad():
            return [trained.loss("classifier", batch(), step / STEPS).item() for step in range(STEPS)]

    assert len(set(values(7))) == STEPS
    assert values(7) == values(7)
    assert values(8) != values(7)


def test_off_is_as_if_it_were_not_there(data: TrainingData) -> None:
    def weights(**mixing: Any) -> bytes:
        network = backbones.create("resnet", {"depth": 8, "width": 4}, 1, 3, seed=0)
        trained, _ = fit(network, "cross_entropy", data, recipe(**mixing), 5, "test")
        return b"".join(value.numpy().tobytes() for value in trained.state_dict().values())

    plain = weights()
    assert weights(mixup=0.0, cutmix=0.0, probability=0.5) == plain
    assert weights(mixup=1.0, probability=0.0) == plain
    assert weights(mixup=1.0) == weights(mixup=1.0) != plain
    assert weights(cutmix=1.0) not in (plain, weights(mixup=1.0))
