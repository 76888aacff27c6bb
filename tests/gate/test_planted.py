"""The gate of params.yaml against planted candidates, on real digits and classifiers trained in folds."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.datasets import load_digits

from pipeline import backbones, gate, params
from pipeline.dataset import Dataset, PixelStore
from pipeline.gate import Reference, _reference
from pipeline.training.classifier import fit
from pipeline.training.classifier_task import TrainingData
from pipeline.training.folds import assign_folds
from pipeline.training.recipe import Recipe
from tests.tiny import ROOT, merged, write

CHECKS: dict[str, dict[str, Any]] = params.read(ROOT / "params.yaml")["synthesize"]["gate"]
COUNTS = (60, 30, 12, 4)  # training images of each class
NUM_CLASSES, NUM_FOLDS = len(COUNTS), 3
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

    def reasons(self, images: Images, labels: Ints, checks: dict[str, dict[str, Any]] = CHECKS) -> npt.NDArray[np.str_]:
        """Why each candidate is refused, "" if it is not."""
        return gate.judge(self.reference.measure(images, labels), self.reference, checks)[1]

    def refused(self, images: Images, labels: Ints) -> dict[str, float]:
        """Share of the candidates refused for each reason; "" for those that pass."""
        names, counts = np.unique(self.reasons(images, labels), return_counts=True)
        return dict(zip(names.tolist(), (counts / len(labels)).tolist(), strict=True))


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    digits = load_digits(n_class=NUM_CLASSES)
    pixels = np.rint(digits.images * (255 / 16)).astype(np.uint8)[:, None]
    rng = np.random.default_rng(0)  # the digits lie in the order of their writers
    groups = [rng.permutation(np.flatnonzero(digits.target == label)) for label in range(NUM_CLASSES)]
    trained = np.concatenate([rows[:count] for rows, count in zip(groups, COUNTS, strict=True)])
    unseen = np.concatenate([rows[max(COUNTS) : max(COUNTS) + 100] for rows in groups])
    labels = digits.target[trained].astype(np.int64)
    folder = write(tmp_path_factory.mktemp("digits") / "data", pixels[trained], labels, tuple("0123"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COUNTERWEIGHT_CACHE", str(tmp_path_factory.mktemp("cache")))
        store = PixelStore(Dataset.open(folder))
    values = params.read(ROOT / "params.yaml")["train_classifier"]["recipe"]
    recipe = params.build(Recipe, merged(values, {"schedule": {"steps": 120}}), "recipe")
    folds = assign_folds(labels, NUM_FOLDS, seed=0)
    networks = []
    for fold in range(NUM_FOLDS):
        network = backbones.create("resnet", {"depth": 8, "width": 8}, 1, NUM_CLASSES, seed=fold)
        data = TrainingData(store, np.flatnonzero(folds != fold))
        networks.append(fit(network, "balanced_softmax", data, recipe, seed=fold, label="fold")[0])
    reference = Reference(pixels[trained], labels, folds, networks, NUM_CLASSES)
    return Planted(reference, pixels[trained], labels, folds, pixels[unseen], digits.target[unseen].astype(np.int64))


def test_noise_is_refused_as_unlike_any_real_image_or_as_of_no_class(planted: Planted) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (400, 1, 8, 8), dtype=np.uint8)
    refused = planted.refused(noise, np.arange(400) % NUM_CLASSES)
    assert refused.get("", 0.0) <= 0.01
    assert refused["unlike_real"] >= 0.8


def grainy(images: Images, levels: int) -> Images:
    noise = np.random.default_rng(0).integers(-levels, levels + 1, images.shape)
    return np.clip(images.astype(int) + noise, 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    "copies",
    [
        lambda images: images,
        lambda images: grainy(images, 2),
        lambda images: grainy(images, 6),
        lambda images: np.roll(images, 1, axis=3),
        lambda images: np.roll(images, (-1, 1), axis=(2, 3)),
        lambda images: images[..., ::-1].copy(),
        lambda images: grainy(np.roll(images, -1, axis=2), 2),
    ],
    ids=["exact", "2 grey levels", "6 grey levels", "right", "diagonal", "mirrored", "moved with noise"],
)
def test_copies_of_training_images_are_refused_as_such(planted: Planted, copies: Any) -> None:
    assert set(planted.reasons(copies(planted.images), planted.labels)) == {"near_copy"}


def test_one_image_a_class_again_and_again_is_accepted_once(planted: Planted) -> None:
    """The image is a real one that nothing has seen, so that only its repetition speaks against it."""
    good = planted.reasons(planted.unseen, planted.unseen_labels) == ""
    rows = np.array([np.flatnonzero(good & (planted.unseen_labels == label))[0] for label in range(NUM_CLASSES)])
    for same in (lambda images: images, lambda images: grainy(images, 4)):
        reasons = planted.reasons(same(np.repeat(planted.unseen[rows], 50, axis=0)), np.repeat(np.arange(4), 50))
        names, counts = np.unique(reasons, return_counts=True)
        assert dict(zip(names.tolist(), counts.tolist(), strict=True)) == {"": 4, "near_duplicate": 196}


def test_images_of_another_class_are_refused(planted: Planted) -> None:
    wrong = planted.refused(planted.unseen, (planted.unseen_labels + 1) % NUM_CLASSES)
    assert wrong.get("", 0.0) <= 0.01
    assert wrong["nearest_prototype"] >= 0.9


def test_new_real_images_mostly_pass_in_rich_classes_and_in_poor_ones(planted: Planted) -> None:
    passed = planted.reasons(planted.unseen, planted.unseen_labels) == ""
    assert passed.mean() >= 0.8
    assert min(passed[planted.unseen_labels == label].mean() for label in range(NUM_CLASSES)) >= 0.5


@pytest.fixture(scope="module")
def untaught(planted: Planted) -> Planted:
    """The same digits, and classifiers that tell nothing."""
    networks = [
        backbones.create("resnet", {"depth": 8, "width": 8}, 1, NUM_CLASSES, seed=seed).eval()
        for seed in range(NUM_FOLDS)
    ]
    return replace(planted, reference=Reference(planted.images, planted.labels, planted.folds, networks, NUM_CLASSES))


def test_classifiers_that_tell_nothing_let_real_images_through_and_neither_noise_nor_copies(untaught: Planted) -> None:
    measures = untaught.reference.measure(untaught.unseen, untaught.unseen_labels)
    outvoted = (measures.agreement < 0.5) | (measures.own_share < 0.5)
    assert outvoted.mean() > 0.5
    assert untaught.refused(untaught.unseen, untaught.unseen_labels).get("", 0.0) >= 0.7
    noise = np.random.default_rng(0).integers(0, 256, (400, 1, 8, 8), dtype=np.uint8)
    assert untaught.refused(noise, np.arange(400) % NUM_CLASSES)["unlike_real"] >= 0.8
    assert set(untaught.reasons(untaught.images, untaught.labels)) == {"near_copy"}


def test_what_is_told_of_left_out_images_is_about_true_of_unseen_ones(planted: Planted) -> None:
    told = gate.real_pass(planted.reference, CHECKS).groupby("label")["all"].mean()
    passed = planted.reasons(planted.unseen, planted.unseen_labels) == ""
    assert told[0] == pytest.approx(passed[planted.unseen_labels == 0].mean(), abs=0.15)
    assert told.mean() == pytest.approx(passed.mean(), abs=0.15)


def test_a_limit_that_counts_images_alike_would_refuse_the_poor_classes_own(planted: Planted) -> None:
    measured = planted.reference.measure(planted.unseen, planted.unseen_labels).distance
    poor = planted.unseen_labels == NUM_CLASSES - 1
    counted = np.nanquantile(planted.reference.real["distance"], 0.95)
    usual = planted.reference.usual_distance.quantile(NUM_CLASSES - 1, 0.95)
    assert np.mean(measured[poor] <= usual) >= 0.8
    assert np.mean(measured[poor] <= counted) < np.mean(measured[poor] <= usual) - 0.05


def test_unseen_images_lie_further_from_their_prototype_than_trained_on_ones(planted: Planted) -> None:
    reference = planted.reference
    trained = np.concatenate(
        [
            _reference._distances(features[rows], prototypes, planted.labels[rows])
            for features, prototypes, rows in (
                (reference.features[fold], reference._prototypes[fold], planted.folds != fold)
                for fold in range(NUM_FOLDS)
            )
        ]
    )
    assert np.isfinite(reference.real["distance"]).all()
    assert reference.real["distance"].mean() > trained.mean()
    assert np.quantile(reference.real["distance"], 0.9) > np.quantile(trained, 0.9)


def test_new_images_are_as_far_as_the_out_of_fold_distances_say(planted: Planted) -> None:
    measured = planted.reference.measure(planted.unseen, planted.unseen_labels).distance
    rich = planted.unseen_labels == 0
    assert np.median(measured[rich]) == pytest.approx(
        np.median(planted.reference.real["distance"][planted.labels == 0]), rel=0.5
    )
