"""The gate of params.yaml against planted candidates, on real digits and classifiers trained in folds."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.datasets import load_digits

from pipeline import backbones, gate, params
from pipeline.dataset import Dataset, PixelStore
from pipeline.gate import Reference, _reference
from pipeline.training.classifier import Recipe, TrainingData, fit
from pipeline.training.folds import assign_folds
from tests.tiny import ROOT, merged, write

CHECKS: dict[str, dict[str, Any]] = params.read(ROOT / "params.yaml")["synthesize"]["gate"]
NUM_CLASSES, NUM_TRAINED, NUM_FOLDS = 4, 30, 3
Images = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Planted:
    """Training digits and those that nothing has seen."""

    reference: Reference
    images: Images
    labels: Ints
    folds: Ints
    unseen: Images
    unseen_labels: Ints

    def refused(self, images: Images, labels: Ints) -> dict[str, float]:
        """Share of the candidates refused for each reason; "" for those that pass."""
        _, reasons = gate.judge(self.reference.measure(images, labels), self.reference, CHECKS)
        names, counts = np.unique(reasons, return_counts=True)
        return dict(zip(names.tolist(), (counts / len(reasons)).tolist(), strict=True))


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    digits = load_digits(n_class=NUM_CLASSES)
    pixels = np.rint(digits.images * (255 / 16)).astype(np.uint8)[:, None]
    rng = np.random.default_rng(0)  # the digits lie in the order of their writers
    groups = [rng.permutation(np.flatnonzero(digits.target == label)) for label in range(NUM_CLASSES)]
    trained = np.concatenate([rows[:NUM_TRAINED] for rows in groups])
    unseen = np.concatenate([rows[NUM_TRAINED:] for rows in groups])
    labels = digits.target[trained].astype(np.int64)
    folder = write(tmp_path_factory.mktemp("digits") / "data", pixels[trained], labels, tuple("0123"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COUNTERWEIGHT_CACHE", str(tmp_path_factory.mktemp("cache")))
        store = PixelStore(Dataset.open(folder))
    values = params.read(ROOT / "params.yaml")["train_classifier"]["recipe"]
    recipe = params.build(Recipe, merged(values, {"schedule": {"steps": 80}}), "recipe")
    folds = assign_folds(labels, NUM_FOLDS, seed=0)
    networks = []
    for fold in range(NUM_FOLDS):
        network = backbones.create("resnet", {"depth": 8, "width": 8}, 1, NUM_CLASSES, seed=fold)
        data = TrainingData(store, np.flatnonzero(folds != fold))
        networks.append(fit(network, "cross_entropy", data, recipe, seed=fold, label="fold")[0])
    reference = Reference(pixels[trained], labels, folds, networks, NUM_CLASSES)
    return Planted(reference, pixels[trained], labels, folds, pixels[unseen], digits.target[unseen].astype(np.int64))


def test_noise_is_refused(planted: Planted) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (200, 1, 8, 8), dtype=np.uint8)
    assert planted.refused(noise, np.arange(200) % NUM_CLASSES).get("", 0.0) <= 0.02


def test_copies_of_training_images_are_refused_as_such(planted: Planted) -> None:
    near = np.clip(planted.images.astype(int) + np.random.default_rng(0).integers(-3, 4, planted.images.shape), 0, 255)
    for copies in (planted.images, near.astype(np.uint8)):
        passed, reasons = gate.judge(
            planted.reference.measure(copies, planted.labels), planted.reference, {"near_copy": CHECKS["near_copy"]}
        )
        assert not passed.any()
        assert set(reasons) == {"near_copy"}
        assert planted.refused(copies, planted.labels).get("", 0.0) == 0


def test_images_of_another_class_are_refused(planted: Planted) -> None:
    wrong = planted.refused(planted.unseen, (planted.unseen_labels + 1) % NUM_CLASSES)
    assert wrong.get("", 0.0) <= 0.02
    assert wrong["nearest_prototype"] >= 0.9


def test_new_real_images_mostly_pass(planted: Planted) -> None:
    assert planted.refused(planted.unseen, planted.unseen_labels)[""] >= 0.6


def test_unseen_images_lie_further_from_their_prototype_than_trained_on_ones(planted: Planted) -> None:
    trained = []
    for fold, (network, prototypes) in enumerate(
        zip(planted.reference._networks, planted.reference._prototypes, strict=True)
    ):
        rows = planted.folds != fold
        features = _reference._normalised(network, planted.images[rows])
        trained.append(1 - (features * prototypes[planted.labels[rows]]).sum(1).numpy())
    unseen = planted.reference.out_of_fold
    assert np.isfinite(unseen).all()
    assert unseen.mean() > np.concatenate(trained).mean()
    assert np.quantile(unseen, 0.9) > np.quantile(np.concatenate(trained), 0.9)


def test_new_images_are_as_far_as_the_out_of_fold_distances_say(planted: Planted) -> None:
    measured = planted.reference.measure(planted.unseen, planted.unseen_labels).distance
    assert np.median(measured) == pytest.approx(np.median(planted.reference.out_of_fold), rel=0.5)
