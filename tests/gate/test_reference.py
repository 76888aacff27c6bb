"""The gate's measures by hand: a network whose features are the two pixels of an image."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pipeline import gate
from pipeline.backbones import Network
from pipeline.errors import UserError
from pipeline.gate import Reference

# Class 0 points right, class 1 up: (1, 0), (0.8, 0.6); (0, 1), (0.6, 0.8).
PIXELS = [(100, 0), (80, 60), (0, 100), (60, 80)]
LABELS = np.array([0, 0, 1, 1])
FOLDS = np.array([0, 1, 0, 1])
CHECKS: dict[str, dict[str, Any]] = {
    "nearest_prototype": {"min_share": 0.5},
    "prototype_distance": {"quantile": 0.9},
    "near_copy": {"quantile": 0.02},
}


class TwoPixels(nn.Module):
    """float [N, 1, 1, 2] from 0 to 1 to the two pixels, float [N, 2]."""

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1) * 255


def pictures(pixels: list[tuple[int, int]]) -> np.ndarray:
    return np.array(pixels, dtype=np.uint8).reshape(-1, 1, 1, 2)


def make(
    pixels: list[tuple[int, int]] = PIXELS,
    labels: np.ndarray = LABELS,
    folds: np.ndarray = FOLDS,
    num_classes: int = 2,
) -> Reference:
    networks = [Network(TwoPixels(), 2, num_classes) for _ in range(2)]
    return Reference(pictures(pixels), labels, folds, networks, num_classes)


def test_distances_of_real_images_are_those_to_prototypes_without_them() -> None:
    # Without fold 0 the prototypes are (0.8, 0.6) and (0.6, 0.8), without fold 1 (1, 0) and (0, 1): 1 - 0.8 each time.
    assert make().out_of_fold == pytest.approx([0.2] * 4, abs=1e-6)


def test_a_prototype_is_the_normalised_mean_of_normalised_features() -> None:
    # Fold 1 leaves (1, 0) and (0.6, 0.8) for class 0: mean (0.8, 0.4), normalised (2, 1) / sqrt 5.
    reference = make([(10, 0), (60, 80), (50, 50), (0, 9)], np.array([0, 0, 0, 1]), np.array([0, 0, 1, 0]))
    assert reference._prototypes[1][0].numpy() == pytest.approx(np.array([2, 1]) / np.sqrt(5), abs=1e-5)
    assert reference.out_of_fold[2] == pytest.approx(1 - 3 / np.sqrt(10), abs=1e-5)


def test_distances_between_real_images_are_root_mean_squares_of_pixels() -> None:
    # (100, 0) - (80, 60) = (20, -60): sqrt(4000 / 2); (80, 60) - (60, 80): sqrt(800 / 2) = 20
    assert make().copy_distance == pytest.approx([np.sqrt(2000), 20, np.sqrt(2000), 20], abs=1e-3)


def test_candidates_by_hand() -> None:
    measures = make().measure(pictures([(100, 0), (80, 60), (0, 30)]), np.array([0, 1, 1]))
    assert measures.distance == pytest.approx([(0.2 + 0) / 2, (0.04 + 0.4) / 2, (0.2 + 0) / 2], abs=1e-6)
    assert measures.own_share.tolist() == [1, 0, 1]
    # the third: (0, 30) to (60, 80) is (60, 50), to (0, 100) it is (0, 70): sqrt(4900 / 2)
    assert measures.copy_distance == pytest.approx([0, 0, 70 / np.sqrt(2)], abs=0.1)


def test_the_folds_may_disagree() -> None:
    # (0.75, 0.66) is nearer to (0.8, 0.6) than to (0.6, 0.8), and to (1, 0) than to (0, 1); turned a bit they part.
    images = [(80, 60), (100, 0), (60, 80), (90, 43)]
    reference = make(
        images, LABELS, FOLDS
    )  # without fold 0: (1, 0), (0.9, 0.43); without fold 1: (0.8, 0.6), (0.6, 0.8)
    measures = reference.measure(pictures([(90, 50)]), np.array([0]))
    assert measures.own_share.tolist() == [0.5]


def test_each_check_s_limit_by_hand() -> None:
    reference = make()
    candidates = [(100, 20), (80, 60), (110, 60), (200, 0), (50, 250)]
    measures = reference.measure(pictures(candidates), np.array([0, 1, 0, 0, 0]))
    # Nearest prototype: the 2nd lies with class 0, the last with class 1.
    # Distances to the own one: the others lie within the limit, 0.2.
    # Distances between nearest real images are 20, 20, 44.7, 44.7; the 2 % quantile is 20, the median 32.4.
    # To the nearest real one: the 1st (0, 20), 14.1; the 3rd (30, 0), 21.2; the 4th (100, 0), 70.7.
    passed, reasons = gate.judge(measures, reference, CHECKS)
    assert reasons.tolist() == ["near_copy", "nearest_prototype", "", "", "nearest_prototype"]
    assert passed.tolist() == [reason == "" for reason in reasons]
    for quantile in (0.5, 1.0):
        _, reasons = gate.judge(measures, reference, {"near_copy": {"quantile": quantile}})
        assert reasons.tolist() == ["near_copy"] * 3 + ["", ""]
    # Of the last, (0.196, 0.981): 1 - 0.745 and 1 - 0.196, in the mean 0.53.
    assert measures.distance[4] == pytest.approx(0.529, abs=1e-3)
    _, reasons = gate.judge(measures, reference, {"prototype_distance": {"quantile": 1.0}})
    assert reasons[[2, 3, 4]].tolist() == ["", "", "prototype_distance"]
    assert gate.judge(measures, reference, {})[0].all()


def test_the_first_check_that_fails_is_the_reason() -> None:
    reference = make()
    measures = reference.measure(pictures([(80, 60)]), np.array([1]))  # a copy, of the other class
    assert gate.judge(measures, reference, CHECKS)[1].tolist() == ["nearest_prototype"]
    turned = dict(reversed(CHECKS.items()))
    assert gate.judge(measures, reference, turned)[1].tolist() == ["near_copy"]


def test_quality_is_the_share_of_real_images_that_lie_no_nearer() -> None:
    reference = make()
    reference.out_of_fold = np.array([0.1, 0.2, 0.3, np.nan])
    measures = reference.measure(pictures([(100, 0), (0, 100)]), np.array([0, 0]))
    assert measures.distance == pytest.approx([0.1, 0.7], abs=1e-6)
    measures.distance[:] = [0.2, 0.7]
    assert reference.quality(measures) == pytest.approx([2 / 3, 0])


def test_a_class_with_few_images_borrows_the_limit_of_all() -> None:
    labels = np.repeat([0, 1], [12, 2])
    reference = make([(90, number) for number in range(12)] + [(0, 9), (5, 9)], labels, np.arange(14) % 2)
    reference.out_of_fold = np.linspace(0, 1.3, 14)
    assert reference.usual_distance(0, 1.0) == pytest.approx(1.1)
    assert reference.usual_distance(1, 1.0) == pytest.approx(1.3)
    assert reference.usual_distance(0, 0.5) == pytest.approx(0.55)


def test_a_class_with_one_image_is_measured_by_the_folds_that_saw_it() -> None:
    reference = make([*PIXELS, (70, 70)], np.array([0, 0, 1, 1, 2]), np.array([0, 1, 0, 1, 0]), num_classes=3)
    assert np.isnan(reference.out_of_fold[4])
    assert reference.judgeable_classes.tolist() == [0, 1, 2]
    measures = reference.measure(pictures([(30, 30), (100, 0)]), np.array([2, 2]))
    assert measures.distance == pytest.approx([0, 1 - np.sqrt(0.5)], abs=1e-6)  # fold 1 only
    assert measures.own_share.tolist() == [1, 0]
    assert gate.judge(measures, reference, CHECKS)[1].tolist() == ["", "nearest_prototype"]


def test_a_class_that_no_fold_saw_is_judged_by_its_pixels_only() -> None:
    reference = make(num_classes=3)
    assert reference.judgeable_classes.tolist() == [0, 1]
    measures = reference.measure(pictures([(200, 200), (100, 0)]), np.array([2, 2]))
    assert np.isfinite(measures.distance).all()
    assert gate.judge(measures, reference, CHECKS)[1].tolist() == ["", "near_copy"]


def test_the_same_class_in_one_fold_only_is_no_class_that_a_fold_saw() -> None:
    folds = np.array([0, 1, 0, 0])
    reference = make(folds=folds)  # class 1 lies in fold 0: its classifier never saw it, that of fold 1 did
    assert reference.judgeable_classes.tolist() == [0, 1]
    assert np.isnan(reference.out_of_fold[[2, 3]]).all()


def test_an_unknown_check_or_option_is_one_clear_line() -> None:
    reference = make()
    measures = reference.measure(pictures(PIXELS), LABELS)
    with pytest.raises(UserError) as caught:
        gate.judge(measures, reference, {"near_copies": {}})
    known = "near_copy, nearest_prototype, prototype_distance"
    assert str(caught.value) == f"unknown check 'near_copies'; did you mean 'near_copy'?; known: {known}"
    with pytest.raises(UserError, match=r"^params\.yaml: synthesize\.gate\.near_copy\.quantile should be .*, got 2$"):
        gate.judge(measures, reference, {"near_copy": {"quantile": 2}})


def test_measuring_leaves_the_networks_as_they_are() -> None:
    network = Network(nn.Sequential(nn.Flatten(), nn.BatchNorm1d(2)), 2, 2).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    Reference(pictures(PIXELS), LABELS, FOLDS, [network, network], 2).measure(pictures(PIXELS), LABELS)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
